"""Cases, outcomes of screening, breakers and alarms as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearspan.v1 import bridge_pb2
from engine.prefix import PrefixType, record_digest, signing_prefix
from native.signatures import PUBLIC_KEY_BYTES

if TYPE_CHECKING:
    from bridge.cases import Case
    from bridge.corridor_breakers import BreakerNotice
    from clearspan.bridging.journal.alarms import Alarm
    from clearspan.bridging.rules.outcomes import Outcome
    from clearspan.bridging.settings.keys import BridgeKeys
    from engine.genesis import Genesis

__all__ = ["alarm_view", "breaker_view", "case_view", "outcome_view"]


def case_view(case: Case) -> bridge_pb2.CaseView:
    """Return a case with all that was done with it."""
    opened = case.opened
    return bridge_pb2.CaseView(
        case_id=bytes.fromhex(opened.case_id),
        kind=opened.kind.value,
        state=case.state.value,
        uetr=bytes.fromhex(opened.uetr),
        opened_at=opened.opened_at,
        deadline=opened.deadline,
        score=opened.score,
        explanation=opened.explanation,
        officer=case.officer,
        proposer=case.proposer,
        owner=opened.owner,
        list_version=opened.list_version,
        message_hash=bytes.fromhex(opened.message_hash),
        ledgers=opened.ledgers,
        steps=[
            bridge_pb2.CaseStep(at=each.at, step=each.step.value, officer=each.officer, text=each.text)
            for each in case.steps
        ],
    )


def outcome_view(genesis: Genesis, keys: BridgeKeys, outcome: Outcome) -> bridge_pb2.OutcomeView:
    """Return a signed record with the key that signed it, and where its ledger's receipt is found."""
    ring = keys.ring(keys.domain_of(outcome.ledger))
    # A key that was replaced since is not here any more; the ledger's registry has it.
    info = next((each for each in ring if each.key_id == outcome.signed.record.key_id), None)
    prefix = signing_prefix(genesis.hash_suite, PrefixType.ACCOUNT, genesis.hash)
    return bridge_pb2.OutcomeView(
        signed_record=outcome.signed.encode(),
        public_key=info.public_key[: PUBLIC_KEY_BYTES[int(info.suite)]] if info is not None else b"",
        suite=int(info.suite) if info is not None else 0,
        ledger=outcome.ledger,
        state=outcome.state.name.lower(),
        ledger_digest=record_digest(genesis.hash_suite, prefix, outcome.request.encode()),
        decided_at=outcome.at,
    )


def breaker_view(notice: BreakerNotice) -> bridge_pb2.BreakerView:
    """Return a breaker of a corridor."""
    return bridge_pb2.BreakerView(
        corridor_id=notice.corridor_id,
        domain=notice.domain,
        grade="clear" if notice.grade is None else notice.grade.name.lower(),
        reason=notice.reason,
        rate=notice.rate,
        set_at=notice.set_at,
        expires_at=notice.expires_at,
        relay_height=notice.relay_height,
    )


def alarm_view(alarm: Alarm) -> bridge_pb2.AlarmView:
    """Return an alarm with what to do next."""
    return bridge_pb2.AlarmView(
        number=alarm.number,
        kind=alarm.kind,
        swap=alarm.swap,
        text=alarm.text,
        next_step=alarm.next_step,
        first_at=alarm.first_at,
        last_at=alarm.last_at,
        count=alarm.count,
        acknowledged_by=alarm.by,
        acknowledged_at=alarm.acknowledged_at,
        note=alarm.note,
    )
