# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan participant`: add institutions with their first keys and certificates, and list those known here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.options import as_option, json_option, ledger_option, network_option, suite_option, timeout_option
from clearspan.cli.output import Output

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.cli.session import Session

__all__ = ["command"]


@click.group("participant")
def command() -> None:
    """Add institutions and list them."""


@command.command("add")
@click.argument("number", type=click.IntRange(1, 2**32 - 2), required=False)
@ledger_option()
@click.option("--name", required=True, help="BIC or short name, at most 16 characters.")
@click.option("--issuer", is_flag=True, help="The ledger's issuer: two issuer keys, and the account it issues from.")
@click.option("--supervisor", is_flag=True, help="May hold supervisor keys here, such as another domain's supervisor.")
@click.option("--screening", is_flag=True, help="May hold keys that sign outcomes of screening.")
@suite_option("Of its account key.")
@click.option("--accounts-max", type=click.IntRange(1), default=2**32 - 1, help="Quota of accounts on each shard.")
@click.option("--keys-max", type=click.IntRange(1), default=2**32 - 1, help="Quota of keys.")
@as_option("operator")
@timeout_option
@network_option
@json_option
def add(
    *,
    number: int | None,
    ledger_name: str,
    name: str,
    issuer: bool,
    supervisor: bool,
    screening: bool,
    suite: str,
    accounts_max: int,
    keys_max: int,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Add participant NUMBER to the domain of a ledger, signed by the operator.

    New keys come with it: its registrar's and one for its accounts, or an issuer's two. They are kept in the network's
    folder, with a certificate bank-NUMBER to speak with. The issuer's number stands in the genesis.
    """
    from clearspan.administration import MemberPlan
    from clearspan.cli.session import Session
    from clearspan.errors import ConfigError
    from engine.types import Role, SigningSuite

    session = Session.open(network_path, timeout_s)
    domain, ledger = session.ledger(ledger_name)
    if issuer and number not in {None, ledger.issuer}:
        raise ConfigError("NUMBER", f"{number} is not the issuer of {ledger.currency}", f"it is {ledger.issuer}")
    chosen = ledger.issuer if issuer else number
    if chosen is None:
        raise ConfigError("NUMBER", "is missing", "give the participant a number, such as 1001")
    if not name.isascii() or not 1 <= len(name) <= 16:
        raise ConfigError("--name", "1 to 16 ASCII characters are asked for", "shorten it")
    plan = MemberPlan(
        chosen,
        name,
        issuer=issuer,
        suite=SigningSuite[suite.upper()],
        roles=(1 << Role.SUPERVISOR) * supervisor | (1 << Role.SCREENING) * screening,
        accounts_max=accounts_max,
        keys_max=keys_max,
    )
    found = asyncio.run(_add(session, domain.domain, ledger.ledger, plan, speaker))
    output = Output(as_json=as_json)
    output.document(found)
    output.line(f"participant {chosen} ({name}) added to domain {domain.name}; certificate {found['certificate']}")
    output.table(["key id>", "role", "suite"], [(key["key_id"], key["role"], key["suite"]) for key in found["keys"]])


async def _add(session: Session, domain: int, ledger: int, plan: Any, speaker: str) -> dict[str, Any]:
    from clearspan.iso20022.accounts import format_account
    from clearspan.keys import ScryptCost
    from clearspan.network import DEVELOPMENT_COST_N, KnownParticipant
    from clearspan.pki import DevelopmentPki
    from clearspan.roles import Identity, PeerRole

    network = session.network
    accounts: dict[int, int] = {}
    async with session.connect(domain, speaker) as client:
        desk = session.desk(client, domain)
        (member,) = await desk.add_members([plan])
        # Kept before anything else can fail: the ledger knows these keys now.
        folder = network.key_folder(domain, plan.number)
        member.ring.save(folder / "ring.json", network.passphrase(), ScryptCost(n=DEVELOPMENT_COST_N))
        if plan.issuer:
            accounts[await desk.open_issuer_account(member, ledger)] = 0
    network.note_participants([KnownParticipant(plan.number, plan.name, domain, plan.issuer, accounts)])
    certificate = f"issuer-{network.genesis.domain(domain).name}"
    if not plan.issuer:
        certificate = f"bank-{plan.number}"
        identity = Identity(network.genesis.network, PeerRole.BANK, plan.number)
        DevelopmentPki(network.path / "tls", network.genesis.network).issue_client(certificate, identity)
    keys = [
        {"key_id": info.key_id, "role": info.role.name.lower(), "suite": info.suite.name.lower()}
        for info in member.ring
    ]
    return {
        "participant": plan.number,
        "name": plan.name,
        "domain": domain,
        "certificate": certificate,
        "keys": keys,
        "accounts": [format_account(account) for account in accounts],
    }


@command.command("list")
@network_option
@json_option
def list_(network_path: Path | None, as_json: bool) -> None:
    """List the participants that this network folder knows: those of the genesis, and those added from here."""
    from clearspan.iso20022.accounts import format_account
    from clearspan.network import Network, find_network

    network = Network.load(find_network(network_path))
    output = Output(as_json=as_json)
    participants = network.participants()
    output.document(
        {
            "participants": [
                {
                    "participant": each.number,
                    "name": each.name,
                    "domain": each.domain,
                    "issuer": each.issuer,
                    "accounts": [format_account(account) for account in each.accounts],
                }
                for each in participants
            ]
        }
    )
    rows = [(each.domain, each.number, each.name, "yes" * each.issuer, len(each.accounts)) for each in participants]
    output.table(["domain>", "number>", "name", "issuer", "accounts>"], rows)
