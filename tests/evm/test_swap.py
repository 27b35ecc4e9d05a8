"""Whole swaps between a ledger of ours and a foreign chain, on the simulated chain and on a real node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from bridge.leg import ExpectingAdapter
from bridge.ports import AlarmKind, Outcome
from tests.evm.swap_world import FINALITY, FOREIGN_AMOUNT, SECOND, SimulatedForeign, SwapWorld
from tests.evm.world import PAYER, SIGNERS, STRANGER, EvmWorld

DIRECTIONS = pytest.mark.parametrize("foreign_first", [True, False], ids=["foreign_first", "ours_first"])


class NodeForeign:
    """A real node; the provider signs with the third key, for the second one's is nobody's here."""

    payer, provider = PAYER.address, STRANGER.address

    def __init__(self, world: EvmWorld) -> None:
        self.world = world

    def adapter(self, account: str) -> ExpectingAdapter:
        return self.world.leg(SIGNERS[account])

    def now_s(self) -> int:
        return self.world.node.head()[1]

    def block(self, time_s: int) -> None:
        self.world.node.mine(at=time_s)

    def reorganise(self, depth: int) -> None:
        self.world.node("anvil_reorg", depth, [])

    def restart(self) -> None:
        self.world.node.keep()
        self.world.node.kill()
        self.world.node.start()

    def locked(self) -> int:
        return self.world.balance(self.world.contract)

    async def close(self) -> None:
        await self.world.close()


def play(world: SwapWorld, disturb: Callable[[int], None] | None = None, **settings) -> SwapWorld:
    async def story() -> None:
        try:
            await world.play(disturb, **settings)
        finally:
            await world.foreign.close()

    asyncio.run(story())
    return world


def settled(world: SwapWorld) -> None:
    assert (world.payer.outcome, world.provider.outcome) == (Outcome.SETTLED, Outcome.SETTLED), world.payer.alarms
    assert world.legs() == ("claimed", "ended")


def all_or_none(world: SwapWorld) -> None:
    """Whatever happened, both legs ended the same way and nobody lost."""
    outcomes = {world.payer.outcome, world.provider.outcome}
    if Outcome.SETTLED in outcomes:
        settled(world)
    else:
        assert outcomes <= {Outcome.REFUNDED, Outcome.ABANDONED, None}, outcomes
        assert world.legs() == ("refunded", "ended")


@pytest.fixture(params=["simulated", "node"])
def foreign(request: pytest.FixtureRequest):
    return SimulatedForeign() if request.param == "simulated" else NodeForeign(request.getfixturevalue("world"))


@DIRECTIONS
def test_swap_settles(foreign, foreign_first: bool) -> None:
    world = play(SwapWorld(foreign, foreign_first=foreign_first))
    settled(world)
    assert not world.payer.alarms and not world.provider.alarms


@DIRECTIONS
def test_provider_that_never_locks_costs_the_payer_time_only(foreign, foreign_first: bool) -> None:
    world = play(SwapWorld(foreign, foreign_first=foreign_first, refusing=True))
    assert world.payer.outcome is Outcome.REFUNDED and world.legs() == ("refunded", "ended")
    assert not world.home.revealed, "the secret stayed secret"


@DIRECTIONS
def test_payer_that_never_reveals_costs_the_provider_time_only(foreign, foreign_first: bool) -> None:
    """The payer dies before the reveal and does not come back before all is over."""
    world = SwapWorld(foreign, foreign_first=foreign_first)
    clean = play(SwapWorld(SimulatedForeign(), foreign_first=foreign_first))
    reveal = next(number for number, kind in enumerate(_actions(clean)) if kind == "REVEALING")
    world.payer.die_at = reveal
    play(world, dead_steps=100)
    assert (world.payer.outcome, world.provider.outcome) == (Outcome.REFUNDED, Outcome.REFUNDED)
    assert world.legs() == ("refunded", "ended") and not world.home.revealed


def _actions(world: SwapWorld) -> list[str]:
    """The payer's actions in order of a replay of the same story, journal entries by their kind."""
    fresh = SwapWorld(SimulatedForeign(), foreign_first=world.terms.legs[0].foreign)
    taken: list[str] = []
    act = fresh.payer._act

    async def note(party, action):
        taken.append(action.entry.kind.name if hasattr(action, "entry") else type(action).__name__)
        return await act(party, action)

    fresh.payer._act = note
    play(fresh)
    return taken


CRASHES = 60


