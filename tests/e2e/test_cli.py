"""The command line end to end: every verb against a running node, every exit code, and help without weight."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys

import pytest
from lxml import etree

from clearspan.cli.root import run
from clearspan.cluster import Cluster
from clearspan.config import parse_config
from clearspan.network import read_address
from tests.e2e.support import ROOT, program, small_network

EXAMPLES = ROOT / "examples" / "iso20022"
A1 = "000003e9-00000000-0000000000000001"
A2 = "000003e9-00000000-0000000000000002"
B1 = "000003ea-00000000-0000000000000001"
NOBODY = "000003ea-00000000-00000000000000ff"


# Without a node.


def test_help_and_version_are_light():
    """Help of every command imports neither gRPC nor numpy; version prints what it is and imports neither too."""
    script = """
import sys
from clearspan.cli.root import root, run
import click
names = root.list_commands(click.Context(root))
ours = [name for name in names if name not in ("load", "demo", "simulate")]
assert run(["--help"]) == 0
for name in ours:
    assert run([name, "--help"]) == 0, name
assert run(["version", "--verbose", "--json"]) == 0
heavy = {"grpc", "numpy", "lmdb", "uvloop", "lxml", "rich"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    version = json.loads(done.stdout.splitlines()[-1])
    assert version["kernel"] in {"scalar", "avx2", "avx512ifma"}
    assert version["formats"]["log record"] == 1


def test_version_starts_fast():
    """A person who types a word gets an answer at once: 0.3 s of the processor, however busy the machine is."""
    assert min(_cpu_seconds("version") for _ in range(3)) < 0.3


def _cpu_seconds(*arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert program(*arguments).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_what_is_not_built_is_not_listed(clearspan):
    """Verbs of later releases are absent, not stubs; every one that is listed answers."""
    out = clearspan("--help").out
    for word in ("backup", "upgrade", "console"):
        assert clearspan(word).code == 2
        assert word not in out
    for word in ("bridge", "swap", "corridor", "hold", "breaker"):
        assert word in out
        assert clearspan(word, "--help").code == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("nonsense",), "nonsense"),
        (("account", "show"), "ACCOUNTS"),
        (("account", "show", "12"), "32 hexadecimal digits"),
        (("transfer", "--from", A1, "--to", B1, "--ledger", "CNY"), "--amount"),
        (("init", "--shards", "0", "x"), "shards"),
        (("receipt", "get", "--out", "x"), "--digest"),
        (("receipt", "get", "--out", "x", "--digest", "zz"), "64 hexadecimal"),
        (("node", "run", "--node-port", "many"), "node-port"),
    ],
)
def test_wrong_usage_is_exit_2_in_words_and_in_json(clearspan, arguments, word):
    """A mistake is named with where to read on, on standard error; with --json as one JSON object."""
    told = clearspan(*arguments)
    assert (told.code, told.out) == (2, "")
    assert word in told.err
    assert "--help" in told.err
    coded = clearspan(*arguments, "--json")
    assert coded.code == 2
    assert coded.out == ""
    assert coded.error["exit_code"] == 2
    assert coded.error["next_step"]


def test_a_missing_network_is_named(clearspan, tmp_path, monkeypatch):
    """No folder, an empty one, and one that CLEARSPAN_CONFIG names: each says how to make one."""
    monkeypatch.chdir(tmp_path)
    for arguments in (("participant", "list"), ("participant", "list", "--network", tmp_path)):
        told = clearspan(*arguments)
        assert told.code == 2
        assert "clearspan init" in told.err
    monkeypatch.setenv("CLEARSPAN_CONFIG", str(tmp_path / "there"))
    told = clearspan("participant", "list")
    assert told.code == 2
    assert "CLEARSPAN_CONFIG" in told.err
    network = small_network(tmp_path / "there")
    assert clearspan("participant", "list").code == 0
    monkeypatch.setenv("CLEARSPAN_CONFIG", str(network.node_config(1)))
    assert clearspan("participant", "list").code == 0, "the settings of a node lead to the folder around it"


