# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan validator propose`: drafts of governance records, from how the validators stand now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.governance import find_validators, open_key, tell_draft
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
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from clearspan.cli.session import Session
    from clearspan.governance_draft import GovernanceDraft, Standing
    from engine.genesis import Genesis
    from engine.header import Header
    from engine.validators import Validator

__all__ = ["propose"]


@click.group("propose")
def propose() -> None:
    """Draft a governance record, from how the validators stand now."""


def _draft_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (json_option, network_option, timeout_option, as_option("reader")):
        function = option(function)
    return click.option("--out", type=OUT_FILE, required=True, help="File to write the draft to.")(function)


_ahead_option = click.option(
    "--ahead",
    type=click.IntRange(1, 1 << 20),
    default=256,
    show_default=True,
    help="Heights beyond the epoch until it takes effect: time for approvals.",
)


def _propose(
    out: Path,
    options: dict[str, Any],
    make: Callable[[Session, Standing, Genesis], GovernanceDraft],
) -> None:
    """Ask how validators stand, make the draft, write it, say what it says."""
    from clearspan.cli.session import Session
    from clearspan.governing import read_standing

    session = Session.open(options["network_path"], options["timeout_s"])
    targets, tls = find_validators(session, options["speaker"])
    standing = asyncio.run(read_standing(targets, tls, timeout_s=session.timeout_s))
    draft = make(session, standing, session.network.genesis)
    out.write_text(draft.encode(), encoding="utf-8")
    tell_draft(Output(as_json=options["as_json"]), draft, session.network.genesis, standing, {"file": str(out)})


@propose.command("set")
@click.option("--add", "added", multiple=True, help="Folder name of a validator to add, or NAME=POWER; repeatable.")
@click.option("--remove", "removed", multiple=True, help="Folder name, or the first digits of a key; repeatable.")
@click.option(
    "--member",
    "members",
    multiple=True,
    help="A member without a folder here: PARTICIPANT:POWER:SUITE:KEY, the key in hexadecimal; repeatable.",
)
@_ahead_option
@_draft_options
def propose_set(
    *, added: Sequence[str], removed: Sequence[str], members: Sequence[str], ahead: int, out: Path, **options: Any
) -> None:
    """Draft the next validator set: that in force, less and more some."""
    from clearspan.governing import draft_validator_set

    def make(session: Session, standing: Standing, genesis: Genesis) -> GovernanceDraft:
        chosen = _members(session, standing, added, removed, members)
        return draft_validator_set(standing, genesis, chosen, ahead=ahead)

    _propose(out, options, make)


@propose.command("corridor")
@click.option("--id", "identity", required=True, help="Its id, 32 hexadecimal digits.")
@click.option("--document", type=IN_FILE, required=True, help="File of the document, at most 16,384 bytes.")
@_ahead_option
@_draft_options
def propose_corridor(*, identity: str, document: Path, ahead: int, out: Path, **options: Any) -> None:
    """Draft the next version of a corridor."""
    from clearspan.governing import draft_corridor

    name, content = _hexadecimal("--id", identity, 16), document.read_bytes()
    _propose(out, options, lambda _, standing, genesis: draft_corridor(standing, genesis, name, content, ahead=ahead))


@propose.command("epoch-length")
@click.argument("heights", type=click.IntRange(1, 1 << 20))
@_draft_options
def propose_epoch_length(*, heights: int, out: Path, **options: Any) -> None:
    """Draft after how many HEIGHTS at the earliest sets, slot maps and corridors take effect."""
    from clearspan.governing import draft_epoch_length

    _propose(out, options, lambda _, standing, genesis: draft_epoch_length(standing, genesis, heights))


@propose.command("drift")
@click.argument("milliseconds", type=click.IntRange(10, 600_000))
@_draft_options
def propose_drift(*, milliseconds: int, out: Path, **options: Any) -> None:
    """Draft how many MILLISECONDS a header's clock may be from the validators'."""
    from clearspan.governing import draft_drift

    _propose(out, options, lambda _, standing, genesis: draft_drift(standing, genesis, milliseconds * 1_000_000))


@propose.command("slot-map")
@click.argument("domain_name", metavar="DOMAIN")
@click.option("--slots", type=IN_FILE, required=True, help="File of 4,096 bytes: the shard index of each slot.")
@_ahead_option
@_draft_options
def propose_slot_map(*, domain_name: str, slots: Path, ahead: int, out: Path, **options: Any) -> None:
    """Draft the next slot map of a DOMAIN."""
    from clearspan.governing import draft_slot_map

    content = slots.read_bytes()
    if len(content) != 4_096:
        message = f"--slots names a file of {len(content)} bytes, not 4,096"
        raise click.UsageError(message)

    def make(session: Session, standing: Standing, genesis: Genesis) -> GovernanceDraft:
        return draft_slot_map(standing, genesis, session.domain(domain_name).domain, content, ahead=ahead)

    _propose(out, options, make)


