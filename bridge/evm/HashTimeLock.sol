// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// What this contract asks of a token.
interface Token {
    function balanceOf(address account) external view returns (uint256);
}

/// Locks of native coin and of ERC-20 tokens that a 32-byte preimage claims and only their timelock refunds.
///
/// Nobody owns this contract and nobody can change, pause or empty it. A lock is named by the hash of all its fields,
/// this contract and this chain, so that no one can take a name from another or give one name to two locks.
/// Claim is open while block.timestamp < timelock and refund from then on: no instant has both or neither. Whoever
/// builds a block chooses its timestamp within what the chain's rules allow; margins between chains must cover that.
/// A claim pays the payee in the lock and a refund its payer, whoever sends the transaction.
contract HashTimeLock {
    struct Lock {
        bytes32 orderId;
        address payer;
        address payee;
        address token;
        uint256 amount;
        bytes32 hashlock;
        uint64 timelock;
    }

    uint8 private constant ABSENT = 0;
    uint8 private constant OPEN = 1;
    uint8 private constant CLAIMED = 2;
    uint8 private constant REFUNDED = 3;
    uint256 private constant FREE = 1;
    uint256 private constant ENTERED = 2;

    /// 0 absent, 1 open, 2 claimed, 3 refunded; a lock never goes back and its name is never used again.
    mapping(bytes32 => uint8) public state;
    uint256 private guard = FREE;

    event Locked(
        bytes32 indexed id,
        bytes32 indexed orderId,
        address indexed payer,
        address payee,
        address token,
        uint256 amount,
        bytes32 hashlock,
        uint64 timelock
    );
    event Claimed(bytes32 indexed id, bytes32 indexed orderId, bytes32 preimage);
    event Refunded(bytes32 indexed id, bytes32 indexed orderId);

    error AmountZero();
    error PayeeInvalid();
    error TokenInvalid();
    error TimelockPassed();
    error AlreadyLocked();
    error NotOpen();
    error PreimageMismatch();
    error TooEarly();
    error TooLate();
    error TokenRefused();
    error AmountShort();
    error PaymentRefused();
    error Reentered();

    modifier once() {
        if (guard != FREE) revert Reentered();
        guard = ENTERED;
        _;
        guard = FREE;
    }

    /// Lock the coin sent with the call.
    function lock(bytes32 orderId, address payee, bytes32 hashlock, uint64 timelock)
        external
        payable
        returns (bytes32)
    {
        return _open(Lock(orderId, msg.sender, payee, address(0), msg.value, hashlock, timelock));
    }

    /// Lock tokens that the caller has approved; a token that delivers less than the amount is refused.
    function lockToken(
        bytes32 orderId,
        address payee,
        address token,
        uint256 amount,
        bytes32 hashlock,
        uint64 timelock
    ) external once returns (bytes32 id) {
        if (token.code.length == 0) revert TokenInvalid();
        id = _open(Lock(orderId, msg.sender, payee, token, amount, hashlock, timelock));
        uint256 before = Token(token).balanceOf(address(this));
        _callToken(token, abi.encodeWithSelector(0x23b872dd, msg.sender, address(this), amount)); // transferFrom
        if (Token(token).balanceOf(address(this)) != before + amount) revert AmountShort();
    }

    /// End a lock by its preimage, before its timelock, in favour of its payee.
    function claim(Lock calldata terms, bytes32 preimage) external once {
        bytes32 id = idOf(terms);
        if (state[id] != OPEN) revert NotOpen();
        if (sha256(abi.encodePacked(preimage)) != terms.hashlock) revert PreimageMismatch();
        if (block.timestamp >= terms.timelock) revert TooLate();
        state[id] = CLAIMED;
        emit Claimed(id, terms.orderId, preimage);
        _pay(terms.payee, terms.token, terms.amount);
    }

    /// End a lock from its timelock on, in favour of its payer.
    function refund(Lock calldata terms) external once {
        bytes32 id = idOf(terms);
        if (state[id] != OPEN) revert NotOpen();
        if (block.timestamp < terms.timelock) revert TooEarly();
        state[id] = REFUNDED;
        emit Refunded(id, terms.orderId);
        _pay(terms.payer, terms.token, terms.amount);
    }

    /// The name of a lock: the hash of this chain, this contract and every field.
    function idOf(Lock memory terms) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), terms));
    }

    function _open(Lock memory terms) private returns (bytes32 id) {
        if (terms.amount == 0) revert AmountZero();
        if (terms.payee == address(0) || terms.payee == address(this)) revert PayeeInvalid();
        if (terms.timelock <= block.timestamp) revert TimelockPassed();
        id = idOf(terms);
        if (state[id] != ABSENT) revert AlreadyLocked();
        state[id] = OPEN;
        emit Locked(
            id, terms.orderId, terms.payer, terms.payee, terms.token, terms.amount, terms.hashlock, terms.timelock
        );
    }

    /// Pay last, when all is written: what is called here finds the lock ended.
    function _pay(address to, address token, uint256 amount) private {
        if (token == address(0)) {
            (bool paid,) = to.call{value: amount}("");
            if (!paid) revert PaymentRefused();
        } else {
            _callToken(token, abi.encodeWithSelector(0xa9059cbb, to, amount)); // transfer
        }
    }

    /// Some tokens answer nothing where others answer true; an answer of false and a revert are refusals.
    function _callToken(address token, bytes memory data) private {
        (bool done, bytes memory answer) = token.call(data);
        if (!done || (answer.length != 0 && !abi.decode(answer, (bool)))) revert TokenRefused();
    }
}
