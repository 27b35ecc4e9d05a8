"""The demonstration tells the truth: it succeeds when all is well, and each way of breaking it makes it fail."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from clearspan.acknowledgements import Acknowledgement, AcknowledgementFile
from clearspan.demo import DemoHooks, DemoPlan, run_demo
from clearspan.demo.checker import Findings, _compare, gather
from clearspan.demo.client import acknowledgement_path
from clearspan.demo.conductor import _kill_and_restart, _Load, workspace
from clearspan.demo.plan import EXAMPLES
from clearspan.demo.progress import DemoProgress
from clearspan.demo.receipts import receipt_path
from clearspan.errors import ConfigError
from clearspan.network import Network
from engine.batch import decode_batch_file
from engine.codes import ResultCode
from engine.record import Transfer
from tests.e2e.support import ROOT, client_of, program

TRANSFERS = 450
CNY, HKD, THB = 1, 2, 3


def start(*arguments: str) -> subprocess.Popen:
    """Start the command with what it says on pipes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "clearspan", "demo", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
    )  # fmt: skip


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return every process that has the folder in its command."""
    return [each for each in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(each.info["cmdline"] or ())]


@pytest.mark.timeout(240)
def test_a_demonstration_is_as_it_must_be(tmp_path, clearspan) -> None:
    """All is settled, each special case got its code, nothing is lost, all is conserved; with --keep the nodes go on."""
    folder = tmp_path / "demo"
    try:
        ran = program(
            "demo", "--transfers", str(TRANSFERS), "--keep", "--json", "--quiet", "--directory", str(folder), timeout=200
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert len(ran.stdout.strip().splitlines()) == 1
        report = json.loads(ran.stdout)
        holds_what_was_promised(report)
        a_kept_cluster_answers_and_can_be_stopped(report, folder, clearspan)
    finally:
        for process in processes_of(folder):
            process.kill()


def holds_what_was_promised(report: dict) -> None:
    """The report of a run in which nobody meddled."""
    assert report["acknowledged_lost"] == 0
    assert report["conserved"] is True
    assert report["problems"] == []
    assert report["load"]["settled"] == TRANSFERS
    assert report["refused"] == DemoPlan().expected_refusals()
    assert report["refused"]["invalid_signature"] == report["refused"]["credit_account_not_found"] == 1
    assert report["repeated"] == 1
    assert (report["swaps_claimed"], report["swaps_refunded"]) == (3, 1)
    assert report["swap_receipts_verified"] == sum(each["receipts"] for each in report["swaps"])
    assert [each["path"] for each in report["swaps"]][2:] == [["CNY", "HKD", "THB"]] * 2
    assert [each["status"] for each in report["swaps"]] == ["ACSC", "ACSC", "ACSC", "RJCT"]
    assert report["file_payments"] == 365
    assert report["transfers_per_s"] > 0
    assert report["cross_shard"] > TRANSFERS // 4
    assert report["sm2"] == 3 * DemoPlan(transfers=TRANSFERS).sm2_per_ledger
    assert report["linked"] == 3 * 2
    assert report["kinds"]["void"] == 3
    assert report["kill"]["answered_before"] >= TRANSFERS // 3 // 4
    assert report["recovered_in_ms"] > 0
    finality = report["finality"]
    assert report["receipts_verified"] == finality["after_kill"] == 9
    assert sum(finality["states"].values()) == 9 and all(state.startswith("final, ") for state in finality["states"])
    assert report["finalized_height"] > 0
    assert finality["killed"] and finality["validators"] == 4
    assert finality["isolation"] in {"namespace", "guard"}
    assert 0 < finality["final_p50_ms"] <= finality["final_max_ms"]
    assert report["settled"] == sum(line["settled"] for line in report["ledgers"])
    for line in report["ledgers"]:
        assert line["settled"] + line["added_by_swaps"] == line["audited_settled"]
        assert line["added_by_swaps"] > 0
        assert line["supply"] == line["issued"]


def a_kept_cluster_answers_and_can_be_stopped(report: dict, folder: Path, clearspan) -> None:
    """The nodes outlive the command: they settle another transfer, stop when told, and pass another audit."""
    network = report["network"]
    assert Path(network).is_relative_to(folder)
    status = clearspan("node", "status", "--network", network, "--json")
    assert [node["name"] for node in status.json["nodes"]] == ["cny", "hkd", "thb"]
    accounts = ("000003e9-00000000-0000000000000001", "000003e9-00000000-0000000000000002")
    paid = clearspan(
        "transfer", "--from", accounts[0], "--to", accounts[1], "--ledger", "CNY", "--amount", "12.50",
        "--network", network, "--json",
    )  # fmt: skip
    assert paid.code == 0, paid.err
    page = Path(report["page"])
    assert page.is_relative_to(folder) and "<script>" in page.read_text()
    receipt = folder / "balance.receipt"
    got = clearspan(
        "receipt", "get", "--balance", accounts[0].replace("-", ""), "--domain", "cny", "--out", str(receipt),
        "--network", network, "--timeout-s", "30", "--json",
    )  # fmt: skip
    assert got.code == 0, got.err
    assert clearspan("receipt", "verify", str(receipt), "--network", network).code == 0
    nodes = [psutil.Process(pid) for pid in report["processes"]]
    for node in nodes:
        node.terminate()
    gone, alive = psutil.wait_procs(nodes, timeout=30)
    assert (len(gone), alive) == (7, [])
    assert not processes_of(folder)
    audited = clearspan("audit", "--network", network, "--json")
    assert audited.code == 0, audited.err
    assert sum(each["settled"] for each in audited.json["audits"]) >= report["settled"] + 1


class Breaker:
    """What somebody might do to a demonstration: a different thing to each ledger, so that one run shows all."""

    def __init__(self) -> None:
        self.leaf = b""

    def before_check(self, stage) -> None:
        """THB: the client's file says that one more transfer was acknowledged. HKD: note an account's leaf.

        CNY: one bit of the payee's receipt is flipped.
        """
        path = acknowledgement_path(stage.work, THB, "load")
        entries = list(AcknowledgementFile.read(path))
        last = entries[-1]
        digests = last.digests.copy()
        digests[-1] ^= 0xFF
        forged = Acknowledgement(last.batch_id, digests[-1:], last.codes[-1:], last.times[-1:])
        AcknowledgementFile.write(path, [*entries, forged])
        receipt = receipt_path(stage.work, CNY, "payee")
        changed = bytearray(receipt.read_bytes())
        changed[len(changed) // 2] ^= 0x01
        receipt.write_bytes(changed)

        class Running:
            network = Network.load(stage.network.path)

        async def read() -> bytes:
            member = next(
                each for each in Running.network.participants() if each.domain == HKD and len(each.accounts) > 1
            )
            async with client_of(Running, "operator-hkd", HKD) as client:
                (view,) = await client.accounts([next(iter(member.accounts))])
            return view.account.encode()

        self.leaf = asyncio.run(read())

    def before_audit(self, stage) -> None:
        """HKD: an account has one minor unit more in the checkpoint. CNY: a payment's amount has a bit flipped."""
        richer = bytearray(self.leaf)
        richer[64] ^= 0x01
        assert replace_on_disk(stage.data(HKD) / "checkpoint", self.leaf, bytes(richer))
        signed = next(iter((stage.work / f"files-{CNY}").glob("cny-01*.csb"))).read_bytes()
        genesis = stage.network.genesis
        head = next(iter(decode_batch_file(signed, genesis.hash_suite, genesis.hash))).heads[0].tobytes()
        flipped = bytearray(head)
        flipped[48] ^= 0x01
        assert replace_on_disk(stage.data(CNY) / "log", head, bytes(flipped))


