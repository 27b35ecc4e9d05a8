"""A demonstration that is kept: validators and nodes started anew as processes that outlive it, and what to try."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from clearspan.demo.children import ChildFailed
from clearspan.iso20022 import format_account
from clearspan.validator.folder import validator_config, validator_entries

if TYPE_CHECKING:
    from clearspan.network import Network

__all__ = ["leave_running", "next_commands"]


def leave_running(network: Network) -> list[int]:
    """Start every validator and node of a network as a process of its own session; return the process ids.

    They go on from their chains and logs, until somebody ends them. Raises ChildFailed; then none runs.
    """
    wanted = [
        (f"validator {each.participant}", "validator", validator_config(network, each.participant))
        for each in validator_entries(network)
    ]
    wanted += [
        (f"node {domain.name}", "node", network.node_config(domain.domain)) for domain in network.genesis.domains
    ]
    processes: list[tuple[str, subprocess.Popen[bytes]]] = []
    try:
        for name, noun, config in wanted:
            with config.with_name(f"{noun}.log").open("ab") as errors:
                process = subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-m", "clearspan", noun, "run", "--config", str(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,
                )
            processes.append((name, process))
        for name, process in processes:
            _await_ready(name, process)
    except BaseException:
        for _, process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
        raise
    return [process.pid for _, process in processes]


def _await_ready(name: str, process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    with process.stdout as out:
        if not out.readline():
            raise ChildFailed(name, process.wait(), "it did not become ready: read its log")


def next_commands(network: Network | None, processes: list[int], page: Path | None = None) -> list[str]:
    """Return commands to try next: on the network that is kept, or how to keep one."""
    program = _program()
    if network is None:
        return [f"{program} demo --keep        leave the cluster running, to try commands on it", f"{program} --help"]
    place = f"--network {network.path}"
    banks = [each for each in network.participants() if len(each.accounts) > 1 and not each.issuer]
    payer, payee = (format_account(account) for account in list(banks[0].accounts)[:2])
    domain = network.genesis.domain(banks[0].domain)
    ledger = domain.ledgers[0].currency
    return [
        f"{program} node status {place}",
        f"{program} ledger show {place}",
        f"{program} account show {payer} {place}",
        f"{program} transfer --from {payer} --to {payee} --ledger {ledger} --amount 12.50 {place}",
        f"{program} receipt get --balance {payer} --domain {domain.name} --out balance.receipt {place}",
        f"{program} receipt verify balance.receipt {place}        needs the genesis and no network",
        *([f"open {page} in a browser        the page checks a receipt by itself"] if page is not None else []),
        f"{program} validator status {place}",
        f"{program} load --ledger {ledger} --transfers 20000 {place}",
        f"kill {' '.join(map(str, processes))}        stop nodes and validators; then: {program} audit {place}",
    ]


def _program() -> str:
    """Return how this program is called from here: by name where the shell finds it, else by its path."""
    if shutil.which("clearspan"):
        return "clearspan"
    script = Path(sys.executable).with_name("clearspan")
    if not script.exists():
        return f"{sys.executable} -m clearspan"
    here = Path.cwd()
    return str(script.relative_to(here) if script.is_relative_to(here) else script)
