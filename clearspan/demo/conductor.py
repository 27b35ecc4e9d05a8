"""Puts the demonstration together: a network, its nodes, the client, the kill, the checker, the audits, the report.

It promises that no process and, unless asked to keep it, no folder is left behind, however the run ends; and that it
counts nothing itself: numbers come from the checker's look-ups and from the audits of the stopped nodes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clearspan.cluster import Cluster, create_network
from clearspan.config import ShardsSection
from clearspan.demo.checker import Findings
from clearspan.demo.children import Child, ChildFailed
from clearspan.demo.report import DemoReport, FinalityReport, KillReport, LedgerLine
from clearspan.demo.swaps import run_swaps
from clearspan.demo.verifying import CheckedReceipts, check_receipts
from clearspan.errors import ConfigError
from clearspan.network import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clearspan.demo.plan import DemoPlan
    from clearspan.demo.progress import DemoProgress
    from clearspan.demo.swaps import SwapsReport

__all__ = ["DemoHooks", "Stage", "run_demo", "workspace"]

_SEAL_MS: Final = 200


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a demonstration stands: the network folder and the folder of the client's own files."""

    network: Network
    work: Path

    def data(self, domain: int) -> Path:
        """Return a node's data directory."""
        return self.network.node_folder(domain) / "data"


def _nothing(stage: Stage) -> None:
    del stage


@dataclass(frozen=True, slots=True)
class DemoHooks:
    """What a test does between two phases, to see that the report notices: nothing unless told."""

    before_check: Callable[[Stage], None] = _nothing
    before_audit: Callable[[Stage], None] = _nothing


@dataclass(slots=True)
class _Load:
    """The load as the client tells of it, and the kill in its middle."""

    answered: Counter[int] = field(default_factory=Counter)
    at_kill: Counter[int] | None = None
    at_restart: Counter[int] | None = None
    recovered_in_ms: int = 0
    validator: int = 0
    """The validator that was killed, by its participant number; 0 before."""
    validator_killed_at: int = 0
    """When, ns."""


@contextmanager
def workspace(directory: Path | None, *, keep: bool) -> Iterator[Path]:
    """Give a folder that is removed at the end, or stays when that is asked for.

    Raises ConfigError for a directory that exists and is not empty.
    """
    if directory is not None and directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError("--directory", f"{directory} is not empty", "name a new folder; nothing is overwritten")
    made_parent = directory is not None and not directory.exists()
    if directory is None:
        path = Path(tempfile.mkdtemp(prefix="clearspan-demo-"))
    else:
        path = directory.resolve()
        path.mkdir(parents=True, exist_ok=True)
    kept = False
    try:
        yield path
        kept = keep
    finally:
        if not kept:
            shutil.rmtree(path, ignore_errors=True)
            if directory is not None and not made_parent:
                path.mkdir()


def run_demo(plan: DemoPlan, path: Path, progress: DemoProgress, hooks: DemoHooks | None = None) -> DemoReport:
    """Run the whole demonstration in an empty folder; the nodes are stopped when it returns. Use the main thread.

    Raises ConfigError, ClusterFailed, ChildFailed when it cannot be carried through; what it finds wrong is in the
    report instead.
    """
    hooks = hooks or DemoHooks()
    plan.check()
    began = time.monotonic_ns()
    progress.step("making a network")
    # With validators beside, a seal is the first half of what finality takes.
    shards = ShardsSection(seal_interval_ms=_SEAL_MS)
    network = create_network(
        path / "network",
        plan.currencies,
        name="demo",
        port=0,
        metrics_port=0,
        window_s=plan.window_s,
        lock_min_s=plan.lock_min_s,
        node_shards=shards,
    )
    work = path / "client"
    work.mkdir()
    stage = Stage(network, work)
    progress.step("starting validators and nodes")
    with Cluster(network, validators=plan.validators) as cluster:
        load, files, finals, done = _client(plan, stage, cluster, progress)
        swaps = run_swaps(Network.load(network.path), progress)
        hooks.before_check(stage)
        progress.step("reading everything back")
        findings = _check(stage)
        progress.step("checking receipts without a network")
        checked = check_receipts(network, work, cluster.address(plan.killed))
        progress.step("stopping nodes and validators")
    hooks.before_audit(stage)
    progress.step("auditing the stopped logs")
    audits = _audit(stage)
    heard = _Accounts(plan, network, load, files, finals, done, findings, checked, audits, swaps)
    return heard.report(began, progress.phases_ms)


