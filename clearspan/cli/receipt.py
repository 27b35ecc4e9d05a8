# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan receipt`: fetch proofs of what was decided, check them offline, hand them on, keep trust up to date."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import click

from clearspan.cli.decision_proofs import check_decision_proof, failed, print_decision_proof
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
    from collections.abc import Sequence
    from pathlib import Path

    from clearspan.cli.session import Session
    from clearspan.client import AsyncClient, ProvenBalance, ProvenReceipt
    from clearspan.trust import Trust
    from engine.block import Decision, DecisionProof
    from engine.receipt import BalanceFinding, ReceiptFinding

__all__ = ["command"]

_STATEMENT_MAX: Final = 100_000
_RETRY_S: Final = 0.2
_TRUST_FILE: Final = "trust.json"
_PROOF_MAGIC: Final = b"CSDP"


@click.group("receipt")
def command() -> None:
    """Fetch receipts, check them offline, make a page of one, keep the trust that checks them."""


@command.command("get")
@click.option(
    "--digest",
    help="Record digest, 64 hexadecimal digits, as submit and transfer print it; of a lock, or of what ended it.",
)
@click.option("--id", "transfer_id", type=TRANSFER_ID, help="The transfer's id, together with --account.")
@click.option("--account", type=ACCOUNT, help="The account that paid, to find the transfer by its id.")
@click.option("--balance", "balance_of", type=ACCOUNT, help="Prove this account's balance instead of a transfer.")
@click.option(
    "--form",
    type=click.Choice(["payer", "payee"]),
    default="payer",
    show_default=True,
    help="Whose receipt: the payee's proves that the money arrived; of a lock it is the claim.",
)
@click.option(
    "--durability",
    type=click.Choice(["settled", "final", "verified"]),
    default="final",
    show_default=True,
    help="What it proves at least; settled: what the shard's operator signed, before it is final.",
)
@click.option("--out", type=OUT_FILE, required=True, help="File to write the receipt to.")
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
    balance_of: int | None,
    form: str,
    durability: str,
    out: Path,
    domain_name: str | None,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Fetch a receipt, check it, and write it to a file; waits until it is as final as it is asked to be."""
    from clearspan.cli.session import Session
    from engine.record import participant_of_account

    if balance_of is not None and (digest, transfer_id, account, durability == "settled") != (None, None, None, False):
        message = "--balance stands alone, and a balance is proven once it is final"
        raise click.UsageError(message)
    wanted = _digest(digest, transfer_id, account) if balance_of is None else None
    session = Session.open(network_path, timeout_s)
    holder = balance_of if balance_of is not None else account
    domain = session.domain(domain_name, participant_of_account(holder) if holder is not None else 0).domain
    output = Output(as_json=as_json)
    if durability == "settled":
        proof, decision = asyncio.run(_get_proof(session, domain, wanted, transfer_id, account, speaker=speaker))
        out.write_bytes(proof.encode())
        print_decision_proof(output, proof, decision, {"file": str(out)})
        return
    ask = _Asked(wanted, transfer_id, account, balance_of, form == "payee", durability == "verified")
    found = asyncio.run(_get(session, domain, ask, speaker=speaker))
    out.write_bytes(found.data)
    _print(output, found.finding, {"file": str(out), "bytes": len(found.data)})


class _Asked:
    """Which receipt is wanted."""

    def __init__(  # noqa: PLR0917 - the options in their order
        self,
        digest: bytes | None,
        transfer_id: int | None,
        account: int | None,
        balance_of: int | None,
        payee: bool,
        verified: bool,
    ) -> None:
        self.digest, self.transfer_id, self.account, self.balance_of = digest, transfer_id, account, balance_of
        self.payee, self.verified = payee, verified


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
        message = "give --digest, or --id together with --account, or --balance"
        raise click.UsageError(message)
    return None


async def _get(session: Session, domain: int, asked: _Asked, *, speaker: str) -> ProvenReceipt | ProvenBalance:
    wait_s = session.timeout_s
    async with session.connect(domain, speaker) as client:
        if asked.balance_of is not None:
            return await client.balance_receipt(asked.balance_of, wait_s=wait_s, verified=asked.verified)
        digest = asked.digest
        if digest is None:
            assert asked.transfer_id is not None
            assert asked.account is not None
            digest = await _find(client, asked.transfer_id, asked.account)
        return await client.receipt(digest, payee=asked.payee, wait_s=wait_s, verified=asked.verified)


async def _get_proof(
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
@click.option(
    "--trust", "trust_paths", type=IN_FILE, multiple=True, help="Trust document of a later validator set; repeatable."
)
@click.option("--block-key", help="For a proof that is not final: the shard's block key, where it was replaced.")
@click.option("--digest", help="Demand that it is of this record, or of the claim of this lock.")
@network_option
@json_option
def verify(
    *,
    file: Path,
    genesis_path: Path | None,
    trust_paths: Sequence[Path],
    block_key: str | None,
    digest: str | None,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Check the receipt in FILE offline, with a genesis or trust document and nothing else.

    Exit code 4 when it does not hold. Without --genesis and --trust both are looked for in the network folder.
    """
    from engine.block import DecisionProof
    from engine.genesis import Genesis
    from engine.refusals import EncodingError

    data, output = file.read_bytes(), Output(as_json=as_json)
    wanted = _digest(digest, None, None) if digest is not None else None
    if data.startswith(_PROOF_MAGIC):
        path = genesis_path if genesis_path is not None else _folder_file(network_path, "genesis.json")
        try:
            proof = DecisionProof.decode(data)
        except EncodingError as error:
            raise failed(str(error)) from error
        decision = check_decision_proof(Genesis.decode(path.read_bytes()), proof, block_key, wanted)
        print_decision_proof(output, proof, decision, {"verified": True})
        return
    finding = _check(data, list(_trusts(genesis_path, trust_paths, network_path)), wanted)
    _print(output, finding, {"verified": True})


