"""Setting a domain up: admin requests built, signed and sent in bulk, and money issued, through any client.

It promises that a refusal stops the set-up with the code and the request that met it, and that everything may be sent
again. It holds keys only as long as its caller does and writes no file.

    desk = AdminDesk(client, genesis, domain, operator_keys)
    issuer, bank = await desk.add_members([MemberPlan(13, "ISSUER", issuer=True), MemberPlan(1001, "CLSPCNA0XXX")])
    await desk.open_issuer_account(issuer)
    await desk.open_accounts(bank, [account_id])
    await desk.issue(issuer, [(account_id, 10_000)])
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from clearspan.errors import ClearspanError
from clearspan.keys import KeyRing
from clearspan.signer import Signer, new_transfer_id
from engine.admin import NEW_KEY_SIGNS, AdminColumns, AdminRequest
from engine.codes import MEANINGS, ResultCode, code_name
from engine.genesis import padded_key
from engine.prefix import PrefixType, signing_prefix
from engine.record import Transfer, ordinary_account_id
from engine.types import (
    ADMIN_BYTES,
    ADMIN_WINDOW_S,
    BATCH_COUNT_MAX,
    HASH_BYTES,
    NS_PER_S,
    SIGNATURE_BYTES,
    U32_MAX,
    AdminType,
    KeyId,
    ParticipantId,
    Role,
    SigningSuite,
    TransferKind,
)
from native.signatures import sign_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from clearspan.client.results import AdminResult, BatchResult
    from engine.batch import BatchColumns
    from engine.genesis import Genesis, GenesisDomain, GenesisLedger

__all__ = [
    "ADMIN_COUNT_MAX",
    "ISSUER_SERIAL",
    "AdminClient",
    "AdminDesk",
    "KeyIdUnknown",
    "Member",
    "MemberPlan",
    "RequestRefused",
    "RingKey",
    "signed_columns",
]

ADMIN_COUNT_MAX: Final = 1_024
"""Requests sent at once; a node takes no more in one call."""
ISSUER_SERIAL: Final = 1
"""Serial of the account that an issuer issues from."""
_EXPIRES_AFTER_S: Final = 600
_REGISTERS_A_KEY: Final = (AdminType.PARTICIPANT_ADD, AdminType.KEY_ADD, AdminType.KEY_ROTATE)


class AdminClient(Protocol):
    """What is asked of a client: to carry requests and say what was answered."""

    async def administer(self, columns: AdminColumns) -> AdminResult:
        """Send admin requests; at most ADMIN_COUNT_MAX at once."""

    async def submit(self, batch: BatchColumns) -> BatchResult:
        """Send a batch of transfers."""


class RequestRefused(ClearspanError):  # noqa: N818 - named as what it is, like the other refusals
    """The ledger refused one request of a set-up; those before it stand, and all may be sent again."""

    exit_code = 1

    def __init__(self, what: str, code: int) -> None:
        """Name the request and its outcome."""
        super().__init__(f"{what}: {code_name(code)}", MEANINGS[ResultCode(code)].next_step)
        self.what = what
        self.code = code
        self.name = code_name(code)


class KeyIdUnknown(ClearspanError):  # noqa: N818 - named as what it is, like the other refusals
    """A key was registered and the reply that named its id was lost."""

    exit_code = 3

    def __init__(self, what: str) -> None:
        """Name the request."""
        super().__init__(f"{what}: the key is registered, but its id was not heard", "register another key")


@dataclass(frozen=True, slots=True)
class RingKey:
    """One key of a ring that signs; its key id stands in the ring."""

    ring: KeyRing
    index: int

    @property
    def key_id(self) -> int:
        """Its id in the domain's registry."""
        return self.ring[self.index].key_id


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """A participant to add; roles are bits of role numbers beside registrar and account, suite is its account keys'."""

    number: int
    name: str
    issuer: bool = False
    suite: SigningSuite = SigningSuite.ED25519
    account_keys: int = 1
    roles: int = 0
    accounts_max: int = U32_MAX
    keys_max: int = U32_MAX


