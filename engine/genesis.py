"""The genesis of a network: one canonical JSON document whose hash is inside everything that is ever signed.

A document is accepted only if encoding what was read gives the same bytes (BYTES-6), so a network has one genesis
hash. It says nothing of nodes or addresses.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self, TypedDict, TypeVar

from engine.refusals import EncodingError, GenesisRefused
from engine.types import BATCH_COUNT_MAX, HASH_BYTES, PUBLIC_KEY_BYTES, U32_MAX, U64_MAX, HashSuite, Role, SigningSuite
from native.hashing import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "GENESIS_FORMAT",
    "Genesis",
    "GenesisDomain",
    "GenesisKey",
    "GenesisLedger",
    "GenesisLimits",
    "GenesisValidator",
    "padded_key",
    "plain_key",
    "public_key_bytes",
    "suite_supported",
]

GENESIS_FORMAT: Final = 1
SHARDS_MAX: Final = 256
WINDOW_S_MAX: Final = 86_400
AMOUNT_MAX: Final = 2**127 - 1
# A shard id has 24 bits for its domain.
DOMAIN_MAX: Final = 2**24 - 1
SCALE_MAX: Final = 18
TIME_MAX: Final = 2**63 - 1
# The kernel's tables have 32-bit places.
TABLE_MAX: Final = 2**31
BUCKET_NS_MAX: Final = 2**62

# Above it a reader in a language whose numbers are doubles would lose digits.
_NUMBER_MAX: Final = 2**53 - 1
_NETWORK: Final = re.compile(r"[a-z0-9-]{1,32}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,31}")
_SUITES: Final = tuple(SigningSuite)
_CURRENCY: Final = re.compile(r"[A-Z0-9]{1,8}")

T = TypeVar("T")


def public_key_bytes(suite: int) -> int:
    """Return how many bytes of a 64-byte field a public key of this suite fills (BYTES-4)."""
    return 32 if suite == SigningSuite.ED25519 else PUBLIC_KEY_BYTES


def suite_supported(suite: int) -> bool:
    """Say whether keys of a suite may be registered (BYTES-4)."""
    return suite in _SUITES


def padded_key(public_key: bytes) -> bytes:
    """Return a public key as a 64-byte field holds it."""
    return public_key.ljust(PUBLIC_KEY_BYTES, b"\x00")


def plain_key(suite: int, public_key: bytes) -> bytes | None:
    """Return the key that a 64-byte field holds, or None when what follows it is not zero."""
    size = public_key_bytes(suite)
    return None if any(public_key[size:]) else public_key[:size]


def _check(holds: object, path: str, reason: str) -> None:
    if not holds:
        raise GenesisRefused(path, reason)


def _within(path: str, value: int, lowest: int, highest: int) -> None:
    _check(lowest <= value <= highest, path, f"{value} is not within {lowest} to {highest}")


def _participant(path: str, number: int) -> None:
    _check(0 < number < U32_MAX, path, f"participant {number} is reserved or too large")


@dataclass(frozen=True, slots=True)
class GenesisLedger:
    """One ledger: its currency and its rules, for ever."""

    ledger: int
    currency: str
    scale: int
    issuer: int
    amount_max: int = 10**18 - 1
    window_s: int = 60
    lock_min_s: int = 30

    def check(self, path: str) -> None:
        """Raise GenesisRefused at the first field out of its range."""
        _within(f"{path}.ledger", self.ledger, 1, U32_MAX)
        _check(_CURRENCY.fullmatch(self.currency), f"{path}.currency", "1 to 8 of A-Z and 0-9 are asked for")
        _within(f"{path}.scale", self.scale, 0, SCALE_MAX)
        _participant(f"{path}.issuer", self.issuer)
        _within(f"{path}.amount_max", self.amount_max, 1, AMOUNT_MAX)
        _within(f"{path}.window_s", self.window_s, 1, WINDOW_S_MAX)
        _within(f"{path}.lock_min_s", self.lock_min_s, 0, U32_MAX)


@dataclass(frozen=True, slots=True)
class GenesisKey:
    """One initial key of a domain; ``public_key`` is 32 bytes for Ed25519, 64 for SM2 and P-256."""

    participant: int
    role: int
    suite: int
    public_key: bytes

    def check(self, path: str) -> None:
        """Raise GenesisRefused at the first field out of its range."""
        _participant(f"{path}.participant", self.participant)
        _within(f"{path}.role", self.role, Role.ISSUER, Role.SCREENING)
        _check(suite_supported(self.suite), f"{path}.suite", f"suite {self.suite} is not supported")
        size = public_key_bytes(self.suite)
        _check(len(self.public_key) == size, f"{path}.public_key", f"{size} bytes are asked for")


@dataclass(frozen=True, slots=True)
class GenesisLimits:
    """Bounds of every shard of a domain; at each a request is refused and nothing is forgotten early."""

    ids_max: int = 4_000_000
    pendings_max: int = 1_000_000
    accounts_max: int = 4_000_000
    expire_per_batch_max: int = 8_192
    bucket_ns: int = 1_000_000_000
    run_members_max: int = 256

    def check(self, path: str) -> None:
        """Raise GenesisRefused at the first field out of its range."""
        for name in ("ids_max", "pendings_max", "accounts_max", "expire_per_batch_max"):
            _within(f"{path}.{name}", getattr(self, name), 1, TABLE_MAX)
        _within(f"{path}.bucket_ns", self.bucket_ns, 1, BUCKET_NS_MAX)
        _within(f"{path}.run_members_max", self.run_members_max, 1, BATCH_COUNT_MAX)


@dataclass(frozen=True, slots=True)
class GenesisDomain:
    """One operator's ledgers, shards and first keys, which become key ids 1, 2, … in this order."""

    domain: int
    name: str
    shards: int
    ledgers: tuple[GenesisLedger, ...]
    keys: tuple[GenesisKey, ...]
    limits: GenesisLimits = field(default_factory=GenesisLimits)

    def shard_ids(self) -> tuple[int, ...]:
        """Return the ids of the domain's shards, ascending."""
        return tuple(self.domain << 8 | index for index in range(self.shards))

    def check(self, path: str) -> None:
        """Raise GenesisRefused at the first field that cannot stand."""
        _within(f"{path}.domain", self.domain, 1, DOMAIN_MAX)
        _check(
            _NAME.fullmatch(self.name), f"{path}.name", "1 to 32 letters, digits, spaces, dots, hyphens are asked for"
        )
        _within(f"{path}.shards", self.shards, 1, SHARDS_MAX)
        _check(self.ledgers, f"{path}.ledgers", "at least one ledger is asked for")
        for index, ledger in enumerate(self.ledgers):
            ledger.check(f"{path}.ledgers[{index}]")
        for index, key in enumerate(self.keys):
            key.check(f"{path}.keys[{index}]")
        known = [(key.suite, key.public_key) for key in self.keys]
        _check(len(set(known)) == len(known), f"{path}.keys", "a public key stands twice")
        self.limits.check(f"{path}.limits")


