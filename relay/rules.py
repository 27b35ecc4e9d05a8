"""The records of a block beside its headers: their order, how many may stand, and what each does (07).

It promises one order of types, a bound for each, and that a record is checked against what those before it did.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from engine.refusals import EncodingError, ProofRefused
from engine.run_decision import AnchoredHeader, check_run_decision
from engine.types import RelayRecordType
from relay.errors import BlockRefused
from relay.evidence import apply_evidence, check_evidence
from relay.governance import apply_governance, check_governance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeAlias

    from engine.relay_block import RelayRecord
    from relay.draft import Draft

    _Rule: TypeAlias = Callable[[Draft, RelayRecord], None]

__all__ = ["REVEALS_KEPT_MAX", "REVEALS_MAX", "apply", "check", "check_all", "check_order", "choose", "forget"]

REVEALS_MAX: Final = 1024
REVEALS_KEPT_MAX: Final = 65_536
HEADERS_MAX: Final = 16_384
DECISIONS_MAX: Final = 1024
GOVERNANCE_MAX: Final = 16
EVIDENCE_MAX: Final = 64
_RECORD_FRAME: Final = 8

# The order of types in a body, and how many of each may stand there.
_COUNT_MAX: Final[Mapping[RelayRecordType, int]] = {
    RelayRecordType.PARENT_CERTIFICATE: 1,
    RelayRecordType.HEADER: HEADERS_MAX,
    RelayRecordType.REVEAL: REVEALS_MAX,
    RelayRecordType.DECISION: DECISIONS_MAX,
    RelayRecordType.VALIDATOR_SET: 1,
    RelayRecordType.SLOT_MAP: GOVERNANCE_MAX,
    RelayRecordType.CORRIDOR: GOVERNANCE_MAX,
    RelayRecordType.EVIDENCE: EVIDENCE_MAX,
    RelayRecordType.PARAMETER: GOVERNANCE_MAX,
    RelayRecordType.CHECKPOINT: 1,
}
_PLACE: Final = {kind: place for place, kind in enumerate(_COUNT_MAX)}


def check_order(records: Sequence[RelayRecord]) -> None:
    """Demand the order of types and the bound of each; raises BlockRefused."""
    last = -1
    for kind, group in groupby(record.type for record in records):
        if _PLACE[kind] < last:
            raise BlockRefused("record_order", f"type {int(kind)} stands too late")
        last = _PLACE[kind]
        if sum(1 for _ in group) > _COUNT_MAX[kind]:
            raise BlockRefused("record_limit", f"more than {_COUNT_MAX[kind]} of type {int(kind)}")


def check(draft: Draft, record: RelayRecord) -> None:
    """Demand that a record may stand next in the block that the draft is taking; raises BlockRefused."""
    rule = _RULES.get(record.type)
    if rule is not None:
        rule[0](draft, record)


def check_all(draft: Draft, records: Iterable[RelayRecord]) -> None:
    """Check and apply records one after another; raises BlockRefused."""
    for record in records:
        check(draft, record)
        apply(draft, record)


def apply(draft: Draft, record: RelayRecord) -> None:
    """Let a record of a final block act; headers and the parent certificate act elsewhere."""
    rule = _RULES.get(record.type)
    if rule is not None:
        rule[1](draft, record)


def choose(draft: Draft, records: Iterable[RelayRecord], room: int) -> list[RelayRecord]:
    """Return, in the order of a body, what of these may stand together in ``room`` bytes; the draft takes it."""
    chosen: list[RelayRecord] = []
    counts = dict.fromkeys(_COUNT_MAX, 0)
    for record in sorted(records, key=lambda each: _PLACE[each.type]):
        size = len(record.payload) + _RECORD_FRAME
        if record.type not in _RULES or counts[record.type] >= _COUNT_MAX[record.type] or size > room:
            continue
        try:
            record.check()
            check_all(draft, [record])
        except (BlockRefused, EncodingError, ProofRefused):
            continue
        counts[record.type] += 1
        room -= size
        chosen.append(record)
    return chosen


def forget(draft: Draft) -> None:
    """Forget what has no use any more, by rules of the chain alone."""
    if draft.revealed:
        draft.reveals = draft.reveals.grown(draft.revealed, REVEALS_KEPT_MAX)
    draft.decisions = {run: deadline for run, deadline in draft.decisions.items() if deadline > draft.time}
    members = frozenset(member.public_key for validators in draft.sets for member in validators.members)
    draft.penalties = {key: value for key, value in draft.penalties.items() if key in members}
    draft.noted = {key: value for key, value in draft.noted.items() if key in members}


def _check_reveal(draft: Draft, record: RelayRecord) -> None:
    if record.payload in draft.reveals or record.payload in draft.revealed:
        raise BlockRefused("reveal_known", record.payload.hex())


def _apply_reveal(draft: Draft, record: RelayRecord) -> None:
    draft.revealed[record.payload] = draft.height


def _check_decision(draft: Draft, record: RelayRecord) -> None:
    decision = record.run_decision()
    if draft.time >= decision.deadline:
        raise BlockRefused("decision_late", f"deadline {decision.deadline}, block {draft.time}")

    def anchored(shard: int) -> Sequence[AnchoredHeader]:
        # What a suspended shard prepared may not be what it goes on with.
        entry = draft.entry(shard)
        return () if entry is None or entry.suspended or entry.header is None else entry.anchored()

    try:
        run = check_run_decision(decision, draft.genesis, anchored)
    except ProofRefused as error:
        raise BlockRefused("decision_proof", str(error)) from error
    if run in draft.decisions:
        raise BlockRefused("decision_known", run.hex())


def _apply_decision(draft: Draft, record: RelayRecord) -> None:
    decision = record.run_decision()
    draft.decisions[decision.run(draft.suite, draft.genesis.hash)] = decision.deadline


_GOVERNED: Final = (check_governance, apply_governance)
# Headers, the parent certificate and the checkpoint are the state's own.
_RULES: Final[Mapping[RelayRecordType, tuple[_Rule, _Rule]]] = {
    RelayRecordType.REVEAL: (_check_reveal, _apply_reveal),
    RelayRecordType.DECISION: (_check_decision, _apply_decision),
    RelayRecordType.VALIDATOR_SET: _GOVERNED,
    RelayRecordType.SLOT_MAP: _GOVERNED,
    RelayRecordType.CORRIDOR: _GOVERNED,
    RelayRecordType.PARAMETER: _GOVERNED,
    RelayRecordType.EVIDENCE: (check_evidence, apply_evidence),
}