def replace_on_disk(folder: Path, old: bytes, new: bytes) -> int:
    """Write other bytes of the same length wherever some stand in the files of a folder; return how often."""
    count = 0
    for path in folder.rglob("*"):
        if path.is_file() and old in (content := path.read_bytes()):
            count += content.count(old)
            with path.open("r+b") as file:
                at = content.find(old)
                while at >= 0:
                    file.seek(at)
                    file.write(new)
                    at = content.find(old, at + 1)
    return count


@pytest.mark.timeout(240)
def test_each_way_of_breaking_it_makes_it_fail(tmp_path) -> None:
    """One run, meddled with between its phases, a different thing on each ledger: each is told apart and named."""
    breaker = Breaker()
    hooks = DemoHooks(breaker.before_check, breaker.before_audit)
    with DemoProgress(quiet=True) as progress:
        report = run_demo(DemoPlan(transfers=TRANSFERS), tmp_path, progress, hooks)
    assert not processes_of(tmp_path)
    lines = {line.currency: line for line in report.ledgers}
    # An acknowledgement without a transfer is a loss, although its ledger is conserved.
    assert (report.acknowledged_lost, lines["THB"].lost) == (1, 1)
    assert lines["THB"].conserved
    assert any("THB: 1 acknowledged" in problem for problem in report.problems)
    # One minor unit more on one account in the checkpoint, and the audit of that ledger fails.
    assert not lines["HKD"].conserved
    assert any(problem.startswith("HKD: the audit failed: ") for problem in report.problems)
    # A bit of one amount in the log, and the audit of that ledger fails; what was read back before stays as it was.
    assert not lines["CNY"].conserved
    assert lines["CNY"].lost == 0
    assert any(problem.startswith("CNY: the audit failed: ") for problem in report.problems)
    # A bit of one receipt: the process without a network refuses it, and it alone.
    assert report.encode()["receipts_verified"] == 8
    assert any(f"{CNY}-payee.receipt does not hold" in problem for problem in report.problems)
    assert report.exit_code == 4
    assert report.encode()["conserved"] is False


