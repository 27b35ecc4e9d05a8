# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan evidence`: compare what validators hold to be final, and name who lied if two of them differ."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.options import IN_FILE, json_option
from clearspan.cli.output import Output

if TYPE_CHECKING:
    from clearspan.forks import Comparison, Fork, Source
    from engine.genesis import Genesis
    from engine.relay_block import RelayRecord
    from engine.validators import ValidatorSet

__all__ = ["command"]

VERIFICATION = 4
_HEIGHT_MAX = 2**63


@click.command("evidence")
@click.argument("chains", type=click.Path(exists=True, path_type=Path), nargs=-1, required=True)
@click.option("--genesis", "genesis_path", type=IN_FILE, help="Pin the network to this genesis document.")
@click.option(
    "--export",
    "export_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the first chain's blocks, certificates and transcripts to this file, to be compared elsewhere.",
)
@click.option("--from", "first", type=click.IntRange(1), default=1, show_default=True, help="First height to export.")
@click.option("--to", "last", type=click.IntRange(1), help="Last height to export [default: the newest].")
@json_option
def command(
    *,
    chains: tuple[Path, ...],
    genesis_path: Path | None,
    export_path: Path | None,
    first: int,
    last: int | None,
    as_json: bool,
) -> int:
    """Compare CHAINS of final blocks: data directories of stopped validators, copies of their chain folders, exports.

    Where two blocks of one height are final, members with more than a third of the power lied; they are named with
    proofs that anybody can check, and the exit code is 4. The evidence that validators kept is listed too, and of the
    first chain what became final: forked shards, fraud claims and who confirmed them. Nothing is changed.
    """
    from clearspan.errors import ConfigError
    from clearspan.forks import compare, export, open_source
    from engine.genesis import Genesis

    if len({path.resolve() for path in chains}) < len(chains):
        raise ConfigError("CHAINS", "one is named twice", "name chains of different validators")
    output = Output(as_json=as_json)
    genesis = Genesis.decode(genesis_path.read_bytes()) if genesis_path is not None else None
    with ExitStack() as stack:
        sources = []
        for path in chains:
            source, genesis = open_source(path, stack, genesis)
            sources.append(source)
        assert genesis is not None
        document: dict[str, Any] = {"network": genesis.network, "genesis_hash": genesis.hash.hex()}
        if export_path is not None:
            newest = sources[0].heights()[1]
            count = export(sources[0], genesis, export_path, first, min(last or newest, newest, _HEIGHT_MAX))
            document["exported"] = {"file": str(export_path), "blocks": count}
            output.line(f"exported  {count} blocks to {export_path}")
        document["kept"] = [
            {"chain": source.name, "evidence": [_kept(each) for each in source.proofs()]} for source in sources
        ]
        document["final"] = _final(sources[0], genesis)
        found = compare(sources, genesis)
    document |= {"compared": {"from": found.first, "to": found.last}, "unproven": found.unproven}
    document["fork"] = _fork_document(found.fork) if found.fork is not None else None
    output.document(document)
    _print(output, found, sum(len(each["evidence"]) for each in document["kept"]))
    for each in document["final"]:
        output.line(f"final     {each['says']}, relay block {each['relay_height']}")
    return VERIFICATION if found.fork is not None else 0


def _final(source: Source, genesis: Genesis) -> list[dict[str, Any]]:
    """Return the evidence in final blocks, with who was in the set then; whether a claim was confirmed included."""
    from engine.relay_block import RelayBlock
    from engine.types import RelayRecordType
    from engine.validators import ValidatorSet

    first, last = source.heights()
    sets, found = [ValidatorSet.of_genesis(genesis)], []
    for height in range(max(1, first), last + 1):
        entry = source.get(height)
        if entry is None:
            continue
        for record in RelayBlock.decode(entry.block, genesis.hash_suite).records:
            if record.type is RelayRecordType.VALIDATOR_SET:
                sets.append(record.validator_set())
            elif record.type is RelayRecordType.EVIDENCE:
                decides = [each for each in sets if each.first_height <= height][-1]
                found.append({"relay_height": height, **_told(record, decides), "record": record.encode().hex()})
    return found


