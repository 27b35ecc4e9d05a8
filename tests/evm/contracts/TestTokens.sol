// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// A plain ERC-20 token; each other one below breaks one habit.
contract PlainToken {
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    function mint(address account, uint256 amount) external {
        balanceOf[account] += amount;
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        allowance[msg.sender][spender] = amount;
        return true;
    }

    function transfer(address to, uint256 amount) external virtual returns (bool) {
        _move(msg.sender, to, amount);
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external virtual returns (bool) {
        allowance[from][msg.sender] -= amount;
        _move(from, to, amount);
        return true;
    }

    function _move(address from, address to, uint256 amount) internal virtual {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// Keeps one unit of each transfer.
contract FeeToken is PlainToken {
    function _move(address from, address to, uint256 amount) internal override {
        balanceOf[from] -= amount;
        balanceOf[to] += amount - 1;
    }
}

/// Answers false instead of reverting, and moves nothing.
contract SilentToken is PlainToken {
    function transfer(address, uint256) external pure override returns (bool) {
        return false;
    }

    function transferFrom(address, address, uint256) external pure override returns (bool) {
        return false;
    }
}

/// Takes tokens like any other, and answers false when it is to pay them out.
contract MutingToken is PlainToken {
    function transfer(address, uint256) external pure override returns (bool) {
        return false;
    }
}

/// Answers nothing where others answer true.
contract WordlessToken {
    mapping(address => uint256) public balanceOf;

    function mint(address account, uint256 amount) external {
        balanceOf[account] += amount;
    }

    function approve(address, uint256) external {}

    function transfer(address to, uint256 amount) external {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
    }

    function transferFrom(address from, address to, uint256 amount) external {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// Calls back whoever it was told to while it moves: what a token with hooks lets its holder do.
contract HookToken is PlainToken {
    address public target;
    bytes public data;
    bool public reached;

    function hook(address newTarget, bytes calldata newData) external {
        target = newTarget;
        data = newData;
    }

    function _move(address from, address to, uint256 amount) internal virtual override {
        if (target != address(0)) {
            address called = target;
            target = address(0);
            (bool done,) = called.call(data);
            reached = reached || done;
        }
        super._move(from, to, amount);
    }
}

/// Keeps one unit of each transfer of more than one, and calls back while it moves.
contract HookFeeToken is HookToken {
    function _move(address from, address to, uint256 amount) internal override {
        super._move(from, to, amount);
        if (amount > 1) balanceOf[to] -= 1;
    }
}

/// A payee that is a contract: tries to be paid twice, or refuses to be paid at all.
contract GreedyPayee {
    address private immutable target;
    bytes private again;
    bool public reached;
    bool private refusing;

    constructor(address lockContract) {
        target = lockContract;
    }

    function prepare(bytes calldata data, bool refuse) external {
        again = data;
        refusing = refuse;
    }

    receive() external payable {
        require(!refusing, "no");
        (bool done,) = target.call(again);
        reached = reached || done;
    }
}