def test_init_makes_a_folder_once(clearspan, tmp_path):
    """init prints the genesis hash and where the settings are; what stands is not overwritten; bad values leave nothing."""
    folder = tmp_path / "network"
    made = clearspan("init", folder, "--currencies", "cny,jpy", "--port", "0", "--metrics-port", "0", "--json")
    assert made.code == 0
    assert [node["name"] for node in made.json["nodes"]] == ["cny", "jpy"]
    assert len(made.json["genesis_hash"]) == 64
    again = clearspan("init", folder, "--json")
    assert again.code == 2
    assert "not empty" in again.error["message"]
    assert clearspan("init", tmp_path / "other", "--currencies", "CNX").code == 2
    assert clearspan("init", tmp_path / "other", "--name", "No Name").code == 2
    assert not (tmp_path / "other").exists()
    listed = clearspan("participant", "list", "--network", folder, "--json")
    assert {each["name"] for each in listed.json["participants"]} == {"operator", "supervisor", "regulator"}


def test_settings_are_checked_before_anything_starts(clearspan, tmp_path):
    """An unknown key, a value out of bounds and a missing file are named with their path; nothing is made."""
    network = small_network(tmp_path / "network")
    config = network.node_config(1)
    good = config.read_text()
    assert clearspan("node", "run", "--config", config, "--check").code == 0
    for old, new, word in (
        ("[limits]", "[limits]\nrpc_max = 3", "limits.rpc_max"),
        ("rpcs_max = 512", "rpcs_max = -1", "limits.rpcs_max"),
        ("format = 1", "format = 9", "format"),
        ("[data]", "[data", "node.toml"),
    ):
        assert old in good
        config.write_text(good.replace(old, new, 1))
        told = clearspan("node", "run", "--config", config)
        assert told.code == 2
        assert word in told.err, told.err
    config.write_text(good)
    assert clearspan("node", "run", "--config", tmp_path / "none.toml").code == 2
    assert clearspan("node", "run", "--config", config, "--node-genesis", "none.json").code == 2
    assert clearspan("node", "run", "--config", config, "--node-domain", "7").code == 2
    assert clearspan("node", "run", "--config", config, "--tls-key", "../../tls/reader.key").code == 2
    wrong = str(network.path / "keys" / "cny" / "12" / "supervisor-1.key")
    assert "block key" in clearspan("node", "run", "--config", config, "--node-block-keys", wrong).err
    assert not (network.node_folder(1) / "data").exists()


def test_nobody_there_is_exit_3(clearspan, tmp_path):
    """A node that does not run is unreachable, for status and for any call."""
    network = small_network(tmp_path / "network")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    nodes = network.path / "nodes.toml"
    nodes.write_text(nodes.read_text().replace("port = 0", f"port = {port}"))
    status = clearspan("node", "status", "--network", network.path, "--timeout-s", "0.3", "--json")
    assert status.code == 3
    assert "error" in status.json["nodes"][0]
    shown = clearspan("account", "show", A1, "--network", network.path, "--timeout-s", "0.3", "--json")
    assert (shown.code, shown.error["code"]) == (3, "unreachable")


# With a node.


@pytest.fixture(scope="module")
def network(cluster):
    """The running network after an issuer, two banks and three accounts were made by the command line."""
    path = cluster.network.path
    for arguments in (
        ("participant", "add", "--ledger", "CNY", "--name", "ISSUER", "--issuer"),
        ("participant", "add", "1001", "--ledger", "156", "--name", "CLSPCNA0XXX"),
        ("participant", "add", "1002", "--ledger", "CNY", "--name", "CLSPCNB0XXX", "--suite", "sm2"),
        ("account", "open", "--participant", "1001", "--ledger", "CNY", "--count", "8"),
        ("account", "open", "--participant", "1002", "--ledger", "CNY", "--count", "8"),
        ("ledger", "issue", "--ledger", "CNY", "--to", A1, "--amount", "1000.00"),
        ("ledger", "issue", "--ledger", "CNY", "--to", B1, "--amount", "500"),
    ):
        assert run([*arguments, "--network", str(path)]) == 0, arguments
    return path


