# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan corridor`: the rules of exchange between two ledgers, as members of the relay sign them.

A proposal is a draft; members approve it with `clearspan validator approve` and one of them hands it in with
`clearspan validator submit`. Bridges that run take it from the relay; `fetch` is for one that was founded later.
`template` writes a document to start from.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.options import IN_FILE, OUT_FILE, as_option, json_option, network_option, timeout_option
from clearspan.cli.output import Output
from clearspan.cli.places import named_place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from bridge.corridor import CorridorDocument
    from clearspan.cli.session import Session
    from engine.governance import Corridor
    from relay.v1 import relay_pb2

__all__ = ["command"]


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
        if found.asset is None or ledger != found.asset.ledger:
            session.ledger_of(ledger)
    return found


@command.command("template")
@click.argument("source_name", metavar="SOURCE")
@click.argument("target_name", metavar="TARGET")
@click.option("--provider", "providers", type=int, multiple=True, required=True, help="Who may quote; repeatable.")
@click.option("--lock-s", type=click.IntRange(1, 86_400), default=60, show_default=True, help="Longest timelock.")
@click.option("--version", type=click.IntRange(1), default=1, show_default=True, help="Which version it is to be.")
@click.option("--out", type=OUT_FILE, required=True, help="File to write the document to.")
@network_option
@json_option
def template(
    *,
    source_name: str,
    target_name: str,
    providers: tuple[int, ...],
    lock_s: int,
    version: int,
    out: Path,
    network_path: Path | None,
    as_json: bool,
) -> int:
    """Write the document of a corridor from SOURCE to TARGET to start from: open always, limits wide, margins stated.

    For a development network: edit hours, limits and fees, and put your measured margins in, before you propose it.
    """
    from clearspan.bridging.staging.banks import corridor_between
    from clearspan.cli.session import Session

    session = Session.open(network_path)
    source, target = (session.ledger(name)[1].ledger for name in (source_name, target_name))
    made = corridor_between(session.network, source, target, providers, version=version, lock_s=lock_s)
    out.write_bytes(made.encode())
    output = Output(as_json=as_json)
    output.document({"id": made.id, "version": version, "file": str(out)})
    output.line(f"next: edit {out}, then: clearspan corridor propose --document {out} --out draft.json")
    return 0


@command.command("show")
@click.argument("source_name", metavar="SOURCE")
@click.argument("target_name", metavar="TARGET")
@as_option("reader")
@network_option
@json_option
def show(source_name: str, target_name: str, speaker: str, network_path: Path | None, as_json: bool) -> int:
    """Show the corridor from ledger SOURCE to ledger TARGET as the bridges of this folder know it."""
    from clearspan.cli.corridor_words import known_corridors, show_corridor
    from clearspan.cli.session import Session
    from clearspan.errors import ConfigError

    session = Session.open(network_path)
    pair = tuple(named_place(session, name).ledger for name in (source_name, target_name))
    height = _relay_height(session, speaker)
    known = [each for each in known_corridors(session, height) if each.pair == pair]
    if not known:
        raise ConfigError("corridor", f"none leads from {source_name} to {target_name}", "see clearspan corridor list")
    show_corridor(session, known[0], known[1:], Output(as_json=as_json))
    return 0


@command.command("list")
@as_option("reader")
@network_option
@json_option
def list_corridors(speaker: str, network_path: Path | None, as_json: bool) -> int:
    """List the corridors that the bridges of this folder know: of each what is in effect, and what comes after it."""
    from clearspan.cli.corridor_words import known_corridors
    from clearspan.cli.session import Session

    session = Session.open(network_path)
    height = _relay_height(session, speaker)
    found = [each.summary(session) for each in known_corridors(session, height)]
    output = Output(as_json=as_json)
    output.document({"relay_height": height, "corridors": found})
    rows = [
        (
            each["source"],
            each["target"],
            each["version"],
            each["state"],
            each["effect_height"],
            each["lock_s"],
            ", ".join(map(str, each["providers"])),
        )
        for each in found
    ]
    columns = ("from", "to", "version>", "now", "from relay height>", "timelock s>", "providers")
    nothing = "no corridor is known here; propose one: clearspan corridor propose, or: clearspan corridor fetch"
    output.table(columns, rows, empty=nothing)
    return 0


@command.command("fetch")
@click.option("--from-height", type=click.IntRange(1), default=1, show_default=True, help="First relay block to read.")
@as_option("reader")
@timeout_option
@network_option
@json_option
def fetch(*, from_height: int, speaker: str, timeout_s: float, network_path: Path | None, as_json: bool) -> int:
    """Read the relay's blocks, each checked, and keep the corridors that they announce, for bridges founded later."""
    from clearspan.bridging.staging.folder import put_corridors
    from clearspan.cli.session import Session

    session = Session.open(network_path, timeout_s)
    height, found = asyncio.run(_announced(session, speaker, from_height))
    put_corridors(session.network, found)
    output = Output(as_json=as_json)
    kept = [{"id": each.id.hex(), "version": each.version, "effect_height": each.effect_height} for each in found]
    output.document({"from_height": from_height, "relay_height": height, "corridors": kept})
    output.line(
        f"{len(kept)} corridor records in relay blocks {from_height} to {height}; a bridge reads them at its start"
    )
    return 0


async def _announced(session: Session, speaker: str, from_height: int) -> tuple[int, Sequence[Corridor]]:
    """Read from the first validator that answers and whose blocks hold. Raises Unreachable where none does."""
    from clearspan.bridging.market.announced import announced
    from clearspan.cli.governance import find_validators
    from clearspan.client.relay import RelayClient
    from clearspan.errors import Refused, Unreachable

    targets, tls = find_validators(session, speaker)
    genesis = session.network.genesis
    said: list[str] = []
    for target in targets:
        async with session.connect(genesis.domains[0].domain, speaker) as node:
            light = await node.light_client()
        try:
            async with RelayClient(target, tls, timeout_s=session.timeout_s) as client:

                async def blocks(since: int, client: RelayClient = client) -> AsyncIterator[relay_pb2.FinalBlock]:
                    async with aclosing(client.blocks(since)) as stream:
                        async for each in stream:
                            yield each

                return await announced(genesis, light, blocks, from_height)
        except (Refused, Unreachable) as error:
            said.append(f"{target}: {error.message}")
    raise Unreachable("validators", "; ".join(said))


def _relay_height(session: Session, speaker: str) -> int | None:
    """Return the relay height that validators tell of; None where none answers: the folder is shown all the same."""
    from clearspan.cli.governance import find_validators
    from clearspan.errors import ClearspanError
    from clearspan.governing import read_standing

    try:
        targets, tls = find_validators(session, speaker)
        return asyncio.run(read_standing(targets, tls, timeout_s=min(2.0, session.timeout_s))).height
    except ClearspanError:
        return None
