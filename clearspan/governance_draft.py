"""Drafts of governance records: what would take effect, who approved it so far, and the record once enough did.

It promises that an approval is over the very bytes that take effect, that what a draft says in words is read from those
bytes, and that no record is made that lacks approvals. No socket, no clock. ``clearspan.governing`` hands records in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from clearspan.errors import ConfigError
from engine.genesis import padded_key, plain_key
from engine.governance import (
    Approval,
    BlockKeyChange,
    Corridor,
    Governed,
    NumberChange,
    ParameterKind,
    Resume,
    SlotMap,
    decode_parameter,
    governance_message,
)
from engine.refusals import CertificateRefused, EncodingError
from engine.relay_block import RelayRecord
from engine.types import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, RelayRecordType, SigningSuite
from engine.validators import Validator, ValidatorSet
from native.signatures import verify

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.genesis import Genesis
    from engine.header import Header
    from relay.v1 import relay_pb2

__all__ = [
    "AHEAD_DEFAULT",
    "GOVERNED_TYPES",
    "GovernanceDraft",
    "Signatory",
    "Standing",
    "draft_block_key",
    "draft_corridor",
    "draft_drift",
    "draft_epoch_length",
    "draft_resume",
    "draft_slot_map",
    "draft_validator_set",
]

GOVERNED_TYPES: Final = frozenset(
    {
        RelayRecordType.VALIDATOR_SET,
        RelayRecordType.SLOT_MAP,
        RelayRecordType.CORRIDOR,
        RelayRecordType.PARAMETER,
    }
)
_FORMAT: Final = 1
_DRAFT_BYTES_MAX: Final = 16 << 20
AHEAD_DEFAULT: Final = 256
"""Heights beyond the epoch that a draft leaves for its approvals to be gathered in, unless its maker says otherwise."""


class Signatory(Protocol):
    """A key that approves: ``clearspan.keys.KeyFile``."""

    @property
    def info(self) -> Any:
        """What the key is: ``suite`` and ``public_key``."""

    def sign(self, message: bytes) -> bytes:
        """Sign, 64 bytes."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a draft follows, as validators say. ``sets``: the one in force first, then the pending one.

    Versions by corridor id or domain; ``block_keys`` by domain: the number of the last change.
    """

    height: int
    sets: tuple[ValidatorSet, ...]
    sequence: int
    epoch_length: int
    corridors: dict[bytes, int] = field(default_factory=dict)
    slot_maps: dict[int, int] = field(default_factory=dict)
    block_keys: dict[int, int] = field(default_factory=dict)

    @property
    def in_force(self) -> ValidatorSet:
        """The set that decides the next height."""
        return self.sets[0]

    @classmethod
    def of(cls, status: relay_pb2.RelayStatus) -> Self:
        """Read a validator's answer; raises EncodingError or CertificateRefused for a set that is none."""
        told = status.governance
        return cls(
            height=status.final_height,
            sets=tuple(ValidatorSet.decode(each) for each in told.sets),
            sequence=told.sequence,
            epoch_length=told.epoch_length,
            corridors={bytes(each.id): each.version for each in told.corridors},
            slot_maps={int.from_bytes(each.id, "little"): each.version for each in told.slot_maps},
            block_keys={int.from_bytes(each.id, "little"): each.version for each in told.block_keys},
        )