@dataclass(frozen=True, slots=True)
class GenesisValidator:
    """One member of the first validator set."""

    participant: int
    power: int
    suite: int
    public_key: bytes

    def check(self, path: str) -> None:
        """Raise GenesisRefused at the first field out of its range."""
        GenesisKey(self.participant, Role.BLOCK, self.suite, self.public_key).check(path)
        _within(f"{path}.power", self.power, 1, U64_MAX)


@dataclass(frozen=True, slots=True)
class Genesis:
    """Everything a network begins with; ``hash`` is the genesis hash, ``document`` the bytes it is of."""

    network: str
    random: bytes
    time: int
    domains: tuple[GenesisDomain, ...]
    validators: tuple[GenesisValidator, ...] = ()
    hash_suite: int = HashSuite.SHA256
    document: bytes = field(init=False, repr=False, compare=False)
    hash: bytes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Check every field and fix the document; raises GenesisRefused."""
        _check(_NETWORK.fullmatch(self.network), "network", "1 to 32 of a-z, 0-9 and - are asked for")
        _check(len(self.random) == HASH_BYTES, "random", f"{HASH_BYTES} bytes are asked for")
        _within("hash_suite", self.hash_suite, HashSuite.SHA256, HashSuite.SM3)
        _within("time", self.time, 0, TIME_MAX)
        _check(self.domains, "domains", "at least one domain is asked for")
        for index, domain in enumerate(self.domains):
            domain.check(f"domains[{index}]")
        for index, validator in enumerate(self.validators):
            validator.check(f"validators[{index}]")
        _unique("domains", (domain.domain for domain in self.domains))
        # One number names one currency in the whole network: a corridor is a pair of ledgers.
        _unique("domains.ledgers", (ledger.ledger for domain in self.domains for ledger in domain.ledgers))
        document = json.dumps(_tree(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")
        object.__setattr__(self, "document", document)
        object.__setattr__(self, "hash", digest(self.hash_suite, document))

    @classmethod
    def decode(cls, document: bytes) -> Self:
        """Read a document; raises EncodingError when not canonical, GenesisRefused for a field that cannot stand."""
        try:
            tree = json.loads(bytes(document).decode("ascii"))
        except (ValueError, RecursionError) as error:
            raise EncodingError("genesis", str(error), "an ASCII JSON document") from error
        genesis = cls(**_read_genesis(_Reader("", tree)))
        if genesis.document != document:
            raise EncodingError("genesis", "another spelling", "the canonical form")
        return genesis

    def domain(self, number: int) -> GenesisDomain:
        """Return a domain by its number; raises GenesisRefused when there is none."""
        for domain in self.domains:
            if domain.domain == number:
                return domain
        raise GenesisRefused("domains", f"no domain {number}")

    @staticmethod
    def domain_of_shard(shard: int) -> int:
        """Return the number of the domain that a shard id belongs to (BYTES-9)."""
        return shard >> 8


def _unique(path: str, numbers: Iterable[int]) -> None:
    listed = list(numbers)
    _check(len(set(listed)) == len(listed), path, "a number stands twice")


def _number(value: int) -> int | str:
    return value if value <= _NUMBER_MAX else str(value)


def _key_tree(key: GenesisKey | GenesisValidator) -> dict[str, object]:
    return {"participant": key.participant, "suite": int(key.suite), "public_key": key.public_key.hex()}


def _tree(genesis: Genesis) -> dict[str, object]:
    domains = [
        {
            "domain": domain.domain,
            "name": domain.name,
            "shards": domain.shards,
            "ledgers": [
                {name: value if isinstance(value, str) else _number(value) for name, value in _members(ledger)}
                for ledger in domain.ledgers
            ],
            "keys": [{**_key_tree(key), "role": int(key.role)} for key in domain.keys],
            "limits": {name: _number(value) for name, value in _members(domain.limits)},
        }
        for domain in genesis.domains
    ]
    return {
        "format": GENESIS_FORMAT,
        "network": genesis.network,
        "random": genesis.random.hex(),
        "hash_suite": int(genesis.hash_suite),
        "time": _number(genesis.time),
        "domains": domains,
        "validators": [{**_key_tree(each), "power": _number(each.power)} for each in genesis.validators],
    }


def _members(value: GenesisLedger | GenesisLimits) -> list[tuple[str, int]]:
    return [(name, getattr(value, name)) for name in value.__dataclass_fields__]


class _Reader:
    """A JSON object with its path; every access says what it expects, and unknown fields are refused at the end."""

    def __init__(self, path: str, tree: object) -> None:
        self._path = path
        _check(isinstance(tree, dict), path or "document", "an object is asked for")
        self._tree: Mapping[str, object] = tree if isinstance(tree, dict) else {}

    def only(self, *names: str) -> None:
        """Refuse a field that has no meaning here."""
        for name in self._tree:
            _check(name in names, self._at(name), "unknown field")

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _take(self, name: str) -> object:
        _check(name in self._tree, self._at(name), "is missing")
        return self._tree[name]

    def integer(self, name: str) -> int:
        value = self._take(name)
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,39}", value):
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise GenesisRefused(self._at(name), "an unsigned integer is asked for")

    def text(self, name: str) -> str:
        value = self._take(name)
        if isinstance(value, str):
            return value
        raise GenesisRefused(self._at(name), "a string is asked for")

    def hex(self, name: str) -> bytes:
        value = self.text(name)
        _check(re.fullmatch(r"([0-9a-f]{2})*", value), self._at(name), "lower-case hex is asked for")
        return bytes.fromhex(value)

    def object(self, name: str) -> _Reader:
        return _Reader(self._at(name), self._take(name))

    def each(self, name: str, read: Callable[[_Reader], T]) -> tuple[T, ...]:
        items = self._take(name)
        if not isinstance(items, list):
            raise GenesisRefused(self._at(name), "a list is asked for")
        return tuple(read(_Reader(f"{self._at(name)}[{index}]", item)) for index, item in enumerate(items))


def _ledger(reader: _Reader) -> GenesisLedger:
    reader.only(*GenesisLedger.__dataclass_fields__)
    return GenesisLedger(
        ledger=reader.integer("ledger"),
        currency=reader.text("currency"),
        scale=reader.integer("scale"),
        issuer=reader.integer("issuer"),
        amount_max=reader.integer("amount_max"),
        window_s=reader.integer("window_s"),
        lock_min_s=reader.integer("lock_min_s"),
    )


def _key(reader: _Reader) -> GenesisKey:
    reader.only(*GenesisKey.__dataclass_fields__)
    return GenesisKey(
        reader.integer("participant"), reader.integer("role"), reader.integer("suite"), reader.hex("public_key")
    )


def _limits(reader: _Reader) -> GenesisLimits:
    names = tuple(GenesisLimits.__dataclass_fields__)
    reader.only(*names)
    return GenesisLimits(**{name: reader.integer(name) for name in names})


def _domain(reader: _Reader) -> GenesisDomain:
    reader.only(*GenesisDomain.__dataclass_fields__)
    return GenesisDomain(
        domain=reader.integer("domain"),
        name=reader.text("name"),
        shards=reader.integer("shards"),
        ledgers=reader.each("ledgers", _ledger),
        keys=reader.each("keys", _key),
        limits=_limits(reader.object("limits")),
    )


def _validator(reader: _Reader) -> GenesisValidator:
    reader.only(*GenesisValidator.__dataclass_fields__)
    return GenesisValidator(
        reader.integer("participant"), reader.integer("power"), reader.integer("suite"), reader.hex("public_key")
    )


class _Fields(TypedDict):
    network: str
    random: bytes
    time: int
    domains: tuple[GenesisDomain, ...]
    validators: tuple[GenesisValidator, ...]
    hash_suite: int


def _read_genesis(reader: _Reader) -> _Fields:
    reader.only("format", *_Fields.__annotations__)
    if reader.integer("format") != GENESIS_FORMAT:
        raise EncodingError("genesis format", reader.integer("format"), GENESIS_FORMAT)
    return _Fields(
        network=reader.text("network"),
        random=reader.hex("random"),
        time=reader.integer("time"),
        domains=reader.each("domains", _domain),
        validators=reader.each("validators", _validator),
        hash_suite=reader.integer("hash_suite"),
    )
