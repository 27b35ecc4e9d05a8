# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""What the commands of supervisors share: whose keys sign, and the view of a domain's rules and holds.

An operator sees the view of his own node; a supervisor's look is written into the log before it is served.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.options import IN_FILE, as_option, json_option, network_option, timeout_option

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from clearspan.administration import AdminDesk, RingKey
    from clearspan.cli.output import Output
    from clearspan.cli.session import Session
    from clearspan.client import AsyncClient
    from clearspan.keys import KeyRing
    from clearspan.supervision import Supervision
    from engine.holds import Hold
    from engine.rules import Rule

__all__ = ["Signing", "keys_option", "read_rules", "signing_options", "supervision_of", "supervisor_keys"]

_LOOK_REASON = 1


@dataclass(frozen=True, slots=True)
class Signing:
    """What the options of a command say whose request supervisors and operators sign."""

    key_files: tuple[Path, ...]
    passphrase_file: Path | None
    speaker: str
    timeout_s: float
    network_path: Path | None
    as_json: bool

    def session(self) -> Session:
        """Open the network's folder. Raises ConfigError."""
        from clearspan.cli.session import Session

        return Session.open(self.network_path, self.timeout_s)

    def output(self) -> Output:
        """Return where the answer goes."""
        from clearspan.cli.output import Output

        return Output(as_json=self.as_json)

    @asynccontextmanager
    async def supervision(self, session: Session, domain: int) -> AsyncIterator[tuple[AsyncClient, Supervision]]:
        """Speak to a domain's node, with the keys that sign for the domain. Raises ClientError, ConfigError."""
        async with session.connect(domain, self.speaker) as client:
            desk = session.desk(client, domain)
            yield client, supervision_of(session, desk, domain, self.key_files, self.passphrase_file)


def signing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command whose request supervisors and operators sign; it gets them as ``signing``."""

    @wraps(function)
    def signed(**given: Any) -> Any:
        signing = Signing(**{each.name: given.pop(each.name) for each in fields(Signing)})
        return function(signing=signing, **given)

    found: Callable[..., Any] = signed
    for option in (json_option, network_option, timeout_option, as_option("operator"), keys_option):
        found = option(found)
    return found


def keys_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --key and --passphrase-file."""
    text = "Key file of a further supervisor or operator that signs; repeatable [default: the folder's own]."
    function = click.option("--key", "key_files", type=IN_FILE, multiple=True, help=text)(function)
    text = "File of the passphrase of these keys [default: the folder's]."
    return click.option("--passphrase-file", type=IN_FILE, help=text)(function)


def supervision_of(
    session: Session, desk: AdminDesk, domain: int, key_files: Sequence[Path], passphrase_file: Path | None
) -> Supervision:
    """Return who signs for a domain: its supervisor and operator of this folder, and the keys that were named.

    Where none were named, one supervisor of each further participant whose registered keys are in the folder.
    """
    from clearspan.administration import RingKey
    from clearspan.keys import KeyRing, read_passphrase
    from clearspan.supervision import Supervision
    from engine.types import Role

    own = session.domain_keys(domain, Role.SUPERVISOR)
    operators = session.domain_keys(domain, Role.OPERATOR)
    rings = [own]
    if key_files:
        passphrase = read_passphrase(passphrase_file) if passphrase_file else session.network.passphrase()
        rings += [KeyRing.load(path, passphrase) for path in key_files]
    else:
        known = (each for each in session.network.participants() if each.domain == domain)
        rings += [
            session.network.load_keys(domain, each.number)
            for each in known
            if session.network.key_folder(domain, each.number).is_dir()
        ]
    supervisors: dict[int, RingKey] = {}
    for ring in rings:
        for key in _of_role(ring, Role.SUPERVISOR):
            supervisors.setdefault(int(ring[key.index].participant), key)
    signing = [RingKey(operators, index) for index in range(len(operators))]
    return Supervision(desk, list(supervisors.values()), [key for key in signing if key.key_id])


def _of_role(ring: Any, role: int) -> list[RingKey]:
    from clearspan.administration import RingKey

    return [RingKey(ring, index) for index, info in enumerate(ring) if info.role == role and info.key_id]


def supervisor_keys(ring: KeyRing) -> list[RingKey]:
    """Return the registered keys of role supervisor of a ring."""
    from engine.types import Role

    return _of_role(ring, Role.SUPERVISOR)


async def read_rules(
    session: Session, client: AsyncClient, domain: int, speaker: str
) -> tuple[list[Rule], list[Hold], Mapping[int, int]]:
    """Return rules, waiting holds, and the owner of holds by ledger; as supervisor the look is recorded first."""
    from clearspan.administration import signed_columns
    from clearspan.errors import ConfigError
    from clearspan.inspection import InspectKind, look_at
    from clearspan.pki import identity_of, load_certificate
    from clearspan.v1 import clearspan_pb2
    from engine.holds import Hold
    from engine.rules import Rule
    from engine.types import Role, RuleType
    from native.ledger import PENDING_BYTES, RULE_BYTES

    look = None
    if not speaker.startswith("operator"):
        genesis = session.network.genesis
        desk = session.desk(client, domain)
        request = look_at(desk, genesis.hash_suite, InspectKind.RULES, b"", reason=_LOOK_REASON)
        # Whoever speaks signs: the log then names the one who looked.
        who = identity_of(load_certificate(session.certificate(domain, speaker).certificate))
        keys = _of_role(session.network.load_keys(domain, who.participant), Role.SUPERVISOR)
        if not keys:
            reason = f"participant {who.participant} has no registered key of a supervisor in this folder"
            raise ConfigError("--as", reason, "speak as supervisor, regulator or operator")
        look = signed_columns(genesis, [request], keys[:1])
    view, _ = await client.inspect(int(InspectKind.RULES), b"", look)
    found = clearspan_pb2.RulesView.FromString(view)
    rules = [Rule.decode(found.rules[at : at + RULE_BYTES]) for at in range(0, len(found.rules), RULE_BYTES)]
    owners = {rule.ledger: rule.bound for rule in rules if rule.type == RuleType.LEDGER}
    rows = (found.holds[at : at + PENDING_BYTES] for at in range(0, len(found.holds), PENDING_BYTES))
    return rules, [Hold.decode(row, owners) for row in rows], owners