@dataclass(frozen=True, slots=True)
class GovernanceDraft:
    """A body that may become a record, and the approvals so far: signatures by public key (64 bytes)."""

    genesis_hash: bytes
    type: RelayRecordType
    body: bytes
    approvals: tuple[tuple[bytes, bytes], ...] = ()

    def message(self, genesis: Genesis) -> bytes:
        """Return what an approval signs."""
        return governance_message(genesis.hash_suite, genesis.hash, self.type, self.body)

    def approved(self, genesis: Genesis, key: Signatory) -> GovernanceDraft:
        """Return the draft with one more approval; raises ConfigError for a draft of another network."""
        self._demand_network(genesis)
        public_key = padded_key(key.info.public_key)
        signed = dict(self.approvals)
        signed[public_key] = key.sign(self.message(genesis))
        return replace(self, approvals=tuple(sorted(signed.items())))

    def merged(self, other: GovernanceDraft) -> GovernanceDraft:
        """Return the draft with the approvals of both; raises ConfigError where they are of different bytes."""
        if (self.genesis_hash, self.type, self.body) != (other.genesis_hash, other.type, other.body):
            raise ConfigError("draft", "the two are of different records", "merge copies of one draft only")
        return replace(self, approvals=tuple(sorted({**dict(self.approvals), **dict(other.approvals)}.items())))

    def power(self, genesis: Genesis, validators: ValidatorSet) -> int:
        """Return the power of those in a set whose approval holds."""
        return sum(validators.members[each.index].power for each in self._rows(genesis, validators))

    def record(self, genesis: Genesis, validators: ValidatorSet) -> RelayRecord:
        """Return the record, with the approvals of those that are in the set that decides and hold.

        Raises ConfigError where they are too few: more than two thirds of the power, of a block key both keys.
        """
        self._demand_network(genesis)
        change = self._block_key()
        if change is not None:
            rows = self._block_key_rows(genesis, change)
            if len(rows) != 2:
                raise ConfigError("draft", "the old and the new key are both asked for", "approve it with the other")
        else:
            rows = self._rows(genesis, validators)
            power = sum(validators.members[each.index].power for each in rows)
            if not validators.is_quorum(power):
                reason = f"power {power} of {validators.power} approved in set {validators.set_id}"
                raise ConfigError("draft", reason, "more than two thirds have to: clearspan validator approve")
        found = RelayRecord(self.type, Governed(self.body, tuple(rows)).encode())
        found.check()
        return found

    def words(self, genesis: Genesis) -> list[str]:
        """Say what would take effect, read from the bytes; raises EncodingError or CertificateRefused."""
        return _words(self, genesis)

    def encode(self) -> str:
        """Return the JSON document."""
        tree = {
            "format": _FORMAT,
            "genesis_hash": self.genesis_hash.hex(),
            "type": int(self.type),
            "body": self.body.hex(),
            "approvals": [
                {"public_key": public_key.hex(), "signature": signature.hex()}
                for public_key, signature in self.approvals
            ],
        }
        return json.dumps(tree, indent=1) + "\n"

    @classmethod
    def decode(cls, document: bytes) -> Self:
        """Read a document; raises ConfigError naming what is wrong."""
        try:
            if len(document) > _DRAFT_BYTES_MAX:
                raise ValueError("larger than 16 MiB")  # noqa: TRY301 - one place turns all of it into one error
            tree = json.loads(document)
            approvals = [
                (bytes.fromhex(each["public_key"]), bytes.fromhex(each["signature"])) for each in tree["approvals"]
            ]
            kind = RelayRecordType(tree["type"])
            sizes = {(len(public_key), len(signature)) for public_key, signature in approvals}
            known = tree["format"] == _FORMAT and kind in GOVERNED_TYPES
            if not known or not sizes <= {(PUBLIC_KEY_BYTES, SIGNATURE_BYTES)}:
                raise ValueError("its format, type, or the length of a key or signature")  # noqa: TRY301
            found = cls(
                bytes.fromhex(tree["genesis_hash"]),
                kind,
                bytes.fromhex(tree["body"]),
                tuple(sorted(dict(approvals).items())),
            )
            RelayRecord(kind, Governed(found.body).encode()).check()
        except (ValueError, KeyError, TypeError, RecursionError, EncodingError, CertificateRefused) as error:
            raise ConfigError("draft", f"it is none: {error}", "make one: clearspan validator propose") from error
        return found

    def _rows(self, genesis: Genesis, validators: ValidatorSet) -> list[Approval]:
        """Return the approvals that hold, by index in a set."""
        signed, message = dict(self.approvals), self.message(genesis)
        return [
            Approval(index, signed[member.public_key])
            for index, member in enumerate(validators.members)
            if member.public_key in signed and _holds(member, signed[member.public_key], message)
        ]

    def _block_key(self) -> BlockKeyChange | None:
        if self.type is not RelayRecordType.PARAMETER:
            return None
        parameter = decode_parameter(self.body)
        return parameter if isinstance(parameter, BlockKeyChange) else None

    def _block_key_rows(self, genesis: Genesis, change: BlockKeyChange) -> list[Approval]:
        """Row 0 is of the key in force, which the body names by its id only, row 1 of the new one."""
        signed = dict(self.approvals)
        new = signed.pop(change.public_key, None)
        old_keys = {padded_key(key.public_key) for domain in genesis.domains for key in domain.keys}
        old = next((signed[key] for key in sorted(signed, key=lambda each: each not in old_keys)), None)
        return [Approval(index, each) for index, each in enumerate((old, new)) if each is not None]

    def _demand_network(self, genesis: Genesis) -> None:
        if self.genesis_hash != genesis.hash:
            raise ConfigError("draft", "it is of another network", "name the network folder that it was made for")