@pytest.mark.timeout(240)
@pytest.mark.parametrize("step", ["starting validators and nodes", "settling the load"])
def test_an_interruption_leaves_nothing_behind(tmp_path, step) -> None:
    """SIGINT while nodes start, and in the middle of the load: exit code 130, no process, no folder."""
    folder = tmp_path / "demo"
    process = start("--directory", str(folder), "--transfers", "3000")
    try:
        for line in process.stderr:
            if step in line:
                break
        if step == "starting validators and nodes":
            give_up = time.monotonic() + 60
            while len(processes_of(folder)) < 3 + 1 and time.monotonic() < give_up:
                os.sched_yield()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        process.stderr.read()
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    assert not folder.exists()
    assert not processes_of(folder)


# The parts, without processes.


def acknowledgement(digest: bytes, code: int, moment: int = 5) -> Acknowledgement:
    return Acknowledgement(
        bytes(16),
        np.frombuffer(digest, dtype=np.uint8).reshape(1, 32),
        np.array([code], dtype="<u2"),
        np.array([moment], dtype="<u8"),
    )


class View:
    """What a node shows of a transfer."""

    def __init__(self, code: int, moment: int = 5, flags: int = 0) -> None:
        self.code, self.time = code, moment
        self.settled = code in {ResultCode.CREATED, ResultCode.CREATED_IN_TRANSIT}
        self.name = ResultCode(code).name.lower()
        self.body = Transfer(1, 2, 3, 7, 156, 9, 10, 1, flags=flags)


def compare(codes: list[int], view: View | None) -> Findings:
    """Compare what was acknowledged, in this order, with what a node shows."""
    known: dict = {}
    digest = bytes(range(32))
    gather([acknowledgement(digest, code) for code in codes], known, load=True)
    findings = Findings(1)
    _compare(findings, digest, known[digest], view, frozenset({9}))
    return findings


CREATED, NO_FUNDS, FORGED = ResultCode.CREATED, ResultCode.INSUFFICIENT_FUNDS, ResultCode.INVALID_SIGNATURE


@pytest.mark.parametrize(
    ("codes", "view", "settled", "refused", "lost"),
    [
        ([CREATED], View(CREATED), 1, {}, 0),
        ([CREATED, CREATED], View(CREATED), 1, {}, 0),
        ([CREATED], None, 0, {}, 1),
        ([CREATED], View(CREATED, 6), 0, {}, 1),
        ([CREATED], View(NO_FUNDS), 0, {}, 1),
        ([CREATED, NO_FUNDS], View(CREATED), 0, {}, 1),
        ([NO_FUNDS], View(NO_FUNDS), 0, {"insufficient_funds": 1}, 0),
        ([NO_FUNDS], None, 0, {}, 1),
        ([FORGED], None, 0, {"invalid_signature": 1}, 0),
        ([FORGED], View(CREATED), 0, {}, 1),
        ([FORGED, CREATED], View(CREATED), 1, {"invalid_signature": 1}, 0),
    ],
)
def test_only_what_a_node_shows_is_counted(codes, view, settled, refused, lost) -> None:
    """A transfer counts once, with the code and time that were acknowledged; an open refusal only if nothing came of it."""
    findings = compare([int(code) for code in codes], view)
    assert (findings.settled, dict(findings.refused), findings.lost) == (settled, refused, lost)
    assert findings.load_settled == findings.sm2 == settled
    assert Findings.decode(json.loads(json.dumps(findings.encode()))) == findings


