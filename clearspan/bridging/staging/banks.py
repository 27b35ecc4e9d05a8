"""Banks with bridges on a development network: registered, funded, with rates and corridors, for demo, tests and bench.

It promises accounts that can pay and bridges that know each other; it works through the nodes' service alone, with the
operators' keys of a network folder, and knows no load.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bridge.corridor import (
    CorridorDocument,
    Limits,
    MarginPart,
    MarginParts,
    MarginRules,
    Screening,
    SupervisorKey,
)
from bridge.desk_book import Tier
from bridge.rates import Rate, Rounding
from clearspan.administration import ISSUER_SERIAL, MemberPlan
from clearspan.bridging.settings.offers import OfferedAccount, OfferedPair, Offers
from clearspan.bridging.staging.folder import bridge_folder, found_bridge
from clearspan.children import ChildFailed
from clearspan.fleet import Fleet
from clearspan.founding import issuer_of, supervisor_of
from clearspan.population import DomainDesk
from engine.record import ordinary_account_id
from engine.types import Role, SigningSuite

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from clearspan.network import Network
    from clearspan.population import Recorder

__all__ = ["Bank", "BridgeFailed", "Bridges", "StagedMargins", "corridor_between", "register_banks"]

_MS: Final = 1_000_000
_SERIAL: Final = 1
SUPERVISOR_SECRET: Final = "travel-rule.x25519"  # noqa: S105 - a file's name
"""File of the 32 bytes that open envelopes, in a supervisor's folder of keys."""


@dataclass(frozen=True, slots=True)
class Bank:
    """A bank with one account on each of some ledgers; ``rates`` by (source, target) ledger make it a provider."""

    number: int
    name: str
    ledgers: tuple[int, ...]
    funds: int = 10**12
    rates: Mapping[tuple[int, int], Rate] = field(default_factory=dict)

    @property
    def account(self) -> int:
        """Its account's id, the same on every ledger."""
        return ordinary_account_id(self.number, _SERIAL)


@dataclass(frozen=True, slots=True)
class StagedMargins:
    """The parts of a corridor's margins on one machine, in ms; measured there, and not for a real network."""

    finality_ms: int = 1_000
    watching_ms: int = 200
    submission_ms: int = 300
    skew_ms: int = 50
    failover_ms: int = 2_000
    stall_ms: int = 1_000


async def register_banks(network: Network, banks: Sequence[Bank], recorder: Recorder | None = None) -> None:
    """Register banks with the domains of their ledgers, open and fund their accounts, keep their keys in the folder.

    ``recorder`` gets what the ledgers answered to the transfers that fund them.
    """
    for domain in network.genesis.domains:
        ledger = domain.ledgers[0]
        here = [bank for bank in banks if ledger.ledger in bank.ledgers]
        if not here:
            continue
        async with DomainDesk(network, domain.domain, recorder=recorder) as desk:
            await desk.ensure_issuer()
            plans = [MemberPlan(bank.number, bank.name, roles=1 << Role.SCREENING) for bank in here]
            members = await desk.desk.add_members(plans)
            await desk.desk.add_keys([(member, Role.SCREENING, SigningSuite.ED25519) for member in members])
            await desk.desk.open_many([(member, bank.account) for member, bank in zip(members, here, strict=True)])
            for bank in here:
                if bank.funds:
                    await desk.fund([bank.account], bank.funds)
            desk.keep(members)


def offers_of(network: Network, bank: Bank) -> Offers:
    """Return what a bank's bridge works with, its keys read from the folder."""
    accounts = []
    for number in bank.ledgers:
        domain, _ = network.ledger(str(number))
        ring = network.load_keys(domain.domain, bank.number)
        key_id = max(int(info.key_id) for info in ring if info.key_id and info.role == Role.ACCOUNT)
        accounts.append(OfferedAccount(number, bank.account, key_id, bank.funds if bank.rates else 0))
    pairs = tuple(
        OfferedPair(source, target, (Tier(1, rate.numerator, rate.denominator),))
        for (source, target), rate in bank.rates.items()
    )
    return Offers(tuple(accounts), pairs)


