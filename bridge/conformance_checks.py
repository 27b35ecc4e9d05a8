"""The checks of the conformance kit, each one rule of the leg port; ``bridge.conformance`` runs them.

Each takes a fresh rig, does with its chain as it likes, and raises ConformanceFailed with what it saw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from bridge.conformance_rig import ConformanceFailed
from bridge.leg import (
    ExpectingAdapter,
    HashFunction,
    LegAdapter,
    LegCode,
    LegRefused,
    LegUnavailable,
    LockOrder,
    LockState,
    LockView,
)
from native.hashing import digest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from bridge.conformance_rig import LegRig

__all__ = ["CHECKS", "Check"]

Check: TypeAlias = "Callable[[LegRig], Coroutine[object, object, None]]"

_SECOND_NS = 1_000_000_000
_LOCK_NS = 600 * _SECOND_NS
_AMOUNT = 1_000
_CLAIMED = (LockState.CLAIMED, LockState.CLAIMED_FINAL)
_REFUNDED = (LockState.REFUNDED, LockState.REFUNDED_FINAL)

# Small words of which the checks are made.


def _secret(label: str) -> bytes:
    return digest(HashFunction.SHA256, label.encode("ascii"))


async def _order(rig: LegRig, adapter: LegAdapter, label: str = "one", *, lock_ns: int = _LOCK_NS) -> LockOrder:
    """Order a lock whose secret is ``_secret(label)``, ``lock_ns`` from now."""
    now = (await adapter.clock()).time_ns
    return LockOrder(
        lock_id=digest(HashFunction.SHA256, b"lock id of " + label.encode("ascii")),
        payer=rig.payer,
        payee=rig.payee,
        amount=_AMOUNT,
        hash_function=rig.hash_function,
        hashlock=digest(int(rig.hash_function), _secret(label)),
        timelock_ns=(now + lock_ns) // rig.tick_ns * rig.tick_ns,
        asset=rig.asset,
    )


async def _until(rig: LegRig, adapter: LegAdapter, lock_id: bytes, *states: LockState) -> LockView:
    """Make blocks until the lock stands as wished, and no longer than finality takes twice."""
    view = await adapter.find(lock_id)
    for _ in range(2 * rig.finality_depth + 8):
        if view.state in states:
            return view
        await rig.advance(1)
        view = await adapter.find(lock_id)
    raise ConformanceFailed(f"a lock reaches {' or '.join(state.name for state in states)}", view)


async def _locked(rig: LegRig, adapter: LegAdapter, label: str = "one") -> LockOrder:
    """Have a lock and wait until it is final."""
    order = await _order(rig, adapter, label)
    await adapter.lock(order)
    await _until(rig, adapter, order.lock_id, LockState.FINAL)
    return order


async def _refuses(rule: str, codes: tuple[LegCode, ...], wish: Awaitable[None]) -> None:
    try:
        await wish
    except LegRefused as refusal:
        if refusal.code not in codes:
            raise ConformanceFailed(f"{rule} with {' or '.join(codes)}", refusal) from refusal
        return
    raise ConformanceFailed(rule, "it was granted")


def _require(condition: object, rule: str, seen: object) -> None:
    if not condition:
        raise ConformanceFailed(rule, seen)


# The checks.


async def _lock_becomes_final(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _order(rig, adapter)
    before = await adapter.find(order.lock_id)
    _require(before.state is LockState.ABSENT and before.order is None, "before it is made a lock is absent", before)
    await adapter.lock(order)
    seen = await _until(rig, adapter, order.lock_id, LockState.SEEN, LockState.FINAL)
    _require(rig.finality_depth == 0 or seen.state is LockState.SEEN, "a lock is not final at once", seen)
    view = await _until(rig, adapter, order.lock_id, LockState.FINAL)
    clock = await adapter.clock()
    _require(view.order == order and view.preimage is None, "a lock shows its order", view)
    _require(view.height <= clock.final_height <= clock.height, "what is final is at or under the final height", clock)


async def _lock_twice_is_once(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _order(rig, adapter)
    before = await rig.balance(rig.payer)
    await adapter.lock(order)
    await adapter.lock(order)
    await _until(rig, adapter, order.lock_id, LockState.FINAL)
    await adapter.lock(order)
    await rig.advance(2)
    if rig.asset:
        spent = before - await rig.balance(rig.payer)
        _require(spent == order.amount, "locking twice moves the amount once", spent)
    view = await adapter.find(order.lock_id)
    _require(view.state is LockState.FINAL and view.order == order, "locking twice leaves one lock", view)


async def _same_id_other_terms(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _locked(rig, adapter)
    for other in (
        replace(order, amount=order.amount + 1),
        replace(order, payee=rig.stranger),
        replace(order, timelock_ns=order.timelock_ns + rig.tick_ns),
        replace(order, hashlock=_secret("other")),
    ):
        await _refuses("the same id with other terms is refused", (LegCode.TERMS_DIFFER,), adapter.lock(other))
    view = await adapter.find(order.lock_id)
    _require(view.order == order, "a refused lock changes nothing", view)


async def _same_hash_twice(rig: LegRig) -> None:
    adapter = await rig.adapter()
    first = await _locked(rig, adapter)
    second = replace(first, lock_id=_secret("second"), amount=first.amount * 2)
    try:
        await adapter.lock(second)
    except LegRefused:
        return  # a chain may insist on unique hashes
    await _until(rig, adapter, second.lock_id, LockState.FINAL)
    await adapter.claim(first.lock_id, _secret("one"))
    await _until(rig, adapter, first.lock_id, LockState.CLAIMED_FINAL)
    view = await adapter.find(second.lock_id)
    _require(view.state is LockState.FINAL and view.order == second, "locks of one hash are told apart", view)


async def _anyone_claims_for_the_payee(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _locked(rig, adapter)
    before = await rig.balance(rig.payee)
    stranger = await rig.adapter_of(rig.stranger)
    await stranger.claim(order.lock_id, _secret("one"))
    view = await _until(rig, adapter, order.lock_id, *_CLAIMED)
    _require(view.preimage == _secret("one"), "a claim shows the preimage", view)
    gained = await rig.balance(rig.payee) - before
    _require(gained == order.amount, "a claim pays the payee in the lock, whoever sends it", gained)
    view = await _until(rig, adapter, order.lock_id, LockState.CLAIMED_FINAL)
    _require(view.preimage == _secret("one") and view.order == order, "a final claim shows the preimage", view)


async def _claim_ends_a_lock(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _locked(rig, adapter)
    before = await rig.balance(rig.payee)
    await adapter.claim(order.lock_id, _secret("one"))
    await adapter.claim(order.lock_id, _secret("one"))
    await _until(rig, adapter, order.lock_id, *_CLAIMED)
    await adapter.claim(order.lock_id, _secret("one"))
    await rig.advance(2)
    gained = await rig.balance(rig.payee) - before
    _require(gained == order.amount, "claiming thrice pays once", gained)
    _require(not await rig.force_claim(order, _secret("one")), "the chain pays a lock once", "it paid twice")
    await rig.block_at(order.timelock_ns)
    await _refuses("a claimed lock is not refunded", (LegCode.LOCK_ENDED,), adapter.refund(order.lock_id))
    _require(not await rig.force_refund(order), "the chain refunds no claimed lock", "it refunded")


async def _wrong_preimage(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _locked(rig, adapter)
    wrong = _secret("wrong")
    codes = (LegCode.PREIMAGE_MISMATCH,)
    await _refuses("a wrong preimage is refused", codes, adapter.claim(order.lock_id, wrong))
    _require(not await rig.force_claim(order, wrong), "the chain refuses a wrong preimage", "it took it")
    view = await adapter.find(order.lock_id)
    _require(view.state is LockState.FINAL, "a wrong preimage changes nothing", view)


async def _preimage_lengths(rig: LegRig) -> None:
    adapter = await rig.adapter()
    for length in (0, 31, 33, 1 << 20):
        preimage = b"p" * length
        order = replace(
            await _order(rig, adapter, f"of {length} bytes"), hashlock=digest(int(rig.hash_function), preimage)
        )
        await adapter.lock(order)
        await _until(rig, adapter, order.lock_id, LockState.SEEN, LockState.FINAL)
        rule = f"a preimage of {length} bytes is refused though it fits the hash"
        await _refuses(rule, (LegCode.PREIMAGE_LENGTH,), adapter.claim(order.lock_id, preimage))
        _require(not await rig.force_claim(order, preimage), rule, "the chain took it")


async def _early_refund(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _locked(rig, adapter)
    codes = (LegCode.TOO_EARLY,)
    await _refuses("a refund before the timelock is refused", codes, adapter.refund(order.lock_id))
    _require(not await rig.force_refund(order), "the chain refunds nothing early", "it refunded")
    await rig.block_at(order.timelock_ns - rig.tick_ns)
    await _refuses("one tick before the timelock is early", codes, adapter.refund(order.lock_id))
    await adapter.find(order.lock_id)


async def _late_claim(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _locked(rig, adapter)
    await rig.block_at(order.timelock_ns)
    codes = (LegCode.TOO_LATE,)
    wish = adapter.claim(order.lock_id, _secret("one"))
    await _refuses("a claim at the timelock is refused", codes, wish)
    _require(not await rig.force_claim(order, _secret("one")), "the chain claims nothing late", "it paid")


async def _claim_in_the_last_tick(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _locked(rig, adapter)
    await adapter.claim(order.lock_id, _secret("one"))
    await rig.block_at(order.timelock_ns - rig.tick_ns)
    view = await adapter.find(order.lock_id)
    _require(view.state in _CLAIMED, "a claim in the last tick before the timelock counts", view)


async def _claim_included_too_late(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _locked(rig, adapter)
    before = await rig.balance(rig.payer)
    await adapter.claim(order.lock_id, _secret("one"))
    await rig.block_at(order.timelock_ns)
    view = await adapter.find(order.lock_id)
    _require(view.state is LockState.FINAL, "a claim in a block of the timelock's instant does not count", view)
    await (await rig.adapter_of(rig.stranger)).refund(order.lock_id)
    await _until(rig, adapter, order.lock_id, LockState.REFUNDED_FINAL)
    if rig.asset:
        gained = await rig.balance(rig.payer) - before
        _require(gained == order.amount, "what was not claimed is refunded", gained)


async def _refund_pays_the_payer(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _locked(rig, adapter)
    await rig.block_at(order.timelock_ns)
    before = await rig.balance(rig.payer)
    stranger = await rig.adapter_of(rig.stranger)
    await stranger.refund(order.lock_id)
    await stranger.refund(order.lock_id)
    view = await _until(rig, adapter, order.lock_id, *_REFUNDED)
    _require(view.preimage is None, "a refund shows no preimage", view)
    await adapter.refund(order.lock_id)
    gained = await rig.balance(rig.payer) - before
    _require(gained == order.amount, "a refund pays the payer in the lock, whoever sends it, once", gained)
    wish = adapter.claim(order.lock_id, _secret("one"))
    await _refuses("a refunded lock is not claimed", (LegCode.LOCK_ENDED,), wish)
    _require(not await rig.force_claim(order, _secret("one")), "the chain claims no refunded lock", "it paid")
    _require(not await rig.force_refund(order), "the chain refunds once", "it refunded twice")
    await _until(rig, adapter, order.lock_id, LockState.REFUNDED_FINAL)


async def _unknown_lock(rig: LegRig) -> None:
    adapter = await rig.adapter()
    nothing = _secret("nothing")
    view = await adapter.find(nothing)
    _require(view == LockView(LockState.ABSENT, None, None, 0, view.reason), "an unknown lock is absent", view)
    await _refuses("an unknown lock is not claimed", (LegCode.LOCK_UNKNOWN,), adapter.claim(nothing, nothing))
    await _refuses("an unknown lock is not refunded", (LegCode.LOCK_UNKNOWN,), adapter.refund(nothing))


async def _impossible_orders(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _order(rig, adapter)
    now = (await adapter.clock()).time_ns // rig.tick_ns * rig.tick_ns
    passed = replace(order, timelock_ns=now)
    await _refuses("a lock born refundable is refused", (LegCode.TIMELOCK_PASSED,), adapter.lock(passed))
    dear = replace(order, amount=(1 << 128) - 1)
    await _refuses("more than the payer has is refused", (LegCode.BALANCE,), adapter.lock(dear))
    for amount in (0, -1, 1 << 128):
        try:
            replace(order, amount=amount)
        except LegRefused as refusal:
            _require(refusal.code is LegCode.MALFORMED, "an amount outside 1 to 2^128 - 1 is malformed", refusal)
        else:
            raise ConformanceFailed("an amount outside 1 to 2^128 - 1 is malformed", amount)
    view = await adapter.find(order.lock_id)
    _require(view.state is LockState.ABSENT, "a refused lock leaves nothing", view)


async def _other_hash_function(rig: LegRig) -> None:
    adapter = await rig.adapter()
    other = HashFunction.SM3 if rig.hash_function is HashFunction.SHA256 else HashFunction.SHA256
    order = replace(await _order(rig, adapter), hash_function=other, hashlock=digest(int(other), _secret("one")))
    try:
        await adapter.lock(order)
    except LegRefused as refusal:
        rule = "an unknown hash function is refused by name"
        _require(refusal.code is LegCode.HASH_FUNCTION_UNSUPPORTED, rule, refusal)
        return
    view = await _until(rig, adapter, order.lock_id, LockState.FINAL)
    _require(view.order == order, "a lock of another hash function says so", view)


async def _lock_lost_to_a_reorganisation(rig: LegRig) -> None:
    if not rig.finality_depth:
        return
    adapter = await rig.adapter()
    order = await _order(rig, adapter)
    before = await rig.balance(rig.payer)
    await adapter.lock(order)
    await _until(rig, adapter, order.lock_id, LockState.SEEN)
    await rig.reorganise(1)
    view = await adapter.find(order.lock_id)
    _require(view.state is LockState.ABSENT, "what history lost is absent", view)
    await _until(rig, adapter, order.lock_id, LockState.FINAL)
    if rig.asset:
        spent = before - await rig.balance(rig.payer)
        _require(spent == order.amount, "a lock made again moves the amount once", spent)


async def _claim_lost_to_a_reorganisation(rig: LegRig) -> None:
    if not rig.finality_depth:
        return
    adapter = await rig.adapter()
    order = await _locked(rig, adapter)
    before = await rig.balance(rig.payee)
    await adapter.claim(order.lock_id, _secret("one"))
    view = await _until(rig, adapter, order.lock_id, LockState.CLAIMED)
    await rig.reorganise(1)
    view = await adapter.find(order.lock_id)
    _require(view.state is LockState.FINAL, "a claim that history lost is gone, its lock is not", view)
    await _until(rig, adapter, order.lock_id, LockState.CLAIMED_FINAL)
    gained = await rig.balance(rig.payee) - before
    _require(gained == order.amount, "a claim made again pays once", gained)


async def _refund_lost_to_a_reorganisation(rig: LegRig) -> None:
    if not rig.finality_depth:
        return
    adapter = await rig.adapter()
    order = await _locked(rig, adapter)
    await rig.block_at(order.timelock_ns)
    await adapter.refund(order.lock_id)
    await _until(rig, adapter, order.lock_id, LockState.REFUNDED)
    await rig.reorganise(1)
    await _until(rig, adapter, order.lock_id, LockState.REFUNDED_FINAL)


async def _restart_before_the_block(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _order(rig, adapter)
    before = await rig.balance(rig.payer)
    await adapter.lock(order)
    adapter = await rig.adapter()
    await adapter.lock(order)
    await _until(rig, adapter, order.lock_id, LockState.FINAL)
    adapter = await rig.adapter()
    await adapter.lock(order)
    await rig.advance(2)
    if rig.asset:
        spent = before - await rig.balance(rig.payer)
        _require(spent == order.amount, "an adapter that starts anew locks once", spent)


async def _restart_finds_and_claims(rig: LegRig) -> None:
    order = await _locked(rig, await rig.adapter())
    adapter = await rig.adapter()
    view = await adapter.find(order.lock_id)
    _require(view.state is LockState.FINAL and view.order == order, "an adapter that starts anew finds the lock", view)
    await adapter.claim(order.lock_id, _secret("one"))
    adapter = await rig.adapter()
    await adapter.claim(order.lock_id, _secret("one"))
    view = await _until(rig, adapter, order.lock_id, LockState.CLAIMED_FINAL)
    _require(view.preimage == _secret("one"), "the claim shows the preimage", view)


async def _silent_node(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _locked(rig, adapter)
    await rig.stop()
    wishes: tuple[Callable[[], Awaitable[object]], ...] = (
        adapter.clock,
        lambda: adapter.find(order.lock_id),
        lambda: adapter.claim(order.lock_id, _secret("one")),
    )
    for wish in wishes:
        try:
            seen = await wish()
        except LegUnavailable:
            continue
        raise ConformanceFailed("a silent node makes LegUnavailable", seen)
    await rig.start()
    await adapter.claim(order.lock_id, _secret("one"))
    await _until(rig, adapter, order.lock_id, LockState.CLAIMED_FINAL)


async def _id_taken_by_a_stranger(rig: LegRig) -> None:
    adapter = await rig.adapter()
    order = await _order(rig, adapter)
    stranger = await rig.adapter_of(rig.stranger)
    squatter = replace(order, payer=rig.stranger, payee=rig.stranger, amount=1)
    await stranger.lock(squatter)
    await _until(rig, stranger, squatter.lock_id, LockState.SEEN, LockState.FINAL)
    await adapter.lock(order)
    view = await _until(rig, adapter, order.lock_id, LockState.FINAL)
    _require(view.order == order, "a stranger's lock with our id does not stand in ours' place", view)
    payee = await rig.adapter_of(rig.payee)
    if isinstance(payee, ExpectingAdapter):
        view = await payee.find(order.lock_id)
        _require(view.state is LockState.REFUSED, "several locks of one id are not guessed between", view)
        payee.expect(order)
        view = await payee.find(order.lock_id)
        _require(view.order == order, "who expects an order is shown that order's lock", view)
        await payee.claim(order.lock_id, _secret("one"))
        await _until(rig, payee, order.lock_id, LockState.CLAIMED_FINAL)


async def _clock_goes_forward(rig: LegRig) -> None:
    adapter = await rig.adapter()
    last = await adapter.clock()
    for _ in range(rig.finality_depth + 3):
        await rig.advance(1)
        clock = await adapter.clock()
        _require(clock.time_ns > last.time_ns, "time goes forward with the blocks", clock)
        _require(clock.height == last.height + 1, "each block counts one", clock)
        _require(last.final_height <= clock.final_height <= clock.height, "what is final stays final", clock)
        last = clock


async def _payer_fixed(rig: LegRig) -> None:
    stranger = await rig.adapter_of(rig.stranger)
    order = await _order(rig, stranger)
    await _refuses("nobody locks another's money", (LegCode.NOT_OURS,), stranger.lock(order))


CHECKS: dict[str, Check] = {
    "lock_becomes_final": _lock_becomes_final,
    "lock_twice_is_once": _lock_twice_is_once,
    "same_id_other_terms": _same_id_other_terms,
    "same_hash_twice": _same_hash_twice,
    "anyone_claims_for_the_payee": _anyone_claims_for_the_payee,
    "claim_ends_a_lock": _claim_ends_a_lock,
    "wrong_preimage": _wrong_preimage,
    "preimage_lengths": _preimage_lengths,
    "early_refund": _early_refund,
    "late_claim": _late_claim,
    "claim_in_the_last_tick": _claim_in_the_last_tick,
    "claim_included_too_late": _claim_included_too_late,
    "refund_pays_the_payer": _refund_pays_the_payer,
    "unknown_lock": _unknown_lock,
    "impossible_orders": _impossible_orders,
    "other_hash_function": _other_hash_function,
    "lock_lost_to_a_reorganisation": _lock_lost_to_a_reorganisation,
    "claim_lost_to_a_reorganisation": _claim_lost_to_a_reorganisation,
    "refund_lost_to_a_reorganisation": _refund_lost_to_a_reorganisation,
    "restart_before_the_block": _restart_before_the_block,
    "restart_finds_and_claims": _restart_finds_and_claims,
    "silent_node": _silent_node,
    "id_taken_by_a_stranger": _id_taken_by_a_stranger,
    "clock_goes_forward": _clock_goes_forward,
    "payer_fixed": _payer_fixed,
}