def test_status_and_participants(clearspan, network):
    """The node says its domain, shards and heights; the folder knows who was added and which accounts they have."""
    status = clearspan("node", "status", "--network", network, "--json")
    (node,) = status.json["nodes"]
    assert (status.code, node["domain"], node["durability"], len(node["shards"])) == (0, 1, "synced", 2)
    listed = clearspan("participant", "list", "--network", network, "--json").json["participants"]
    known = {each["participant"]: each for each in listed}
    assert known[13]["issuer"]
    assert known[1001]["accounts"][0] == A1
    assert len(known[1002]["accounts"]) == 8
    assert clearspan("node", "status", "--network", network).code == 0


def test_a_refused_request_is_exit_1_with_its_code(clearspan, network):
    """What the ledger refuses is named by its result code, with the next step."""
    again = clearspan(
        "participant", "add", "1001", "--ledger", "CNY", "--name", "AGAIN", "--network", network, "--json"
    )
    assert (again.code, again.error["code"]) == (1, "participant_exists")
    opened = clearspan(
        "account", "open", "--participant", "1001", "--serial", "1", "--ledger", "CNY", "--network", network, "--json"
    )
    assert (opened.code, opened.error["code"]) == (1, "account_exists")
    assert opened.error["number"] > 0
    assert opened.error["next_step"]


def test_transfers_move_money_once(clearspan, network):
    """Outcome, digest and amounts in JSON; the same id again is the same payment; too much is refused with exit 1."""
    same = ("transfer", "--from", A1, "--to", B1, "--ledger", "CNY", "--network", network, "--json")
    before = _balance(clearspan, network, A1)
    paid = clearspan(*same, "--amount", "12.34", "--id", "11111111-2222-4333-8444-555555555555")
    assert paid.code == 0
    assert paid.json["settled"]
    assert paid.json["amount"] == {"minor": "1234", "currency": "CNY", "text": "12.34 CNY"}
    other = clearspan(*same, "--amount", "12.35", "--id", "11111111222243338444555555555555")
    assert other.code == 1
    assert other.json["code"].startswith("exists_with_different_")
    assert _balance(clearspan, network, A1) == before - 1234
    much = clearspan(*same, "--amount", "99999999.00")
    assert (much.code, much.json["code"], much.json["class"]) == (1, "insufficient_funds", "no")
    assert clearspan(*same, "--amount", "1.234").error["exit_code"] == 2
    told = clearspan(*same[:-1], "--amount", "0.01")
    assert told.code == 0
    assert "0.01 CNY" in told.out


def _balance(clearspan, network, account: str) -> int:
    shown = clearspan("account", "show", account, "--network", network, "--json")
    return int(shown.json["accounts"][0]["balance"]["minor"])


def test_accounts_are_shown_to_those_who_may(clearspan, network):
    """A bank sees its own accounts and is refused others'; a clearing house sees that they exist; a missing one is exit 1."""
    shown = clearspan("account", "show", A1, A2, NOBODY, "--network", network, "--json")
    assert shown.code == 1
    assert [each["found"] for each in shown.json["accounts"]] == [True, True, False]
    assert clearspan("account", "show", A1, "--as", "bank-1001", "--network", network).code == 0
    foreign = clearspan("account", "show", B1, "--as", "bank-1001", "--network", network, "--json")
    assert (foreign.code, foreign.error["code"]) == (1, "role_refused")
    blind = clearspan("account", "show", B1, "--as", "clearing-house", "--network", network, "--json")
    assert blind.code == 0
    assert "balance" not in blind.json["accounts"][0]
    assert clearspan("account", "show", A1, "--as", "nobody", "--network", network).code == 2


def test_a_wrong_role_may_not(clearspan, network):
    """A reader's certificate settles nothing, a bank's not what another pays, a supervisor's adds no participant."""
    told = clearspan(
        "transfer",
        "--from",
        A1,
        "--to",
        B1,
        "--amount",
        "1",
        "--ledger",
        "CNY",
        "--as",
        "reader",
        "--network",
        network,
        "--json",
    )
    assert (told.code, told.error["code"]) == (1, "role_refused")
    told = clearspan(
        "transfer",
        "--from",
        A1,
        "--to",
        B1,
        "--amount",
        "1",
        "--ledger",
        "CNY",
        "--as",
        "bank-1002",
        "--network",
        network,
        "--json",
    )
    assert (told.code, told.error["code"]) == (1, "role_refused")
    told = clearspan(
        "participant", "add", "1003", "--ledger", "CNY", "--name", "X", "--as", "reader", "--network", network, "--json"
    )
    assert (told.code, told.error["code"]) == (1, "role_refused")


