"""The verdict at the end of a run: the chain replayed, light clients, and who is to blame for a fork."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearspan.simulation.relay.checks import holds_quorum
from engine.evidence import ConflictingVotes
from engine.genesis import plain_key
from engine.governance import BlockKeyChange, governance_message
from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import RelayBlock
from engine.types import RelayRecordType
from engine.validators import Certificate
from native.signatures import verify
from relay.blame import blame
from relay.errors import BlockRefused
from relay.light import LightClient, RecordProof

if TYPE_CHECKING:
    from clearspan.simulation.relay.checks import Checks
    from clearspan.simulation.relay.disk import Entry
    from clearspan.simulation.relay.operators import Operators
    from clearspan.simulation.relay.stage import Actor, Stage
    from engine.relay_block import RelayRecord
    from relay.state import RelayState

__all__ = ["hold_chain", "hold_fork"]

_GOVERNED = (
    RelayRecordType.VALIDATOR_SET,
    RelayRecordType.SLOT_MAP,
    RelayRecordType.CORRIDOR,
    RelayRecordType.PARAMETER,
)


def hold_chain(scene: Stage, checks: Checks, operators: Operators) -> None:
    """Demand one chain, one state, true words about shards and members, and light clients that see the same."""
    state = _replay(scene, checks)
    for node in scene.nodes:
        if node.honest:
            _hold_node(checks, node)
    _hold_shards(checks, operators, state)
    for node in scene.nodes:
        _light(scene, checks, node)


def _replay(scene: Stage, checks: Checks) -> RelayState:
    """Check every final block again from the beginning, with its certificate, by the law and by the rules."""
    state = scene.parties.base
    for height in sorted(checks.chain):
        entry = checks.chain[height]
        if height != state.height + 1:
            checks.fail(f"height {height} is final and {state.height + 1} is not")
        validators = state.set_at(height)
        if not holds_quorum(entry.certificate, validators):
            checks.fail(f"height {height} is final without a quorum")
        try:
            entry.block.verify_certificate(state.suite, entry.certificate, validators)
            state.check(entry.block, None, None)
        except (BlockRefused, ProofRefused) as error:
            checks.fail(f"height {height} is final and may not be: {error}")
        after = state.after(entry.block, entry.certificate)
        _hold_verified(checks, state, after, entry)
        _hold_governance(checks, state, entry)
        state = after
        if state.tip_hash != entry.state.tip_hash or state.encode() != entry.state.encode():
            checks.fail(f"the state after height {height} is another one")
    for key in state.noted:
        if scene.parties.owner[key] not in scene.plan.lies:
            checks.fail(f"member {scene.parties.owner[key]} is noted and honest")
    return state


def _hold_verified(checks: Checks, before: RelayState, after: RelayState, entry: Entry) -> None:
    """Demand that a height became verified only where an honest follower executed that very header."""
    for shard, its in after.shards.items():
        earlier = before.shards[shard]
        if its.verified_height <= earlier.verified_height:
            continue
        anchored = earlier.header
        known = None if anchored is None else (shard, its.verified_height, anchored.hash)
        if known not in checks.noted:
            checks.fail(f"height {entry.block.header.height}: shard {shard:#x} is verified and nobody executed it")


def _hold_governance(checks: Checks, state: RelayState, entry: Entry) -> None:
    """Demand that what governs was approved: each signature by itself, and by more than two thirds of the power."""
    validators = state.set_at(entry.block.header.height)
    for record in entry.block.records:
        if record.type not in _GOVERNED or _is_block_key(record):
            continue
        governed = record.governed()
        message = governance_message(state.suite, state.genesis.hash, record.type, governed.body)
        power, total = 0, sum(member.power for member in validators.members)
        for index in {row.index for row in governed.approvals if row.index < len(validators.members)}:
            member = validators.members[index]
            key = plain_key(member.suite, member.public_key)
            signature = next(row.signature for row in governed.approvals if row.index == index)
            power += member.power if key is not None and verify(member.suite, key, signature, message) else 0
        if 3 * power <= 2 * total:
            checks.fail(f"height {entry.block.header.height}: {record.type.name} by {power} of {total}")


def _is_block_key(record: RelayRecord) -> bool:
    return record.type is RelayRecordType.PARAMETER and isinstance(record.parameter(), BlockKeyChange)


def _hold_shards(checks: Checks, operators: Operators, state: RelayState) -> None:
    for shard, operator in operators.of.items():
        entry = state.shards[shard]
        if operator.born == "honest" and (entry.suspended or entry.epoch_min > 1):
            checks.fail(f"shard {shard:#x} is suspended and honest")
        if entry.header is not None:
            mine = [each for each in operator.all if each.header.hash == entry.hash]
            if not mine:
                checks.fail(f"shard {shard:#x}: what is anchored, its operator never sealed")


def _hold_node(checks: Checks, node: Actor) -> None:
    """Demand that a member's own chain is the chain, and its state the state."""
    state = node.state
    entry = checks.chain.get(state.height)
    if entry is None or entry.state.tip_hash != state.tip_hash or entry.state.encode() != state.encode():
        checks.fail(f"member {node.number} has another state at height {state.height}")
    if node.core is not None and node.core.counters.halted:
        checks.fail(f"member {node.number} halted")


