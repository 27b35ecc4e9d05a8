"""What the members decide among themselves: lengths, keys, maps, sets; each offered until the chain holds it.

Approvals are a quorum's, made with the keys of the set at hand. What came too late for its height is made anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clearspan.simulation.relay.parties import key_of
from clearspan.simulation.relay.timeline import MS
from engine.evidence import FraudClaim
from engine.genesis import padded_key
from engine.governance import (
    Approval,
    BlockKeyChange,
    Corridor,
    NumberChange,
    ParameterKind,
    Resume,
    SlotMap,
    governance_message,
)
from engine.relay_block import (
    corridor_record,
    evidence_record,
    parameter_record,
    reveal_record,
    slot_map_record,
    validator_set_record,
)
from engine.types import SLOT_COUNT, RelayRecordType
from native.hashing import digest
from relay.checkpoint import CHECKPOINT_HEIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from clearspan.simulation.relay.operators import Operators
    from clearspan.simulation.relay.stage import Stage
    from engine.governance import Parameter
    from engine.relay_block import RelayRecord
    from engine.validators import ValidatorSet
    from relay.state import RelayState

__all__ = ["Council"]

_ROUND_NS: Final = 250 * MS
_AHEAD: Final = 4
_REVEAL_NS: Final = 200 * MS


@dataclass(slots=True)
class _Task:
    """Something to be decided: how it is put, and how it shows that it was. ``name`` is what is reported then."""

    name: str
    make: Callable[[RelayState], RelayRecord | None]
    done: Callable[[RelayState], bool]
    reported: bool = False


class Council:
    """Puts one thing after another to the relay; ``reveals`` are the preimages that were offered."""

    def __init__(self, scene: Stage, operators: Operators) -> None:
        self.scene = scene
        self._operators = operators
        self.reveals: list[bytes] = []
        self.set_made: ValidatorSet | None = None
        plan = scene.plan
        self._tasks: list[_Task] = []
        if not plan.base_height:
            self._tasks.append(self._number("epoch_length", ParameterKind.EPOCH_LENGTH, 2))
        if plan.change != "none":
            self._tasks.append(_Task("set_announced", self._set, lambda state: len(state.sets) > 1))
        others = [
            self._number("drift", ParameterKind.DRIFT, 4_000 * MS),
            _Task("slot_map", self._slot_map, lambda state: bool(state.slot_maps)),
            _Task("corridor", self._corridor, lambda state: bool(state.corridors)),
            _Task("block_key", self._block_key, lambda state: bool(state.key_sequences)),
        ]
        self._tasks += scene.chance.sample(others, 2)
        self._resumed = 0

    def start(self) -> None:
        """Begin."""
        self._round()
        self._reveal()

    @property
    def busy(self) -> bool:
        """Whether something is not decided yet."""
        return not all(task.done(self.scene.best) for task in self._tasks)

    # What is put.

    def _round(self) -> None:
        scene, state = self.scene, self.scene.best
        for task in self._tasks:
            if task.done(state):
                if not task.reported:
                    task.reported = True
                    scene.report.state(task.name)
                continue
            record = task.make(state)
            if record is not None:
                scene.offer_all(record)
            break
        self._shards(state)
        scene.timeline.after(_ROUND_NS, self._round)

    def _shards(self, state: RelayState) -> None:
        """Claim fraud of shards that lie, and let suspended ones begin again."""
        for shard, operator in self._operators.of.items():
            entry = state.shards[shard]
            if entry.suspended and self.scene.chance.random() < 0.5:
                record = self._resume(state, shard)
                if record is not None:
                    self.scene.offer_all(record)
            elif operator.habit == "false" and entry.header is not None and entry.height > 2:
                self._claim(state, shard)

    def _claim(self, state: RelayState, shard: int) -> None:
        entry = state.shards[shard]
        assert entry.header is not None
        computed = digest(1, b"what re-execution gives")
        claim = FraudClaim(shard, entry.header.epoch, entry.height, entry.hash, entry.header.state_root, computed)
        validators = state.set_at(state.height + 1)
        parties = self.scene.parties
        if entry.disputed_height:
            self.scene.report.state("shard_claim_disputed")
            rows = parties.approvals(RelayRecordType.EVIDENCE, claim.body(), validators)
        else:
            message = governance_message(parties.suite, parties.genesis.hash, RelayRecordType.EVIDENCE, claim.body())
            key = parties.key_in(parties.number_of(validators, 0), validators)
            assert key is not None
            rows = (Approval(0, key.sign(message)),)
        body = FraudClaim(
            claim.shard, claim.epoch, claim.height, claim.header_hash, claim.claimed_root, claim.computed_root, rows
        )
        self.scene.offer_all(evidence_record(body))

    def _parameter(self, state: RelayState, parameter: Parameter) -> RelayRecord:
        bare = parameter_record(parameter)
        approvals = self.scene.parties.approvals(bare.type, parameter.encode(), state.set_at(state.height + 1))
        return parameter_record(parameter, approvals)

    def _number(self, name: str, kind: ParameterKind, value: int) -> _Task:
        def done(state: RelayState) -> bool:
            parameters = state.parameters
            return value == (parameters.epoch_length if kind is ParameterKind.EPOCH_LENGTH else parameters.drift_ns)

        def make(state: RelayState) -> RelayRecord:
            return self._parameter(state, NumberChange(kind, state.parameters.sequence + 1, value))

        return _Task(name, make, done)

    def _resume(self, state: RelayState, shard: int) -> RelayRecord | None:
        operator, entry = self._operators.of[shard], state.shards[shard]
        if entry.header is None:
            return None
        self._resumed += 1
        if operator.epoch == 1:
            if operator.habit == "false":
                self.scene.report.state("shard_claim_suspended")
            operator.resume(state, 1)
        key = operator.key
        resume = Resume(
            shard,
            state.parameters.sequence + 1,
            key.key_id,
            key.suite,
            operator.epoch,
            padded_key(key.public_key),
            entry.header,
        )
        return self._parameter(state, resume)

    def _slot_map(self, state: RelayState) -> RelayRecord:
        made = SlotMap(1, 2, state.height + state.parameters.epoch_length + _AHEAD, bytes(SLOT_COUNT))
        approvals = self._approvals(state, slot_map_record(made), made.encode())
        return slot_map_record(made, approvals)

    def _corridor(self, state: RelayState) -> RelayRecord:
        height = state.height + state.parameters.epoch_length + _AHEAD
        made = Corridor(b"corridor 1 to 2.", 1, height, b"a document")
        return corridor_record(made, self._approvals(state, corridor_record(made), made.encode()))

    def _approvals(self, state: RelayState, record: RelayRecord, body: bytes) -> tuple[Approval, ...]:
        return self.scene.parties.approvals(record.type, body, state.set_at(state.height + 1))

    def _block_key(self, state: RelayState) -> RelayRecord:
        """Change the block key of domain 1, signed by the old and the new one; its shards go on under the new."""
        parties, old = self.scene.parties, state.block_keys[1][0]
        new = key_of("block/1/2", 101, 1, 2)
        change = BlockKeyChange(1, 1, old.key_id, new.key_id, new.suite, padded_key(new.public_key))
        message = governance_message(parties.suite, parties.genesis.hash, RelayRecordType.PARAMETER, change.encode())
        rows = tuple(Approval(at, key.sign(message)) for at, key in enumerate((parties.block_keys[1], new)))
        return parameter_record(change, rows)

    def _set(self, state: RelayState) -> RelayRecord | None:
        """Put the next set; one whose height has become too near is put with a later one."""
        first = state.height + state.parameters.epoch_length + _AHEAD
        if self.scene.plan.base_height and self.scene.plan.change == "add":
            # A newcomer has only the checkpoint to begin with.
            first = max(first, CHECKPOINT_HEIGHTS + _AHEAD)
        latest, parties = state.sets[-1], self.scene.parties
        if self.set_made is None:
            numbers = [parties.owner[member.public_key] for member in latest.members]
            spare = [number for number in numbers if number != self.scene.plan.restored]
            self.set_made = parties.changed_set(latest, first, self.scene.plan.change, spare)
            self.scene.set_made(self.set_made)
        earliest = state.height + 1 + state.parameters.epoch_length
        if self.set_made.first_height < earliest:
            self.set_made = type(self.set_made)(latest.set_id + 1, first, self.set_made.members)
        bare = validator_set_record(self.set_made)
        return validator_set_record(self.set_made, self._approvals(state, bare, self.set_made.encode()))

    # Reveals.

    def _reveal(self) -> None:
        scene = self.scene
        if not scene.healed or scene.timeline.now < scene.healed:
            preimage = digest(1, b"preimage %d %d" % (scene.plan.seed, len(self.reveals)))
            self.reveals.append(preimage)
            scene.offer_all(reveal_record(preimage), until=lambda state: preimage in state.reveals)
        scene.timeline.after(scene.chance.randrange(_REVEAL_NS // 4, _REVEAL_NS * 2), self._reveal)