def test_freeze_unfreeze_close(clearspan, network):
    """Two signatures freeze an account, debits stop, two let it go; only an empty one is closed, and for ever."""
    options = ("--ledger", "CNY", "--network", network)
    pay = ("transfer", "--from", A1, "--to", B1, "--amount", "0.01", *options, "--json")
    assert clearspan("account", "freeze", A1, "--reason", "7", *options).code == 0
    assert clearspan(*pay).json["code"] == "debit_account_frozen"
    assert clearspan("account", "show", A1, "--network", network, "--json").json["accounts"][0]["state"] == "frozen"
    assert clearspan("account", "unfreeze", A1, *options).code == 0
    assert clearspan(*pay).code == 0
    held = clearspan("account", "close", A1, *options, "--json")
    assert (held.code, held.error["code"]) == (1, "account_not_empty")
    spare = "000003e9-00000000-0000000000000008"
    assert clearspan("account", "close", spare, *options).code == 0
    assert clearspan("account", "show", spare, "--network", network, "--json").json["accounts"][0]["state"] == "closed"


def test_keys_are_added_and_replaced(clearspan, network):
    """A rotated key serves what the old one served, and the old one signs no more."""
    known = clearspan("participant", "list", "--network", network, "--json").json["participants"]
    assert any(each["participant"] == 1002 for each in known)
    made = clearspan("key", "new", "--participant", "1002", "--suite", "p256", "--network", network, "--json")
    assert (made.code, made.json["suite"]) == (0, "p256")
    old = json.loads((network / "participants.json").read_text())
    (key_id,) = {key for each in old["participants"] if each["number"] == 1002 for key in each["accounts"].values()}
    turned = clearspan("key", "rotate", "--participant", "1002", "--key-id", key_id, "--network", network, "--json")
    assert (turned.code, turned.json["suite"]) == (0, "sm2")
    pay = ("transfer", "--from", B1, "--to", A1, "--amount", "0.02", "--ledger", "CNY", "--network", network, "--json")
    assert clearspan(*pay).code == 0
    stale = clearspan(*pay, "--key-id", key_id)
    assert (stale.code, stale.json["code"]) == (1, "key_not_in_force")
    wrong = clearspan(*pay, "--key-id", made.json["key_id"])
    assert (wrong.code, wrong.json["code"]) == (1, "key_not_authorised")


def test_issue_redeem_show(clearspan, network):
    """What is issued is in circulation until it is redeemed."""
    options = ("--ledger", "CNY", "--network", network, "--json")
    supply = int(clearspan("ledger", "show", *options).json["ledgers"][0]["supply"]["minor"])
    assert clearspan("ledger", "issue", "--to", A2, "--amount", "70", *options).code == 0
    assert clearspan("ledger", "redeem", "--from", A2, "--amount", "30", *options).code == 0
    shown = clearspan("ledger", "show", *options).json["ledgers"][0]
    assert int(shown["supply"]["minor"]) == supply + 4000
    assert len(shown["shards"]) == 2
    nowhere = clearspan("ledger", "issue", "--to", NOBODY, "--amount", "1", *options)
    assert (nowhere.code, nowhere.json["code"]) == (0, "created_in_transit"), "it is on another shard, and will return"
    assert clearspan("ledger", "show", *options).json["ledgers"][0]["supply"] == shown["supply"]