@propose.command("resume")
@click.argument("shard", type=click.IntRange(0, 2**32 - 1))
@click.option(
    "--key-id", type=click.IntRange(1, 2**32 - 1), required=True, help="Id of the key that signs from now on."
)
@click.option("--key", "key_hex", required=True, help="That key, in hexadecimal.")
@suite_option("How that key signs.")
@click.option("--epoch", type=click.IntRange(1, 2**32 - 1), required=True, help="Epoch of its headers from now on.")
@click.option("--height", type=click.IntRange(1), help="Height of the last header that counts, asked of its node.")
@click.option("--header", "header_file", type=IN_FILE, help="File of that header instead [default: from nothing].")
@_draft_options
def propose_resume(
    *,
    shard: int,
    key_id: int,
    key_hex: str,
    suite: str,
    epoch: int,
    height: int | None,
    header_file: Path | None,
    out: Path,
    **options: Any,
) -> None:
    """Draft that a suspended SHARD goes on: its successor key, epoch, and the last header that counts."""
    from clearspan.governing import draft_resume
    from engine.types import SigningSuite

    number = SigningSuite[suite.upper()]
    key = _hexadecimal("--key", key_hex, None)
    read = _header(header_file) if header_file is not None else None

    def make(session: Session, standing: Standing, genesis: Genesis) -> GovernanceDraft:
        header = read
        if height is not None:
            header = asyncio.run(_header_of(session, shard, height, options["speaker"]))
        return draft_resume(
            standing, genesis, shard, key_id=key_id, suite=number, public_key=key, epoch=epoch, header=header
        )

    _propose(out, options, make)


@propose.command("block-key")
@click.argument("domain_name", metavar="DOMAIN")
@click.option("--old-key-id", type=click.IntRange(1, 2**32 - 1), required=True, help="Id of the key that gives way.")
@click.option("--new-key-id", type=click.IntRange(1, 2**32 - 1), required=True, help="Id of the new key.")
@click.option("--key", "key_hex", required=True, help="The new key, in hexadecimal.")
@suite_option("How that key signs.")
@_draft_options
def propose_block_key(
    *, domain_name: str, old_key_id: int, new_key_id: int, key_hex: str, suite: str, out: Path, **options: Any
) -> None:
    """Draft another block key of a DOMAIN: the old key and the new one approve it, and no validator."""
    from clearspan.governing import draft_block_key
    from engine.types import SigningSuite

    key, number = _hexadecimal("--key", key_hex, None), SigningSuite[suite.upper()]

    def make(session: Session, standing: Standing, genesis: Genesis) -> GovernanceDraft:
        return draft_block_key(
            standing,
            genesis,
            session.domain(domain_name).domain,
            old_key_id=old_key_id,
            new_key_id=new_key_id,
            suite=number,
            public_key=key,
        )

    _propose(out, options, make)


def _members(
    session: Session, standing: Standing, added: Sequence[str], removed: Sequence[str], members: Sequence[str]
) -> list[Validator]:
    from clearspan.errors import ConfigError
    from clearspan.joining import member_of
    from clearspan.validator.folder import validator_entries
    from engine.genesis import padded_key
    from engine.types import SigningSuite
    from engine.validators import Validator

    entries = {entry.name: entry for entry in validator_entries(session.network)}
    chosen = {each.public_key: each for each in standing.in_force.members}
    for name in removed:
        keys = [entries[name].public_key] if name in entries else []
        keys = keys or [each for each in chosen if each.hex().startswith(name.lower())]
        if len(keys) != 1 or chosen.pop(keys[0], None) is None:
            raise ConfigError("--remove", f"{name!r} is no member of set {standing.in_force.set_id}", "see: status")
    for word in added:
        name, _, power = word.partition("=")
        if name not in entries:
            raise ConfigError("--add", f"validators.toml has no {name!r}", "make it: clearspan validator new")
        path = session.network.path / "validators" / name / "keys" / "validator.key"
        entry = entries[name]
        chosen[entry.public_key] = member_of(entry, open_key(path, None).info.suite, _power(power))
    for word in members:
        participant, power, suite, key = (*word.split(":"), "", "", "", "")[:4]
        if not participant.isdecimal() or suite.upper() not in SigningSuite.__members__:
            raise ConfigError("--member", f"{word!r} is none", "write PARTICIPANT:POWER:SUITE:KEY")
        public_key = padded_key(_hexadecimal("--member", key, None))
        number = SigningSuite[suite.upper()]
        chosen[public_key] = Validator(int(participant), number, _power(power), public_key)
    return list(chosen.values())


def _power(word: str) -> int:
    if word and not word.isdecimal():
        message = f"{word!r} is no power: a whole number above 0"
        raise click.UsageError(message)
    return int(word) if word else 1


def _hexadecimal(option: str, digits: str, size: int | None) -> bytes:
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        found = b""
    if not found or (size is not None and len(found) != size):
        wanted = f"{2 * size} hexadecimal digits" if size is not None else "hexadecimal digits"
        message = f"{option} takes {wanted}"
        raise click.UsageError(message)
    return found


async def _header_of(session: Session, shard: int, height: int, speaker: str) -> Header:
    """Ask the node of a shard for a header. Raises ConfigError where it does not have it."""
    from clearspan.errors import ConfigError

    async with session.connect(shard >> 8, speaker) as client:
        async for signed in client.blocks(shard, from_height=height):
            return signed.header
    raise ConfigError("--height", f"the node has no block {height} of shard {shard}", "name one that it sealed")


def _header(path: Path) -> Header:
    """Read a header, alone or signed as a node's stream of blocks has it."""
    from clearspan.errors import ConfigError
    from engine.header import Header, SignedHeader
    from engine.refusals import EncodingError

    data = path.read_bytes()
    for read in (Header.decode, lambda content: SignedHeader.decode(content).header):
        try:
            return read(data)
        except EncodingError:
            continue
    raise ConfigError(str(path), "holds no header", "name a header's bytes")
