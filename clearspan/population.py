"""Participants, accounts and money for a load or a demonstration: a development network filled in a few calls.

It promises accounts that can pay: registered, funded by the ledger's issuer with two keys, and with the keys that sign
for them in memory. It works through the service alone, with the certificates and the operator's keys of a network
folder, and knows no load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self

import numpy as np

from clearspan.administration import AdminDesk, Member, MemberPlan
from clearspan.client import AsyncClient
from clearspan.cluster import issuer_of, operator_of
from clearspan.keys import KeyRing, ScryptCost
from clearspan.network import DEVELOPMENT_COST_N, KnownParticipant
from clearspan.pki import TlsFiles
from clearspan.signer import Signer
from engine.record import ordinary_account_id
from engine.types import SigningSuite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from clearspan.client import AdminResult, BatchResult, RetryPolicy
    from clearspan.network import Network
    from engine.admin import AdminColumns
    from engine.batch import BatchColumns
    from engine.genesis import GenesisLedger

__all__ = ["CLEARING_HOUSE_TLS", "Crowd", "DomainDesk", "LoadAccounts", "Recorder", "crowd_plans", "tls_files"]

CLEARING_HOUSE_TLS: Final = "clearing-house"
# Numbers of the banks that only carry load: above those of the examples, and apart for each domain.
_BANK_FIRST: Final = 100_000


class Recorder(Protocol):
    """Keeps what was answered to a batch."""

    def add(self, batch: BatchColumns, result: BatchResult) -> None:
        """Note one answered batch."""


def tls_files(network: Network, name: str) -> TlsFiles:
    """Return the certificate of a network folder by its name, such as ``clearing-house`` or ``operator-cny``."""
    folder = network.path / "tls"
    return TlsFiles(folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem")


@dataclass(frozen=True, slots=True, eq=False)
class LoadAccounts:
    """Who pays whom: ``ids`` n x 16 bytes, ``key_ids`` n x u32 (the key that signs for each), all of one ledger."""

    ledger: int
    ids: NDArray[np.uint8]
    key_ids: NDArray[np.uint32]

    @classmethod
    def of(cls, ledger: int, accounts: Sequence[int], key_ids: Sequence[int]) -> Self:
        """Take account ids and key ids side by side, at least two."""
        packed = b"".join(account.to_bytes(16, "little") for account in accounts)
        return cls(ledger, np.frombuffer(packed, dtype=np.uint8).reshape(-1, 16), np.asarray(key_ids, dtype=np.uint32))


@dataclass(frozen=True, slots=True)
class Crowd:
    """Banks of one domain whose accounts pay each other; ``accounts`` is what a load draws from."""

    domain: int
    members: tuple[Member, ...]
    accounts: LoadAccounts
    ring: KeyRing

    @classmethod
    def of(cls, domain: int, ledger: int, members: Sequence[Member], ring: KeyRing) -> Self:
        """Gather members with their accounts and keys, in order; ``ring`` holds the keys of all."""
        ids: list[int] = []
        key_ids: list[int] = []
        for member in members:
            ids += list(member.accounts)
            key_ids += [int(member.ring[index].key_id) for index in member.accounts.values()]
        return cls(domain, tuple(members), LoadAccounts.of(ledger, ids, key_ids), ring)


def crowd_plans(
    network: Network, domain: int, banks: int, *, keys: int, suite: SigningSuite = SigningSuite.ED25519
) -> list[MemberPlan]:
    """Return plans of banks that carry load, with the first numbers that the network folder does not know yet."""
    taken = [each.number for each in network.participants() if each.domain == domain]
    first = max([_BANK_FIRST * domain, *(number + 1 for number in taken)])
    return [MemberPlan(first + index, f"LOAD{first + index}", suite=suite, account_keys=keys) for index in range(banks)]


class DomainDesk:
    """One domain's operator desk and clearing house, over two connections; use it in ``async with``."""

    def __init__(
        self, network: Network, domain: int, *, policy: RetryPolicy | None = None, recorder: Recorder | None = None
    ) -> None:
        """Prepare connections to the domain's node. Raises ConfigError, KeyFileError, CertificateInvalid."""
        self.domain = network.genesis.domain(domain)
        self.genesis = network.genesis
        self._network = network
        target = network.address(domain)
        pinned = network.genesis.hash
        self.operator = AsyncClient(
            target, tls_files(network, f"operator-{self.domain.name}"), genesis_hash=pinned, policy=policy
        )
        self.clearing_house = AsyncClient(
            target, tls_files(network, CLEARING_HOUSE_TLS), genesis_hash=pinned, policy=policy
        )
        self._recorder = recorder
        self.desk = AdminDesk(self, network.genesis, domain, network.load_keys(domain, operator_of(domain)))
        self.issuer: Member | None = None

    async def __aenter__(self) -> Self:
        """Use it in a block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both connections."""
        await self.operator.close()
        await self.clearing_house.close()

    @property
    def ledger(self) -> GenesisLedger:
        """The domain's first ledger."""
        return self.domain.ledgers[0]

    # What AdminDesk asks of a client: admin requests go as the operator, transfers as the clearing house.

    async def administer(self, columns: AdminColumns) -> AdminResult:
        """Send admin requests."""
        return await self.operator.administer(columns)

    async def submit(self, batch: BatchColumns) -> BatchResult:
        """Send a batch of transfers and keep what was answered."""
        result = await self.clearing_house.submit(batch)
        if self._recorder is not None:
            self._recorder.add(batch, result)
        return result

    # Filling the domain.

    async def add_issuer(self) -> Member:
        """Register the ledger's issuer with its two keys and open the account that it issues from."""
        number = issuer_of(self.domain.domain)
        (issuer,) = await self.desk.add_members([MemberPlan(number, f"{self.ledger.currency} ISSUER", issuer=True)])
        await self.desk.open_issuer_account(issuer)
        self.issuer = issuer
        self.keep([issuer])
        return issuer

    async def ensure_issuer(self) -> Member:
        """Return the ledger's issuer: from the network folder where it is registered already, else added now."""
        number = issuer_of(self.domain.domain)
        known = self._network.participant(self.domain.domain, number)
        if known is None:
            return await self.add_issuer()
        self.issuer = Member(number, known.name, self._network.load_keys(self.domain.domain, number))
        return self.issuer

    async def add_crowd(self, plans: Sequence[MemberPlan], accounts_each: int, funds_each: int) -> Crowd:
        """Register banks, open their accounts, and issue to each account ``funds_each`` minor units."""
        members = await self.desk.add_members(plans)
        wanted = [
            (member, ordinary_account_id(member.number, serial + 1))
            for member in members
            for serial in range(accounts_each)
        ]
        await self.desk.open_many(wanted)
        await self.fund([account for _, account in wanted], funds_each)
        folder = f"crowd-{members[0].number}"
        self.keep(members, [folder] * len(members))
        ring = KeyRing.load(self._folder(folder), self._network.passphrase())
        return Crowd.of(self.domain.domain, self.ledger.ledger, members, ring)

    def keep(self, members: Sequence[Member], folders: Sequence[str] = ()) -> None:
        """Keep members' keys in the network folder, each under its number unless told, and note who they are."""
        passphrase, cost = self._network.passphrase(), ScryptCost(n=DEVELOPMENT_COST_N)
        for member, folder in zip(members, folders or [str(member.number) for member in members], strict=True):
            path = self._folder(folder)
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            member.ring.save(path / f"{member.number}.key", passphrase, cost)
        self._network.note_participants(
            KnownParticipant(
                member.number,
                member.name,
                self.domain.domain,
                issuer=member is self.issuer,
                accounts={account: int(member.ring[index].key_id) for account, index in member.accounts.items()},
            )
            for member in members
        )

    def _folder(self, name: str) -> Path:
        return self._network.path / "keys" / self.domain.name / name

    async def fund(self, accounts: Sequence[int], amount: int) -> None:
        """Issue the same amount to each account: pendings by one issuer key, posted by the other."""
        assert self.issuer is not None, "add_issuer comes first"
        await self.desk.issue(self.issuer, [(account, amount) for account in accounts])

    def signer(self, crowd: Crowd) -> Signer:
        """Return what signs for all accounts of a crowd."""
        return Signer(self.genesis, crowd.ring)