def test_receipts_prove_offline(clearspan, network, tmp_path):
    """A proof is fetched by digest or by id, checked with genesis and block key alone, and fails when one byte differs."""
    paid = clearspan(
        "transfer", "--from", A1, "--to", A2, "--amount", "1", "--ledger", "CNY", "--network", network, "--json"
    ).json
    proof = tmp_path / "proof.csp"
    settled = ("--durability", "settled")
    got = clearspan(
        "receipt", "get", "--digest", paid["digest"], "--out", proof, "--network", network, "--json", *settled
    )  # fmt: skip
    assert (got.code, got.json["digest"], got.json["final"]) == (0, paid["digest"], False)
    found = clearspan(
        "receipt",
        "get",
        "--id",
        paid["id"],
        "--account",
        A1,
        "--out",
        tmp_path / "b.csp",
        "--network",
        network,
        "--json",
        *settled,
    )
    assert found.code == 0, found.err
    assert found.json["digest"] == paid["digest"]
    told = clearspan("receipt", "verify", proof, "--genesis", network / "genesis.json")
    assert told.code == 0
    assert "not final" in told.out
    assert (
        clearspan("receipt", "verify", proof, "--network", network, "--digest", "00" * 32, "--json").error["exit_code"]
        == 4
    )
    data = bytearray(proof.read_bytes())
    data[8 + 32] ^= 1
    (tmp_path / "false.csp").write_bytes(data)
    false = clearspan("receipt", "verify", tmp_path / "false.csp", "--network", network, "--json")
    assert (false.code, false.error["code"]) == (4, "verification_failed")
    unknown = clearspan(
        "receipt", "get", "--digest", "ab" * 32, "--out", proof, "--network", network, "--timeout-s", "0.5", "--json"
    )
    assert (unknown.code, unknown.error["code"]) == (1, "not_found")


def test_payments_from_file_to_status_report(clearspan, network, tmp_path):
    """ISO 20022 in, signed batch, submitted, pacs.002 out; repeats are answered as such, refusals with their reason."""
    serial_1 = "000003e9-00000000-0000000000000001"
    for place in range(2, 9):
        for bank in ("000003e9", "000003ea"):
            account = f"{bank}-00000000-{place:016x}"
            if account != "000003e9-00000000-0000000000000008":
                assert (
                    clearspan(
                        "ledger",
                        "issue",
                        "--ledger",
                        "CNY",
                        "--to",
                        account,
                        "--amount",
                        "1000000",
                        "--network",
                        network,
                    ).code
                    == 0
                )
    message = _two_bank_message(tmp_path, serial_1)
    signed = clearspan("sign", message, "--out", tmp_path, "--network", network, "--json")
    assert signed.code == 0, signed.err
    batch = tmp_path / "payments.csb"
    report = tmp_path / "report.xml"
    sent = clearspan("submit", batch, "--message", message, "--status-report", report, "--network", network, "--json")
    assert sent.code == 1
    codes = [record["code"] for record in sent.json["batches"][0]["records"]]
    assert (sent.json["settled"], sent.json["refused"]) == (3, 1)
    assert codes[3] == "insufficient_funds"
    names = etree.fromstring(report.read_bytes())
    statuses = [element.text for element in names.iter("{*}TxSts")]
    assert sorted(statuses)[-1] == "RJCT"
    assert sum(status in {"ACSC", "ACSP"} for status in statuses) == 3
    again = clearspan("submit", batch, "--network", network, "--json")
    assert [record["answer"] for record in again.json["batches"][0]["records"]][:3] == ["exists"] * 3
    assert [record["digest"] for record in again.json["batches"][0]["records"]] == [
        record["digest"] for record in sent.json["batches"][0]["records"]
    ]
    assert clearspan("submit", batch, "--network", network).code == 1
    assert clearspan("submit", batch, "--status-report", report, "--network", network).code == 2
    assert clearspan("submit", message, "--network", network).code == 2, "a file that is no batch file is usage"


def _two_bank_message(folder, payer: str):
    """Three payments that settle and one of more than there is, as a pacs.008."""
    from datetime import UTC, date, datetime
    from uuid import uuid4

    from clearspan.iso20022 import MessageKind, Payment, Settlement, payments

    found = [
        Payment(
            kind=MessageKind.CUSTOMER_CREDIT_TRANSFER, index=place, instruction_id=f"I{place}", end_to_end_id=f"E{place}",
            transaction_id=f"T{place}", uetr=uuid4().int, currency="CNY", amount=amount,
            settlement_date=date(2026, 1, 5), debtor_agent="CLSPCNA0XXX", creditor_agent="CLSPCNB0XXX",
            debtor_account=payer, creditor_account=B1, debtor_name="Payer Ltd", creditor_name="Payee Ltd",
            charge_bearer="SHAR", instructing_agent="CLSPCNA0XXX", instructed_agent="CLSPCNB0XXX",
        )
        for place, amount in enumerate((100, 200, 300, 10**15))
    ]  # fmt: skip
    path = folder / "payments.xml"
    settlement = Settlement("CLRG", date(2026, 1, 5))
    path.write_bytes(
        payments(MessageKind.CUSTOMER_CREDIT_TRANSFER, "MSG1", datetime.now(UTC), found, settlement=settlement)
    )
    return path


