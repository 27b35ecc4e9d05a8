"""Attacks on the contract; each returns whether it succeeded."""

from __future__ import annotations

from collections.abc import Callable

from eth_abi.abi import encode
from msgspec.structs import replace

from bridge.evm.contract import call_claim, call_lock, call_refund
from bridge.leg import LockOrder
from tests.evm.world import PAYEE, PAYER, SECOND, STRANGER, EvmWorld, method, secret

Tokens = dict[str, bytes]


def _done(world: EvmWorld, sender: str, data: bytes, value: int = 0) -> bool:
    return int(world.node.transact(sender, world.contract, data, value)["status"], 16) == 1


def _locked(world: EvmWorld, label: str = "one", **changes) -> LockOrder:
    order = world.order(label, **changes)
    data, value = call_lock(world.terms(order))
    assert _done(world, order.payer, data, value)
    return order


def _claim(world: EvmWorld, order: LockOrder, preimage: bytes | None = None) -> bool:
    return _done(
        world, STRANGER.address, call_claim(world.terms(order), secret("one") if preimage is None else preimage)
    )


def _refund(world: EvmWorld, order: LockOrder) -> bool:
    return _done(world, STRANGER.address, call_refund(world.terms(order)))


def _at(world: EvmWorld, time_s: int, data: bytes) -> bool:
    """Send a call so that its block has exactly this time."""
    name = world.node(
        "eth_sendTransaction",
        {"from": STRANGER.address, "to": world.contract, "gas": "0x4c4b40", "data": "0x" + data.hex()},
    )
    world.node.mine(at=time_s)
    return int(world.node("eth_getTransactionReceipt", name)["status"], 16) == 1


def claim_at_timelock(world: EvmWorld, _: Tokens) -> bool:
    order = _locked(world)
    return _at(world, order.timelock_ns // SECOND, call_claim(world.terms(order), secret("one")))


def refund_before_timelock(world: EvmWorld, _: Tokens) -> bool:
    order = _locked(world)
    return _at(world, order.timelock_ns // SECOND - 1, call_refund(world.terms(order)))


def no_refund_at_timelock(world: EvmWorld, _: Tokens) -> bool:
    """An instant at which neither is open is as wrong as one at which both are."""
    order = _locked(world)
    return not _at(world, order.timelock_ns // SECOND, call_refund(world.terms(order)))


def claim_with_wrong_preimage(world: EvmWorld, _: Tokens) -> bool:
    return _claim(world, _locked(world), secret("wrong"))


def no_claim_with_right_preimage(world: EvmWorld, _: Tokens) -> bool:
    return not _claim(world, _locked(world))


def claim_twice(world: EvmWorld, _: Tokens) -> bool:
    order = _locked(world)
    _locked(world, "two")
    return _claim(world, order) and _claim(world, order)


def refund_twice(world: EvmWorld, _: Tokens) -> bool:
    order = _locked(world)
    _locked(world, "two")
    world.node.mine(at=order.timelock_ns // SECOND)
    return _refund(world, order) and _refund(world, order)


def claim_for_oneself(world: EvmWorld, _: Tokens) -> bool:
    before = world.balance(PAYEE.address)
    return _claim(world, _locked(world)) and world.balance(PAYEE.address) == before


def refund_to_oneself(world: EvmWorld, _: Tokens) -> bool:
    order = _locked(world)
    world.node.mine(at=order.timelock_ns // SECOND)
    before = world.balance(PAYER.address)
    return _refund(world, order) and world.balance(PAYER.address) == before


def claim_with_other_terms(world: EvmWorld, _: Tokens) -> bool:
    order = _locked(world)
    return _claim(world, replace(order, payee=STRANGER.address))


def lock_twice(world: EvmWorld, _: Tokens) -> bool:
    """A name used again would let an ended lock be claimed once more."""
    order = _locked(world)
    data, value = call_lock(world.terms(order))
    return _claim(world, order) and _done(world, PAYER.address, data, value)


def lock_in_the_past(world: EvmWorld, _: Tokens) -> bool:
    order = world.order(lock_s=-1)
    data, value = call_lock(world.terms(order))
    return _done(world, PAYER.address, data, value)


def lock_nothing(world: EvmWorld, _: Tokens) -> bool:
    data, _ = call_lock(world.terms(world.order()))
    return _done(world, PAYER.address, data, 0)


def lock_with_fee_token(world: EvmWorld, tokens: Tokens) -> bool:
    """The contract would owe more than it got."""
    token = world.deploy(tokens["FeeToken"])
    world.mint(token, PAYER.address, 5_000)
    data, _ = call_lock(world.terms(world.order(token=token)))
    return _done(world, PAYER.address, data)


def claim_pays_nothing_of_a_silent_token(world: EvmWorld, tokens: Tokens) -> bool:
    """A token that says false when it is to pay would end the lock, and the payee would have nothing."""
    token = world.deploy(tokens["MutingToken"])
    world.mint(token, PAYER.address, 5_000)
    order = _locked(world, token=token)
    return _claim(world, order) and world.balance(PAYEE.address, token) == 0


def claim_that_pays_nobody(world: EvmWorld, tokens: Tokens) -> bool:
    payee = world.deploy(tokens["GreedyPayee"] + encode(["address"], [world.contract]))
    world.node.transact(STRANGER.address, payee, method("prepare(bytes,bool)") + encode(["bytes", "bool"], [b"", True]))
    return _claim(world, _locked(world, payee=payee)) and world.balance(payee) == 0


def one_amount_for_two_locks(world: EvmWorld, tokens: Tokens) -> bool:
    """A token that takes a fee and calls back: a lock inside a lock whose amount makes up for the fee."""
    token = world.deploy(tokens["HookFeeToken"])
    world.node("anvil_setBalance", token, hex(10**18))
    for account in (PAYER.address, token):
        world.mint(token, account, 5_000)
    inner = world.order("one", token=token, payer=token, amount=1)
    data, _ = call_lock(world.terms(inner))
    world.node.transact(
        STRANGER.address, token, method("hook(address,bytes)") + encode(["address", "bytes"], [world.contract, data])
    )
    outer = world.order("one", token=token)
    data, _ = call_lock(world.terms(outer))
    if not _done(world, PAYER.address, data):
        return False
    return world.balance(world.contract, token) < outer.amount + inner.amount


ATTACKS: dict[str, Callable[[EvmWorld, Tokens], bool]] = {
    attack.__name__: attack
    for attack in (
        claim_at_timelock, refund_before_timelock, no_refund_at_timelock, claim_with_wrong_preimage,
        no_claim_with_right_preimage, claim_twice, refund_twice, claim_for_oneself, refund_to_oneself,
        claim_with_other_terms, lock_twice, lock_in_the_past, lock_nothing, lock_with_fee_token,
        claim_pays_nothing_of_a_silent_token, claim_that_pays_nobody, one_amount_for_two_locks,
    )
}  # fmt: skip