@dataclass(slots=True)
class Member:
    """A participant that was added, with its keys: registrar first, an issuer's two issuer keys, then account keys."""

    number: int
    name: str
    ring: KeyRing
    accounts: dict[int, int] = field(default_factory=dict)
    """Account id to the index of its key in the ring."""

    def signers(self, role: Role) -> list[RingKey]:
        """Return its registered keys of a role, in order."""
        return [RingKey(self.ring, index) for index, info in enumerate(self.ring) if info.role == role and info.key_id]

    @property
    def registrar(self) -> RingKey:
        """The key that registers its other keys and accounts."""
        return self.signers(Role.REGISTRAR)[0]


def signed_columns(
    genesis: Genesis, requests: Sequence[AdminRequest], first: Sequence[RingKey], second: Sequence[RingKey | None] = ()
) -> AdminColumns:
    """Sign requests, each by its first signer and, where there is one, its second (key id 0 there: a new key signs).

    Requests are signed in one native call for each ring, so 100,000 of them are a matter of a second or two.
    """
    count = len(requests)
    prefix = np.frombuffer(signing_prefix(genesis.hash_suite, PrefixType.ACCOUNT, genesis.hash), dtype=np.uint8)
    bodies = np.frombuffer(b"".join(request.encode() for request in requests), dtype=np.uint8)
    messages = np.empty((count, HASH_BYTES + ADMIN_BYTES), dtype=np.uint8)
    messages[:, :HASH_BYTES] = prefix
    messages[:, HASH_BYTES:] = bodies.reshape(count, ADMIN_BYTES)
    key_ids = np.zeros((count, 2), dtype=np.uint32)
    signatures = np.zeros((count, 2, SIGNATURE_BYTES), dtype=np.uint8)
    for place, signers in enumerate((first, second)):
        rings: dict[int, tuple[KeyRing, list[int], list[int]]] = {}
        for row, signer in enumerate(signers):
            if signer is None:
                continue
            key_ids[row, place] = signer.key_id or NEW_KEY_SIGNS
            ring, rows, indexes = rings.setdefault(id(signer.ring), (signer.ring, [], []))
            rows.append(row)
            indexes.append(signer.index)
        for ring, rows, indexes in rings.values():
            out = np.empty((len(rows), SIGNATURE_BYTES), dtype=np.uint8)
            sign_batch(ring.signing_keys, np.array(indexes, dtype=np.uint32), np.ascontiguousarray(messages[rows]), out)
            signatures[rows, place] = out
    return AdminColumns(bodies.reshape(count, ADMIN_BYTES), key_ids, signatures)


