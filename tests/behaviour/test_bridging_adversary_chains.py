"""Chains and files that behave badly: a clock that cannot be used, a disk that is full just then, a torn statement."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bridge.leg import ChainClock, LegUnavailable, LockState
from bridge.ports import ClaimForeign
from bridge.refusals import BridgeCode
from bridge.terms import LegTerms
from clearspan.bridging.chains.reveal_history import RevealHistory
from clearspan.bridging.chains.served import Chains
from clearspan.errors import Unreachable
from native.codes import ResultCode
from tests.behaviour.bridge_papers import CNY, NOW, PAYER, S, account
from tests.behaviour.bridging_world import refused
from tests.behaviour.swap_stage import CHAIN, FAR_LAST, Stage
from tests.behaviour.test_outcomes import RECORD, run
from tests.behaviour.test_own_flows import Statement, follower, view


def secret(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_a_file_of_secrets_that_could_not_be_begun_is_begun_later(tmp_path, monkeypatch) -> None:
    """The disk is full when a long file begins anew: later blocks are kept as soon as there is room, none is lost."""
    path = tmp_path / "reveals"
    history = RevealHistory(path, keep=1)
    full = True
    rewrite = history._rewrite

    def perhaps():
        if full:
            raise OSError(28, "No space left on device")
        return rewrite()

    monkeypatch.setattr(history, "_rewrite", perhaps)
    with pytest.raises(OSError, match="No space"):
        for height in range(1, 9):
            history.take(height, [secret(height)])
    last = history.height
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            history.take(last + 1, [secret(last + 1)])
    full = False
    history.take(last + 1, [secret(last + 1)])
    history.close()
    again = RevealHistory(path, keep=1)
    assert (again.preimages, again.height) == ((secret(last + 1),), last + 1)


def test_a_statement_that_breaks_off_hides_nothing(tmp_path) -> None:
    """The first page is read, the second is not: with the next look both are told, each once."""
    node, told = Statement(), []
    flows = follower(node, told)
    node.views = [view(number) for number in range(1, 6)]
    whole = node.statement_page

    async def torn(account_id: int, *, after: bytes, limit: int) -> object:
        if after:
            raise Unreachable("a node of the test", "does not answer")
        return await whole(account_id, after=after, limit=limit)

    node.statement_page = torn
    assert asyncio.run(flows.look()) == 0
    node.statement_page = whole
    assert asyncio.run(flows.look()) == 5 and asyncio.run(flows.look()) == 0
    assert [int.from_bytes(flow.id, "big") for _, flow in told] == [1, 2, 3, 4, 5]


def test_an_outcome_whose_key_was_taken_away_holds_up_no_other(tmp_path) -> None:
    """It is refused with a word to people; the one behind it goes on the record of the same ledger."""

    async def body(bench) -> None:
        lost = replace(RECORD, key_id=6, message_hash=b"n" * 32, screened_at=NOW - 1)
        bench.keys.sign = lambda *_: bytes(64)
        bench.book._waiting.clear()
        for record in (lost, RECORD):
            bench.book._recent.clear()
            bench.book.note(record, CNY, account(PAYER, CNY))
        assert await bench.log.send()
        assert bench.standing() == [("ON_RECORD", NOW + 9)]
        assert len(bench.book) == 0 and len(bench.called) == 1 and "key 6" in bench.called[0]

    run(tmp_path, body, ResultCode.CREATED)


class Odd:
    """A chain whose clock is whatever the test puts there."""

    name, address, poll_s, head_age_ns_max, out_count, fee_reserve = "odd", "a-bank", 0.0, 60 * S, 0, 0

    def __init__(self, *clocks: object, tend: Exception | None = None) -> None:
        self.clocks, self.fails = list(clocks), tend
        self.done = asyncio.Event()

    async def clock(self) -> ChainClock:
        found = self.clocks.pop(0)
        if not self.clocks:
            self.done.set()
            await asyncio.Event().wait()
        if isinstance(found, Exception):
            raise found
        return found

    async def tend(self) -> None:
        if self.fails is not None:
            raise self.fails

    async def balance(self) -> int:
        return 1

    async def close(self) -> None:
        pass


def test_a_chain_whose_clock_broke_once_is_heard_again() -> None:
    """Whatever an answer makes of itself, the chain is asked again: without its clock no lock comes back."""

    async def story() -> None:
        heard: list[int] = []
        port = Odd(AssertionError("odd"), ChainClock(NOW, 3, 2), RuntimeError("odd"), ChainClock(NOW + S, 4, 3), None)
        chains = Chains([port], now=lambda: NOW)
        chains.attach(SimpleNamespace(on_chain_clock=lambda _, clock: heard.append(clock.height)))
        chains.start()
        async with asyncio.timeout(5):
            await port.done.wait()
        assert heard == [3, 4] and chains.standings["odd"].fault == ""
        await chains.stop()

    asyncio.run(story())


def test_a_chain_is_heard_although_nothing_can_be_sent_on_it() -> None:
    """What is out cannot be looked after for long: timelocks end all the same, and refunds are asked for."""

    async def story() -> None:
        heard: list[int] = []
        port = Odd(ChainClock(NOW, 3, 2), ChainClock(NOW + S, 4, 3), None, tend=LegUnavailable("node 2 hangs"))
        chains = Chains([port], now=lambda: NOW)
        chains.attach(SimpleNamespace(on_chain_clock=lambda _, clock: heard.append(clock.height)))
        chains.start()
        async with asyncio.timeout(5):
            await port.done.wait()
        assert heard == [3, 4] and chains.standings["odd"].fault == "node 2 hangs"
        await chains.stop()

    asyncio.run(story())


def test_who_cannot_pay_for_a_claim_begins_and_accepts_nothing() -> None:
    """The account would show the secret, or have it shown, and could not take what it opens."""
    port = Odd()
    port.demand = lambda _order: None
    chains = Chains([port], now=lambda: NOW)
    standing = chains.standings["odd"]
    standing.reached_ns = standing.head_ns = NOW
    standing.balance, port.fee_reserve = 99, 100
    leg = LegTerms(0, "payer", "a-bank", 1_000, NOW + 60 * S, 0, "odd", "")
    text = refused(BridgeCode.FOREIGN_CHAIN_UNAVAILABLE, chains.demand, leg, None, own=False).text
    assert "holds 99" in text and "100" in text
    standing.balance = 100
    chains.demand(leg, None, own=False)


@pytest.mark.parametrize("is_out", [False, True])
def test_a_claim_that_would_come_too_late_is_not_the_first_to_show_the_secret(is_out: bool) -> None:
    """The chain could not be reached since the reveal was written: now it shows the secret, and takes nothing."""
    stage = Stage.payer(*FAR_LAST)
    stage.see(0, LockState.FINAL)
    stage.see(1, LockState.FINAL)
    assert stage.kinds(ClaimForeign)
    late = stage.machine.terms.legs[1].timelock_ns - stage.machine._margins.side(CHAIN).submission_ns
    stage.at(late - 1)
    assert stage.kinds(ClaimForeign), "a tick earlier it may come in time"
    if is_out:
        stage.see(1, LockState.CLAIMED, preimage=stage.secret)
        stage.see(1, LockState.FINAL)  # taken back: who has seen it has seen it
    shown = []
    for seconds in range(6):
        stage.at(late + seconds * S)
        shown += stage.kinds(ClaimForeign)
    assert bool(shown) is is_out
