"""Evidence: what shows by itself that a shard forked or a member lied, and what it leads to (07).

It promises that only signatures convict, that an honest shard or member is never convicted whatever is lost, delayed or
restarted, and that a claim nobody confirmed changes nothing but a mark.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from engine.evidence import ConflictingVotes, ForkedShard, FraudClaim
from engine.genesis import plain_key
from engine.governance import approvals_power, governance_message
from engine.header import header_message
from engine.refusals import CertificateRefused
from engine.relay_block import evidence_record
from engine.types import RelayRecordType
from native.signatures import verify
from relay.blame import verify_guilt
from relay.errors import BlameRefused, BlockRefused

if TYPE_CHECKING:
    from engine.header import SignedHeader
    from engine.relay_block import RelayRecord
    from engine.validators import ValidatorSet
    from relay.blame import GuiltProof
    from relay.draft import Draft

__all__ = ["apply_evidence", "check_evidence", "forked_shard"]

_CONFLICTING_VOTES: Final = 1
_DENIED_CERTIFICATE: Final = 2


def forked_shard(one: SignedHeader, other: SignedHeader) -> RelayRecord:
    """Return the record that shows two headers of one shard, height and epoch."""
    first, second = sorted((one, other), key=lambda each: each.header.hash)
    return evidence_record(ForkedShard(first, second))


def check_evidence(draft: Draft, record: RelayRecord) -> None:
    """Demand that a record shows what it says and is news; raises BlockRefused."""
    evidence = record.evidence()
    if isinstance(evidence, ForkedShard):
        _check_forked(draft, evidence)
    elif isinstance(evidence, FraudClaim):
        _check_claim(draft, evidence)
    else:
        _check_guilt(draft, evidence)


def apply_evidence(draft: Draft, record: RelayRecord) -> None:
    """Let evidence that passed act: suspend the shard, mark it disputed, or note the member."""
    evidence = record.evidence()
    if isinstance(evidence, ForkedShard):
        shard = evidence.first.header.shard
        draft.shards[shard] = replace(draft.shards[shard], suspended=True)
    elif isinstance(evidence, FraudClaim):
        entry = draft.shards[evidence.shard]
        confirmed = draft.validators.is_quorum(draft.validators.power_of(each.index for each in evidence.approvals))
        draft.shards[evidence.shard] = replace(
            entry,
            suspended=entry.suspended or confirmed,
            disputed_height=entry.disputed_height if confirmed else evidence.height,
        )
    else:
        key = _set_of(draft, evidence).members[evidence.member].public_key
        draft.noted[key] = draft.noted.get(key, 0) | _bit(evidence)


def _bit(proof: GuiltProof) -> int:
    return _CONFLICTING_VOTES if isinstance(proof, ConflictingVotes) else _DENIED_CERTIFICATE


def _check_forked(draft: Draft, evidence: ForkedShard) -> None:
    one, other = evidence.first.header, evidence.second.header
    if (one.shard, one.height, one.epoch) != (other.shard, other.height, other.epoch):
        raise BlockRefused("evidence_no_conflict", "two shards, heights or epochs")
    if one.hash >= other.hash:
        raise BlockRefused("evidence_no_conflict", "one header twice, or out of order")
    entry = draft.entry(one.shard)
    if entry is None or one.genesis_hash != draft.genesis.hash or other.genesis_hash != draft.genesis.hash:
        raise BlockRefused("evidence_foreign", f"shard {one.shard:#x}")
    if entry.suspended or one.epoch < entry.epoch_min:
        # What a shard did before it was resumed is answered already.
        raise BlockRefused("evidence_known", f"shard {one.shard:#x}")
    for signed in (evidence.first, evidence.second):
        key = next((each for each in draft.keys_of(one.shard) if each.key_id == signed.key_id), None)
        plain = None if key is None else plain_key(key.suite, key.public_key)
        message = header_message(draft.suite, draft.genesis.hash, signed.header.hash)
        if key is None or plain is None or not verify(key.suite, plain, signed.signature, message):
            raise BlockRefused("evidence_signature", f"shard {one.shard:#x}, key {signed.key_id}")


def _check_claim(draft: Draft, claim: FraudClaim) -> None:
    entry = draft.entry(claim.shard)
    if entry is None:
        raise BlockRefused("evidence_foreign", f"shard {claim.shard:#x}")
    if entry.suspended or claim.epoch < entry.epoch_min:
        raise BlockRefused("evidence_known", f"shard {claim.shard:#x}")
    if not 0 < claim.height <= entry.height or claim.claimed_root == claim.computed_root:
        raise BlockRefused("evidence_no_conflict", f"shard {claim.shard:#x}, height {claim.height}")
    if claim.height == entry.height and entry.header is not None:
        known = (entry.header.epoch, entry.hash)
        roots = {entry.header.state_root, entry.hash}
        if known != (claim.epoch, claim.header_hash) or claim.claimed_root not in roots:
            raise BlockRefused("evidence_no_conflict", "another header is anchored at that height")
    if any(each.height == claim.height and each.hash != claim.header_hash for each in entry.recent):
        raise BlockRefused("evidence_no_conflict", "another header was anchored at that height")
    message = governance_message(draft.suite, draft.genesis.hash, RelayRecordType.EVIDENCE, claim.body())
    try:
        power = approvals_power(message, claim.approvals, draft.validators)
    except CertificateRefused as error:
        raise BlockRefused("evidence_signature", error.reason) from error
    if not power:
        raise BlockRefused("evidence_signature", "nobody makes the claim")
    if not draft.validators.is_quorum(power) and entry.disputed_height:
        raise BlockRefused("evidence_known", f"shard {claim.shard:#x} is disputed already")


def _check_guilt(draft: Draft, proof: GuiltProof) -> None:
    validators = _set_of(draft, proof)
    if isinstance(proof, ConflictingVotes) and proof.first.vote.block_hash > proof.second.vote.block_hash:
        raise BlockRefused("evidence_no_conflict", "the smaller block hash stands first")
    if draft.noted.get(validators.members[proof.member].public_key, 0) & _bit(proof):
        raise BlockRefused("evidence_known", f"member {proof.member}")
    try:
        verify_guilt(proof, draft.suite, draft.genesis.hash, validators)
    except BlameRefused as error:
        raise BlockRefused("evidence_no_conflict", error.reason) from error


def _set_of(draft: Draft, proof: GuiltProof) -> ValidatorSet:
    vote = proof.first.vote if isinstance(proof, ConflictingVotes) else proof.vote.vote
    validators = draft.set_by_id(vote.set_id)
    if validators is None or proof.member >= len(validators.members):
        raise BlockRefused("evidence_set_unknown", f"member {proof.member} of set {vote.set_id}")
    return validators