def _light(scene: Stage, checks: Checks, node: Actor) -> None:
    """Let a light client follow one member from the genesis; what it believes is the chain, whoever it asks."""
    genesis, archive, suite = scene.parties.genesis, node.archive, scene.parties.suite
    client = LightClient.from_genesis(genesis)
    while (proof := archive.set_change(client.newest.set_id + 1)) is not None:
        _refuse_bent(scene, checks, client, proof)
        client.follow(RecordProof.decode(proof))
        scene.report.state("light_followed")
    if archive.height < archive.lowest:
        return
    for height in sorted({archive.lowest, archive.height, scene.chance.randint(archive.lowest, archive.height)}):
        pair = archive.block(height)
        if pair is None:
            continue
        block, certificate = RelayBlock.decode(pair[0], suite), Certificate.decode(pair[1])
        try:
            client.verify(block.header, certificate)
        except ProofRefused as error:
            # Whoever went on from a checkpoint cannot show the changes of set before it.
            if node.honest and "stale_trust" not in str(error):
                checks.fail(f"a light client refuses height {height} of member {node.number}: {error}")
            continue
        known = checks.chain.get(height)
        # A liar may hold the certificate of a height that no honest member has got yet.
        unknown = known is None and node.honest
        if unknown or (known is not None and known.state.tip_hash != block.hash(suite)):
            checks.fail(f"a light client believes another block at height {height}")


def _refuse_bent(scene: Stage, checks: Checks, client: LightClient, proof: bytes) -> None:
    """Demand that a proof with one bit changed anywhere leads nobody to another set."""
    for _ in range(4):
        at = scene.chance.randrange(len(proof))
        bent = proof[:at] + bytes([proof[at] ^ 1 << scene.chance.randrange(8)]) + proof[at + 1 :]
        before = client.newest
        try:
            client.follow(RecordProof.decode(bent))
        except (EncodingError, ProofRefused):
            continue
        checks.fail(f"a light client was led from set {before.set_id} by a proof with a bit changed at {at}")


def hold_fork(scene: Stage, checks: Checks) -> None:
    """More than F lied and two blocks are final: transcripts of both sides name more than F, and only liars."""
    height = checks.forks[0]
    scene.report.state("fork")
    told = [entries[height].transcript for entries in checks.by_node.values() if height in entries]
    cores = [node.core for node in scene.nodes if node.honest and node.core is not None]
    told += [core.transcript for core in cores if core.height == height]
    validators = scene.parties.base.set_at(height)
    culprits = blame(scene.parties.suite, scene.parties.genesis.hash, validators, told)
    numbers = sorted(scene.parties.number_of(validators, index) for index in culprits.proofs)
    if any(number not in scene.plan.lies for number in numbers):
        checks.fail(f"members {numbers} are blamed for a fork and not all of them lie")
    power = sum(validators.members[index].power for index in culprits.proofs)
    if power <= scene.plan.fault_max:
        checks.fail(f"height {height} forked and only members {numbers} are named")
    scene.report.state("fork_blamed")
    for proof in culprits.proofs.values():
        kind = "conflicting_votes" if isinstance(proof, ConflictingVotes) else "denied_certificate"
        scene.report.state(f"blamed_{kind}")
