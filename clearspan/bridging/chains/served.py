"""The chains of a bridge: what machines ask of foreign legs goes there; what chains show, and their time, comes back.

It promises that one chain waits for no other, that an order is expected before it is looked for, that the same question
is out once at a time, and that a chain that is away or refuses costs its swaps time: machines ask again by themselves.
What a chain refuses is told once to whoever reads the swap's timeline.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from bridge.foreign import ForeignLegs
from bridge.leg import LegAdapter, LegError, LegRefused, LegUnavailable
from bridge.ports import ClaimForeign, Lock, Look, RefundForeign
from bridge.refusals import BridgeCode, BridgeRefused
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bridge.leg import ChainClock, LockOrder
    from bridge.ports import Action, LockSeen
    from bridge.terms import LegTerms, SwapTerms

__all__ = ["ChainPort", "ChainReports", "ChainStanding", "Chains"]

_LOOKS_AT_ONCE: Final = 16
_ACTS_AT_ONCE: Final = 16
_BALANCE_EVERY: Final = 5
_SILENT_NS_MIN: Final = 10 * NS_PER_S
_SILENT_POLLS: Final = 4
_log = structlog.get_logger("clearspan.bridging")


class ChainPort(LegAdapter, Protocol):
    """A chain as a bridge uses it: the leg port, and what its operator wants to know."""

    name: str
    """As corridors and terms write it."""
    poll_s: float
    head_age_ns_max: int

    @property
    def address(self) -> str:
        """The account that locks are paid from, as the chain writes it."""
        ...

    @property
    def out_count(self) -> int:
        """How many transactions are out and not final."""
        ...

    @property
    def fee_reserve(self) -> int:
        """What one more transaction may cost as the chain stands, 0 where it costs nothing or that is not known."""
        ...

    def demand(self, order: LockOrder) -> None:
        """Demand an order that this chain can say. Raises LegRefused."""
        ...

    def forget(self, lock_id: bytes) -> None:
        """Let go of what is remembered of a lock whose swap is over."""
        ...

    async def balance(self) -> int:
        """Return what the account holds for fees."""
        ...

    async def tend(self) -> None:
        """Look after the transactions that are out."""
        ...

    async def close(self) -> None:
        """Let go of connections; nothing is lost."""
        ...


class ChainReports(Protocol):
    """Who hears of chains."""

    def on_chain_clock(self, chain: str, clock: ChainClock) -> None:
        """Take the time and height of a chain's newest block."""
        ...

    def on_chain_view(self, party: bytes, seen: LockSeen) -> None:
        """Take what a chain shows of a leg of a party's swap."""
        ...

    def on_chain_refusal(self, party: bytes, leg: int, error: LegRefused) -> None:
        """Take a chain's refusal of something that a party's swap asked for; once for each reason."""
        ...


@dataclass(slots=True)
class ChainStanding:
    """How a chain stands for this bridge; ``head_ns`` is its newest block's time, ``reached_ns`` ours when it spoke."""

    name: str
    address: str
    height: int = 0
    head_ns: int = 0
    final_height: int = 0
    balance: int = 0
    out_count: int = 0
    reached_ns: int = 0
    fault: str = ""