def _told(record: RelayRecord, validators: ValidatorSet) -> dict[str, Any]:
    """Return what a piece of evidence says, for people and for programs."""
    from engine.evidence import ForkedShard, FraudClaim

    evidence = record.evidence()
    told: dict[str, Any] = {"kind": type(evidence).__name__}
    if isinstance(evidence, FraudClaim):
        indexes = [each.index for each in evidence.approvals if each.index < len(validators.members)]
        confirmed = validators.is_quorum(validators.power_of(indexes))
        who = [validators.members[index].participant for index in indexes]
        word = "confirmed by" if confirmed else "claimed by"
        says = f"fraud on shard {evidence.shard:#x}, height {evidence.height}: {word} participants {who}"
        told |= {"shard": evidence.shard, "height": evidence.height, "epoch": evidence.epoch}
        return told | {
            "header_hash": evidence.header_hash.hex(),
            "claimed_root": evidence.claimed_root.hex(),
            "computed_root": evidence.computed_root.hex(),
            "participants": who,
            "confirmed": confirmed,
            "says": says,
        }
    if isinstance(evidence, ForkedShard):
        header = evidence.first.header
        told |= {"shard": header.shard, "height": header.height, "epoch": header.epoch}
        return told | {"says": f"shard {header.shard:#x} signed two headers of height {header.height}"}
    return told | {"member": evidence.member, "says": f"{told['kind']} of member {evidence.member}"}


def _kept(data: bytes) -> dict[str, Any]:
    from engine.evidence import FraudClaim
    from engine.refusals import EncodingError
    from engine.relay_block import RelayRecord

    try:
        record, _ = RelayRecord.decode_prefix(memoryview(data))
        found = record.evidence()
        claim = {"shard": found.shard, "height": found.height} if isinstance(found, FraudClaim) else {}
        return {"kind": type(found).__name__, **claim, "record": data.hex()}
    except EncodingError:
        return {"kind": "TwoCertificates", "transcript": data.hex()}


def _fork_document(fork: Fork) -> dict[str, Any]:
    return {
        "height": fork.height,
        "set_id": fork.set_id,
        "blocks": [
            {"chain": chain, "hash": block_hash.hex()}
            for chain, block_hash in zip(fork.sources, fork.block_hashes, strict=True)
        ],
        "culprits": [
            {
                "index": each.index,
                "participant": each.participant,
                "public_key": each.public_key.hex(),
                "power": each.power,
                "proof": type(each.proof).__name__,
                "record": each.record.hex(),
            }
            for each in fork.culprits
        ],
        "power": fork.power,
        "fault_max": fork.fault_max,
        "total_power": fork.total_power,
        "explained": fork.explained,
    }


def _print(output: Output, found: Comparison, kept: int) -> None:
    output.line(f"compared  heights {found.first} to {found.last}; {kept} proofs of guilt were kept by the validators")
    for each in found.unproven:
        output.line(f"unproven  {each}")
    fork = found.fork
    if fork is None:
        output.line("no fork   the chains agree wherever both have a final block")
        return
    output.line(f"FORK      two final blocks of height {fork.height}, decided by set {fork.set_id}")
    for chain, block_hash in zip(fork.sources, fork.block_hashes, strict=True):
        output.line(f"          {block_hash.hex()} in {chain}")
    rows = [
        (each.index, each.participant, each.power, type(each.proof).__name__, each.public_key.hex()[:16])
        for each in fork.culprits
    ]
    output.table(["member>", "participant>", "power>", "proof", "key"], rows)
    verdict = "that explains the fork" if fork.explained else "that is too little: compare more validators' chains"
    output.line(
        f"guilty    {fork.power} of {fork.total_power} power; {fork.fault_max} may lie without a fork: {verdict}"
    )
