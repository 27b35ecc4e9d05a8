"""Every commit of every bridge of a swap, and a kill before or behind it: a restart ends as if nothing had happened."""

from __future__ import annotations

import asyncio
import contextlib
from typing import NamedTuple

import msgspec
import pytest

from bridge.desk_book import check_invariants
from bridge.fees import FeeRule
from bridge.journal import read_finished
from bridge.ports import Entry, EntryKind
from tests.behaviour.bridge_papers import CNY, FIRST, HKD, NOW, PAYER, SECOND, S, account
from tests.behaviour.bridging_world import World, hops, scenario

FEES = (FeeRule("clearing", f"{account(91, CNY):032x}", "7", 1_000, "0", "1000000"),)
BACK = (FeeRule("clearing", f"{account(91, HKD):032x}", "3", 0, "0", "100"),)
AMOUNT = 10_007
LOCKS = 3
LOCK_S = 60


class Kill(NamedTuple):
    """End a bridge at one of its commits: before it is on the disk, or when it is and nothing was done of it."""

    participant: int
    commit: int
    written: bool


class Ended(NamedTuple):
    """What a play led to, as money and books have it."""

    balances: dict[tuple[int, int], int]
    outcomes: dict[int, list[str]]
    inventories: dict[tuple[int, int], int]
    usage: dict[int, tuple[int, int]]
    transfers: int
    left: dict[int, tuple[int, ...]]


def priced() -> tuple:
    first, second = hops(premium_volatility_ppb=9_000_000)
    return msgspec.structs.replace(first, fees=FEES), msgspec.structs.replace(second, fees=BACK)


def count_commits(world: World, kill: Kill | None, counts: dict[int, int]) -> asyncio.Event:
    """Count what each bridge commits; the one that is to be killed never comes back from its commit."""
    killed = asyncio.Event()

    def watch(participant: int) -> None:
        store = world.engines[participant].store
        append = store.append

        async def counted(written) -> None:
            if not any(written):
                return
            number = counts[participant] = counts.get(participant, 0) + 1
            if kill is not None and (kill.participant, kill.commit) == (participant, number) and not killed.is_set():
                if kill.written:
                    await append(written)
                killed.set()
                await asyncio.Event().wait()
            await append(written)

        store.append = counted

    for participant in tuple(world.engines):
        watch(participant)
    return killed


def end_of(entry: Entry) -> str:
    """Return how a side ended, or the step at which it stands."""
    return read_finished(entry.body)[0].name if entry.kind is EntryKind.FINISHED else f"at {entry.kind.name}"


async def until_quiet(world: World) -> None:
    for _ in range(4):
        await world.run()
        if not any(len(engine.book) or len(engine.beside) for engine in world.engines.values()):
            return
        world.time_passes(5)
        await asyncio.sleep(0.03)  # the engines' own ticks


async def until_refunded(world: World) -> None:
    """Let all three legs be locked, and the relay stand still until their time is over."""
    for _ in range(4):
        await world.run(hold_back=True)
        if len(world.locks) == LOCKS or world.now > NOW + LOCK_S * S:
            break
        world.time_passes(5)
        await asyncio.sleep(0.03)  # the engines' own ticks
    world.reveals.clear()
    world.end_locks(None)
    world.time_passes(LOCK_S)
    for _ in range(4):
        await world.run(hold_back=True)
        if not any(len(engine.book) for engine in world.engines.values()):
            return
        world.time_passes(10)
        await asyncio.sleep(0.03)


async def drive(world: World, kill: Kill | None, counts: dict[int, int], quiet=until_quiet) -> None:
    order = world.order(AMOUNT, hops=2)
    for engine in world.engines.values():
        await engine.committed()  # a quote leaves when it is durable
    killed = count_commits(world, kill, counts)
    world.bridge().begin(order)
    running = asyncio.create_task(quiet(world))
    dying = asyncio.create_task(killed.wait())
    await asyncio.wait({running, dying}, return_when=asyncio.FIRST_COMPLETED)
    dying.cancel()
    if kill is None or not killed.is_set():
        # How many commits the same entries take depends on what comes together: the last one may be missing.
        await running
        return
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await world.close(kill.participant)
    world.open(kill.participant)
    if kill.participant == PAYER and not world.engines[PAYER].store.newest(1)[0]:
        # Nothing of it was written: who ordered it was never answered, and orders it again.
        world.bridge().begin(order)
    await quiet(world)


def played(folder, kill: Kill | None, counts: dict[int, int], documents=None, quiet=until_quiet) -> Ended:
    found: list[Ended] = []

    async def body(world: World) -> None:
        await drive(world, kill, counts, quiet)
        for desk in world.desks.values():
            check_invariants(desk.desk.book)
        left = {
            participant: (len(engine.store.beside()), len(engine.book), len(engine.watcher))
            for participant, engine in world.engines.items()
        }
        outcomes = {}
        for participant, engine in world.engines.items():
            parties, _ = engine.store.newest(10)
            outcomes[participant] = [end_of(engine.store.entries_of(party)[-1]) for party in parties]
        found.append(
            Ended(
                {key: value for key, value in world.balances.items() if value},
                outcomes,
                {
                    (participant, ledger): desk.desk.inventory(ledger)
                    for participant, desk in world.desks.items()
                    for ledger in (1, 2, 3)
                },
                {
                    participant: engine.compliance.usage.used(world.documents[participant == SECOND].id_bytes, PAYER)
                    for participant, engine in world.engines.items()
                },
                len(world.plain),
                left | {-each: (len(desk.desk.book.draws),) for each, desk in world.desks.items()},
            )
        )

    asyncio.run(scenario(body)(World(folder, documents or priced())))
    return found[0]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Ended, dict[int, int]]:
    counts: dict[int, int] = {}
    return played(tmp_path_factory.mktemp("undisturbed"), None, counts), counts


def kills(counts: dict[int, int]) -> list[Kill]:
    return [
        Kill(participant, commit, written)
        for participant in (PAYER, FIRST, SECOND)
        for commit in range(1, counts[participant] + 1)
        for written in (False, True)
    ]


def test_a_kill_at_any_commit_changes_nothing_in_the_end(tmp_path, undisturbed, nightly) -> None:
    """Legs, premiums, fees, remainders, the desks' books and the limits of the day are those of the play without it."""
    expected, counts = undisturbed
    assert {each for ends in expected.outcomes.values() for each in ends} == {"SETTLED"}
    compare(tmp_path, expected, counts, 1 if nightly else 4)


def test_a_kill_at_any_commit_of_a_swap_that_is_refunded_changes_nothing(tmp_path, nightly) -> None:
    """Every unit is back where it was, nothing is promised any more, and no limit of the day is drawn."""
    counts: dict[int, int] = {}
    expected = played(tmp_path / "undisturbed", None, counts, hops(), until_refunded)
    assert {each for ends in expected.outcomes.values() for each in ends} == {"REFUNDED"}
    assert set(expected.balances.values()) == {10**12} and set(expected.usage.values()) == {(0, 0)}
    compare(tmp_path, expected, counts, 1 if nightly else 7, hops(), until_refunded)


def compare(folder, expected: Ended, counts: dict[int, int], every: int, *play) -> None:
    wrong = []
    for number, kill in enumerate(kills(counts)[::every]):
        found = played(folder / str(number), kill, {}, *play)
        differs = [name for name in Ended._fields if getattr(found, name) != getattr(expected, name)]
        if differs:
            wrong.append((kill, {name: getattr(found, name) for name in differs}))
    assert wrong == [], "\n".join(map(str, wrong))
