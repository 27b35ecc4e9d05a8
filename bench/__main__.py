"""The command line of the measurements: `python -m bench settle --json`, `python -m bench --list`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from bench.loads import LOADS
from bench.settle import run_settle

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print one JSON object or a page; progress goes to standard error."""
    options = _parser().parse_args(arguments)
    if options.list or options.scenario is None:
        for load in LOADS.values():
            print(f"settle --load {load.name:14} {load.title} ({load.transfers:,} transfers)")
        return 0
    load = LOADS[options.load].changed(
        transfers=options.transfers, domains=options.domains, batch_size=options.batch_size, shards=options.shards
    )

    def note(text: str) -> None:
        if not options.quiet:
            print(f"  {text}", file=sys.stderr)

    report = run_settle(load, options.runs, note)
    if options.json:
        print(json.dumps(report))
    else:
        _print(report)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the whole road.")
    parser.add_argument("scenario", nargs="?", choices=["settle"], help="what is measured")
    parser.add_argument("--list", action="store_true", help="list the named loads")
    parser.add_argument("--load", choices=sorted(LOADS), default="canonical", help="named load [%(default)s]")
    parser.add_argument("--runs", type=_positive, default=3, help="closed-loop runs [%(default)s]")
    parser.add_argument("--transfers", type=_positive, help="transfers of one run")
    parser.add_argument("--domains", type=int, choices=range(1, 9), help="domains, a node process each")
    parser.add_argument("--shards", type=_positive, help="shards of each node")
    parser.add_argument("--batch-size", type=_positive, help="transfers in a batch of the closed loop")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        message = f"{value} is not at least 1"
        raise argparse.ArgumentTypeError(message)
    return value


def _print(report: dict[str, Any]) -> None:
    spread, stages = report["spread"], report["stages"]
    print(f"load        {report['parameters']['name']}, {report['parameters']['transfers']:,} transfers a run")
    print(f"settled     {report['transfers_per_s']:,} transfers/s, median of {len(report['runs'])} closed-loop runs")
    print(f"spread      {spread['transfers_per_s_min']:,} to {spread['transfers_per_s_max']:,}")
    print(
        f"latency     p50 {report['settled_p50_ms']} ms, p99 {report['settled_p99_ms']} ms, "
        f"p99.9 {report['settled_p999_ms']} ms (open loop, {report['parameters']['open_rate_per_s']:,} transfers/s)"
    )
    print(f"node        {report['rss_mib']} MiB resident, {report['rss_anonymous_mib']} of it its own")
    print(f"disk        {report['disk_bytes_per_transfer']} bytes a transfer")
    print("            " + ", ".join(f"{name} {value:,}" for name, value in stages.items()))
    print(f"outcome     {report['outcome_hash']}")


if __name__ == "__main__":
    sys.exit(main())
