"""What is held and limited, from the command line of a running network."""

from __future__ import annotations

import pytest

from clearspan.cli.root import run

A1, B1 = "000003e9-00000000-0000000000000001", "000003ea-00000000-0000000000000001"


@pytest.fixture(scope="module")
def network(cluster):
    path = cluster.network.path
    for arguments in (
        ("participant", "add", "--ledger", "CNY", "--name", "ISSUER", "--issuer"),
        ("participant", "add", "1001", "--ledger", "156", "--name", "CLSPCNA0XXX"),
        ("participant", "add", "1002", "--ledger", "CNY", "--name", "CLSPCNB0XXX"),
        ("account", "open", "--participant", "1001", "--ledger", "CNY"),
        ("account", "open", "--participant", "1002", "--ledger", "CNY"),
        ("ledger", "issue", "--ledger", "CNY", "--to", A1, "--amount", "2000.00"),
    ):
        assert run([*arguments, "--network", str(path)]) == 0, arguments
    return path


def test_a_threshold_and_a_tier(clearspan, network):
    """LEDGER-102, LEDGER-104: set by two keys, and met by the next transfer."""
    options = ("--ledger", "CNY", "--network", network)
    pay = ("transfer", "--from", A1, "--to", B1, *options, "--json", "--amount")
    set_rules = clearspan("ledger", "rules", "--hold-from", "500.00", "--hold-for-s", "3600", *options, "--json")
    assert (set_rules.code, set_rules.json["hold_from"]["text"]) == (0, "500.00 CNY")
    assert clearspan(*pay, "499.99").json["code"] in {"created", "created_in_transit"}
    assert clearspan(*pay, "500.00").json["code"] == "held"
    assert clearspan("ledger", "rules", "--hold-from", "0", *options).code == 0
    assert clearspan("ledger", "tier", "--tier", "1", "--amount-max", "0.05", *options).code == 0
    assert clearspan("account", "tier", A1, "--tier", "1", *options).code == 0
    assert clearspan(*pay, "0.06").json["code"] == "tier_limit_exceeded"
    assert clearspan("account", "tier", A1, "--tier", "2", *options, "--json").error["code"] == "tier_not_found"
    assert clearspan("account", "tier", A1, "--tier", "0", *options).code == 0
