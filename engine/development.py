"""A network for demonstrations and tests: its secrets are derived from a seed, so anybody can sign for anybody.

Never for money: whoever knows the seed, which may be empty, holds every key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from engine.genesis import Genesis, GenesisDomain, GenesisKey, GenesisLedger, GenesisLimits, GenesisValidator
from engine.types import HashSuite, Role, SigningSuite
from native.hashing import digest
from native.signatures import public_key, sign

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DEVELOPMENT_TIME",
    "Development",
    "DevelopmentKey",
    "development_key",
    "development_network",
]

DEVELOPMENT_TIME: Final = 1_790_000_000_000_000_000
"""2026-09-21, in ns: what a seeded network begins with unless told."""

CURRENCIES: Final = (("CNY", 2), ("HKD", 2), ("THB", 2))


@dataclass(frozen=True, slots=True)
class DevelopmentKey:
    """A key with its secret; ``key_id`` 0 for one that no genesis names."""

    key_id: int
    participant: int
    role: int
    suite: int
    secret: bytes = field(repr=False)
    public_key: bytes

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        return sign(self.suite, self.secret, message)


def development_key(
    seed: bytes, label: str, *, participant: int, role: int, suite: int = SigningSuite.ED25519, key_id: int = 0
) -> DevelopmentKey:
    """Derive a key from a seed and a label; the same two give the same key everywhere."""
    secret = digest(HashSuite.SHA256, b"clearspan/development/" + seed + b"/" + label.encode("ascii"))
    return DevelopmentKey(key_id, participant, role, suite, secret, public_key(suite, secret))


@dataclass(frozen=True, slots=True)
class Development:
    """A genesis with everybody's secrets, by domain; ``validators`` in the order of the first set."""

    genesis: Genesis
    keys: dict[int, tuple[DevelopmentKey, ...]]
    validators: tuple[DevelopmentKey, ...]

    def key(self, domain: int, role: int, nth: int = 0, participant: int | None = None) -> DevelopmentKey:
        """Return the nth key of a role in a domain, of one participant if named."""
        return [key for key in self.keys[domain] if key.role == role and participant in (None, key.participant)][nth]


def _domain_keys(seed: bytes, domain: int, banks: int, suite: int) -> tuple[DevelopmentKey, ...]:
    """Operator 100 d + 1, issuer 100 d + 2, banks 100 d + 11 and on, for domain d."""
    operator, issuer = 100 * domain + 1, 100 * domain + 2
    wanted: list[tuple[int, Role]] = [
        (operator, Role.OPERATOR),
        (operator, Role.OPERATOR),
        (operator, Role.SUPERVISOR),
        (operator, Role.SUPERVISOR),
        (operator, Role.REGISTRAR),
        (operator, Role.BLOCK),
        (operator, Role.SCREENING),
        (issuer, Role.REGISTRAR),
        (issuer, Role.ISSUER),
        (issuer, Role.ISSUER),
        (issuer, Role.ACCOUNT),
    ]
    for bank in range(banks):
        wanted += [(100 * domain + 11 + bank, Role.REGISTRAR), (100 * domain + 11 + bank, Role.ACCOUNT)]
    return tuple(
        development_key(
            seed,
            f"{domain}/{participant}/{role.name.lower()}/{number}",
            participant=participant,
            role=role,
            suite=suite,
            key_id=number,
        )
        for number, (participant, role) in enumerate(wanted, start=1)
    )


def development_network(
    seed: bytes = b"",
    *,
    network: str = "development",
    time: int = DEVELOPMENT_TIME,
    currencies: Sequence[tuple[str, int]] = CURRENCIES,
    shards: int = 2,
    banks: int = 2,
    validators: int = 4,
    hash_suite: int = HashSuite.SHA256,
    signing_suite: int = SigningSuite.ED25519,
    limits: GenesisLimits | None = None,
) -> Development:
    """Return a network of one domain for each currency (code, scale): domain and ledger n for the nth, from 1."""
    keys = {domain: _domain_keys(seed, domain, banks, signing_suite) for domain in range(1, len(currencies) + 1)}
    members = tuple(
        development_key(seed, f"validator/{number}", participant=9001 + number, role=Role.BLOCK, suite=signing_suite)
        for number in range(validators)
    )
    domains = tuple(
        GenesisDomain(
            domain=domain,
            name=currency,
            shards=shards,
            ledgers=(GenesisLedger(domain, currency, scale, 100 * domain + 2),),
            keys=tuple(GenesisKey(key.participant, key.role, key.suite, key.public_key) for key in keys[domain]),
            limits=limits or GenesisLimits(),
        )
        for domain, (currency, scale) in enumerate(currencies, start=1)
    )
    genesis = Genesis(
        network=network,
        random=digest(HashSuite.SHA256, b"clearspan/development/" + seed),
        time=time,
        domains=domains,
        validators=tuple(GenesisValidator(key.participant, 1, key.suite, key.public_key) for key in members),
        hash_suite=hash_suite,
    )
    return Development(genesis, keys, members)
