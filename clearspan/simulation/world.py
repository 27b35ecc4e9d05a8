"""Parties, keys and signed requests of a simulated network: everything is derived from a seed and signed for real."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from engine.admin import AdminColumns, AdminRequest, SignedAdmin
from engine.batch import BatchColumns, sign_messages
from engine.genesis import (
    Genesis,
    GenesisDomain,
    GenesisKey,
    GenesisLedger,
    GenesisLimits,
    GenesisValidator,
    padded_key,
)
from engine.prefix import PrefixType, signing_prefix
from engine.record import Transfer, ordinary_account_id
from engine.types import NS_PER_S, AdminType, Role, SigningSuite, TransferKind
from native.signatures import public_key, sign, verify

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["START", "Bank", "BlockKey", "World"]

START: Final = 1_800_000_000 * NS_PER_S
OPERATOR: Final = 1
SUPERVISOR: Final = 2
ISSUER: Final = 100
_LEDGER: Final = 156
_VALID_FOR_S: Final = 60
_OPERATOR_KEYS: Final = (1, 2)
_SUPERVISOR_KEYS: Final = (3, 4)
_BLOCK_KEY: Final = 5


@dataclass(frozen=True, slots=True)
class Secret:
    """One signing key of the simulation."""

    suite: int
    secret: bytes

    @property
    def public(self) -> bytes:
        """The public key, 32 or 64 bytes."""
        return public_key(self.suite, self.secret)


@dataclass(frozen=True, slots=True)
class Bank:
    """A participant with one account key and its accounts."""

    number: int
    registrar_key: int
    account_key: int
    accounts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BlockKey:
    """The operator's block key as the node's shell wants it."""

    key_id: int
    secret: Secret

    def sign(self, message: bytes) -> bytes:
        """Return the signature."""
        return sign(self.secret.suite, self.secret.secret, message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether the signature is this key's."""
        return verify(self.secret.suite, self.secret.public, signature, message)


