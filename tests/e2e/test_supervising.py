"""Holds and breakers by command: what waits is listed and decided, what is broken stops, with keys of a folder."""

from __future__ import annotations

import asyncio

import pytest

from clearspan.iso20022 import format_account
from tests.e2e.support import client_of, payments

pytestmark = pytest.mark.timeout(120)
LEDGER = ("--ledger", "CNY")


@pytest.fixture
def command(clearspan, cluster):
    """Run a command on the running network, as JSON; what it prints is read."""

    def call(*arguments: object, code: int = 0):
        ran = clearspan(*arguments, "--network", cluster.network.path, "--json")
        assert ran.code == code, ran.err
        return ran.json if code == 0 else ran.error

    return call


def pay(cluster, banks, amount: int) -> str:
    """Pay from a bank to another; return what the ledger answered."""
    batch = payments(cluster.network, *banks[:2], 1, amount)

    async def work() -> str:
        async with client_of(cluster, "clearing-house", patient=False) as client:
            return (await client.submit(batch))[0].name

    return asyncio.run(work())


def test_a_breaker_stops_what_begins_until_it_is_lifted(command, cluster, banks):
    """Goal: stop and go by command. Method: set on an account, a payment refused, listed, cleared, a payment settled."""
    account = format_account(banks[0].accounts[0])
    command("breaker", "set", "account", account, *LEDGER, "--grade", "stop", "--for-s", "600", "--reason", "7")
    assert pay(cluster, banks, 100) == "breaker_open"
    (found,) = command("breaker", "list", *LEDGER)["breakers"]
    assert (found["kind"], found["grade"], found["reason"]) == ("account", "stop", 7)
    assert found["subject"] == f"{banks[0].accounts[0]:032x}"
    command("breaker", "clear", "account", account, *LEDGER, "--reason", "8")
    assert command("breaker", "list", *LEDGER)["breakers"] == []
    assert pay(cluster, banks, 100) in {"created", "created_in_transit"}


def test_a_slow_breaker_says_how_many(command):
    """Goal: a rate belongs to slow and to nothing else. Method: both mistakes."""
    common = ("breaker", "set", "participant", "1001", *LEDGER, "--for-s", "60", "--reason", "1")
    assert command(*common, "--grade", "slow", code=2)["code"] == "config_error"
    assert command(*common, "--grade", "hold", "--per-second", "5", code=2)["code"] == "config_error"


def test_what_reaches_the_threshold_waits_and_is_rejected(command, cluster, banks):
    """Goal: a held payment is seen and decided. Method: a threshold, a payment, the list, a rejection by two keys."""
    command("ledger", "rules", *LEDGER, "--hold-from", "50.00", "--hold-for-s", "600")
    assert pay(cluster, banks, 6_000) == "held"
    (found,) = command("hold", "list", *LEDGER)["holds"]
    assert (found["amount"]["minor"], found["rule"], found["state"]) == ("6000", "threshold", "waiting")
    account, transfer = found["from"], found["transfer"]
    command("hold", "reject", account, transfer, *LEDGER, "--reason", "9")
    assert command("hold", "list", *LEDGER)["holds"] == []
    # As supervisor the same list is a look, which the log keeps.
    assert command("hold", "list", *LEDGER, "--as", "supervisor")["holds"] == []
    command("ledger", "rules", *LEDGER, "--hold-from", "0")
