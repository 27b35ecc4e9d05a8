"""The load generator: signed batches from a seed, sent closed-loop or at a fixed rate, with every acknowledgement kept.

What is sent is decided before the clock starts: records are built as columns and signed natively, so that the sender
costs little beside the node that it measures. Under a fixed rate (open loop) a batch's latency counts from the moment
at which it was due, not from when a slow node let it be sent.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np

from clearspan.acknowledgements import Acknowledgement, AcknowledgementFile
from clearspan.cli.options import OUT_FILE, json_option, ledger_option, network_option, suite_option
from clearspan.cli.output import Output
from clearspan.errors import ClientError
from clearspan.network import Network, find_network
from clearspan.population import DomainDesk, LoadAccounts, crowd_plans
from engine.batch import HEAD_DTYPE, BatchColumns
from engine.codes import code_name
from engine.types import BATCH_COUNT_MAX, HASH_BYTES, HEAD_BYTES, NS_PER_S, SIGNATURE_BYTES, SigningSuite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clearspan.client import AsyncClient
    from clearspan.client.results import BatchResult
    from clearspan.signer import Signer

__all__ = [
    "Acknowledgement",
    "AcknowledgementFile",
    "LoadAccounts",
    "LoadOutcome",
    "LoadPlan",
    "command",
    "drive",
    "signed_batches",
]

_SIGNING_THREADS: Final = 2
_FUNDS_EACH: Final = 10**12


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What is sent: counts, amounts in minor units (1 .. amount_max), and the seed that decides all of it.

    ``valid_for_s`` must be within the ledger's window. ``hot_accounts`` > 0 lets that many accounts take part in every
    transfer, for the worst case of contention.
    """

    domain: int
    transfers: int
    batch_size: int = BATCH_COUNT_MAX
    amount_max: int = 10_000
    valid_for_s: int = 60
    seed: int = 1
    hot_accounts: int = 0


def signed_batches(plan: LoadPlan, accounts: LoadAccounts, signer: Signer, now: int) -> list[BatchColumns]:
    """Return signed batches of plain transfers between random pairs of accounts, valid from ``now`` (ns) on.

    The same plan, accounts and time give the same bytes. Signing takes all threads it is given: it holds no GIL.
    """
    generator = np.random.default_rng(plan.seed)
    unsigned = []
    left = plan.transfers
    while left > 0:
        count = min(left, plan.batch_size)
        left -= count
        heads = _heads(plan, accounts, generator, count, now)
        unsigned.append(
            BatchColumns(
                plan.domain,
                generator.bytes(16),
                heads.view(np.uint8).reshape(count, HEAD_BYTES),
                np.zeros((count, SIGNATURE_BYTES), dtype=np.uint8),
                np.empty(0, dtype=np.uint32),
                np.empty((0, HASH_BYTES), dtype=np.uint8),
            )
        )
    with ThreadPoolExecutor(_SIGNING_THREADS, thread_name_prefix="sign") as threads:
        return list(threads.map(signer.sign_columns, unsigned))


def _heads(
    plan: LoadPlan, accounts: LoadAccounts, generator: np.random.Generator, count: int, now: int
) -> NDArray[np.void]:
    known = len(accounts.ids)
    debit = generator.integers(0, known, count)
    if plan.hot_accounts:
        credit = generator.integers(0, min(plan.hot_accounts, known), count)
        credit = np.where(credit == debit, (credit + 1) % known, credit)
    else:
        credit = (debit + generator.integers(1, known, count)) % known
    heads = np.zeros(count, dtype=HEAD_DTYPE)
    halves = accounts.ids.view("<u8").reshape(known, 2)
    # Ids are random in both halves; the low bit set keeps them from being zero.
    heads["id"] = generator.integers(0, 1 << 63, (count, 2), dtype=np.uint64) | np.uint64(1)
    heads["debit_account"] = halves[debit]
    heads["credit_account"] = halves[credit]
    heads["amount"][:, 0] = generator.integers(1, plan.amount_max, count, endpoint=True)
    heads["expires_at"] = now + plan.valid_for_s * NS_PER_S
    heads["ledger"] = accounts.ledger
    heads["key_id"] = accounts.key_ids[debit]
    heads["valid_for_s"] = plan.valid_for_s
    heads["code"] = 1
    return heads