def test_a_broken_file_is_refused_whole(clearspan, network, tmp_path):
    """Nothing is signed of a file that cannot be read whole; the refusal is written as a pacs.002."""
    report = tmp_path / "report.xml"
    told = clearspan(
        "sign",
        EXAMPLES / "broken" / "count-off.xml",
        "--out",
        tmp_path,
        "--status-report",
        report,
        "--network",
        network,
        "--json",
    )
    assert (told.code, told.error["code"]) == (2, "count_mismatch")
    assert b"RJCT" in report.read_bytes()
    assert not list(tmp_path.glob("*.csb"))


def test_a_batch_file_of_another_network_is_refused(clearspan, network, tmp_path):
    """The genesis hash in the file is not this network's: nothing is sent."""
    other = small_network(tmp_path / "other")
    message = _two_bank_message(tmp_path, A1)
    assert clearspan("sign", message, "--network", network).code == 0
    told = clearspan("submit", tmp_path / "payments.csb", "--network", other.path, "--json")
    assert told.code == 2
    assert "genesis" in told.error["message"]


# Nodes that may not start beside the one that runs.


def test_a_second_node_on_the_directory_is_refused(cluster):
    """The lock names the process that holds it; exit 2, and the first goes on."""
    done = program("node", "run", "--config", str(cluster.network.node_config(1)), "--node-port", "0")
    assert done.returncode == 2
    assert f"in use by process {cluster.address(1).pid}" in done.stderr
    assert cluster.is_running(1)


@pytest.mark.parametrize("flag", ["--node-port", "--metrics-port"])
def test_a_port_in_use_is_named(cluster, tmp_path, flag):
    """A taken port ends the start with exit 2 and the address, for the service and for the figures."""
    network = small_network(tmp_path / "network")
    address = cluster.address(1)
    taken = address.port if flag == "--node-port" else address.metrics_port
    done = program("node", "run", "--config", str(network.node_config(1)), flag, str(taken))
    assert done.returncode == 2
    assert f"127.0.0.1:{taken} is in use" in done.stderr


def test_a_directory_of_another_network_is_refused(cluster, tmp_path):
    """A data directory belongs to one network for ever."""
    network = small_network(tmp_path / "network")
    with Cluster(network):
        pass
    other = small_network(tmp_path / "other")
    data = str(network.node_folder(1) / "data")
    done = program("node", "run", "--config", str(other.node_config(1)), "--data-path", data)
    assert done.returncode == 2
    assert "FORMAT" in done.stderr


def test_run_prints_one_ready_line_and_stops_on_a_signal(tmp_path):
    """One JSON line when it is ready; SIGINT and SIGTERM both end it with exit 0; its address is noted for clients."""
    network = small_network(tmp_path / "network")
    for number in (signal.SIGINT, signal.SIGTERM):
        command = [sys.executable, "-m", "clearspan", "node", "run", "--config", str(network.node_config(1))]
        with (tmp_path / "err").open("wb") as errors, subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process:  # fmt: skip
            ready = json.loads(process.stdout.readline())
            assert ready["ready"]
            assert ready["pid"] == process.pid
            assert read_address(network.node_folder(1) / "data").port == ready["port"]
            process.send_signal(number)
            assert process.wait(timeout=30) == 0
            assert process.stdout.read() == ""


def test_the_reference_is_what_the_commands_say():
    """docs/cli.md is written from the commands: `python -m clearspan.cli.reference > docs/cli.md`."""
    command = [sys.executable, "-m", "clearspan.cli.reference"]
    page = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "cli.md").read_text() == page


def test_the_example_settings_are_good(tmp_path):
    """deploy/node.toml is read as it stands."""
    parse_config((ROOT / "deploy" / "node.toml").read_bytes())