def _holds(member: Validator, signature: bytes, message: bytes) -> bool:
    plain = plain_key(member.suite, member.public_key)
    return plain is not None and verify(member.suite, plain, signature, message)


# Drafts.


def draft_validator_set(
    standing: Standing, genesis: Genesis, members: Iterable[Validator], *, ahead: int = AHEAD_DEFAULT
) -> GovernanceDraft:
    """Draft the next validator set, in force an epoch and ``ahead`` heights from now.

    Raises CertificateRefused for a set that may not be (RELAY-3), ConfigError while another one is pending.
    """
    if len(standing.sets) > 1:
        pending = standing.sets[-1]
        reason = f"set {pending.set_id} takes effect at height {pending.first_height}"
        raise ConfigError("validator set", reason, "propose the next one after that")
    following = ValidatorSet(standing.in_force.set_id + 1, _effect(standing, ahead), tuple(members))
    return GovernanceDraft(genesis.hash, RelayRecordType.VALIDATOR_SET, following.encode())


def draft_corridor(
    standing: Standing, genesis: Genesis, identity: bytes, document: bytes, *, ahead: int = AHEAD_DEFAULT
) -> GovernanceDraft:
    """Draft the next version of a corridor; ``identity`` 16 bytes, ``document`` at most 16,384."""
    version = standing.corridors.get(identity, 0) + 1
    body = Corridor(identity, version, _effect(standing, ahead), document).encode()
    return GovernanceDraft(genesis.hash, RelayRecordType.CORRIDOR, body)


def draft_slot_map(
    standing: Standing, genesis: Genesis, domain: int, slots: bytes, *, ahead: int = AHEAD_DEFAULT
) -> GovernanceDraft:
    """Draft the next slot map of a domain; ``slots`` 4,096 shard indexes."""
    version = standing.slot_maps.get(domain, 1) + 1
    body = SlotMap(domain, version, _effect(standing, ahead), slots).encode()
    return GovernanceDraft(genesis.hash, RelayRecordType.SLOT_MAP, body)


def draft_epoch_length(standing: Standing, genesis: Genesis, heights: int) -> GovernanceDraft:
    """Draft another epoch length, in heights."""
    return _parameter(genesis, NumberChange(ParameterKind.EPOCH_LENGTH, standing.sequence + 1, heights))


def draft_drift(standing: Standing, genesis: Genesis, drift_ns: int) -> GovernanceDraft:
    """Draft another drift, in ns: how far headers' clocks may be from the validators'."""
    return _parameter(genesis, NumberChange(ParameterKind.DRIFT, standing.sequence + 1, drift_ns))