def _client(
    plan: DemoPlan, stage: Stage, cluster: Cluster, progress: DemoProgress
) -> tuple[_Load, list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Run the client to its end; kill and restart one node while its load is on its way, then kill a validator."""
    load, files, finals, done = _Load(), [], [], {}
    names = {domain.domain: domain.ledgers[0].currency for domain in stage.network.genesis.domains}
    arguments = [
        "-m",
        "clearspan.demo.client",
        str(stage.network.path),
        str(stage.work),
        plan.encode(),
        str(os.getpid()),
    ]
    with Child("client", arguments, stage.work / "client.log") as client:
        for event in client.events():
            match event:
                case {"event": "phase", "title": title}:
                    progress.step(title)
                case {"event": "files"}:
                    files.append(event)
                case {"event": "progress", "domain": domain, "answered": answered, "of": of}:
                    load.answered[domain] = answered
                    progress.load(names[domain], answered, of)
                    _kill_and_restart(plan, load, cluster, progress, names)
                case {"event": "final"}:
                    finals.append(event)
                case {"event": "done"}:
                    done = event
    if not done:
        raise ChildFailed("client", 0, "it ended without a word")
    (stage.work / "sm2.json").write_text(json.dumps(done["sm2_key_ids"]), encoding="utf-8")
    return load, files, finals, done


def _kill_and_restart(
    plan: DemoPlan, load: _Load, cluster: Cluster, progress: DemoProgress, names: dict[int, str]
) -> None:
    """Kill when enough of that node's load is answered; restart when each other node has gone on by itself.

    The others may have nothing left to do when the kill comes, and then nobody tells of anything: so both are asked in
    one go.
    """
    if load.at_kill is None and load.answered[plan.killed] * 100 >= plan.per_ledger * plan.kill_at_percent:
        cluster.kill(plan.killed, signal.SIGKILL)
        load.at_kill = load.answered.copy()
        progress.note(f"killed the {names[plan.killed]} node with SIGKILL")
    if load.at_kill is None or load.at_restart is not None:
        return
    others = [domain for domain in names if domain != plan.killed]
    goals = {domain: min(load.at_kill[domain] + plan.batch_size, plan.per_ledger) for domain in others}
    if all(load.answered[domain] >= goal for domain, goal in goals.items()):
        _restart(plan, load, cluster, progress, names)


def _restart(plan: DemoPlan, load: _Load, cluster: Cluster, progress: DemoProgress, names: dict[int, str]) -> None:
    load.at_restart = load.answered.copy()
    started = time.monotonic_ns()
    cluster.restart(plan.killed)
    load.recovered_in_ms = (time.monotonic_ns() - started) // 1_000_000
    progress.note(f"the {names[plan.killed]} node is back after {load.recovered_in_ms:,} ms")
    # The one that every node follows first: all of them have to find another one.
    load.validator = cluster.validators.participants[0]
    cluster.validators.kill(load.validator, signal.SIGKILL)
    load.validator_killed_at = time.time_ns()
    progress.note(f"killed validator {load.validator} with SIGKILL, for good")


def _check(stage: Stage) -> dict[int, Findings]:
    """Let a second process read everything back."""
    found: dict[int, Findings] = {}
    finished = False
    arguments = ["-m", "clearspan.demo.checker", str(stage.network.path), str(stage.work), str(os.getpid())]
    with Child("checker", arguments, stage.work / "checker.log") as checker:
        for event in checker.events():
            if event["event"] == "checked":
                findings = Findings.decode(event["findings"])
                found[findings.domain] = findings
            finished |= event["event"] == "done"
    if not finished:
        raise ChildFailed("checker", 0, "it ended without a word")
    return found


def _audit(stage: Stage) -> dict[int, dict[str, Any] | str]:
    """Audit the stopped nodes, a process each; the outcome is the audit's JSON, or what it said where it failed."""
    found: dict[int, dict[str, Any] | str] = {}
    genesis = str(stage.network.path / "genesis.json")
    with ExitStack() as stack:
        running = {}
        for domain in stage.network.genesis.domains:
            data = str(stage.data(domain.domain))
            arguments = ["-m", "clearspan", "audit", data, "--genesis", genesis, "--json"]
            child = Child(f"audit of {domain.name}", arguments, stage.work / f"audit-{domain.name}.log")
            running[domain.domain] = stack.enter_context(child)
        for domain_number, child in running.items():
            code, said = child.output()
            try:
                found[domain_number] = json.loads(said)["audits"][0] if code == 0 else _reason(child, code)
            except (ValueError, LookupError):
                found[domain_number] = f"it printed no report (exit code {code})"
    return found


def _reason(child: Child, code: int) -> str:
    words = child.last_words()
    try:
        return str(json.loads(words.splitlines()[-1])["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"exit code {code}: {words}"


@dataclass(frozen=True, slots=True)
class _Accounts:
    """Everything that was heard, and what is wrong with it."""

    plan: DemoPlan
    network: Network
    load: _Load
    files: list[dict[str, Any]]
    finals: list[dict[str, Any]]
    done: dict[str, Any]
    findings: dict[int, Findings]
    checked: CheckedReceipts
    audits: dict[int, dict[str, Any] | str]
    swaps: SwapsReport

    def report(self, began: int, phases_ms: dict[str, int]) -> DemoReport:
        """Put the report together and hold it against the plan."""
        found = self.findings.values()
        refused: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        for each in found:
            refused.update(each.refused)
            kinds.update(each.kinds)
        report = DemoReport(
            ledgers=[self._line(domain.domain) for domain in self.network.genesis.domains],
            refused=dict(sorted(refused.items())),
            kinds=dict(sorted(kinds.items())),
            sm2=sum(each.sm2 for each in found),
            linked=sum(each.linked for each in found),
            repeated=sum(event["repeated"] for event in self.files),
            file_payments=sum(event["payments"] for event in self.files),
            load_settled=sum(each.load_settled for each in found),
            load_elapsed_ms=self.done["load_elapsed_ns"] // 1_000_000,
            kill=self._kill(),
            finality=self._finality(),
            swaps=self.swaps,
            elapsed_ms=(time.monotonic_ns() - began) // 1_000_000,
            phases_ms=phases_ms,
        )
        report.problems += self._problems(report)
        return report

    def _line(self, domain: int) -> LedgerLine:
        ledger = self.network.genesis.domain(domain).ledgers[0]
        findings, audit = self.findings[domain], self.audits[domain]
        supply = issued = settled = None
        if not isinstance(audit, str):
            (money,) = audit["ledgers"]
            supply, issued = int(money["supply"]["minor"]), int(money["issued"]["minor"])
            fresh = ("created", "created_in_transit")
            settled = sum(shard["codes"].get(code, 0) for shard in audit["shards"] for code in fresh)
        return LedgerLine(
            domain=domain,
            currency=ledger.currency,
            scale=ledger.scale,
            settled=findings.settled,
            cross_shard=findings.cross_shard,
            refused=findings.refused.total(),
            lost=findings.lost,
            supply=supply,
            issued=issued,
            audited_settled=settled,
            added_by_swaps=self.swaps.added[domain],
        )

    def _kill(self) -> KillReport:
        load, killed = self.load, self.plan.killed
        before = load.at_kill or Counter()
        after = load.at_restart or Counter()
        return KillReport(
            currency=self.network.genesis.domain(killed).ledgers[0].currency,
            answered_before=before[killed],
            settled_meanwhile=sum(after[domain] - before[domain] for domain in after if domain != killed),
            sent_again=self.done["sent_again"],
            already_decided=self.done["already_decided"],
            recovered_in_ms=load.recovered_in_ms,
        )

    def _finality(self) -> FinalityReport:
        settled = sorted(each for event in self.finals for each in event["settled_ms"])
        final = sorted(each for event in self.finals for each in event["final_ms"])
        checked, killed_at = self.checked, self.load.validator_killed_at
        return FinalityReport(
            finalized_height=max((event["relay_height"] for event in self.finals), default=0),
            receipts_verified=len(checked.states),
            states=dict(sorted(Counter(checked.states).items())),
            isolation=checked.isolation,
            validators=self.plan.validators,
            killed=self.load.validator,
            after_kill=sum(time_ > killed_at for time_ in checked.relay_times) if killed_at else 0,
            settled_p50_ms=settled[len(settled) // 2] if settled else 0,
            final_p50_ms=final[len(final) // 2] if final else 0,
            final_max_ms=final[-1] if final else 0,
        )

    def _problems(self, report: DemoReport) -> list[str]:
        problems = [*self.checked.problems, *self.swaps.problems]
        for line in report.ledgers:
            audit = self.audits[line.domain]
            if line.lost:
                shown = ", ".join(digest[:16] for digest in self.findings[line.domain].lost_digests)
                problems.append(f"{line.currency}: {line.lost} acknowledged transfers are not as acknowledged: {shown}")
            if isinstance(audit, str):
                problems.append(f"{line.currency}: the audit failed: {audit}")
            elif line.audited_settled != line.settled + line.added_by_swaps:
                read = line.settled + line.added_by_swaps
                problems.append(
                    f"{line.currency}: the log settles {line.audited_settled} transfers, {read} were read back"
                )
        wanted = self.plan.per_ledger * len(report.ledgers)
        if report.load_settled != wanted:
            problems.append(f"{report.load_settled} transfers of the load are settled where {wanted} are due")
        expected = self.plan.expected_refusals()
        if report.refused != expected:
            problems.append(f"refused {report.refused} where {expected} is due")
        if report.repeated != 1:
            problems.append(f"{report.repeated} payments were answered `exists` where one was sent twice")
        swaps = (self.swaps.claimed, self.swaps.refunded)
        if swaps != (self.plan.swaps_claimed, self.plan.swaps_refunded):
            problems.append(f"{swaps[0]} swaps were claimed and {swaps[1]} refunded")
        if self.load.at_kill is None:
            problems.append("no node was killed")
        finality = report.finality
        if finality.receipts_verified != self.plan.receipts:
            problems.append(f"{finality.receipts_verified} receipts hold where {self.plan.receipts} are due")
        if not finality.killed or finality.after_kill != finality.receipts_verified:
            problems.append(f"{finality.after_kill} receipts became final after a validator was killed")
        return problems