@dataclass(slots=True)
class LoadOutcome:
    """What came of a load: counts by code, latencies of batches in ns, and the time between first send and last answer.

    ``unanswered`` batches were sent and may have been decided: send the same bytes again. ``unsent`` ones were not,
    because the load was told to stop at the first failure.
    """

    sent: int = 0
    settled: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    latencies_ns: list[int] = field(default_factory=list)
    elapsed_ns: int = 0
    unanswered: list[BatchColumns] = field(default_factory=list)
    unsent: list[BatchColumns] = field(default_factory=list)
    failure: ClientError | None = None

    @property
    def transfers_per_s(self) -> int:
        """Settled transfers a second over the whole load."""
        return self.settled * NS_PER_S // self.elapsed_ns if self.elapsed_ns else 0

    def latency_ms(self, percentile: float) -> float:
        """Return a percentile of the batch latencies in milliseconds."""
        return float(np.percentile(self.latencies_ns, percentile)) / 1e6 if self.latencies_ns else 0.0

    def add(self, result: BatchResult, latency_ns: int) -> None:
        """Count one answered batch."""
        codes, counts = np.unique(result.codes, return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            self.codes[code_name(code)] += count
        self.settled += result.settled_count
        self.latencies_ns.append(latency_ns)


async def drive(
    client: AsyncClient,
    batches: Sequence[BatchColumns],
    *,
    window: int = 8,
    rate_per_s: int = 0,
    acknowledgements: AcknowledgementFile | None = None,
    answered: Callable[[BatchColumns, BatchResult], None] | None = None,
    stop_at_failure: bool = False,
) -> LoadOutcome:
    """Send the batches and wait for all answers; at most ``window`` are on their way at once.

    ``rate_per_s`` transfers a second (open loop), or as fast as answers come when it is 0. A batch that stayed without
    an answer after the client's retries is in ``unanswered``; with ``stop_at_failure`` nothing new is sent after one.
    """
    outcome = LoadOutcome()
    room = asyncio.Semaphore(window if not rate_per_s else max(window, len(batches)))
    began = time.monotonic_ns()

    async def send(batch: BatchColumns, due: int) -> None:
        try:
            result = await client.submit(batch)
        except ClientError as error:
            outcome.unanswered.append(batch)
            outcome.failure = error
            return
        finally:
            room.release()
        outcome.add(result, time.monotonic_ns() - due)
        if acknowledgements is not None:
            acknowledgements.add(batch, result)
        if answered is not None:
            answered(batch, result)

    async with asyncio.TaskGroup() as tasks:
        for place, batch in enumerate(batches):
            due = time.monotonic_ns()
            if rate_per_s:
                due = began + outcome.sent * NS_PER_S // rate_per_s
                await asyncio.sleep(max(0, due - time.monotonic_ns()) / NS_PER_S)
            await room.acquire()
            if stop_at_failure and outcome.unanswered:
                outcome.unsent.extend(batches[place:])
                break
            tasks.create_task(send(batch, due if rate_per_s else time.monotonic_ns()))
            outcome.sent += batch.count
    outcome.elapsed_ns = time.monotonic_ns() - began
    return outcome


@dataclass(frozen=True, slots=True)
class _Options:
    """The flags of the command."""

    transfers: int
    batch_size: int
    window: int
    rate_per_s: int
    banks: int
    accounts: int
    hot_accounts: int
    seed: int
    suite: SigningSuite


async def _run(
    network: Network,
    domain: int,
    options: _Options,
    out: Path | None,
    answered: Callable[[BatchColumns, BatchResult], None],
) -> LoadOutcome:
    ledger = network.genesis.domain(domain).ledgers[0]
    async with DomainDesk(network, domain) as desk:
        await desk.ensure_issuer()
        plans = crowd_plans(network, domain, options.banks, keys=4, suite=options.suite)
        crowd = await desk.add_crowd(plans, max(1, options.accounts // options.banks), _FUNDS_EACH)
        plan = LoadPlan(
            domain,
            options.transfers,
            options.batch_size,
            valid_for_s=ledger.window_s,
            seed=options.seed,
            hot_accounts=options.hot_accounts,
        )
        batches = await asyncio.to_thread(signed_batches, plan, crowd.accounts, desk.signer(crowd), time.time_ns())
        with AcknowledgementFile(out, network.genesis) if out is not None else nullcontext() as file:
            return await drive(
                desk.clearing_house,
                batches,
                window=options.window,
                rate_per_s=options.rate_per_s,
                acknowledgements=file,
                answered=answered,
            )


def _document(options: _Options, currency: str, outcome: LoadOutcome) -> dict[str, Any]:
    parameters = {name: int(value) for name, value in asdict(options).items()}
    return {
        "ledger": currency,
        "parameters": parameters,
        "sent": outcome.sent,
        "settled": outcome.settled,
        "codes": dict(sorted(outcome.codes.items())),
        "unanswered": sum(batch.count for batch in outcome.unanswered),
        "elapsed_ms": outcome.elapsed_ns // 1_000_000,
        "transfers_per_s": outcome.transfers_per_s,
        "settled_p50_ms": round(outcome.latency_ms(50), 3),
        "settled_p99_ms": round(outcome.latency_ms(99), 3),
        "settled_p999_ms": round(outcome.latency_ms(99.9), 3),
    }


@click.command(short_help="Generate load and measure it.")
@network_option
@ledger_option()
@click.option("--transfers", type=click.IntRange(1, 10_000_000), default=100_000, show_default=True, help="How many.")
@click.option(
    "--batch-size", type=click.IntRange(1, BATCH_COUNT_MAX), default=2_048, show_default=True, help="Transfers a batch."
)
@click.option(
    "--window", type=click.IntRange(1, 32), default=8, show_default=True, help="Batches on their way at once."
)
@click.option(
    "--rate-per-s",
    type=click.IntRange(0),
    default=0,
    help="Transfers a second (open loop); 0: as fast as answers come.",
)
@click.option("--banks", type=click.IntRange(1, 256), default=4, show_default=True, help="Banks that are registered.")
@click.option("--accounts", type=click.IntRange(2, 1_000_000), default=256, show_default=True, help="Accounts of all.")
@click.option("--hot-accounts", type=click.IntRange(0), default=0, help="Let only so many accounts receive; 0: all.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Decides who pays whom how much.")
@suite_option("Keys.")
@click.option("--out", type=OUT_FILE, help="Append every acknowledgement to this file.")
@json_option
def command(
    network_path: Path | None, ledger_name: str, suite: str, out: Path | None, *, as_json: bool, **numbers: int
) -> int:
    """Register banks with funded accounts on a development network, then settle signed transfers between them.

    Everything is signed before the clock starts. Latency is a batch's, in milliseconds; with --rate-per-s it counts
    from the moment at which the batch was due.
    """
    network = Network.load(find_network(network_path))
    domain, ledger = network.ledger(ledger_name)
    options = _Options(suite=SigningSuite[suite.upper()], **numbers)
    output = Output(as_json=as_json)
    done = 0

    def answered(batch: BatchColumns, result: BatchResult) -> None:
        nonlocal done
        before, done = done, done + len(result)
        del batch
        if done * 10 // options.transfers > before * 10 // options.transfers:
            output.note(f"{done:,} of {options.transfers:,} answered")

    outcome = asyncio.run(_run(network, domain.domain, options, out, answered))
    output.document(_document(options, ledger.currency, outcome))
    rows = [(name, f"{count:,}") for name, count in sorted(outcome.codes.items())]
    output.table(("result", "transfers>"), rows)
    output.line(
        f"{outcome.settled:,} settled in {outcome.elapsed_ns / NS_PER_S:.1f} s: {outcome.transfers_per_s:,} a second; "
        f"a batch in {outcome.latency_ms(50):.0f} ms (p50), {outcome.latency_ms(99):.0f} ms (p99)"
    )
    if outcome.failure is not None:
        raise outcome.failure
    return 0 if outcome.settled == options.transfers else 1
