"""What liars claim before the relay's state: blocks no rule allows, false accusations, offers, answers in catching up.

Each function returns what one liar could really make: it signs with its own keys alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clearspan.simulation.relay.forgers import bent, messages_of, remade, resigned
from clearspan.simulation.relay.parties import key_of
from engine.evidence import ConflictingVotes, DeniedCertificate, Evidence, FraudClaim, SignedVote, TimeoutFields
from engine.governance import Approval, NumberChange, ParameterKind, governance_message
from engine.header import header_message
from engine.relay_block import (
    RelayBlock,
    RelayRecord,
    evidence_record,
    parameter_record,
    reveal_record,
    validator_set_record,
)
from engine.types import RelayRecordType
from engine.validators import Certificate, ValidatorSet
from native.hashing import digest
from relay.evidence import forked_shard
from relay.messages import Proposal, TimeoutMessage, VoteMessage
from relay.offers import HeaderOffer
from relay.sync_messages import (
    REPLY_BYTES_MAX,
    BlocksReply,
    ChunkReply,
    NothingReply,
    ProofReply,
    SyncStatus,
    decode_reply,
    encode_reply,
)

if TYPE_CHECKING:
    from clearspan.simulation.relay.liars import LiarNode
    from relay.offers import PoolItem

__all__ = ["forged_evidence", "invalid_offers", "invalid_proposal", "is_status", "sync_lie"]


def invalid_proposal(liar: LiarNode, message: Proposal) -> Proposal:
    """Return a proposal of a block that breaks one rule, truly signed."""
    scene, chance, suite = liar.scene, liar.chance, liar.scene.parties.suite
    core = liar.core
    assert core is not None
    block = RelayBlock.decode(message.block, suite)
    records, header = list(block.records), block.header
    choice = chance.randrange(9)
    if choice == 0:
        bad = remade(block, records, suite, time=header.time + chance.choice((-1, 1, 10**12)))
    elif choice == 1:
        bad = remade(block, records, suite, parent_hash=chance.randbytes(32))
    elif choice == 2:
        bad = remade(block, records, suite, view=header.view + 1)
    elif choice == 3:
        known = [reveal_record(each) for each in core.state.reveals]  # type: ignore[attr-defined]
        bad = remade(block, [*records[:1], *known[:1], *records[1:]], suite)
    elif choice == 4:
        bad = remade(block, records[::-1], suite, time=header.time + 1)
    elif choice == 5:
        bare = parameter_record(NumberChange(ParameterKind.EPOCH_LENGTH, 9, 1), _own_approval(liar, b"x"))
        bad = remade(block, [*records, bare], suite)
    elif choice == 6:
        bad = remade(block, [*records, *forged_evidence(liar)[:1]], suite, time=header.time + 1)
    elif choice == 7:
        return replace(resigned(liar, message, remade(block, records[1:], suite)), sidecar=bytes(8))
    else:
        kept = [each for each in records if each.type is not RelayRecordType.HEADER]
        foreign = replace(header, genesis_hash=digest(1, b"another genesis"))
        bad = (
            replace(remade(block, kept, suite), header=foreign)
            if scene.chance.random() < 0.3
            else remade(block, records + records[-1:], suite, time=header.time + 1)
        )
    return resigned(liar, message, bad)


def _own_approval(liar: LiarNode, body: bytes) -> tuple[Approval, ...]:
    parties = liar.scene.parties
    message = governance_message(parties.suite, parties.genesis.hash, RelayRecordType.PARAMETER, body)
    return (Approval(liar.index, liar.key.sign(message)),)


# Proofs and offers.


def forged_evidence(liar: LiarNode) -> list[RelayRecord]:
    """Return accusations of the honest: signatures that do not hold, votes that do not conflict, nothing denied."""
    core, chance = liar.core, liar.chance
    assert core is not None
    votes = [each for each in messages_of(liar) if isinstance(each, VoteMessage | Proposal)]
    honest = [each for each in votes if each.index != liar.index and each.index < len(core.validators.members)]
    if not honest:
        return []
    said = chance.choice(honest)
    one = SignedVote(said.vote, said.signature)
    other = SignedVote(replace(said.vote, block_hash=chance.randbytes(32)), said.signature)
    first, second = sorted((one, other), key=lambda each: each.vote.block_hash)
    timeouts = [each for each in messages_of(liar) if isinstance(each, TimeoutMessage) and each.index == said.index]
    made: list[Evidence] = [
        ConflictingVotes(said.index, first, second),
        ConflictingVotes(said.index, first, replace(second, signature=liar.vote(other.vote).signature)),
        ConflictingVotes(said.index, one, one),
        DeniedCertificate(
            said.index, one, TimeoutFields(one.vote.set_id, one.vote.height, one.vote.view, 0), one.signature
        ),
    ]
    for each in honest:
        if each.index == said.index and each.vote.block_hash != said.vote.block_hash:
            pair = sorted((one, SignedVote(each.vote, each.signature)), key=lambda signed: signed.vote.block_hash)
            made.append(ConflictingVotes(said.index, *pair))
            break
    for timeout in timeouts[:1]:
        true = timeout.timeout
        fields = TimeoutFields(true.set_id, true.height, true.view, true.high_view_plus_one)
        made.append(DeniedCertificate(said.index, one, fields, timeout.signature))
        made.append(DeniedCertificate(said.index, one, replace(fields, high_view_plus_one=0), timeout.signature))
    return [evidence_record(each) for each in chance.sample(made, min(2, len(made)))]


def invalid_offers(liar: LiarNode) -> list[PoolItem]:
    """Return governance that too few approved, headers under foreign keys, claims against honest shards."""
    core, chance, scene = liar.core, liar.chance, liar.scene
    assert core is not None
    state, parties = scene.best, scene.parties
    latest = state.sets[-1]
    taken_over = ValidatorSet(latest.set_id + 1, state.height + 40, latest.members[::-1])
    body = taken_over.encode()
    change = NumberChange(ParameterKind.EPOCH_LENGTH, state.parameters.sequence + 1, 1)
    message = governance_message(parties.suite, parties.genesis.hash, RelayRecordType.PARAMETER, change.encode())
    copied = tuple(Approval(index, liar.key.sign(message)) for index in range(len(core.validators.members)))
    made: list[PoolItem] = [
        validator_set_record(taken_over, _own_approval(liar, body)),
        parameter_record(change, _own_approval(liar, change.encode())),
        parameter_record(change, copied),
    ]
    operator = scene.operators.of[0x100]
    if operator.signed:
        true = operator.signed[-1].header
        bad = replace(true, height=true.height + 1, parent_hash=true.hash, state_root=chance.randbytes(32))
        stranger = key_of("stranger", 1, 1, operator.key.key_id)
        signature = stranger.sign(header_message(parties.suite, parties.genesis.hash, bad.hash))
        forged = replace(operator.signed[-1], header=bad, signature=signature)
        made.append(HeaderOffer(forged))
        twin = replace(forged, header=replace(bad, height=true.height, parent_hash=true.parent_hash))
        made.append(forked_shard(operator.signed[-1], twin))
        claim = FraudClaim(0x100, true.epoch, true.height, true.hash, true.state_root, chance.randbytes(32))
        said = governance_message(parties.suite, parties.genesis.hash, RelayRecordType.EVIDENCE, claim.body())
        made.append(evidence_record(replace(claim, approvals=(Approval(liar.index, liar.key.sign(said)),))))
    return chance.sample(made, 2)


# Catching up.


def _another_chain(liar: LiarNode, reply: BlocksReply) -> BlocksReply:
    """Return an answer whose first block follows but is another; its certificate fits it but for the signatures."""
    suite = liar.scene.parties.suite
    block, certificate = RelayBlock.decode(reply.blocks[0][0], suite), Certificate.decode(reply.blocks[0][1])
    records = [each for each in block.records if each.type is RelayRecordType.PARENT_CERTIFICATE]
    made = remade(block, [*records, reveal_record(liar.chance.randbytes(32))], suite)
    forged = replace(certificate, block_hash=made.hash(suite))
    return replace(reply, blocks=((made.encode(), forged.encode()), *reply.blocks[1:]))


def is_status(liar: LiarNode, reply: bytes) -> bool:
    """Say whether an answer is what a peer has."""
    return isinstance(decode_reply(reply, liar.scene.parties.genesis.hash), SyncStatus)


def sync_lie(liar: LiarNode, request: bytes, replies: list[bytes]) -> list[bytes]:
    """Return a wrong answer to a request."""
    genesis_hash, chance = liar.scene.parties.genesis.hash, liar.chance
    choice = chance.randrange(8)
    if replies and chance.random() < 0.4:
        reply = decode_reply(replies[0], genesis_hash)
        if isinstance(reply, BlocksReply):
            return [encode_reply(_another_chain(liar, reply), genesis_hash)]
    if not replies or choice == 0:
        return []
    if choice == 1:
        return [bytes(REPLY_BYTES_MAX + 1)] if chance.random() < 0.2 else [b"CSSY" + bytes(100)]
    if choice == 2:
        return replies * 5
    if choice == 3:
        return [bent(liar, replies[0])]
    reply = decode_reply(replies[0], genesis_hash)
    if choice == 4:
        return [encode_reply(NothingReply(reply.id), genesis_hash)]
    if choice == 5:
        return [encode_reply(replace(reply, id=reply.id + 10**9), genesis_hash)]
    told: list[Any] = [reply]
    if isinstance(reply, SyncStatus):
        told = [
            replace(reply, height=chance.choice((1 << 63, reply.height + 5, max(reply.height - 3, 0)))),
            replace(reply, checkpoint=chance.choice((1 << 62, 5, reply.height))),
            replace(reply, set_id=chance.choice((1 << 40, reply.set_id + 1))),
            replace(reply, lowest=chance.choice((1, 1 << 60))),
        ]
    elif isinstance(reply, BlocksReply):
        first, certificate = reply.blocks[0]
        told = [
            replace(reply, first=reply.first + 1),
            replace(reply, blocks=reply.blocks[::-1]),
            replace(reply, blocks=reply.blocks * 9),
            replace(reply, blocks=((first, b""), *reply.blocks[1:])),
            replace(reply, blocks=((bent(liar, first), certificate), *reply.blocks[1:])),
            replace(reply, blocks=((first, bent(liar, certificate)), *reply.blocks[1:])),
            replace(reply, blocks=((first, certificate[:64] + b"\1\0\0\0" + certificate[68:184]), *reply.blocks[1:])),
            SyncStatus(reply.id, 9, 1, 0, 1),
        ]
    elif isinstance(reply, ProofReply):
        told = [replace(reply, proof=bent(liar, reply.proof)), replace(reply, proof=b"")]
    elif isinstance(reply, ChunkReply):
        told = [
            replace(reply, chunk=bent(liar, reply.chunk)),
            replace(reply, chunk=reply.chunk[:-1]),
            replace(reply, index=reply.index + 1),
        ]
    assert request
    return [encode_reply(chance.choice(told), genesis_hash)]