@dataclass(slots=True)
class World:
    """A network of one domain and one ledger; ``setup`` holds the admin requests that bring its parties in."""

    genesis: Genesis
    domain: int
    ledger: int
    keys: dict[int, Secret]
    banks: tuple[Bank, ...] = ()
    issuer_keys: tuple[int, int] = (0, 0)
    issuer_account: int = 0
    setup: list[AdminColumns] = field(default_factory=list)
    _serial: int = 0

    @classmethod
    def make(
        cls,
        seed: int,
        *,
        shards: int = 2,
        banks: int = 4,
        accounts: int = 4,
        hash_suite: int = 1,
        limits: GenesisLimits | None = None,
        window_s: int = 60,
        validators: tuple[GenesisValidator, ...] = (),
    ) -> World:
        """Derive a network from a seed: two operator keys, two supervisor keys, a block key, an issuer, banks.

        Every third bank signs with SM2. Validators come from outside, if there are any.
        """
        first = {key_id: _secret(seed, f"genesis {key_id}") for key_id in range(1, 6)}
        roles = {1: Role.OPERATOR, 2: Role.OPERATOR, 3: Role.SUPERVISOR, 4: Role.SUPERVISOR, 5: Role.BLOCK}
        genesis_keys = tuple(
            GenesisKey(
                SUPERVISOR if roles[key_id] == Role.SUPERVISOR else OPERATOR, roles[key_id], key.suite, key.public
            )
            for key_id, key in first.items()
        )
        ledger = GenesisLedger(_LEDGER, "CNY", 2, ISSUER, window_s=window_s, lock_min_s=5)
        domain = GenesisDomain(1, "CNY", shards, (ledger,), genesis_keys, limits or GenesisLimits())
        genesis = Genesis(
            "simulation",
            hashlib.sha256(f"random {seed}".encode()).digest(),
            START,
            (domain,),
            validators,
            hash_suite=hash_suite,
        )
        world = cls(genesis, 1, _LEDGER, dict(first))
        world._enrol(seed, banks, accounts)
        return world

    @property
    def block_key(self) -> BlockKey:
        """The key that signs headers."""
        return BlockKey(_BLOCK_KEY, self.keys[_BLOCK_KEY])

    @property
    def accounts(self) -> list[tuple[int, int]]:
        """All banks' accounts with the key that signs for each."""
        return [(account, bank.account_key) for bank in self.banks for account in bank.accounts]

    # Requests.

    def next_id(self) -> int:
        """Return an id that was not used before."""
        self._serial += 1
        return self._serial

    def transfer(self, debit: int, credit: int, amount: int, key_id: int, now: int, **fields: object) -> Transfer:
        """Return a plain transfer that is valid from now on; ``fields`` replace what is given there."""
        plain = Transfer(
            id=self.next_id(),
            debit_account=debit,
            credit_account=credit,
            amount=amount,
            ledger=self.ledger,
            key_id=key_id,
            expires_at=now + _VALID_FOR_S * NS_PER_S,
            valid_for_s=_VALID_FOR_S,
        )
        return replace(plain, **fields)  # type: ignore[arg-type]

    def signed(self, transfers: Sequence[Transfer], batch_id: bytes = bytes(16)) -> BatchColumns:
        """Sign each record with the key that it names; derived kinds and unknown keys get zeros."""
        signatures = []
        for transfer, (message, _) in zip(
            transfers, sign_messages(self.genesis.hash_suite, self.genesis.hash, transfers), strict=True
        ):
            key = self.keys.get(transfer.key_id)
            signatures.append(bytes(64) if key is None else sign(key.suite, key.secret, message))
        return BatchColumns.from_transfers(self.domain, batch_id, transfers, signatures)

    def digests(self, transfers: Sequence[Transfer]) -> list[bytes]:
        """Return the record digests."""
        return [digest for _, digest in sign_messages(self.genesis.hash_suite, self.genesis.hash, transfers)]

    def admin(self, request: AdminRequest, *signers: int) -> SignedAdmin:
        """Sign an admin request with one or two keys."""
        message = signing_prefix(self.genesis.hash_suite, PrefixType.ACCOUNT, self.genesis.hash) + request.encode()
        signatures = [sign(self.keys[key].suite, self.keys[key].secret, message) for key in signers]
        first, second = (*signers, 0)[:2]
        return SignedAdmin(request.encode(), (first, second), (signatures[0], (*signatures, bytes(64))[1]))

    def issue(self, account: int, amount: int, now: int) -> list[BatchColumns]:
        """Return the two batches that issue money to an account: a pending by one issuer key, its post by the other."""
        pending = self.transfer(
            self.issuer_account, account, amount, self.issuer_keys[0], now, flags=int(TransferKind.PENDING)
        )
        post = self.transfer(
            self.issuer_account,
            account,
            amount,
            self.issuer_keys[1],
            now,
            flags=int(TransferKind.POST),
            reference=pending.id,
        )
        return [self.signed([pending]), self.signed([post])]

    def freeze(self, account: int, now: int, *, lift: bool = False) -> AdminColumns:
        """Return the freeze (or unfreeze) of an account by two supervisor keys."""
        kind = AdminType.ACCOUNT_UNFREEZE if lift else AdminType.ACCOUNT_FREEZE
        request = self._request(kind, now, subject=account, ledger=self.ledger, reason=7)
        return AdminColumns.from_requests([self.admin(request, *_SUPERVISOR_KEYS)])

    # Parties.

    def _request(self, kind: AdminType, now: int = START, **fields: int | bytes) -> AdminRequest:
        request = AdminRequest(id=self.next_id(), type=int(kind), expires_at=now + 3_000 * NS_PER_S, valid_for_s=3_600)
        return replace(request, **fields)  # type: ignore[arg-type]

    def _key(self, seed: int, name: str, suite: int = SigningSuite.ED25519) -> tuple[int, Secret]:
        key_id = len(self.keys) + 1
        self.keys[key_id] = _secret(seed, name, suite)
        return key_id, self.keys[key_id]

    def _participant(self, seed: int, number: int, requests: list[SignedAdmin], roles: int = 0) -> int:
        key_id, key = self._key(seed, f"registrar {number}")
        request = self._request(
            AdminType.PARTICIPANT_ADD,
            participant=number,
            subject=AdminRequest.name_of_subject(f"CLSP{number}"),
            role=roles,
            limit_a=1_000,
            limit_b=1_000,
            suite=key.suite,
            public_key=padded_key(key.public),
        )
        requests.append(self.admin(request, _OPERATOR_KEYS[0]))
        return key_id

    def _key_add(self, requests: list[SignedAdmin], number: int, key: Secret, role: Role, *signers: int) -> None:
        request = self._request(
            AdminType.KEY_ADD,
            participant=number,
            suite=key.suite,
            role=int(role),
            public_key=padded_key(key.public),
        )
        requests.append(self.admin(request, *signers))

    def _enrol(self, seed: int, banks: int, accounts: int) -> None:
        """Write the admin requests: participants and keys first, then accounts, whose key ids are known by then."""
        people: list[SignedAdmin] = []
        registrar = self._participant(seed, ISSUER, people, roles=1 << Role.ISSUER)
        issuer_keys = []
        for index in range(2):
            key_id, key = self._key(seed, f"issuer {index}")
            self._key_add(people, ISSUER, key, Role.ISSUER, registrar, _OPERATOR_KEYS[0])
            issuer_keys.append(key_id)
        self.issuer_keys = (issuer_keys[0], issuer_keys[1])
        self.issuer_account = ordinary_account_id(ISSUER, 1)
        made = []
        for index in range(banks):
            number = 1001 + index
            bank_registrar = self._participant(seed, number, people)
            suite = SigningSuite.SM2 if index % 3 == 2 else SigningSuite.ED25519
            key_id, key = self._key(seed, f"account {number}", suite)
            self._key_add(people, number, key, Role.ACCOUNT, bank_registrar)
            ids = tuple(ordinary_account_id(number, serial) for serial in range(1, accounts + 1))
            made.append(Bank(number, bank_registrar, key_id, ids))
        self.banks = tuple(made)
        opened = [
            self.admin(
                self._request(
                    AdminType.ACCOUNT_OPEN, participant=ISSUER, subject=self.issuer_account, ledger=self.ledger
                ),
                registrar,
            )
        ]
        opened += [
            self.admin(
                self._request(
                    AdminType.ACCOUNT_OPEN,
                    participant=bank.number,
                    subject=account,
                    ledger=self.ledger,
                    key_id=bank.account_key,
                ),
                bank.registrar_key,
            )
            for bank in self.banks
            for account in bank.accounts
        ]
        self.setup = [AdminColumns.from_requests(people), AdminColumns.from_requests(opened)]


def _secret(seed: int, name: str, suite: int = SigningSuite.ED25519) -> Secret:
    return Secret(int(suite), hashlib.sha256(f"clearspan simulation {seed} {name}".encode()).digest())
