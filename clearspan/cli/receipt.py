# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan receipt`: fetch the proof that a shard decided so, and check one offline."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import click

from clearspan.cli.options import (
    ACCOUNT,
    IN_FILE,
    OUT_FILE,
    TRANSFER_ID,
    as_option,
    domain_option,
    json_option,
    network_option,
    timeout_option,
)
from clearspan.cli.output import Output

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.cli.session import Session
    from clearspan.client import AsyncClient
    from engine.block import Decision, DecisionProof
    from engine.genesis import Genesis

__all__ = ["command"]

_NOT_FINAL: Final = (
    "This proves what the shard's operator signed. It is not final: finality needs the header in a relay block with a "
    "quorum certificate, which this proof does not carry."
)
_STATEMENT_MAX: Final = 100_000
_RETRY_S: Final = 0.2


@click.group("receipt")
def command() -> None:
    """Fetch the proof of a decision, or check one offline."""


@command.command("get")
@click.option("--digest", help="Record digest, 64 hexadecimal digits, as submit and transfer print it.")
@click.option("--id", "transfer_id", type=TRANSFER_ID, help="The transfer's id, together with --account.")
@click.option("--account", type=ACCOUNT, help="The account that paid, to find the transfer by its id.")
@click.option("--out", type=OUT_FILE, required=True, help="File to write the proof to.")
@domain_option
@as_option("operator")
@timeout_option
@network_option
@json_option
def get(
    *,
    digest: str | None,
    transfer_id: int | None,
    account: int | None,
    out: Path,
    domain_name: str | None,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Fetch the proof of a transfer's decision, check it, and write it to a file; waits until its block is sealed."""
    from clearspan.cli.session import Session
    from engine.record import participant_of_account

    wanted = _digest(digest, transfer_id, account)
    session = Session.open(network_path, timeout_s)
    domain = session.domain(domain_name, participant_of_account(account) if account is not None else 0).domain
    proof, decision = asyncio.run(_get(session, domain, wanted, transfer_id, account, speaker=speaker))
    out.write_bytes(proof.encode())
    output = Output(as_json=as_json)
    _print(output, proof, decision, {"file": str(out)})


def _digest(digest: str | None, transfer_id: int | None, account: int | None) -> bytes | None:
    """Check that the transfer is named in exactly one way."""
    if digest is not None:
        if transfer_id is not None or account is not None:
            message = "give --digest, or --id with --account, and not both"
            raise click.UsageError(message)
        try:
            found = bytes.fromhex(digest)
        except ValueError:
            found = b""
        if len(found) != 32:
            message = "--digest takes 64 hexadecimal digits"
            raise click.UsageError(message)
        return found
    if transfer_id is None or account is None:
        message = "give --digest, or --id together with --account"
        raise click.UsageError(message)
    return None


async def _get(
    session: Session, domain: int, digest: bytes | None, transfer_id: int | None, account: int | None, *, speaker: str
) -> tuple[DecisionProof, Decision]:
    from clearspan.errors import Refused

    deadline = time.monotonic() + session.timeout_s
    async with session.connect(domain, speaker) as client:
        if digest is None:
            assert transfer_id is not None
            assert account is not None
            digest = await _find(client, transfer_id, account)
        while True:
            try:
                return await client.decision_proof(digest)
            except Refused as error:
                if error.name != "not_found" or time.monotonic() + _RETRY_S > deadline:
                    raise
            await asyncio.sleep(_RETRY_S)


async def _find(client: AsyncClient, transfer_id: int, account: int) -> bytes:
    from clearspan.errors import Refused
    from clearspan.iso20022.accounts import format_account
    from engine.record import Transfer

    looked_at = 0
    async for view in client.statement(account):
        if isinstance(view.body, Transfer) and view.body.id == transfer_id:
            return view.digest
        looked_at += 1
        if looked_at >= _STATEMENT_MAX:
            break
    message = f"no transfer {transfer_id:032x} among the newest {looked_at} of {format_account(account)}"
    raise Refused(0, "not_found", message, "name the account that paid, or the transfer's digest")


@command.command("verify")
@click.argument("file", type=IN_FILE)
@click.option("--genesis", "genesis_path", type=IN_FILE, help="Genesis document [default: the network folder's].")
@click.option("--block-key", help="The shard's block key in hexadecimal, where it was replaced since the genesis.")
@click.option("--digest", help="Demand that the proof is of this record.")
@network_option
@json_option
def verify(
    *,
    file: Path,
    genesis_path: Path | None,
    block_key: str | None,
    digest: str | None,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Check the proof in FILE offline, with the genesis and the domain's block key only. Exit code 4 when it fails."""
    from clearspan.network import find_network
    from engine.block import DecisionProof
    from engine.genesis import Genesis
    from engine.refusals import EncodingError

    path = genesis_path if genesis_path is not None else find_network(network_path) / "genesis.json"
    genesis = Genesis.decode(path.read_bytes())
    try:
        proof = DecisionProof.decode(file.read_bytes())
    except EncodingError as error:
        raise _failed(str(error)) from error
    decision = _check(genesis, proof, block_key, _digest(digest, None, None) if digest is not None else None)
    _print(Output(as_json=as_json), proof, decision, {"verified": True})


def _check(genesis: Genesis, proof: DecisionProof, block_key: str | None, digest: bytes | None) -> Decision:
    from engine.refusals import GenesisRefused, ProofRefused
    from engine.types import Role, SigningSuite

    signed = proof.signed_header
    header = signed.header
    if header.genesis_hash != genesis.hash or header.hash_suite != genesis.hash_suite:
        raise _failed("its header is of another network")
    try:
        domain = genesis.domain(genesis.domain_of_shard(header.shard))
    except GenesisRefused as error:
        raise _failed(str(error)) from error
    if block_key is not None:
        public_key, suite = bytes.fromhex(block_key), SigningSuite.ED25519 if len(block_key) == 64 else SigningSuite.SM2
    else:
        key = domain.keys[signed.key_id - 1] if 0 < signed.key_id <= len(domain.keys) else None
        if key is None or key.role != Role.BLOCK:
            raise _failed(
                f"key {signed.key_id} is no block key of the genesis; name the one that replaced it by --block-key"
            )
        public_key, suite = key.public_key, SigningSuite(key.suite)
    try:
        decision = proof.verify(suite, public_key)
    except ProofRefused as error:
        raise _failed(str(error)) from error
    if digest is not None and decision.digest != digest:
        raise _failed("it is of another record")
    return decision


def _failed(reason: str) -> Exception:
    from clearspan.errors import VerificationFailed

    return VerificationFailed("receipt", reason)


def _print(output: Output, proof: DecisionProof, decision: Decision, more: dict[str, Any]) -> None:
    from engine.codes import code_name

    header = proof.signed_header.header
    output.document(
        {
            **more,
            "digest": decision.digest.hex(),
            "code": code_name(decision.code),
            "number": decision.code,
            "time": decision.time,
            "shard": header.shard,
            "height": header.height,
            "header_hash": header.hash.hex(),
            "final": False,
            "note": _NOT_FINAL,
        }
    )
    output.line(f"{code_name(decision.code)}: record {decision.digest.hex()}")
    output.line(f"decided at {decision.time} ns by shard {header.shard}, block {header.height}, {header.hash.hex()}")
    for name, value in more.items():
        output.line(f"{name}: {value}")
    output.line(_NOT_FINAL)