class Chains:
    """Chains by name. Use from one event loop: ``attach``, ``start``, at the end ``stop``."""

    def __init__(self, ports: Iterable[ChainPort] = (), now: Callable[[], int] = time.time_ns) -> None:
        """Take the ports; they are closed by ``stop``."""
        self._ports = {port.name: port for port in ports}
        self._legs = ForeignLegs(self._ports, self._on_trouble)
        self._now = now
        self.standings = {name: ChainStanding(name, port.address) for name, port in self._ports.items()}
        self._reports: ChainReports | None = None
        # Looks are many and may wait; a claim never waits behind them.
        self._looks = {name: asyncio.Semaphore(_LOOKS_AT_ONCE) for name in self._ports}
        self._acts = {name: asyncio.Semaphore(_ACTS_AT_ONCE) for name in self._ports}
        self._running: dict[tuple[bytes, int, type], asyncio.Task[None]] = {}
        self._told: dict[bytes, set[str]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def attach(self, reports: ChainReports) -> None:
        """Take who hears of the chains."""
        self._reports = reports

    def __contains__(self, chain: str) -> bool:
        return chain in self._ports

    def __len__(self) -> int:
        return len(self._ports)

    def __iter__(self) -> Iterator[ChainStanding]:
        return iter(self.standings.values())

    @property
    def ports(self) -> tuple[ChainPort, ...]:
        """The chains' ports."""
        return tuple(self._ports.values())

    def address(self, chain: str) -> str:
        """Return this bridge's account on a chain. Raises BridgeRefused (foreign_chain_unavailable)."""
        return self._port(chain).address

    def demand(self, leg: LegTerms, order: LockOrder, *, own: bool) -> None:
        """Demand that a leg can be served now: a chain that answers, an order it can say, our account where we lock.

        Raises BridgeRefused: foreign_chain_unavailable, also where our account could not pay for one more transaction,
        hash_function_unsupported, legs_do_not_match, and lock_refused where it holds too little for the lock.
        """
        port, standing, now = self._port(leg.chain), self.standings[leg.chain], self._now()
        silent_ns = max(_SILENT_NS_MIN, int(_SILENT_POLLS * port.poll_s * NS_PER_S))
        if not standing.reached_ns or now - standing.reached_ns > silent_ns:
            text = f"chain {leg.chain} does not answer: {standing.fault or 'nothing was heard of it yet'}"
            raise BridgeRefused(BridgeCode.FOREIGN_CHAIN_UNAVAILABLE, text)
        age_ns = now - standing.head_ns
        if age_ns > port.head_age_ns_max:
            text = f"the newest block of chain {leg.chain} is {age_ns // NS_PER_S} s old"
            raise BridgeRefused(BridgeCode.FOREIGN_CHAIN_UNAVAILABLE, text)
        if standing.balance < port.fee_reserve:
            # Known before anything is locked: who cannot pay for a claim has shown a secret for nothing.
            text = f"chain {leg.chain}: {port.address} holds {standing.balance}, fees may take {port.fee_reserve}"
            raise BridgeRefused(BridgeCode.FOREIGN_CHAIN_UNAVAILABLE, text)
        try:
            port.demand(order)
        except LegRefused as error:
            unsupported = error.code.value == BridgeCode.HASH_FUNCTION_UNSUPPORTED.name.lower()
            code = BridgeCode.HASH_FUNCTION_UNSUPPORTED if unsupported else BridgeCode.LEGS_DO_NOT_MATCH
            raise BridgeRefused(code, f"chain {leg.chain}: {error}") from error
        if own and leg.debit_account.lower() != port.address.lower():
            text = f"chain {leg.chain}: the payer is {leg.debit_account}, this bridge acts for {port.address}"
            raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, text)
        if own and not leg.asset and standing.balance < leg.amount:
            # Said at once; a lock that the chain refuses would be found out by its timelock only.
            text = f"chain {leg.chain}: {port.address} holds {standing.balance}, the lock takes {leg.amount}"
            raise BridgeRefused(BridgeCode.LOCK_REFUSED, text)

    def demand_legs(self, terms: SwapTerms, orders: tuple[LockOrder, ...], own_leg: int) -> None:
        """Demand each leg on a chain that a party locks, is paid by or reveals on, as ``demand``."""
        touched = {own_leg, own_leg - 1 if own_leg else len(terms.legs) - 1}
        for at in sorted(touched):
            if terms.legs[at].foreign:
                self.demand(terms.legs[at], orders[at], own=at == own_leg)

    def do(self, party: bytes, terms: SwapTerms, orders: tuple[LockOrder, ...], action: Action) -> None:
        """Do soon what a machine asks for of a foreign leg; what is being done already is not done twice at a time."""
        assert isinstance(action, Lock | Look | ClaimForeign | RefundForeign)
        key = party, action.leg, type(action)
        chain = terms.legs[action.leg].chain
        if chain not in self._ports or key in self._running:
            return
        task = asyncio.get_running_loop().create_task(self._do(chain, party, terms, orders, action))
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))

    def forget(self, party: bytes, terms: SwapTerms, orders: tuple[LockOrder, ...]) -> None:
        """Let go of a swap that has ended."""
        self._told.pop(party, None)
        for leg, order in zip(terms.legs, orders, strict=True):
            port = self._ports.get(leg.chain)
            if leg.foreign and port is not None:
                port.forget(order.lock_id)

    def start(self) -> None:
        """Begin to hear the chains' clocks."""
        loop = asyncio.get_running_loop()
        for port in self._ports.values():
            self._tasks.append(loop.create_task(self._follow(port), name=f"chain-{port.name}"))

    async def stop(self) -> None:
        """End; what is out stays in the books, and what was asked is asked again by the machines."""
        tasks = [*self._tasks, *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(port.close() for port in self._ports.values()))

    def _port(self, chain: str) -> ChainPort:
        port = self._ports.get(chain)
        if port is None:
            raise BridgeRefused(BridgeCode.FOREIGN_CHAIN_UNAVAILABLE, f"this bridge serves no chain {chain}")
        return port

    async def _do(
        self, chain: str, party: bytes, terms: SwapTerms, orders: tuple[LockOrder, ...], action: Action
    ) -> None:
        async with self._looks[chain] if isinstance(action, Look) else self._acts[chain]:
            try:
                seen = await self._legs.attempt(terms, orders, action)
            except LegRefused as error:
                self._on_trouble(chain, error)
                self._tell_refusal(party, action.leg, error)  # type: ignore[union-attr]  # what has no leg is not done here
                return
            except LegError as error:
                self._on_trouble(chain, error)
                return
        self.standings[chain].out_count = self._ports[chain].out_count
        if seen is not None and self._reports is not None:
            self._reports.on_chain_view(party, seen)

    def _tell_refusal(self, party: bytes, leg: int, error: LegRefused) -> None:
        told = self._told.setdefault(party, set())
        if error.code.value not in told and self._reports is not None:
            told.add(error.code.value)
            self._reports.on_chain_refusal(party, leg, error)

    def _on_trouble(self, chain: str, error: LegError) -> None:
        standing, text = self.standings[chain], str(error)
        if standing.fault != text:
            standing.fault = text
            _log.warning("chain_trouble", chain=chain, reason=text)

    async def _follow(self, port: ChainPort) -> None:
        """Ask a chain what time it is, again and again; now and then what is left for fees."""
        standing, count = self.standings[port.name], 0
        while True:
            try:
                clock = await port.clock()
                if count % _BALANCE_EVERY == 0:
                    standing.balance = await port.balance()
                count += 1
                self._hear(port, clock)
                # Behind the clock: what cannot be sent on keeps nobody from knowing what time it is.
                await port.tend()
            except LegError as error:
                self._on_trouble(port.name, error)
            except Exception as error:  # noqa: BLE001 - without its clock no lock on this chain ever comes back
                self._on_trouble(port.name, LegUnavailable(f"what it answered cannot be used: {type(error).__name__}"))
            else:
                standing.fault, standing.out_count = "", port.out_count
            await asyncio.sleep(port.poll_s)

    def _hear(self, port: ChainPort, clock: ChainClock) -> None:
        standing = self.standings[port.name]
        if standing.fault and not standing.reached_ns:
            _log.info("chain_reached", chain=port.name, height=clock.height)
        standing.height, standing.head_ns, standing.final_height = clock.height, clock.time_ns, clock.final_height
        standing.out_count, standing.reached_ns = port.out_count, self._now()
        if self._reports is not None:
            self._reports.on_chain_clock(port.name, clock)
