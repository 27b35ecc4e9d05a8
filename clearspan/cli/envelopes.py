# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""Travel-rule data on the command line: parties from a file, envelopes for supervisors, and a look that is recorded.

Who pays whom goes to the participant's own bridge, which seals it for the two supervisors of each hop. A supervisor's
look is on the ledger's record before anything is opened.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import click

from clearspan.cli.options import (
    IN_FILE,
    OUT_FILE,
    as_option,
    json_option,
    ledger_option,
    network_option,
    timeout_option,
)
from clearspan.cli.output import Output, money

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.disclosure import Disclosed, Disclosure
    from bridge.travel_rule import Party
    from clearspan.cli.session import Session
    from clearspan.client import AsyncClient
    from clearspan.iso20022.types import Payment
    from clearspan.v1 import bridge_pb2
    from engine.genesis import GenesisDomain

__all__ = ["envelope", "parties_of_file", "parties_of_payment", "parties_to_seal", "unseal"]

_BIC_COUNTRY: Final = slice(4, 6)
_LOOK_REASON: Final = 1


def parties_to_seal(options: dict[str, Any]) -> bytes:
    """Return the parties that an order's options name: in a file, or as a message's payment has given them."""
    if options.get("travel_rule") is None:
        return bytes(options.get("parties") or b"")
    accounts = (options[name] for name in ("debit_account", "credit_account"))
    return parties_of_file(options["travel_rule"], *(each if isinstance(each, int) else None for each in accounts))


def parties_of_file(path: Path, debit_account: int | None, credit_account: int | None) -> bytes:
    """Return the parties of one payment as a bridge takes them, from JSON or from an ISO 20022 message of one payment.

    Raises ConfigError for a file that holds neither, IsoError for a message that is none.
    """
    import msgspec

    from bridge.refusals import BridgeRefused
    from bridge.travel_route import decode_parties
    from clearspan.errors import ConfigError
    from clearspan.iso20022 import read

    content = path.read_bytes()
    if content.lstrip()[:1] == b"<":
        payments = read(content).payments
        if len(payments) != 1:
            raise ConfigError(str(path), f"holds {len(payments)} payments", "name a message of one payment")
        return parties_of_payment(payments[0], debit_account or 0, credit_account or 0)
    try:
        return msgspec.json.encode(decode_parties(content), order="sorted")
    except BridgeRefused as error:
        raise ConfigError(str(path), error.text, "write originator and beneficiary as the handbook shows") from error


def parties_of_payment(payment: Payment, debit_account: int, credit_account: int) -> bytes:
    """Return the parties of a message's payment; institutions are identified by their BIC. Raises ConfigError."""
    import msgspec

    from bridge.travel_route import PaymentParties
    from clearspan.iso20022.accounts import format_account
    from engine.record import participant_of_account

    ends = (
        (payment.debtor_name, payment.debtor_account, payment.debtor_agent, debit_account),
        (payment.creditor_name, payment.creditor_account, payment.creditor_agent, credit_account),
    )
    originator, beneficiary = (
        {
            "name": name or bic,
            "account": text or format_account(account),
            "participant": participant_of_account(account),
            "country": bic[_BIC_COUNTRY],
            "identification": bic,
        }
        for name, text, bic, account in ends
    )
    made = msgspec.convert(
        {"format": 1, "originator": originator, "beneficiary": beneficiary, "purpose": payment.remittance[:500]},
        PaymentParties,
    )
    return msgspec.json.encode(made, order="sorted")


