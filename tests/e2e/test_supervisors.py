"""Supervisors at work, from the command line of a running network: holds, breakers, and looks that are recorded."""

from __future__ import annotations

import asyncio

import pytest

from clearspan.administration import RingKey, signed_columns
from clearspan.cli.root import run
from clearspan.cli.session import Session
from clearspan.errors import Refused
from clearspan.inspection import InspectKind, look_at
from clearspan.v1 import clearspan_pb2
from engine.types import Role
from native.codes import ResultCode as Code

A1, B1 = "000003e9-00000000-0000000000000001", "000003ea-00000000-0000000000000001"
THE_OTHER = 77


@pytest.fixture(scope="module")
def network(cluster):
    path = cluster.network.path
    for arguments in (
        ("participant", "add", "--ledger", "CNY", "--name", "ISSUER", "--issuer"),
        ("participant", "add", "1001", "--ledger", "156", "--name", "CLSPCNA0XXX"),
        ("participant", "add", "1002", "--ledger", "CNY", "--name", "CLSPCNB0XXX"),
        ("participant", "add", str(THE_OTHER), "--ledger", "CNY", "--name", "ABROAD", "--supervisor"),
        ("key", "new", "--participant", str(THE_OTHER), "--role", "supervisor", "--domain", "cny"),
        ("account", "open", "--participant", "1001", "--ledger", "CNY"),
        ("account", "open", "--participant", "1002", "--ledger", "CNY"),
        ("ledger", "issue", "--ledger", "CNY", "--to", A1, "--amount", "1000.00"),
    ):
        assert run([*arguments, "--network", str(path)]) == 0, arguments
    return path


def test_what_is_held_is_listed_released_and_rejected(clearspan, network):
    options = ("--ledger", "CNY", "--network", network)
    pay = ("transfer", "--from", A1, "--to", B1, *options, "--json", "--amount")
    assert clearspan("ledger", "rules", "--hold-from", "100.00", "--hold-for-s", "3600", *options).code == 0
    assert [clearspan(*pay, amount).json["code"] for amount in ("100.00", "200.00")] == ["held", "held"]
    first, second = sorted(
        clearspan("hold", "list", *options, "--json").json["holds"], key=lambda each: each["amount"]["minor"]
    )
    assert (first["amount"]["text"], first["rule"], first["kind"]) == ("100.00 CNY", "threshold", "plain")
    assert first["from"] == A1 and 3500 < first["left_s"] <= 3600
    # By a supervisor the same, and his look is in the log.
    seen = clearspan("hold", "list", *options, "--as", "supervisor", "--json").json["holds"]
    assert {each["transfer"] for each in seen} == {first["transfer"], second["transfer"]}
    release = ("hold", "release", A1, first["transfer"], *options, "--json")
    assert clearspan(*release).code == 0
    assert clearspan("hold", "reject", A1, second["transfer"], *options, "--reason", "9").code == 0
    again = clearspan(*release)
    assert (again.code, again.error["code"]) == (1, "hold_over")
    assert clearspan("hold", "list", *options, "--json").json["holds"] == []
    shown = clearspan("account", "show", B1, "--network", network, "--json").json["accounts"][0]
    assert shown["balance"]["text"] == "100.00 CNY"
    assert clearspan("ledger", "rules", "--hold-from", "0", *options).code == 0


def test_a_breaker_stops_what_begins_until_it_is_cleared(clearspan, network):
    options = ("--ledger", "CNY", "--network", network, "--json")
    pay = ("transfer", "--from", A1, "--to", B1, *options, "--timeout-s", "2", "--amount", "1.00")
    on = ("account", A1, "--reason", "3", *options)
    assert clearspan("breaker", "set", *on, "--grade", "stop", "--for-s", "600").code == 0
    (standing,) = clearspan("breaker", "list", *options).json["breakers"]
    found = standing["kind"], standing["subject"], standing["grade"], standing["reason"]
    assert found == ("account", A1.replace("-", ""), "stop", 3)
    assert clearspan(*pay).code != 0
    assert clearspan("breaker", "clear", *on).code == 0
    assert clearspan("breaker", "list", *options).json["breakers"] == []
    assert clearspan(*pay).code == 0
    assert clearspan("breaker", "set", *on, "--grade", "slow", "--for-s", "600").code == 2


def asked(network, kind, query, change=None, speaker="supervisor", reason=5):
    """Ask for a view; ``change`` bends the signed look first. Return the reply, or the refusal's number."""
    session = Session.open(network)
    genesis = session.network.genesis
    domain = genesis.domains[0]

    async def work():
        async with session.connect(domain.domain, speaker) as client:
            desk = session.desk(client, domain.domain)
            request = look_at(desk, genesis.hash_suite, kind, query, reason=reason)
            columns = signed_columns(genesis, [request], [RingKey(session.domain_keys(1, Role.SUPERVISOR), 0)])
            if change is not None:
                change(columns)
            try:
                return await client.inspect(kind, query, columns)
            except Refused as error:
                return error.code

    return asyncio.run(work())


def test_a_look_is_recorded_before_anything_is_shown(clearspan, network):
    """What a supervisor sees is what an operator sees; without a look that stands in the log he sees nothing."""
    ids = b"".join(int(each.replace("-", ""), 16).to_bytes(16, "little") for each in (A1, B1))
    query = clearspan_pb2.LookupAccountsRequest(version=1, domain=1, ids=ids).SerializeToString()
    view, looked_at = asked(network, InspectKind.ACCOUNTS, query)
    found = clearspan_pb2.LookupAccountsReply.FromString(view)
    assert looked_at > 0 and found.views == bytes((1, 1))
    page = clearspan_pb2.StatementRequest(version=1, domain=1, account=ids[:16], limit=10).SerializeToString()
    statement, _ = asked(network, InspectKind.STATEMENT, page)
    assert len(clearspan_pb2.StatementReply.FromString(statement).transfers.codes) >= 2

    def bend_signature(columns):
        columns.signatures[0, 0, 3] ^= 1

    assert asked(network, InspectKind.ACCOUNTS, query, bend_signature) == Code.ROLE_REFUSED
    assert asked(network, InspectKind.ACCOUNTS, query, reason=0) == Code.ROLE_REFUSED
    # A look at one question opens no other.
    session = Session.open(network)
    genesis = session.network.genesis

    async def swapped():
        async with session.connect(1, "supervisor") as client:
            desk = session.desk(client, 1)
            request = look_at(desk, genesis.hash_suite, InspectKind.ACCOUNTS, query, reason=5)
            columns = signed_columns(genesis, [request], [RingKey(session.domain_keys(1, Role.SUPERVISOR), 0)])
            answers = []
            for kind, other, look in (
                (InspectKind.STATEMENT, page, columns),
                (InspectKind.RULES, b"", columns),
                (InspectKind.RULES, b"", None),
            ):
                try:
                    answers.append(await client.inspect(kind, other, look))
                except Refused as error:
                    answers.append(error.code)
            return answers

    assert asyncio.run(swapped()) == [Code.BATCH_MALFORMED] * 3


def test_without_a_look_a_supervisor_reads_no_account(clearspan, network):
    refused = clearspan("account", "show", A1, "--as", "supervisor", "--network", network, "--json")
    assert (refused.code, refused.error["code"]) == (1, "role_refused")
