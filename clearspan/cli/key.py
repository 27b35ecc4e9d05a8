# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan key`: register new keys of a participant, and replace old ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from clearspan.cli.options import as_option, domain_option, json_option, network_option, suite_option, timeout_option
from clearspan.cli.output import Output

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.administration import RingKey
    from clearspan.cli.session import Session
    from clearspan.keys import KeyFile
    from engine.types import Role

__all__ = ["command"]

_ROLES = ("issuer", "account", "registrar", "operator", "supervisor", "block", "screening")


@click.group("key")
def command() -> None:
    """Register new keys and replace old ones."""


@command.command("new")
@click.option("--participant", type=int, required=True, help="Whose key it is.")
@click.option(
    "--role", "role_name", type=click.Choice(_ROLES), default="account", show_default=True, help="What it may sign."
)
@suite_option("How it signs.")
@domain_option
@as_option("operator")
@timeout_option
@network_option
@json_option
def new(
    *,
    participant: int,
    role_name: str,
    suite: str,
    domain_name: str | None,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Make a key and register it: signed by the participant's registrar, or by the operator for its own roles.

    Keys of role issuer, operator, supervisor and block need a second signature, an operator's.
    """
    from clearspan.cli.session import Session
    from clearspan.keys import KeyFile
    from engine.types import ParticipantId, Role, SigningSuite

    session = Session.open(network_path, timeout_s)
    domain = session.domain(domain_name, participant).domain
    role = Role[role_name.upper()]
    key = KeyFile.create(SigningSuite[suite.upper()], ParticipantId(participant), role)
    path = asyncio.run(_register(session, domain, key, role, speaker))
    _report(key, path, as_json=as_json)


async def _register(session: Session, domain: int, key: KeyFile, role: Role, speaker: str) -> Path:
    from clearspan.administration import RingKey
    from engine.genesis import padded_key
    from engine.types import AdminType, KeyId, Role

    operators = session.domain_keys(domain, Role.OPERATOR)
    first, second = RingKey(operators, 0), RingKey(operators, 1)
    if role in {Role.ACCOUNT, Role.REGISTRAR, Role.ISSUER}:
        first, second = session.signer(domain, key.info.participant, Role.REGISTRAR), RingKey(operators, 0)
    needs_two = role in {Role.ISSUER, Role.OPERATOR, Role.SUPERVISOR, Role.BLOCK}
    async with session.connect(domain, speaker) as client:
        desk = session.desk(client, domain)
        request = desk.request(
            AdminType.KEY_ADD,
            participant=key.info.participant,
            suite=key.info.suite,
            role=role,
            public_key=padded_key(key.info.public_key),
        )
        (key_id,) = await desk.send([request], [first], [second if needs_two else None])
    key.set_key_id(KeyId(key_id))
    return session.save_key(domain, key)


@command.command("rotate")
@click.option("--participant", type=int, required=True, help="Whose key it is.")
@click.option("--key-id", type=click.IntRange(1), required=True, help="The key to replace.")
@domain_option
@as_option("operator")
@timeout_option
@network_option
@json_option
def rotate(
    *,
    participant: int,
    key_id: int,
    domain_name: str | None,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Replace a key by a new one of the same role, signed by both. What the old one served the new one serves."""
    from clearspan.cli.session import Session
    from clearspan.keys import KeyFile
    from engine.types import ParticipantId, Role

    session = Session.open(network_path, timeout_s)
    domain = session.domain(domain_name, participant).domain
    old = session.signer(domain, participant, Role.ACCOUNT, key_id)
    info = old.ring[old.index]
    key = KeyFile.create(info.suite, ParticipantId(participant), info.role)
    path = asyncio.run(_replace(session, domain, old, key, speaker))
    session.network.note_rotation(domain, participant, key_id, key.info.key_id)
    _report(key, path, as_json=as_json)


async def _replace(session: Session, domain: int, old: RingKey, key: KeyFile, speaker: str) -> Path:
    from clearspan.administration import RingKey
    from engine.genesis import padded_key
    from engine.types import AdminType, KeyId

    async with session.connect(domain, speaker) as client:
        desk = session.desk(client, domain)
        request = desk.request(
            AdminType.KEY_ROTATE,
            participant=key.info.participant,
            key_id=old.key_id,
            suite=key.info.suite,
            public_key=padded_key(key.info.public_key),
        )
        (key_id,) = await desk.send([request], [old], [RingKey(key.ring, 0)])
    key.set_key_id(KeyId(key_id))
    return session.save_key(domain, key)


def _report(key: KeyFile, path: Path, *, as_json: bool) -> None:
    info = key.info
    output = Output(as_json=as_json)
    output.document(
        {
            "key_id": info.key_id,
            "participant": info.participant,
            "role": info.role.name.lower(),
            "suite": info.suite.name.lower(),
            "public_key": info.public_key.hex(),
            "file": str(path),
        }
    )
    output.line(f"key {info.key_id} of participant {info.participant} ({info.role.name.lower()}), kept in {path}")