def test_what_is_expected_follows_from_the_examples_and_the_script() -> None:
    """The plan names every refusal before anything runs, and travels to other processes whole."""
    plan = DemoPlan(transfers=120_000)
    assert plan.expected_refusals() == {
        "credit_account_not_found": 1, "exists_with_different_amount": 1, "insufficient_funds": 4,
        "invalid_signature": 1, "linked_event_failed": 6, "pending_expired": 3,
    }  # fmt: skip
    assert DemoPlan.decode(plan.encode()) == plan
    assert plan.per_ledger * 3 >= 100_000
    assert plan.sm2_per_ledger * 3 >= 1_000
    assert plan.batch_size * 10 < plan.per_ledger
    assert len(list(EXAMPLES.glob("*.xml"))) == 17


class FakeValidators:
    """Notes which of its validators is killed."""

    participants = (91, 92, 93, 94)

    def __init__(self, done: list[str]) -> None:
        self.done = done

    def kill(self, participant: int, number: signal.Signals) -> None:
        self.done.append(f"{number.name} validator {participant}")


class FakeCluster:
    """Notes what is done to its nodes."""

    def __init__(self) -> None:
        self.done: list[str] = []

        self.validators = FakeValidators(self.done)

    def kill(self, domain: int, number: signal.Signals) -> None:
        self.done.append(f"{number.name} {domain}")

    def restart(self, domain: int) -> None:
        self.done.append(f"restart {domain}")


@pytest.mark.parametrize(
    ("answered", "done"),
    [
        ([{CNY: 24}], []),
        ([{CNY: 25}], ["SIGKILL 1"]),
        # The others go on: one of them is not enough.
        ([{CNY: 25, HKD: 40, THB: 30}, {HKD: 56}], ["SIGKILL 1"]),
        ([{CNY: 25, HKD: 40, THB: 30}, {HKD: 56}, {THB: 46}], ["SIGKILL 1", "restart 1", "SIGKILL validator 91"]),
        # They have finished before: nobody tells of anything more, so the node must come back at once.
        ([{HKD: 100, THB: 100}, {CNY: 25}], ["SIGKILL 1", "restart 1", "SIGKILL validator 91"]),
        ([{CNY: 25, HKD: 95, THB: 100}, {HKD: 100}, {CNY: 100}], ["SIGKILL 1", "restart 1", "SIGKILL validator 91"]),
    ],
)
def test_a_node_is_killed_once_and_comes_back_when_the_others_have_gone_on(answered, done) -> None:
    """The kill comes with a quarter of that load answered, the restart after a batch of each other node, or its last."""
    plan = DemoPlan(transfers=300)
    assert (plan.per_ledger, plan.batch_size) == (100, 16)
    cluster, load, names = FakeCluster(), _Load(), {CNY: "CNY", HKD: "HKD", THB: "THB"}
    with DemoProgress(quiet=True) as progress:
        for counts in answered:
            load.answered.update(dict.fromkeys(counts, 0))
            load.answered |= counts
            _kill_and_restart(plan, load, cluster, progress, names)
    assert cluster.done == done


def test_a_plan_that_shows_nothing_is_refused() -> None:
    """Too few transfers are named with the least that there must be."""
    with pytest.raises(ConfigError, match="too few"):
        DemoPlan(transfers=10).check()


def test_a_folder_with_something_in_it_is_never_touched(tmp_path) -> None:
    """--directory must be new or empty; an empty one that was there stays, a new one goes."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"), workspace(tmp_path, keep=False):
        pass
    assert (tmp_path / "file").read_text() == "mine"
    there = tmp_path / "there"
    there.mkdir()
    with workspace(there, keep=False) as path:
        (path / "x").write_text("y")
    assert there.is_dir()
    assert not list(there.iterdir())
    with workspace(tmp_path / "kept", keep=True) as path:
        (path / "x").write_text("y")
    assert (tmp_path / "kept" / "x").exists()
    with pytest.raises(RuntimeError), workspace(tmp_path / "failed", keep=True):
        raise RuntimeError
    assert not (tmp_path / "failed").exists()