class AdminDesk:
    """One domain's administration. ``operators`` holds the operator's keys, the first of which signs."""

    def __init__(
        self,
        client: AdminClient,
        genesis: Genesis,
        domain: int,
        operators: KeyRing,
        *,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """Take what is needed; nothing is sent yet."""
        self.genesis = genesis
        self.domain: GenesisDomain = genesis.domain(domain)
        self._client = client
        self._now = now
        self._operators = [
            RingKey(operators, index)
            for index, info in enumerate(operators)
            if info.role == Role.OPERATOR and info.key_id
        ]

    # Requests.

    def request(self, kind: AdminType, **fields: int | bytes) -> AdminRequest:
        """Return a request with a new id, valid from an hour before its expiry in ten minutes."""
        return AdminRequest(
            id=new_transfer_id(),
            type=kind,
            expires_at=self._now() + _EXPIRES_AFTER_S * NS_PER_S,
            valid_for_s=ADMIN_WINDOW_S,
            **fields,  # type: ignore[arg-type]  # the caller names fields of AdminRequest
        )

    async def send(
        self, requests: Sequence[AdminRequest], first: Sequence[RingKey], second: Sequence[RingKey | None] = ()
    ) -> list[int]:
        """Sign and send requests in order; return the key ids assigned. Raises RequestRefused at the first no."""
        assigned: list[int] = []
        for start in range(0, len(requests), ADMIN_COUNT_MAX):
            rows = slice(start, start + ADMIN_COUNT_MAX)
            columns = signed_columns(self.genesis, requests[rows], first[rows], second[rows])
            reply = await self._client.administer(columns)
            for row, code in enumerate(reply.codes.tolist()):
                if code != ResultCode.CREATED:
                    request = requests[start + row]
                    raise RequestRefused(f"{request.type_name} {start + row + 1} of {len(requests)}", code)
            if reply.assigned is not None:
                assigned += reply.assigned.tolist()
            for row, request in enumerate(requests[rows]):
                if request.type in _REGISTERS_A_KEY and not assigned[start + row]:
                    # Only a repetition is answered without it: the first reply was lost on its way.
                    raise KeyIdUnknown(request.type_name)
        return assigned

    # Participants and keys.

    async def add_members(self, plans: Sequence[MemberPlan]) -> list[Member]:
        """Add participants with new keys: each its registrar's, two of an issuer, and account keys."""
        members = [Member(plan.number, plan.name, KeyRing()) for plan in plans]
        requests = []
        for plan, member in zip(plans, members, strict=True):
            index = member.ring.create(SigningSuite.ED25519, ParticipantId(plan.number), Role.REGISTRAR)
            requests.append(
                self.request(
                    AdminType.PARTICIPANT_ADD,
                    participant=plan.number,
                    subject=AdminRequest.name_of_subject(plan.name),
                    role=plan.roles,
                    limit_a=plan.accounts_max,
                    limit_b=plan.keys_max,
                    suite=SigningSuite.ED25519,
                    public_key=padded_key(member.ring[index].public_key),
                )
            )
        assigned = await self.send(requests, [self._operators[0]] * len(requests))
        for member, key_id in zip(members, assigned, strict=True):
            member.ring.set_key_id(0, KeyId(key_id))
        wanted = [
            (member, role, suite)
            for plan, member in zip(plans, members, strict=True)
            for role, suite, count in (
                (Role.ISSUER, SigningSuite.ED25519, 2 * plan.issuer),
                (Role.ACCOUNT, plan.suite, plan.account_keys * (not plan.issuer)),
            )
            for _ in range(count)
        ]
        await self.add_keys(wanted)
        return members

    async def add_keys(self, wanted: Sequence[tuple[Member, Role, SigningSuite]]) -> list[int]:
        """Make and register keys; return their indexes in the members' rings.

        Each member's registrar signs, for a key of role screening an operator.
        """
        indexes = [member.ring.create(suite, ParticipantId(member.number), role) for member, role, suite in wanted]
        requests = [
            self.request(
                AdminType.KEY_ADD,
                participant=member.number,
                suite=suite,
                role=role,
                public_key=padded_key(member.ring[index].public_key),
            )
            for (member, role, suite), index in zip(wanted, indexes, strict=True)
        ]
        first = [self._operators[0] if role is Role.SCREENING else member.registrar for member, role, _ in wanted]
        second = [self._operators[0] if role is Role.ISSUER else None for _, role, _ in wanted]
        assigned = await self.send(requests, first, second)
        for (member, _, _), index, key_id in zip(wanted, indexes, assigned, strict=True):
            member.ring.set_key_id(index, KeyId(key_id))
        return indexes

    # Accounts.

    async def open_issuer_account(self, issuer: Member, ledger: int | None = None) -> int:
        """Open the account that an issuer issues from and return its id. ``ledger`` None: the domain's first."""
        account = ordinary_account_id(issuer.number, ISSUER_SERIAL)
        number = self._ledger(ledger).ledger
        request = self.request(AdminType.ACCOUNT_OPEN, participant=issuer.number, subject=account, ledger=number)
        await self.send([request], [issuer.registrar])
        return account

    async def open_accounts(self, member: Member, accounts: Iterable[int], ledger: int | None = None) -> None:
        """Open accounts of one member; see open_many."""
        await self.open_many([(member, account) for account in accounts], ledger)

    async def open_many(self, accounts: Sequence[tuple[Member, int]], ledger: int | None = None) -> None:
        """Open accounts without credit and without a cap; a member's account keys serve them in turn."""
        number = self._ledger(ledger).ledger
        keys = {id(member): member.signers(Role.ACCOUNT) for member, _ in accounts}
        requests, turn = [], dict.fromkeys(keys, 0)
        for member, account in accounts:
            signers = keys[id(member)]
            signer = signers[turn[id(member)] % len(signers)]
            turn[id(member)] += 1
            requests.append(
                self.request(
                    AdminType.ACCOUNT_OPEN,
                    participant=member.number,
                    subject=account,
                    ledger=number,
                    key_id=signer.key_id,
                )
            )
            member.accounts[account] = signer.index
        await self.send(requests, [member.registrar for member, _ in accounts])

    async def set_limits(
        self, issuer: Member, limits: Sequence[tuple[int, int, int]], ledger: int | None = None
    ) -> None:
        """Set (account, credit_limit, balance_max) in minor units, signed by the issuer; 0 is no credit, no cap."""
        number = self._ledger(ledger).ledger
        requests = [
            self.request(
                AdminType.ACCOUNT_LIMITS, subject=account, ledger=number, limit_a=credit_limit, limit_b=balance_max
            )
            for account, credit_limit, balance_max in limits
        ]
        await self.send(requests, [issuer.signers(Role.ISSUER)[0]] * len(requests))

    # Money.

    async def issue(self, issuer: Member, amounts: Sequence[tuple[int, int]], ledger: int | None = None) -> list[int]:
        """Issue (account, amount in minor units): one issuer key makes the pendings, the other posts them.

        Returns the code of each post: created, or created_in_transit for an account on another shard than the issuer's.
        """
        maker, checker = issuer.signers(Role.ISSUER)[:2]
        codes: list[int] = []
        for start in range(0, len(amounts), BATCH_COUNT_MAX):
            part = amounts[start : start + BATCH_COUNT_MAX]
            pendings = [self._issuing(issuer, maker, *each, ledger) for each in part]
            posts = [
                self._issuing(issuer, checker, *each, ledger, pending.id)
                for each, pending in zip(part, pendings, strict=True)
            ]
            await self.submit(pendings, maker)
            codes += await self.submit(posts, checker)
        return codes

    async def issue_first(self, issuer: Member, account: int, amount: int, ledger: int | None = None) -> int:
        """Make one issue pending with the issuer's first key and return its id: nothing is in circulation yet."""
        maker = issuer.signers(Role.ISSUER)[0]
        pending = self._issuing(issuer, maker, account, amount, ledger)
        await self.submit([pending], maker)
        return pending.id

    async def issue_second(
        self, issuer: Member, account: int, amount: int, pending: int, ledger: int | None = None
    ) -> int:
        """Post with the issuer's last key what its first key made pending; return the code, as issue does."""
        checker = issuer.signers(Role.ISSUER)[-1]
        (code,) = await self.submit([self._issuing(issuer, checker, account, amount, ledger, pending)], checker)
        return code

    def _issuing(  # noqa: PLR0917 - who issues and signs, to whom, how much, where, what is posted
        self, issuer: Member, signer: RingKey, account: int, amount: int, ledger: int | None, pending: int = 0
    ) -> Transfer:
        """Return a pending of an issuer's account, or with ``pending`` its post."""
        terms = self._ledger(ledger)
        return Transfer(
            id=new_transfer_id(),
            debit_account=ordinary_account_id(issuer.number, ISSUER_SERIAL),
            credit_account=account,
            amount=amount,
            reference=pending,
            ledger=terms.ledger,
            key_id=signer.key_id,
            expires_at=self._now() + terms.window_s * NS_PER_S // 2,
            valid_for_s=terms.window_s,
            flags=int(TransferKind.POST if pending else TransferKind.PENDING),
        )

    async def submit(self, transfers: Sequence[Transfer], signer: RingKey) -> list[int]:
        """Sign up to 8,192 transfers with one key and submit them; return their codes.

        Raises RequestRefused at the first that is not done.
        """
        columns = Signer(self.genesis, signer.ring).sign(self.domain.domain, transfers)
        reply = await self._client.submit(columns)
        for row, settled in enumerate(reply.settled.tolist()):
            if not settled:
                raise RequestRefused(f"transfer {row + 1} of {len(transfers)}", reply[row].code)
        return [int(code) for code in reply.codes]

    def _ledger(self, number: int | None) -> GenesisLedger:
        if number is None:
            return self.domain.ledgers[0]
        return next(ledger for ledger in self.domain.ledgers if ledger.ledger == number)
