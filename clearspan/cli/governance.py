# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan validator new|approve|submit`: what members decide together, from a draft to a final record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.options import (
    IN_FILE,
    OUT_FILE,
    as_option,
    json_option,
    network_option,
    suite_option,
    timeout_option,
)
from clearspan.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clearspan.cli.session import Session
    from clearspan.governance_draft import GovernanceDraft, Standing
    from clearspan.keys import KeyFile
    from clearspan.pki import TlsFiles
    from engine.genesis import Genesis

__all__ = ["approve", "find_validators", "new", "open_key", "submit", "tell_draft"]


@click.command("new")
@click.argument("participant", type=click.IntRange(1, 2**32 - 2))
@click.option("--name", default="", help="Name of its folder [default: the participant's number].")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Port of its service [default: any].")
@suite_option("How its key signs.")
@network_option
@json_option
def new(*, participant: int, name: str, port: int, suite: str, network_path: Path | None, as_json: bool) -> None:
    """Make the folder of a further validator in a development network; it votes once a set names its key."""
    from clearspan.cli.session import Session
    from clearspan.joining import add_validator_folder
    from clearspan.validator.folder import validator_folder
    from engine.types import SigningSuite

    session = Session.open(network_path)
    network = session.network
    entry = add_validator_folder(network, participant, name=name, suite=SigningSuite[suite.upper()], port=port)
    folder = validator_folder(network, participant).with_name(entry.name)
    output = Output(as_json=as_json)
    output.document(
        {
            "folder": str(folder),
            "participant": participant,
            "name": entry.name,
            "suite": suite,
            "public_key": entry.public_key.hex(),
        }
    )
    output.line(f"{folder}: participant {participant}, {suite} key {entry.public_key.hex()[:16]}…")
    output.line(f"start it: clearspan validator run --config {folder / 'validator.toml'}")


@click.command("approve")
@click.argument("drafts", type=IN_FILE, nargs=-1, required=True)
@click.option("--key", "keys", type=IN_FILE, multiple=True, help="Key file that approves; repeatable.")
@click.option("--passphrase-file", type=IN_FILE, help="File of its passphrase [default: passphrase beside the key].")
@click.option("--validator", "names", multiple=True, help="Folder name of a validator whose key approves; repeatable.")
@click.option("--out", type=OUT_FILE, help="File to write the draft to [default: the first of DRAFTS].")
@network_option
@json_option
def approve(
    *,
    drafts: Sequence[Path],
    keys: Sequence[Path],
    passphrase_file: Path | None,
    names: Sequence[str],
    out: Path | None,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Sign a draft with keys of members, offline; several DRAFTS of one record are merged.

    Read what it prints before you hand it on: it is read from the very bytes that are signed.
    """
    from clearspan.cli.session import Session
    from clearspan.governing import GovernanceDraft

    session = Session.open(network_path)
    genesis = session.network.genesis
    draft = GovernanceDraft.decode(drafts[0].read_bytes())
    for path in drafts[1:]:
        draft = draft.merged(GovernanceDraft.decode(path.read_bytes()))
    folders = [session.network.path / "validators" / name / "keys" / "validator.key" for name in names]
    for path in (*keys, *folders):
        draft = draft.approved(genesis, open_key(path, passphrase_file))
    target = out if out is not None else drafts[0]
    target.write_text(draft.encode(), encoding="utf-8")
    tell_draft(Output(as_json=as_json), draft, genesis, None, {"file": str(target)})


@click.command("submit")
@click.argument("draft_file", metavar="DRAFT", type=IN_FILE)
@as_option("supervisor")
@timeout_option
@network_option
@json_option
def submit(*, draft_file: Path, speaker: str, timeout_s: float, network_path: Path | None, as_json: bool) -> None:
    """Hand an approved DRAFT in at every validator and wait until it stands in a final block."""
    from clearspan.cli.session import Session
    from clearspan.governing import GovernanceDraft, submit

    session = Session.open(network_path, timeout_s)
    genesis = session.network.genesis
    draft = GovernanceDraft.decode(draft_file.read_bytes())
    targets, tls = find_validators(session, speaker)
    found = asyncio.run(submit(draft, genesis, targets, tls, wait_s=timeout_s))
    output = Output(as_json=as_json)
    tell_draft(output, draft, genesis, None, {"relay_height": found.height, "answers": found.answers})


def tell_draft(
    output: Output, draft: GovernanceDraft, genesis: Genesis, standing: Standing | None, more: dict[str, Any]
) -> None:
    """Print what a draft says, read from its bytes, and who approved it."""
    words = draft.words(genesis)
    document: dict[str, Any] = {
        **more,
        "type": draft.type.name.lower(),
        "says": words,
        "body": draft.body.hex(),
        "approvals": [public_key.hex() for public_key, _ in draft.approvals],
    }
    if standing is not None:
        document["decided_by"] = {"set_id": standing.in_force.set_id, "power": standing.in_force.power}
    output.document(document)
    for each in words:
        output.line(each)
    output.line(f"approved by {len(draft.approvals)} keys")
    for name, value in more.items():
        if not isinstance(value, dict):
            output.line(f"{name}: {value}")


def find_validators(session: Session, speaker: str) -> tuple[list[str], TlsFiles]:
    """Return where the validators of the folder listen, those that do not run left out, and who asks."""
    from clearspan.errors import ConfigError
    from clearspan.validator.folder import validator_entries, validator_target

    targets = []
    for entry in validator_entries(session.network):
        try:
            targets.append(validator_target(session.network, entry))
        except ConfigError:
            continue
    if not targets:
        raise ConfigError("validators", "none of them runs", "start them: clearspan validator run")
    return targets, session.certificate(session.network.genesis.domains[0].domain, speaker)


def open_key(path: Path, passphrase_file: Path | None) -> KeyFile:
    """Open a key file with its passphrase, by default the one beside it. Raises what KeyFile.load raises."""
    from clearspan.keys import KeyFile, read_passphrase

    return KeyFile.load(path, read_passphrase(passphrase_file or path.with_name("passphrase")))