@click.command("envelope")
@click.argument("name")
@click.option("--out", type=OUT_FILE, required=True, help="Where the file for the supervisors is written.")
@click.option("--participant", type=click.IntRange(1), help="Whose bridge is asked [default: the payer's].")
@timeout_option
@network_option
@json_option
def envelope(
    *, name: str, out: Path, participant: int | None, timeout_s: float, network_path: Path | None, as_json: bool
) -> int:
    """Write what supervisors ask for: a swap's terms, its sealed envelopes, and the salt once it has settled.

    NAME is the swap's id or UETR. Nobody but the supervisors of each hop can open what is sealed.
    """
    from bridge.disclosure import Disclosure
    from clearspan.cli.bridges import bridge_client, the_bridge
    from clearspan.cli.session import Session
    from clearspan.errors import ConfigError

    session = Session.open(network_path, timeout_s)
    digits = name.replace("-", "").lower()
    wanted = bytes.fromhex(digits) if len(digits) in (32, 64) and not digits.strip("0123456789abcdef") else b""
    if not wanted:
        raise ConfigError("name", f"{name[:80]!r} is neither a swap's id nor a UETR", "copy it from swap list")

    async def ask() -> bridge_pb2.SwapView:
        async with bridge_client(session, the_bridge(session, participant)) as client:
            named = {"swap_id": wanted} if len(digits) == 64 else {"uetr": wanted}
            return await client.swap(papers=True, **named)

    view = asyncio.run(ask())
    if not view.travel_rule:
        raise ConfigError("name", "this swap has no travel-rule data on this bridge", "give --travel-rule to swap run")
    network = session.network.genesis.hash.hex()
    made = Disclosure(1, network, view.terms.hex(), view.travel_rule.hex(), view.salt.hex())
    out.write_bytes(made.encode())
    output = Output(as_json=as_json)
    uetr = str(UUID(bytes=view.uetr))
    output.document({"uetr": uetr, "file": str(out), "bytes": len(view.travel_rule), "salt": bool(view.salt)})
    output.line(f"written: {out}; a supervisor opens it with clearspan swap unseal --in {out} --ledger LEDGER")
    return 0