@DIRECTIONS
@pytest.mark.parametrize("who", ["payer", "provider"])
def test_killed_at_every_action_on_the_simulated_chain(foreign_first: bool, who: str) -> None:
    """Each party is killed before its n-th action, for every n, and comes back within the failover: all or none."""
    settled_count = 0
    for die_at in range(CRASHES):
        world = SwapWorld(SimulatedForeign(), foreign_first=foreign_first)
        getattr(world, who).die_at = die_at
        play(world)
        all_or_none(world)
        settled_count += world.payer.outcome is Outcome.SETTLED
    assert settled_count > CRASHES * 9 // 10, "a kill within the failover costs no swap"


NODE_CRASHES = [2, 5, 9, 14, 20]


@DIRECTIONS
@pytest.mark.parametrize("who", ["payer", "provider"])
@pytest.mark.parametrize(
    "die_at", [pytest.param(n, marks=() if n in NODE_CRASHES else pytest.mark.nightly) for n in range(40)]
)
def test_killed_at_an_action_on_a_real_node(world: EvmWorld, foreign_first: bool, who: str, die_at: int) -> None:
    swap = SwapWorld(NodeForeign(world), foreign_first=foreign_first)
    getattr(swap, who).die_at = die_at
    play(swap)
    all_or_none(swap)


@DIRECTIONS
@pytest.mark.parametrize("depth", range(1, FINALITY + 1))
def test_reorganised_at_every_step_on_the_simulated_chain(foreign_first: bool, depth: int) -> None:
    for at in range(30):
        world = SwapWorld(SimulatedForeign(), foreign_first=foreign_first)

        def disturb(number: int, world=world, at=at) -> None:
            if number == at and world.foreign.chain.clock().height >= depth:
                world.foreign.reorganise(depth)

        play(world, disturb)
        all_or_none(world)


@DIRECTIONS
@pytest.mark.parametrize("disturbance", ["reorganise", "restart"])
def test_swap_on_a_node_that_reorganises_or_dies_again_and_again(
    world: EvmWorld, foreign_first: bool, disturbance: str
) -> None:
    """Every few blocks history loses its newest blocks, or the node its pool: the swap settles all the same."""
    foreign = NodeForeign(world)
    swap = SwapWorld(foreign, foreign_first=foreign_first)

    def disturb(number: int) -> None:
        if number % 6 == 2:
            foreign.reorganise(2) if disturbance == "reorganise" else foreign.restart()

    play(swap, disturb)
    settled(swap)


@DIRECTIONS
def test_silent_chain_raises_the_alarm_and_loses_nothing(foreign_first: bool) -> None:
    """The foreign chain stops before the swap's locks are final: nobody reveals, and all comes back when it goes on."""
    foreign = SimulatedForeign()
    world = SwapWorld(foreign, foreign_first=foreign_first)

    def disturb(number: int) -> None:
        if number == 1:
            foreign.chain.stall()
        elif number == 80:
            foreign.chain.resume()

    play(world, disturb)
    all_or_none(world)
    assert world.payer.outcome is Outcome.REFUNDED and not world.home.revealed


def test_a_watcher_dead_beyond_the_margin_can_lose() -> None:
    """What the margins are for: a provider dead past the timelock may lose its leg, and is told so when it is back."""
    lost = 0
    for die_at in range(CRASHES):
        world = SwapWorld(SimulatedForeign(), foreign_first=False)
        world.provider.die_at = die_at
        play(world, dead_steps=90)
        if world.provider.outcome is Outcome.LOST:
            lost += 1
            assert world.payer.outcome is Outcome.KEPT
            assert AlarmKind.LOSS in {alarm.kind for alarm in world.provider.alarms}
    assert lost, "a story without a loss would not show one either"


def test_squatter_does_not_stop_a_swap() -> None:
    """A front-runner who locks under the same id first changes nothing for either party."""
    foreign = SimulatedForeign()
    foreign.chain.endow("squatter", 1)
    world = SwapWorld(foreign, foreign_first=True)
    order = world.terms.orders(1)[0]
    from bridge.memory_chain import LockWish

    foreign.chain.submit(LockWish(replace(order, payer="squatter", amount=1)))
    foreign.block(world.time_s + 1)
    play(world)
    assert (world.payer.outcome, world.provider.outcome) == (Outcome.SETTLED, Outcome.SETTLED)
    assert foreign.chain.balance(foreign.provider) == 10_000 + FOREIGN_AMOUNT
    assert not [alarm for alarm in world.provider.alarms if alarm.kind is AlarmKind.LEG_DIFFERS]
    assert order.timelock_ns > world.terms.legs[1].timelock_ns + 100 * SECOND
