"""What the end-to-end tests share: small networks, clients, funded banks, the command as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from clearspan.administration import AdminDesk, MemberPlan
from clearspan.bridging.staging.banks import Bridges
from clearspan.client import AsyncClient, RetryPolicy
from clearspan.cluster import Cluster, Validators, create_network, issuer_of, operator_of
from clearspan.config import DataSection, ShardsSection
from clearspan.network import KnownParticipant, Network
from clearspan.pki import TlsFiles
from clearspan.signer import Signer
from engine.batch import BatchColumns, sign_messages
from engine.record import ordinary_account_id
from engine.types import Role

ROOT = Path(__file__).resolve().parent.parent.parent
FUNDS = 1_000_000
Running = TypeVar("Running", Bridges, Cluster, Validators)


@dataclass
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def error(self):
        return json.loads(self.err.strip().splitlines()[-1])["error"]


def program(*arguments: str, timeout: float = 60, **options) -> subprocess.CompletedProcess:
    """Run the command as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("CLEARSPAN_CONFIG", None)
    return subprocess.run(
        [sys.executable, "-m", "clearspan", *arguments],
        capture_output=True, text=True, timeout=timeout, env=environment, check=False, **options,
    )  # fmt: skip


def small_network(path: Path, currencies=("CNY",), **options) -> Network:
    """A network whose nodes seal often and keep little in reserve, so that it fits a test."""
    shards = ShardsSection(seal_interval_ms=100, seal_interval_idle_ms=1_000)
    data = DataSection(log_bytes_max=1 << 30, reserve_bytes=1 << 20)
    defaults = {"port": 0, "metrics_port": 0, "node_shards": shards, "node_data": data, "validators": 4}
    return create_network(path, currencies, **{**defaults, **options})


@contextmanager
def cut(running: Running) -> Iterator[Running]:
    """Start processes and kill them at the end, where nobody looks at how they end: to ask them takes seconds."""
    with running:
        try:
            yield running
        finally:
            fleet = running
            if isinstance(running, Cluster):
                _kill(running, [domain.domain for domain in running.network.genesis.domains])
                fleet = running.validators
            _kill(fleet, fleet.participants)


def _kill(running: Bridges | Cluster | Validators, numbers: Iterable[int]) -> None:
    for number in filter(running.is_running, numbers):
        running.kill(number, signal.SIGKILL)


def payments(network: Network, payer: Bank, payee: Bank, count: int, amount: int = 1) -> BatchColumns:
    """A signed batch of plain transfers from the payer's accounts in turn to the payee's."""
    signer = Signer(network.genesis, payer.ring)
    transfers = [
        signer.transfer(
            debit_account=payer.accounts[place % len(payer.accounts)],
            credit_account=payee.accounts[place // len(payer.accounts) % len(payee.accounts)],
            amount=amount,
            ledger=156,
            key_id=payer.key_id,
        )
        for place in range(count)
    ]
    return signer.sign(1, transfers)


def digests_of(network: Network, batch: BatchColumns) -> list[bytes]:
    """The record digest of each transfer of a batch."""
    transfers = [batch.transfer(row) for row in range(batch.count)]
    return [digest for _, digest in sign_messages(network.genesis.hash_suite, network.genesis.hash, transfers)]


def client_of(
    cluster: Cluster, speaker: str, domain: int = 1, deadline_s: float = 20.0, patient: bool = True
) -> AsyncClient:
    """A client that speaks with a certificate of the folder; one that is not patient gives up at the first refusal."""
    network = cluster.network
    folder = network.path / "tls"
    return AsyncClient(
        network.address(domain),
        TlsFiles(folder / f"{speaker}.pem", folder / f"{speaker}.key", folder / "ca.pem"),
        genesis_hash=network.genesis.hash,
        policy=RetryPolicy(deadline_s=deadline_s, attempt_s=deadline_s, pause_first_s=0.05 if patient else 1000.0),
    )


@dataclass
class Bank:
    """A funded bank: its ring, its accounts and the key id that signs for them."""

    number: int
    ring: object
    key_id: int
    accounts: tuple[int, ...]


def fund(cluster: Cluster, banks: int = 2, accounts: int = 4, first: int = 1001) -> list[Bank]:
    """Add the issuer and some banks with funded accounts to domain 1, and note them in the folder."""

    async def work() -> list[Bank]:
        network = cluster.network
        operators = network.load_keys(1, operator_of(1))
        async with client_of(cluster, "operator-cny") as operator, client_of(cluster, "issuer-cny") as carrier:
            desk = AdminDesk(operator, network.genesis, 1, operators)
            plans = [MemberPlan(issuer_of(1), "ISSUER", issuer=True)]
            plans += [MemberPlan(first + place, f"BANK{place}") for place in range(banks)]
            issuer, *members = await desk.add_members(plans)
            await desk.open_issuer_account(issuer)
            ids = {m.number: tuple(ordinary_account_id(m.number, s + 1) for s in range(accounts)) for m in members}
            await desk.open_many([(m, account) for m in members for account in ids[m.number]])
            money = AdminDesk(carrier, network.genesis, 1, operators)
            await money.issue(issuer, [(account, FUNDS) for m in members for account in ids[m.number]])
        network.note_participants(
            [
                KnownParticipant(m.number, m.name, 1, accounts={a: m.ring[i].key_id for a, i in m.accounts.items()})
                for m in members
            ]
        )
        return [Bank(m.number, m.ring, m.signers(Role.ACCOUNT)[0].key_id, ids[m.number]) for m in members]

    return asyncio.run(work())
