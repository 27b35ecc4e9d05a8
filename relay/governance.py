"""What members decide together: sets of validators, slot maps, corridors, parameters; and rotation of block keys (07).

It promises that nothing takes effect that more than two thirds of the set in force did not sign (a block key: both
keys), that nothing is played twice, and that a set changes an epoch later at the earliest, one at a time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from engine.genesis import plain_key
from engine.governance import BlockKeyChange, NumberChange, ParameterKind, Resume, governance_message
from engine.refusals import CertificateRefused
from engine.types import NS_PER_S, ZERO_HASH, RelayRecordType, SigningSuite
from native.signatures import verify
from relay.entries import BlockKey, ShardEntry
from relay.errors import BlockRefused

if TYPE_CHECKING:
    from engine.governance import Governed
    from engine.relay_block import RelayRecord
    from engine.validators import ValidatorSet
    from relay.draft import Draft

__all__ = ["apply_governance", "check_governance"]

EPOCH_LENGTH_MAX: Final = 1 << 20
# No set may be announced further ahead: until it is in force no other can be.
EFFECT_AHEAD_MAX: Final = 1 << 21
DRIFT_NS_MIN: Final = NS_PER_S // 100
DRIFT_NS_MAX: Final = 600 * NS_PER_S
CORRIDORS_MAX: Final = 256


def check_governance(draft: Draft, record: RelayRecord) -> None:
    """Demand that a record of types 4, 5, 6 or 8 may take effect in this block; raises BlockRefused."""
    governed = record.governed()
    if record.type is RelayRecordType.VALIDATOR_SET:
        _check_set(draft, record.validator_set())
    elif record.type is RelayRecordType.SLOT_MAP:
        _check_slot_map(draft, record)
    elif record.type is RelayRecordType.CORRIDOR:
        _check_corridor(draft, record)
    else:
        parameter = record.parameter()
        if isinstance(parameter, BlockKeyChange):
            _check_block_key(draft, parameter, governed)
            return
        if parameter.sequence != draft.parameters.sequence + 1:
            raise BlockRefused("governance_sequence", f"{parameter.sequence} after {draft.parameters.sequence}")
        if isinstance(parameter, NumberChange):
            _check_number(parameter)
        else:
            _check_resume(draft, parameter)
    try:
        governed.demand_quorum(draft.suite, draft.genesis.hash, record.type, draft.validators)
    except CertificateRefused as error:
        raise BlockRefused("governance_approvals", error.reason) from error


def apply_governance(draft: Draft, record: RelayRecord) -> None:
    """Let a record that passed take effect."""
    if record.type is RelayRecordType.VALIDATOR_SET:
        draft.sets = (*draft.sets, record.validator_set())
    elif record.type is RelayRecordType.SLOT_MAP:
        slot_map = record.slot_map()
        draft.slot_maps[slot_map.domain] = slot_map
    elif record.type is RelayRecordType.CORRIDOR:
        corridor = record.corridor()
        draft.corridors[corridor.id] = corridor
    else:
        _apply_parameter(draft, record)


def _apply_parameter(draft: Draft, record: RelayRecord) -> None:
    parameter = record.parameter()
    if isinstance(parameter, BlockKeyChange):
        successor = BlockKey(parameter.new_key_id, parameter.suite, parameter.public_key)
        draft.block_keys[parameter.domain] = tuple(
            successor if key.key_id == parameter.old_key_id else key for key in draft.block_keys[parameter.domain]
        )
        draft.key_sequences[parameter.domain] = parameter.sequence
        return
    draft.parameters = replace(draft.parameters, sequence=parameter.sequence)
    if isinstance(parameter, Resume):
        before, height = draft.shards[parameter.shard], 0 if parameter.header is None else parameter.header.height
        draft.shards[parameter.shard] = ShardEntry(
            verified_height=min(before.verified_height, height),
            header=parameter.header,
            hash=ZERO_HASH if parameter.header is None else parameter.header.hash,
            relay_height=draft.height,
            epoch_min=parameter.epoch,
            key=BlockKey(parameter.key_id, parameter.suite, parameter.public_key),
        )
    elif parameter.kind is ParameterKind.EPOCH_LENGTH:
        draft.parameters = replace(draft.parameters, epoch_length=parameter.value)
    else:
        draft.parameters = replace(draft.parameters, drift_ns=parameter.value)


def _check_effect(draft: Draft, height: int) -> None:
    first = draft.height + draft.parameters.epoch_length
    if not first <= height <= draft.height + EFFECT_AHEAD_MAX:
        raise BlockRefused("governance_too_soon", f"height {height}, where {first} is the earliest")


def _check_set(draft: Draft, validators: ValidatorSet) -> None:
    latest = draft.sets[-1]
    if latest.first_height > draft.height:
        raise BlockRefused("governance_set_pending", f"set {latest.set_id} from height {latest.first_height}")
    if validators.set_id != latest.set_id + 1:
        raise BlockRefused("governance_set_id", f"{validators.set_id} after {latest.set_id}")
    _check_effect(draft, validators.first_height)


def _check_slot_map(draft: Draft, record: RelayRecord) -> None:
    slot_map = record.slot_map()
    if slot_map.domain not in draft.block_keys:
        raise BlockRefused("governance_domain", f"no domain {slot_map.domain}")
    known = draft.slot_maps.get(slot_map.domain)
    if slot_map.version != (1 if known is None else known.version) + 1:
        raise BlockRefused("governance_version", f"slot map version {slot_map.version}")
    if max(slot_map.slots) >= draft.genesis.domain(slot_map.domain).shards:
        raise BlockRefused("governance_slot", f"domain {slot_map.domain} has no shard {max(slot_map.slots)}")
    _check_effect(draft, slot_map.effect_height)


def _check_corridor(draft: Draft, record: RelayRecord) -> None:
    corridor = record.corridor()
    known = draft.corridors.get(corridor.id)
    if corridor.version != (0 if known is None else known.version) + 1:
        raise BlockRefused("governance_version", f"corridor version {corridor.version}")
    if known is None and len(draft.corridors) >= CORRIDORS_MAX:
        raise BlockRefused("governance_corridors_full", f"{CORRIDORS_MAX} stand")
    _check_effect(draft, corridor.effect_height)


def _check_block_key(draft: Draft, change: BlockKeyChange, governed: Governed) -> None:
    """Demand the next number of the domain, a key in force, and both keys under the body: old first, then new."""
    keys = draft.block_keys.get(change.domain)
    if keys is None:
        raise BlockRefused("governance_domain", f"no domain {change.domain}")
    if change.sequence != draft.key_sequences.get(change.domain, 0) + 1:
        raise BlockRefused("governance_sequence", f"block key change {change.sequence} of domain {change.domain}")
    old = next((key for key in keys if key.key_id == change.old_key_id), None)
    if old is None:
        raise BlockRefused("governance_block_key", f"domain {change.domain} has no block key {change.old_key_id}")
    if any(change.new_key_id == key.key_id or change.public_key == key.public_key for key in keys):
        raise BlockRefused("governance_block_key", "the new key or its id is in force already")
    message = governance_message(draft.suite, draft.genesis.hash, RelayRecordType.PARAMETER, governed.body)
    signers = (old, BlockKey(change.new_key_id, change.suite, change.public_key))
    rows = governed.approvals
    if [row.index for row in rows] != [0, 1] or not all(
        _signed(key, row.signature, message) for key, row in zip(signers, rows, strict=True)
    ):
        raise BlockRefused("governance_approvals", "the old and the new key are both asked for")


def _signed(key: BlockKey, signature: bytes, message: bytes) -> bool:
    plain = plain_key(key.suite, key.public_key)
    known = key.suite in SigningSuite.__members__.values()
    return known and plain is not None and verify(key.suite, plain, signature, message)


def _check_number(change: NumberChange) -> None:
    lowest, highest = (1, EPOCH_LENGTH_MAX)
    if change.kind is ParameterKind.DRIFT:
        lowest, highest = DRIFT_NS_MIN, DRIFT_NS_MAX
    if not lowest <= change.value <= highest:
        raise BlockRefused("governance_value", f"{change.value} is not within {lowest} to {highest}")


def _check_resume(draft: Draft, resume: Resume) -> None:
    """Demand a suspended shard, a later epoch, and a last valid header of that shard that is no later than known."""
    entry = draft.entry(resume.shard)
    if entry is None or not entry.suspended:
        raise BlockRefused("governance_not_suspended", f"shard {resume.shard:#x}")
    epoch = max(entry.epoch_min, 0 if entry.header is None else entry.header.epoch)
    if resume.epoch <= epoch:
        raise BlockRefused("governance_epoch", f"{resume.epoch} after {epoch}")
    header = resume.header
    if header is not None:
        found = (header.genesis_hash, header.hash_suite, header.shard)
        if found != (draft.genesis.hash, draft.suite, resume.shard) or header.height > entry.height:
            raise BlockRefused("governance_header", f"shard {resume.shard:#x}: not what was anchored, nor before it")