def draft_resume(
    standing: Standing,
    genesis: Genesis,
    shard: int,
    *,
    key_id: int,
    suite: int,
    public_key: bytes,
    epoch: int,
    header: Header | None,
) -> GovernanceDraft:
    """Draft that a suspended shard goes on after ``header`` (None: from nothing), under this key and epoch."""
    resume = Resume(shard, standing.sequence + 1, key_id, suite, epoch, padded_key(public_key), header)
    return _parameter(genesis, resume)


def draft_block_key(
    standing: Standing,
    genesis: Genesis,
    domain: int,
    *,
    old_key_id: int,
    new_key_id: int,
    suite: int,
    public_key: bytes,
) -> GovernanceDraft:
    """Draft that a domain's block key gives way to another: the two keys approve it, and no validator."""
    sequence = standing.block_keys.get(domain, 0) + 1
    change = BlockKeyChange(domain, sequence, old_key_id, new_key_id, suite, padded_key(public_key))
    return _parameter(genesis, change)


def _parameter(genesis: Genesis, parameter: BlockKeyChange | NumberChange | Resume) -> GovernanceDraft:
    return GovernanceDraft(genesis.hash, RelayRecordType.PARAMETER, parameter.encode())


def _effect(standing: Standing, ahead: int) -> int:
    # The record stands in the block after the next at the earliest.
    return standing.height + standing.epoch_length + 1 + max(1, ahead)


# Words.


def _words(draft: GovernanceDraft, genesis: Genesis) -> list[str]:
    if draft.type is RelayRecordType.VALIDATOR_SET:
        validators = ValidatorSet.decode(draft.body)
        head = f"validator set {validators.set_id}, from relay height {validators.first_height}: power"
        rows = [
            f"  {each.participant}: power {each.power}, {_suite_name(each.suite)} key {each.public_key.hex()[:16]}…"
            for each in validators.members
        ]
        return [f"{head} {validators.power}, {validators.fault_max} of it may lie", *rows]
    if draft.type is RelayRecordType.SLOT_MAP:
        slot_map = SlotMap.decode(draft.body)
        counts = {index: slot_map.slots.count(index) for index in sorted(set(slot_map.slots))}
        shares = ", ".join(f"shard {index} {count}" for index, count in counts.items())
        name = genesis.domain(slot_map.domain).name
        return [f"slot map {slot_map.version} of domain {name}, from relay height {slot_map.effect_height}: {shares}"]
    if draft.type is RelayRecordType.CORRIDOR:
        corridor = Corridor.decode(draft.body)
        head = f"corridor {corridor.id.hex()}, version {corridor.version}, from relay height {corridor.effect_height}:"
        return [f"{head} a document of {len(corridor.document)} bytes"]
    return [_parameter_words(decode_parameter(draft.body), genesis)]


def _parameter_words(parameter: BlockKeyChange | NumberChange | Resume, genesis: Genesis) -> str:
    if isinstance(parameter, BlockKeyChange):
        name, key = genesis.domain(parameter.domain).name, parameter.public_key.hex()[:16]
        change = f"{parameter.old_key_id} gives way to {parameter.new_key_id}"
        return f"block key of domain {name}: {change}, {_suite_name(parameter.suite)} key {key}…"
    if isinstance(parameter, Resume):
        place = (
            "from nothing"
            if parameter.header is None
            else f"after height {parameter.header.height}, {parameter.header.hash.hex()[:16]}…"
        )
        key = f"key {parameter.key_id} {parameter.public_key.hex()[:16]}…"
        return f"shard {parameter.shard:#x} resumes {place}, epoch {parameter.epoch}, under {key}"
    if parameter.kind is ParameterKind.EPOCH_LENGTH:
        return f"epoch length: {parameter.value} heights"
    return f"drift: {parameter.value} ns"


def _suite_name(suite: int) -> str:
    known = suite in SigningSuite.__members__.values()
    return SigningSuite(suite).name.lower() if known else f"suite {suite}"