@click.command("unseal")
@click.option("--in", "source", type=IN_FILE, required=True, help="The file that the payer's institution wrote.")
@ledger_option()
@as_option("supervisor")
@click.option("--secret", type=IN_FILE, help="File of the 32 bytes that open envelopes [default: the folder's].")
@click.option(
    "--reason", type=click.IntRange(1, 65_535), default=_LOOK_REASON, show_default=True, help="Number that is recorded."
)
@timeout_option
@network_option
@json_option
def unseal(
    *,
    source: Path,
    ledger_name: str,
    speaker: str,
    secret: Path | None,
    reason: int,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> int:
    """Open a swap's travel-rule data as a supervisor of a ledger; the look is on the ledger's record first.

    Exit code 4 where the salt is shown and the secret was not for these terms.
    """
    from bridge.disclosure import decode_disclosure, open_disclosure
    from clearspan.bridging.staging.banks import SUPERVISOR_SECRET
    from clearspan.cli.session import Session
    from clearspan.pki import identity_of, load_certificate

    session = Session.open(network_path, timeout_s)
    domain, _ = session.ledger(ledger_name)
    who = identity_of(load_certificate(session.certificate(domain.domain, speaker).certificate)).participant
    path = secret or session.network.key_folder(domain.domain, who) / SUPERVISOR_SECRET
    genesis = session.network.genesis
    with _refusals(source):
        found = decode_disclosure(source.read_bytes())
        key = _secret(path)
        digest = asyncio.run(_look(session, domain, (speaker, who), found, reason))
        disclosed = open_disclosure(found, genesis.hash_suite, genesis.hash, who, key)
    output = Output(as_json=as_json)
    document = _document(session, disclosed) | {"look": digest}
    output.document(document)
    output.line(f"UETR {document['uetr']}: {document['sent']['text']} for {document['received']['text']}")
    output.table(("", "originator", "beneficiary"), _rows(disclosed.data.originator, disclosed.data.beneficiary))
    if disclosed.data.purpose:
        output.line(f"purpose: {disclosed.data.purpose}")
    output.line(_binding(disclosed))
    output.note(f"this look is recorded on {ledger_name} under {digest}")
    return 4 if disclosed.is_proved is False else 0


def _binding(disclosed: Disclosed) -> str:
    if disclosed.is_proved is None:
        return "bound: the terms name these envelopes; next: ask for the file again when the swap has settled"
    if disclosed.is_proved:
        return "bound: the secret that claimed the legs was for these terms and these envelopes"
    return "NOT bound: the salt does not lead to this swap's hash; next: ask the payer's institution for its own file"


def _document(session: Session, disclosed: Disclosed) -> dict[str, Any]:
    from msgspec import to_builtins

    data = disclosed.data
    amounts = {}
    for name, ledger, amount in (
        ("sent", data.source_ledger, data.amount_sent),
        ("received", data.target_ledger, data.amount_received),
    ):
        known = session.ledger_of(ledger)
        amounts[name] = money(int(amount), known.currency, known.scale)
    return {
        "uetr": str(UUID(hex=data.uetr)),
        **amounts,
        "originator": to_builtins(data.originator),
        "beneficiary": to_builtins(data.beneficiary),
        "purpose": data.purpose,
        "hops": list(disclosed.hops),
        "proved": disclosed.is_proved,
    }


def _rows(originator: Party, beneficiary: Party) -> list[tuple[str, str, str]]:
    names = ("name", "account", "participant", "country", "address", "identification", "register")
    found = [(name, str(getattr(originator, name)), str(getattr(beneficiary, name))) for name in names]
    return [row for row in found if row[1] or row[2]]


async def _look(session: Session, domain: GenesisDomain, who: tuple[str, int], found: Disclosure, reason: int) -> str:
    """Have the ledger record the look; return its digest. Raises Refused, ConfigError: then nothing is opened."""
    from clearspan.administration import signed_columns
    from clearspan.cli.supervising import supervisor_keys
    from clearspan.errors import ConfigError, Refused
    from clearspan.supervision import look
    from engine.codes import MEANINGS, ResultCode, code_name
    from engine.prefix import PrefixType, record_digest, signing_prefix

    speaker, participant = who
    genesis = session.network.genesis
    keys = supervisor_keys(session.network.load_keys(domain.domain, participant))
    if not keys:
        reason_text = f"participant {participant} has no registered key of a supervisor in this folder"
        raise ConfigError("--as", reason_text, "speak as supervisor or regulator")
    client: AsyncClient
    async with session.connect(domain.domain, speaker) as client:
        desk = session.desk(client, domain.domain)
        request = look(
            desk,
            subject=0,
            query_digest=found.question(genesis.hash_suite),
            reason=reason,
            ledger=domain.ledgers[0].ledger,
        )
        columns = signed_columns(genesis, [request], keys[:1])
        result = await client.administer(columns)
    code = ResultCode(int(result.codes[0]))
    if code is not ResultCode.CREATED:
        raise Refused(code, code_name(code), "the ledger did not record the look", MEANINGS[code].next_step)
    prefix = signing_prefix(genesis.hash_suite, PrefixType.ACCOUNT, genesis.hash)
    return record_digest(genesis.hash_suite, prefix, request.encode()).hex()


def _secret(path: Path) -> bytes:
    from clearspan.errors import ConfigError

    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), error.strerror or "cannot be read", "name the key with --secret") from error
    if len(content) != 32:
        raise ConfigError(str(path), f"holds {len(content)} bytes, not 32", "name the key that opens envelopes")
    return content


class _refusals:  # noqa: N801 - a context manager, used like a function
    """Tell a refusal of the bridge's own modules as what it is: a file that is not as it should be."""

    def __init__(self, source: Path) -> None:
        self._source = source

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Turn a refusal into one that the command prints with its next step."""
        from bridge.refusals import BridgeRefused
        from clearspan.errors import Refused

        if isinstance(error, BridgeRefused):
            meaning = error.meaning
            raise Refused(int(error.code), meaning.name, f"{self._source}: {error.text}", meaning.next_step) from error