@command.command("page")
@click.argument("file", type=IN_FILE)
@click.option("--out", type=OUT_FILE, required=True, help="File to write the page to, such as receipt.html.")
@click.option("--genesis", "genesis_path", type=IN_FILE, help="Genesis document [default: the network folder's].")
@click.option("--trust", "trust_paths", type=IN_FILE, multiple=True, help="Trust document of a later validator set.")
@network_option
@json_option
def page(
    *,
    file: Path,
    out: Path,
    genesis_path: Path | None,
    trust_paths: Sequence[Path],
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Write one HTML file that checks the receipt in FILE in any browser, without a network."""
    from clearspan.verifier.page import build_page

    data = file.read_bytes()
    trusts = _trusts(genesis_path, trust_paths, network_path)
    finding = _check(data, list(trusts), None)
    document = trusts[_trust_of(data, list(trusts))]
    out.write_text(build_page(receipt=data, trust=document), encoding="utf-8")
    _print(Output(as_json=as_json), finding, {"page": str(out), "bytes": out.stat().st_size})


@command.command("trust")
@click.option("--out", type=OUT_FILE, help="File to write it to [default: trust.json in the network folder].")
@domain_option
@as_option("reader")
@timeout_option
@network_option
@json_option
def trust(
    *,
    out: Path | None,
    domain_name: str | None,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Follow the proven changes of the validator set from the genesis; write the set that receipts are checked with."""
    from clearspan.cli.session import Session
    from clearspan.trust import Trust

    session = Session.open(network_path, timeout_s)
    genesis = session.network.genesis
    domain = session.domain(domain_name) if domain_name is not None else genesis.domains[0]

    async def follow() -> Trust:
        async with session.connect(domain.domain, speaker) as client:
            validators = await client.validators()
        return Trust(genesis.network, genesis.hash_suite, genesis.hash, validators)

    found = asyncio.run(follow())
    path = out if out is not None else session.network.path / _TRUST_FILE
    path.write_text(found.encode(), encoding="utf-8")
    validators = found.validators
    output = Output(as_json=as_json)
    output.document(
        {
            "file": str(path),
            "network": found.network,
            "genesis_hash": found.genesis_hash.hex(),
            "set_id": validators.set_id,
            "first_height": validators.first_height,
            "members": len(validators.members),
        }
    )
    output.line(f"{path}: validator set {validators.set_id}, {len(validators.members)} members, from relay height")
    output.line(f"{validators.first_height} of network {found.network}, genesis {found.genesis_hash.hex()}")


def _folder_file(network_path: Path | None, name: str) -> Path:
    from clearspan.network import find_network

    return find_network(network_path) / name


def _trusts(genesis_path: Path | None, trust_paths: Sequence[Path], network_path: Path | None) -> dict[Trust, str]:
    """Read the documents to check with; each with its text."""
    from clearspan.errors import ConfigError
    from clearspan.trust import Trust, TrustInvalid

    paths = [*([genesis_path] if genesis_path is not None else []), *trust_paths]
    if not paths:
        paths = [_folder_file(network_path, "genesis.json")]
        later = _folder_file(network_path, _TRUST_FILE)
        paths += [later] if later.exists() else []
    found = {}
    for path in paths:
        document = path.read_bytes()
        try:
            found[Trust.decode(document)] = document.decode("utf-8")
        except TrustInvalid as error:
            raise ConfigError(str(path), str(error), "name a genesis or a trust document: receipt trust") from error
    return found


def _trust_of(data: bytes, trusts: Sequence[Trust]) -> Trust:
    """Return the document of the set that decided a receipt's relay block."""
    from clearspan.trust import trust_for
    from engine.receipt import decode_receipt
    from engine.refusals import EncodingError, ProofRefused

    try:
        return trust_for(trusts, decode_receipt(data).anchorage.relay_header.set_id)
    except (EncodingError, ProofRefused) as error:
        raise failed(str(error)) from error


def _check(data: bytes, trusts: Sequence[Trust], digest: bytes | None) -> ReceiptFinding | BalanceFinding:
    from engine.receipt import ReceiptFinding, decode_receipt
    from engine.refusals import ProofRefused

    chosen = _trust_of(data, list(trusts))
    try:
        finding = decode_receipt(data).verify(chosen.hash_suite, chosen.genesis_hash, chosen.validators)
    except ProofRefused as error:
        raise failed(str(error)) from error
    if digest is not None and not (
        isinstance(finding, ReceiptFinding) and finding.speaks_of(chosen.hash_suite, digest)
    ):
        raise failed("it is of another record")
    return finding


def _print(output: Output, finding: ReceiptFinding | BalanceFinding, more: dict[str, Any]) -> None:
    from clearspan.iso20022.accounts import format_account
    from engine.receipt import BalanceFinding
    from engine.types import AccountFlag

    at = finding.anchorage
    place = {
        "shard": at.shard,
        "height": at.height,
        "relay_height": at.relay_height,
        "relay_time": at.relay_time,
        "power": at.power,
        "final": True,
        "state": at.state,
    }
    if isinstance(finding, BalanceFinding):
        account = finding.account
        told: dict[str, Any] = {
            "form": "balance",
            "account": format_account(account.id),
            "ledger": account.ledger,
            "balance": str(account.balance),
            "time": finding.block_time,
        }
        words = f"account {told['account']} has {account.balance} minor units of ledger {account.ledger}"
        if account.flags & AccountFlag.ISSUER:
            told["supply"] = str(-account.balance)
            words = (
                f"issuer account {told['account']}: {-account.balance} minor units of ledger {account.ledger} are out"
            )
    else:
        transfer, decision = finding.transfer, finding.decision
        told = {
            "form": finding.form.name.lower(),
            "digest": decision.digest.hex(),
            "code": finding.meaning.name,
            "number": decision.code,
            "time": decision.time,
            "from": format_account(transfer.debit_account),
            "to": format_account(transfer.credit_account),
            "amount": str(transfer.amount),
            "ledger": transfer.ledger,
        }
        words = (
            f"{told['code']}: {told['amount']} minor units of ledger {told['ledger']}, {told['from']} to {told['to']}"
        )
    output.document({**more, **told, **place})
    output.line(words)
    output.line(f"{at.state}: block {at.height} of shard {at.shard}, relay block {at.relay_height}, power {at.power}")
    for name, value in more.items():
        output.line(f"{name}: {value}")
