"""Issue and redeem with real processes: by the issuer alone and with two keys, and a supply that anyone can check."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from clearspan.administration import ISSUER_SERIAL, RingKey
from clearspan.cli.root import run
from clearspan.cluster import Cluster, issuer_of
from clearspan.errors import Refused
from clearspan.iso20022 import format_account
from clearspan.network import Network
from clearspan.signer import Signer, new_transfer_id
from engine.codes import code_name
from engine.record import ordinary_account_id
from engine.types import Role, TransferKind
from tests.e2e.support import ROOT, client_of, cut, small_network

pytestmark = pytest.mark.timeout(180)

LEDGER = ("--ledger", "CNY")
CNY = 156
BANKS = (1001, 1002)
HOLDERS = tuple(ordinary_account_id(bank, 1) for bank in BANKS)
FUNDS = 50_000
ISSUER = ordinary_account_id(issuer_of(1), ISSUER_SERIAL)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One node of two shards, and the validators that execute its log again."""
    network = small_network(tmp_path_factory.mktemp("supply") / "network")
    with cut(Cluster(network, validators=4)) as running:
        yield running


@pytest.fixture(scope="module")
def holders(cluster):
    """The accounts of two banks, each with 500.00; every key is in the folder."""
    network = ("--network", str(cluster.network.path))
    for words in (
        ("participant", "add", *LEDGER, "--name", "ISSUER", "--issuer"),
        *(("participant", "add", str(bank), *LEDGER, "--name", f"BANK{bank}") for bank in BANKS),
        *(("account", "open", "--participant", str(bank), *LEDGER) for bank in BANKS),
        *(("ledger", "issue", *LEDGER, "--to", format_account(each), "--amount", "500.00") for each in HOLDERS),
    ):
        assert run([*words, *network]) == 0, words
    return HOLDERS


@pytest.fixture
def command(clearspan, cluster):
    """Run a command on the running network, as JSON; what it prints is read."""

    def call(*arguments: object, code: int = 0):
        ran = clearspan(*arguments, "--network", cluster.network.path, "--json")
        assert ran.code == code, ran.err
        return ran.json if code == 0 else ran.error

    return call


def checked_elsewhere(path, genesis) -> dict:
    """Check a receipt with the program that shares nothing with the node; return what it proves."""
    ran = subprocess.run(
        [sys.executable, "-m", "clearspan.verifier", str(path), str(genesis)],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_what_is_issued_is_proven_until_it_is_redeemed(command, cluster, holders, tmp_path):
    """Goal: the supply as a receipt. Method: issue, redeem, two statements, each checked by two programs offline."""
    genesis = cluster.network.path / "genesis.json"
    holder = format_account(holders[0])
    given = FUNDS * len(holders)

    def stated(name: str) -> dict:
        path = tmp_path / name
        said = command("ledger", "supply", *LEDGER, "--out", path, "--timeout-s", 30)
        offline = checked_elsewhere(path, genesis)
        assert (offline["form"], offline["state"]) == ("balance", "verified")
        verified = command("receipt", "verify", path)
        assert verified["supply"] == said["supply"]["minor"] == str(-int(verified["balance"]))
        return said

    before = stated("before")
    assert before["supply"]["minor"] == str(given)
    command("ledger", "issue", *LEDGER, "--to", holder, "--amount", "1000.00")
    issued = stated("issued")
    assert issued["supply"]["minor"] == str(given + 100_000)
    command("ledger", "redeem", *LEDGER, "--from", holder, "--amount", "250.00")
    redeemed = stated("redeemed")
    assert redeemed["supply"]["minor"] == str(given + 75_000)
    assert (redeemed["issued"]["minor"], redeemed["redeemed"]["minor"]) == (str(given + 100_000), "25000")
    assert redeemed["relay_height"] > issued["relay_height"]
    shown = command("ledger", "show", *LEDGER)["ledgers"][0]
    assert shown["supply"] == redeemed["supply"]
    # Of any other account it is no statement, and the proof of another number does not hold.
    other = command("ledger", "supply", *LEDGER, "--account", holder, "--out", tmp_path / "none", code=2)
    assert "no account of participant" in other["message"]
    bent = bytearray((tmp_path / "issued").read_bytes())
    at = bytes(bent).index((given + 100_000).to_bytes(16, "little"))
    bent[at] ^= 1
    (tmp_path / "bent").write_bytes(bent)
    assert command("receipt", "verify", tmp_path / "bent", code=4)["exit_code"] == 4


def answered(cluster, speaker: str, keys: RingKey, transfer) -> str:
    """Sign one transfer with a key and send it; return the ledger's answer, or why the node did not take it."""

    async def work() -> str:
        signer = Signer(cluster.network.genesis, keys.ring)
        async with client_of(cluster, speaker, patient=False) as client:
            try:
                return code_name((await client.submit(signer.sign(1, [transfer])))[0].code)
            except Refused as error:
                return error.name

    return asyncio.run(work())


def test_nobody_issues_alone_and_nobody_else_issues(cluster, holders):
    """Goal: dual control and issuers only. Method: one key twice, no second step, a bank's key."""
    network = cluster.network
    ring = network.load_keys(1, issuer_of(1))
    maker, checker = (RingKey(ring, at) for at, info in enumerate(ring) if info.role == Role.ISSUER)
    signer = Signer(network.genesis, ring)

    def transfer(key_id: int, kind: TransferKind, **fields):
        made = signer.transfer(debit_account=ISSUER, credit_account=holders[0], amount=5, ledger=CNY, key_id=key_id)
        return replace(made, id=new_transfer_id(), flags=int(kind), **fields)

    house = "clearing-house"
    assert answered(cluster, house, maker, transfer(maker.key_id, TransferKind.PLAIN)) == "issue_requires_pending"
    pending = transfer(maker.key_id, TransferKind.PENDING)
    assert answered(cluster, house, maker, pending) == "created"
    alone = transfer(maker.key_id, TransferKind.POST, reference=pending.id)
    assert answered(cluster, house, maker, alone) == "issuer_keys_must_differ"
    both = transfer(checker.key_id, TransferKind.POST, reference=pending.id)
    assert answered(cluster, house, checker, both) in {"created", "created_in_transit"}

    bank = Network.load(network.path).load_keys(1, BANKS[0])
    own = RingKey(bank, next(at for at, info in enumerate(bank) if info.role == Role.ACCOUNT))
    forged = transfer(own.key_id, TransferKind.PENDING)
    assert answered(cluster, house, own, forged) == "key_not_authorised"


def test_one_issuer_can_wait_for_the_other(command, holders):
    """Goal: two people at two places. Method: one key's half is no supply, the other key's confirms; or takes it back."""
    holder = format_account(holders[1])
    before = int(command("ledger", "show", *LEDGER)["ledgers"][0]["supply"]["minor"])
    half = command("ledger", "issue", *LEDGER, "--to", holder, "--amount", "70.00", "--first-key")
    assert half["settled"] is False
    assert int(command("ledger", "show", *LEDGER)["ledgers"][0]["supply"]["minor"]) == before
    common = (*LEDGER, "--to", holder, "--amount", "70.00")
    done = command("ledger", "issue", *common, "--confirm", half["transfer"])
    assert done["settled"] is True
    assert int(command("ledger", "show", *LEDGER)["ledgers"][0]["supply"]["minor"]) == before + 7_000
    again = command("ledger", "issue", *common, "--confirm", half["transfer"], code=1)
    assert again["code"] == "pending_already_posted"
