# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan submit`: the clearing house's side. Batch files go in, what became of each payment comes out."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from clearspan.cli.options import IN_FILE, as_option, json_option, network_option, timeout_option
from clearspan.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clearspan.cli.session import Session
    from clearspan.client import AsyncClient, BatchResult
    from clearspan.iso20022 import Message
    from engine.batch import BatchColumns

__all__ = ["command"]

# More refused payments than these are counted and not listed; --json lists all.
_LISTED_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class _Answered:
    file: Path
    batch: BatchColumns
    digests: tuple[bytes, ...]
    result: BatchResult


@click.command("submit")
@click.argument("files", type=IN_FILE, nargs=-1, required=True)
@click.option("--message", "messages", type=IN_FILE, multiple=True, help="ISO 20022 file that the payments come from.")
@click.option(
    "--status-report",
    type=click.Path(path_type=Path),
    help="Write the pacs.002 that answers --message: a file, or a folder for several messages.",
)
@as_option("clearing-house")
@timeout_option
@network_option
@json_option
def command(
    *,
    files: tuple[Path, ...],
    messages: tuple[Path, ...],
    status_report: Path | None,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> int:
    """Submit batch FILES in order and say what became of each payment. Exit code 1 when one was refused.

    All files are read and checked before the first is sent. Any may be submitted again: what was decided is answered
    again, and nothing is paid twice.
    """
    from clearspan.cli.session import Session

    session = Session.open(network_path, timeout_s)
    sources = _read_messages(messages, status_report)
    batches = _read_batches(session, files)
    answered = asyncio.run(_submit(session, batches, speaker))
    if status_report is not None:
        _write_reports(sources, answered, status_report)
    output = Output(as_json=as_json)
    settled = sum(each.result.settled_count for each in answered)
    count = sum(len(each.result) for each in answered)
    output.document(
        {
            "settled": settled,
            "refused": count - settled,
            "batches": [_document(each) for each in answered],
        }
    )
    _print(output, answered)
    output.line(f"{settled} of {count} settled")
    return 0 if settled == count else 1


def _read_batches(session: Session, files: Sequence[Path]) -> list[tuple[Path, BatchColumns, tuple[bytes, ...]]]:
    from engine.batch import decode_batch_file, sign_messages
    from engine.record import Transfer

    genesis = session.network.genesis
    found = []
    for file in files:
        for batch in decode_batch_file(file.read_bytes(), genesis.hash_suite, genesis.hash):
            session.network.node(batch.domain)
            transfers = [Transfer.decode(row.tobytes()) for row in batch.records()]
            messages = sign_messages(genesis.hash_suite, genesis.hash, transfers)
            found.append((file, batch, tuple(digest for _, digest in messages)))
    return found


async def _submit(
    session: Session, batches: Sequence[tuple[Path, BatchColumns, tuple[bytes, ...]]], speaker: str
) -> list[_Answered]:
    """Submit one batch after the other: a payment may rest on one before it, also on another file's."""
    from contextlib import AsyncExitStack

    answered = []
    async with AsyncExitStack() as stack:
        clients: dict[int, AsyncClient] = {}
        for file, batch, digests in batches:
            if batch.domain not in clients:
                clients[batch.domain] = await stack.enter_async_context(session.connect(batch.domain, speaker))
            answered.append(_Answered(file, batch, digests, await clients[batch.domain].submit(batch)))
    return answered


def _document(answered: _Answered) -> dict[str, Any]:
    from clearspan.cli.transfer import result_document

    ids = answered.batch.fields["id"]
    records = [
        {
            "id": f"{int(ids[row][1]) << 64 | int(ids[row][0]):032x}",
            "digest": answered.digests[row].hex(),
            **result_document(result),
        }
        for row, result in enumerate(answered.result)
    ]
    return {
        "file": str(answered.file),
        "domain": answered.batch.domain,
        "batch_id": answered.batch.batch_id.hex(),
        "durability": answered.result.durability,
        "settled": answered.result.settled_count,
        "records": records,
    }


def _print(output: Output, answered: Sequence[_Answered]) -> None:
    from engine.codes import code_name

    if output.as_json:
        return
    rows = []
    refused = []
    for each in answered:
        codes = Counter(code_name(code) for code in each.result.codes.tolist())
        outcome = ", ".join(f"{count} {name}" for name, count in codes.most_common())
        rows.append((each.file, each.batch.domain, len(each.result), each.result.settled_count, outcome))
        ids = each.batch.fields["id"]
        refused += [
            (f"{int(ids[row][1]) << 64 | int(ids[row][0]):032x}", result.name, result.next_step)
            for row, result in enumerate(each.result)
            if not result.settled
        ]
    output.table(["file", "domain>", "payments>", "settled>", "outcome"], rows)
    if refused:
        output.table(["refused payment", "code", "next step"], refused[:_LISTED_MAX])
        if len(refused) > _LISTED_MAX:
            output.line(f"… and {len(refused) - _LISTED_MAX} more; --json lists all")


# Status reports: payments are found again by their UETR, which is the transfer's id.


def _read_messages(paths: Sequence[Path], target: Path | None) -> list[tuple[Path, Message]]:
    from clearspan.errors import ConfigError
    from clearspan.iso20022 import read

    if target is None:
        return []
    if not paths:
        raise ConfigError("--status-report", "needs the message that it answers", "name it by --message")
    if len(paths) > 1 and not target.is_dir():
        raise ConfigError("--status-report", f"{target} is no folder", "name a folder that exists for several messages")
    return [(path, read(path.read_bytes())) for path in paths]


def _write_reports(sources: Sequence[tuple[Path, Message]], answered: Sequence[_Answered], target: Path) -> None:
    from clearspan.iso20022 import outcome_of, status_report

    results: dict[int, tuple[int, int]] = {}
    for each in answered:
        ids = each.batch.fields["id"]
        for row in range(len(each.result)):
            identity = int(ids[row][1]) << 64 | int(ids[row][0])
            results[identity] = (int(each.result.answers[row]), int(each.result.first_codes[row]))
    for path, message in sources:
        outcomes = [
            outcome_of(payment.index, *results[payment.uetr]) for payment in message.payments if payment.uetr in results
        ]
        file = target / f"{path.stem}.pacs002.xml" if target.is_dir() else target
        file.write_bytes(status_report(message, outcomes))