def corridor_between(
    network: Network,
    source: int,
    target: int,
    providers: Iterable[int],
    *,
    version: int = 1,
    lock_s: int = 60,
    margins: StagedMargins | None = None,
) -> CorridorDocument:
    """Return a corridor's document with wide limits, open at all hours; its id is made of the two ledgers."""
    parts = margins or StagedMargins()
    basis = "stated for a network on one machine"

    def part(milliseconds: int) -> MarginPart:
        return MarginPart(milliseconds * _MS, basis)

    home = MarginParts(part(parts.finality_ms), part(parts.watching_ms), part(parts.submission_ms))
    source_domain, source_ledger = network.ledger(str(source))
    target_domain, _ = network.ledger(str(target))
    most = str(source_ledger.amount_max)
    return CorridorDocument(
        format=1,
        id=f"{source << 32 | target:032x}",
        version=version,
        source_ledger=source,
        target_ledger=target,
        suspended=False,
        calendars=(),
        limits=Limits("1", most, most, most, "UTC"),
        fees=(),
        roundings=(int(Rounding.DOWN),),
        remainder_source_account=f"{ordinary_account_id(issuer_of(source_domain.domain), ISSUER_SERIAL):032x}",
        remainder_target_account=f"{ordinary_account_id(issuer_of(target_domain.domain), ISSUER_SERIAL):032x}",
        providers=tuple(sorted(providers)),
        hash_functions=("sha256", "sm3"),
        lock_s=lock_s,
        quote_s=3_600,
        premium_volatility_ppb=0,
        margins=MarginRules(home, part(parts.skew_ms), part(parts.failover_ms), part(parts.stall_ms)),
        screening=Screening(
            9_000, most, tuple(supervisor_key(network, each.domain) for each in (source_domain, target_domain))
        ),
        approval_note="Above the threshold of a ledger both supervisors approve before a lock stands.",
    )


def supervisor_key(network: Network, domain: int) -> SupervisorKey:
    """Return the key for which travel-rule data of a domain are sealed; made and kept in the folder when it is new."""
    participant = supervisor_of(domain)
    path = network.key_folder(domain, participant) / SUPERVISOR_SECRET
    if not path.exists():
        made = X25519PrivateKey.generate().private_bytes_raw()
        path.touch(mode=0o600)
        path.write_bytes(made)
    public = X25519PrivateKey.from_private_bytes(path.read_bytes()).public_key().public_bytes_raw()
    return SupervisorKey(participant, 1, "x25519", public.hex())


class BridgeFailed(ChildFailed):
    """A bridge did not start, or ended by itself; ``log`` holds what it said."""

    def __init__(self, participant: int, reason: str, log: Path, exit_code: int = 5) -> None:
        """Name the participant, the reason and the log; exit_code is the bridge's own where it ended."""
        super().__init__(f"bridge of participant {participant}", reason, log, exit_code)
        self.participant = participant


class Bridges(Fleet):
    """Bridges of a network as child processes, by participant."""

    def __init__(self, network: Network, banks: Sequence[Bank], flags: Sequence[str] = (), **options: object) -> None:
        """Prepare; options are those of `found_bridge`, flags further flags of `clearspan bridge run`."""
        self.network = network
        self.participants = tuple(bank.number for bank in banks)
        self._banks, self._options = tuple(banks), options
        super().__init__(
            "bridge", self.participants, partial(bridge_folder, network), failure=BridgeFailed, flags=flags
        )

    def __enter__(self) -> Self:
        """Found and start all."""
        self.found()
        return super().__enter__()

    def found(self) -> None:
        """Make the folder of each, and the file of all."""
        for bank in self._banks:
            found_bridge(self.network, bank.number, offers_of(self.network, bank), **self._options)  # type: ignore[arg-type]
