# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan corridor`: the rules of exchange between two ledgers, as members of the relay sign them.

A proposal is a draft; members approve it with `clearspan validator approve` and one of them hands it in with
`clearspan validator submit`. Bridges take it from the relay.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.options import IN_FILE, OUT_FILE, as_option, json_option, network_option, timeout_option
from clearspan.cli.output import Output, money

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.corridor import CorridorDocument
    from clearspan.cli.session import Session

__all__ = ["command"]

_MS = 1_000_000


@click.group("corridor")
def command() -> None:
    """Propose and show the rules of exchange between two ledgers."""


@command.command("propose")
@click.option("--document", type=IN_FILE, required=True, help="The corridor's document, JSON (docs/spec/12).")
@click.option("--ahead", type=click.IntRange(1, 1 << 20), default=256, show_default=True, help="Heights until effect.")
@click.option("--out", type=OUT_FILE, required=True, help="File to write the draft to.")
@as_option("reader")
@timeout_option
@network_option
@json_option
def propose(
    *,
    document: Path,
    ahead: int,
    out: Path,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> int:
    """Check a corridor's document and draft the record that puts it into effect; nothing is handed in yet."""
    from clearspan.cli.governance import find_validators, tell_draft
    from clearspan.cli.session import Session
    from clearspan.governing import draft_corridor, read_standing

    session = Session.open(network_path, timeout_s)
    targets, tls = find_validators(session, speaker)
    standing = asyncio.run(read_standing(targets, tls, timeout_s=session.timeout_s))
    found = _checked(session, document, standing.corridors)
    genesis = session.network.genesis
    draft = draft_corridor(standing, genesis, found.id_bytes, found.encode(), ahead=ahead)
    out.write_text(draft.encode(), encoding="utf-8")
    tell_draft(Output(as_json=as_json), draft, genesis, standing, {"file": str(out)})
    return 0


def _checked(session: Session, path: Path, versions: Any) -> CorridorDocument:
    """Read a document written by hand, give it the next version, and check it against the network.

    Raises BridgeRefused (corridor_malformed) with the path of what is wrong.
    """
    import msgspec

    from bridge.corridor import CorridorDocument
    from bridge.refusals import BridgeCode, BridgeRefused
    from clearspan.errors import ConfigError

    try:
        found = msgspec.json.decode(path.read_bytes(), type=CorridorDocument)
    except (msgspec.MsgspecError, BridgeRefused) as error:
        raise ConfigError(str(path), str(error), "correct the document; docs/spec/12 describes it") from error
    following = versions.get(found.id_bytes, 0) + 1
    if found.version != following:
        reason = f"its version is {found.version}, {following} is next"
        raise ConfigError(str(path), reason, f"write version {following}; {BridgeCode.CORRIDOR_MALFORMED.name.lower()}")
    for ledger in (found.source_ledger, found.target_ledger):
        session.ledger_of(ledger)
    return found


@command.command("show")
@click.argument("source_name", metavar="SOURCE")
@click.argument("target_name", metavar="TARGET")
@network_option
@json_option
def show(source_name: str, target_name: str, network_path: Path | None, as_json: bool) -> int:
    """Show the corridor from ledger SOURCE to ledger TARGET as the bridges of this folder know it."""
    from clearspan.cli.session import Session
    from clearspan.errors import ConfigError

    session = Session.open(network_path)
    pair = tuple(session.ledger(name)[1].ledger for name in (source_name, target_name))
    for document, height in _known(session):
        if (document.source_ledger, document.target_ledger) == pair:
            _show(session, document, height, Output(as_json=as_json))
            return 0
    raise ConfigError("corridor", f"none leads from {source_name} to {target_name}", "see clearspan corridor list")


@command.command("list")
@network_option
@json_option
def list_corridors(network_path: Path | None, as_json: bool) -> int:
    """List the corridors that the bridges of this folder know, the newest version of each."""
    from clearspan.cli.session import Session

    session = Session.open(network_path)
    output = Output(as_json=as_json)
    found = [_summary(session, document, height) for document, height in _known(session)]
    output.document({"corridors": found})
    rows = [
        (each["source"], each["target"], each["version"], each["effect_height"], each["lock_s"], each["providers"])
        for each in found
    ]
    output.table(("from", "to", "version>", "effect height>", "timelock s>", "providers"), rows)
    return 0


def _known(session: Session) -> list[tuple[CorridorDocument, int]]:
    """Return the newest version of each corridor of the folder, with its effect height."""
    from clearspan.bridging.corridors import read_folder
    from clearspan.bridging.folder import CORRIDORS_FOLDER

    newest: dict[bytes, tuple[CorridorDocument, int]] = {}
    for record, document in read_folder(session.network.path / CORRIDORS_FOLDER):
        newest[record.id] = document, record.effect_height
    return [newest[identity] for identity in sorted(newest)]


def _summary(session: Session, document: CorridorDocument, height: int) -> dict[str, Any]:
    source, target = session.ledger_of(document.source_ledger), session.ledger_of(document.target_ledger)
    return {
        "id": document.id,
        "version": document.version,
        "effect_height": height,
        "source": source.currency,
        "target": target.currency,
        "suspended": document.suspended,
        "lock_s": document.lock_s,
        "providers": list(document.providers),
    }


def _show(session: Session, document: CorridorDocument, height: int, output: Output) -> None:
    import msgspec

    ledger = session.ledger_of(document.source_ledger)
    summary = _summary(session, document, height)
    output.document({**summary, "document": msgspec.to_builtins(document)})
    state = "suspended" if document.suspended else "open in its hours"
    output.line(f"{summary['source']} to {summary['target']}, version {document.version}: {state}")
    output.line(f"in effect from relay height {height} on; timelock {document.lock_s} s, quotes {document.quote_s} s")
    limits = document.limits
    rows = [
        (name, money(int(value), ledger.currency, ledger.scale)["text"])
        for name, value in (
            ("one payment, least", limits.payment_least),
            ("one payment, most", limits.payment_most),
            ("a participant's day", limits.participant_day_most),
            ("all of a day", limits.day_most),
        )
    ]
    output.table(("limit", "amount>"), rows)
    rules = document.margins
    parts = [
        ("finality", rules.home.finality),
        ("watching", rules.home.watching),
        ("submission", rules.home.submission),
        ("skew", rules.skew),
        ("failover", rules.failover),
        ("stall", rules.stall),
    ]
    output.table(("margin", "ms>", "basis"), [(name, part.ns // _MS, part.basis) for name, part in parts])
    for rule in (document.approval_note, *document.rules):
        output.line(rule)
