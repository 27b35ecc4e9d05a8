# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan audit`: execute the log of a stopped node again and compare everything that was stored."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.options import IN_FILE, json_option, network_option
from clearspan.cli.output import Output, money

if TYPE_CHECKING:
    from clearspan.audit import AuditReport, LedgerReport, ShardReport

__all__ = ["audit_document", "command"]


@click.command("audit")
@click.argument("directories", type=click.Path(exists=True, file_okay=False, path_type=Path), nargs=-1)
@click.option("--genesis", "genesis_path", type=IN_FILE, help="Pin the network to this genesis document.")
@click.option(
    "--threads", type=click.IntRange(1, 256), help="Shards that are gone through at once [default: the cores]."
)
@network_option
@json_option
def command(
    *,
    directories: tuple[Path, ...],
    genesis_path: Path | None,
    threads: int | None,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Audit data DIRECTORIES of nodes that do not run, or all nodes of the network folder.

    Every record is read and executed again from number 1, with signatures checked; answers, signed headers, the newest
    checkpoint and the sums over all shards must agree. Exit code 4 at the first difference. Nothing is changed.
    """
    from clearspan.audit import audit
    from engine.genesis import Genesis

    genesis = Genesis.decode(genesis_path.read_bytes()) if genesis_path is not None else None
    output = Output(as_json=as_json)
    reports = []
    for directory in directories or _directories_of(network_path):
        watch = _Watch(directory) if sys.stderr.isatty() and not as_json else None
        report = audit(directory, watch, genesis=genesis, threads=threads)
        if watch is not None:
            watch.clear()
        reports.append((directory, report))
    output.document({"audits": [{"directory": str(path), **audit_document(report)} for path, report in reports]})
    for path, report in reports:
        _print(output, path, report)


def _directories_of(network_path: Path | None) -> list[Path]:
    from clearspan.network import Network, find_network

    network = Network.load(find_network(network_path))
    return [network.node_folder(entry.domain) / "data" for entry in network.nodes]


def audit_document(report: AuditReport) -> dict[str, Any]:
    """Return a report as JSON documents carry it."""
    return {
        "network": report.network,
        "genesis_hash": report.genesis_hash.hex(),
        "domain": report.domain,
        "records": report.records,
        "transfers": report.transfers,
        "settled": sum(shard.settled for shard in report.shards),
        "elapsed_ms": round(report.elapsed_s * 1000),
        "shards": [_shard_document(shard) for shard in report.shards],
        "ledgers": [_ledger_document(ledger) for ledger in report.ledgers],
        "differences": 0,
    }


def _shard_document(shard: ShardReport) -> dict[str, Any]:
    return {
        "shard": shard.shard,
        "records": shard.records,
        "transfers": shard.transfers,
        "settled": shard.settled,
        "refused": shard.refused,
        "codes": shard.codes,
        "admin_requests": shard.admin_requests,
        "credits": shard.credits,
        "height": shard.height,
        "unsigned_blocks": shard.unsigned_blocks,
        "checkpoint_height": shard.checkpoint_height,
        "accounts": shard.accounts,
        "last_record_hash": shard.last_record_hash.hex(),
        "header_hash": shard.header_hash.hex(),
        "state_root": shard.state_root.hex(),
    }


def _ledger_document(ledger: LedgerReport) -> dict[str, Any]:
    amounts = {name: getattr(ledger, name) for name in ("issued", "supply", "held", "in_transit", "pending")}
    return {
        "ledger": ledger.ledger,
        "currency": ledger.currency,
        **{name: money(value, ledger.currency, ledger.scale) for name, value in amounts.items()},
    }


def _print(output: Output, path: Path, report: AuditReport) -> None:
    rate = report.transfers / report.elapsed_s if report.elapsed_s else 0
    output.line(
        f"{path}: no difference. {report.records} records, {report.transfers} transfers in {report.elapsed_s:.1f} s "
        f"({rate:,.0f} transfers/s)"
    )
    output.table(
        ["shard>", "records>", "settled>", "refused>", "blocks>", "accounts>", "state root"],
        [
            (each.shard, each.records, each.settled, each.refused, each.height, each.accounts, each.state_root.hex())
            for each in report.shards
        ],
    )
    output.table(
        ["ledger", "issued in all>", "in circulation>", "in transit>", "pending>"],
        [
            (each.currency, *(money(value, each.currency, each.scale)["text"] for value in _amounts(each)))
            for each in report.ledgers
        ],
    )


def _amounts(ledger: LedgerReport) -> tuple[int, ...]:
    return ledger.issued, ledger.supply, ledger.in_transit, ledger.pending


class _Watch:
    """One line that says how far the shards are, written over itself."""

    def __init__(self, directory: Path) -> None:
        self._name = directory.parent.name or str(directory)
        self._places: dict[int, tuple[int, int]] = {}

    def __call__(self, shard: int, number: int, last: int) -> None:
        """Note a shard's place; called by its thread."""
        self._places[shard] = (number, last)
        if number % 64 == 0 or number == last:
            text = ", ".join(f"shard {each}: {at} of {end}" for each, (at, end) in sorted(self._places.items()))
            sys.stderr.write(f"\r\033[K{self._name}: {text}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()
