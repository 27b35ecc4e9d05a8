"""The command line of the measurements: `python -m bench settle --json`, `python -m bench verify`, `… --list`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.figures import DOCUMENTS, measure_figures, write_figures
from bench.hashes import HASH_LOADS, run_hash
from bench.loads import LOADS
from bench.relay import RelayLoad, run_relay
from bench.settle import run_settle
from bench.signed import SCHEMES
from bench.swap import SwapLoad, run_swap
from bench.sweep import run_sweep
from bench.verify import TABLE_MIB, VerifyLoad, run_verify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print one JSON object or a page; progress goes to standard error."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list or options.scenario is None:
        print("\n".join(_lines()))
        return 0

    def note(text: str) -> None:
        if not options.quiet:
            print(f"  {text}", file=sys.stderr)

    if options.scenario == "verify" and options.bad > options.batch:
        parser.error(f"a batch of {options.batch} has no {options.bad} signatures to spoil")
    measure, page = _SCENARIOS[options.scenario]
    report = measure(options, note)
    if options.json:
        print(json.dumps(report))
    else:
        page(report)
    return 0


def _lines() -> list[str]:
    """Return a line for everything that can be measured."""
    return [
        *(f"settle --load {load.name:14} {load.title} ({load.transfers:,} transfers)" for load in LOADS.values()),
        *(f"verify --scheme {scheme:12} signatures a second on one core, all variants and peers" for scheme in SCHEMES),
        "relay --validators N        sealed header to final block, blocks/s, messages, bytes; --dead-leader, --link-ms",
        "swap                        swaps of two ledgers over two bridges: request to both ends final",
        "verify --sweep              the same against batch size and number of keys",
        f"hash                        rows and trees on one core: {', '.join(load.name for load in HASH_LOADS)}",
        "figures                     measures what docs/benchmarks.md says of verify and hash, and writes it there",
    ]


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--quiet", action="store_true", help="show no progress")
    common.add_argument("--json", action="store_true", help="print one JSON object")
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the road, and its kernels alone.")
    parser.add_argument("--list", action="store_true", help="list what can be measured")
    scenarios = parser.add_subparsers(dest="scenario", title="scenarios")

    settle = scenarios.add_parser("settle", parents=[common], help="the whole road")
    settle.add_argument("--load", choices=sorted(LOADS), default="canonical", help="named load [%(default)s]")
    settle.add_argument("--runs", type=_positive, default=3, help="closed-loop runs [%(default)s]")
    settle.add_argument("--transfers", type=_positive, help="transfers of one run")
    settle.add_argument("--domains", type=int, choices=range(1, 9), help="domains, a node process each")
    settle.add_argument("--shards", type=_positive, help="shards of each node")
    settle.add_argument("--batch-size", type=_positive, help="transfers in a batch of the closed loop")
    settle.add_argument("--seal-ms", type=_positive, help="each shard seals this often")
    settle.add_argument(
        "--validators", type=_not_negative, help="validators beside, for finality: 0 for none, else from 4 on"
    )
    settle.add_argument("--final-seconds", type=_positive, help="length of each run that measures finality")

    verify = scenarios.add_parser("verify", parents=[common], help="signatures a second on one core")
    verify.add_argument("--scheme", choices=sorted(SCHEMES), default="ed25519", help="signature scheme [%(default)s]")
    verify.add_argument("--keys", type=_positive, default=64, help="registered keys, used in turn [%(default)s]")
    verify.add_argument("--batch", type=_positive, default=4_096, help="signatures in a batch [%(default)s]")
    verify.add_argument("--bad", type=_not_negative, default=0, help="bad signatures among them [%(default)s]")
    verify.add_argument("--hint", action="store_true", help="hand over the hints that a first verifier wrote")
    verify.add_argument(
        "--table-mib", type=_positive, default=TABLE_MIB, help="limit of the keys' tables [%(default)s]"
    )
    verify.add_argument("--runs", type=_positive, default=5, help="turns of each contender [%(default)s]")
    verify.add_argument("--sweep", action="store_true", help="all schemes against batch size and number of keys")
    verify.add_argument("--target-ms", type=_positive, default=60, help="length of a turn [%(default)s]")

    relay = scenarios.add_parser("relay", parents=[common], help="agreement of validators")
    relay.add_argument("--validators", type=_positive, default=4, help="validator processes, from 4 on [%(default)s]")
    relay.add_argument(
        "--domains", type=int, choices=range(1, 9), default=3, help="domains of two shards [%(default)s]"
    )
    relay.add_argument("--seal-ms", type=_positive, default=100, help="each shard seals this often [%(default)s]")
    relay.add_argument("--seconds", type=_positive, default=10, help="length of a run [%(default)s]")
    relay.add_argument("--runs", type=_positive, default=3, help="runs [%(default)s]")
    relay.add_argument("--dead-leader", action="store_true", help="kill one validator in the middle of each run")
    relay.add_argument("--link-ms", type=_positive, default=0, help="simulate links of this delay; one shard seals")

    swap = scenarios.add_parser("swap", parents=[common], help="swaps between two ledgers")
    swap.add_argument(
        "--at-once", type=_positive, default=SwapLoad().at_once, help="swaps that run at once [%(default)s]"
    )
    swap.add_argument("--seconds", type=_positive, default=10, help="length of the closed loop [%(default)s]")
    swap.add_argument("--open-seconds", type=_positive, default=10, help="length of the open loop [%(default)s]")
    swap.add_argument("--rate-per-s", type=_not_negative, default=0, help="of the open loop; 0: half of the closed one")
    swap.add_argument("--shards", type=_positive, default=1, help="shards of each node [%(default)s]")
    swap.add_argument("--validators", type=_positive, default=4, help="validator processes, from 4 on [%(default)s]")
    swap.add_argument(
        "--seal-ms", type=_positive, default=SwapLoad().seal_ms, help="each shard seals this often [%(default)s]"
    )
    swap.add_argument(
        "--finality", choices=("final", "verified"), default="final", help="what a leg waits for [%(default)s]"
    )

    hashes = scenarios.add_parser("hash", parents=[common], help="hashes and trees on one core")
    hashes.add_argument("--runs", type=_positive, default=5, help="turns of each contender [%(default)s]")
    hashes.add_argument("--count", type=_positive, help="rows or leaves, other than the loads' own")
    hashes.add_argument("--target-ms", type=_positive, default=40, help="length of a turn [%(default)s]")

    figures = scenarios.add_parser("figures", parents=[common], help="write the figures of docs/benchmarks.md anew")
    figures.add_argument("--from", dest="source", type=Path, metavar="FILE", help="measure nothing, take these figures")
    figures.add_argument("--docs", type=Path, default=DOCUMENTS, help="folder of the documents [%(default)s]")
    return parser


def _positive(text: str) -> int:
    return _at_least(text, 1)


def _not_negative(text: str) -> int:
    return _at_least(text, 0)


def _at_least(text: str, least: int) -> int:
    value = int(text)
    if value < least:
        message = f"{value} is not at least {least}"
        raise argparse.ArgumentTypeError(message)
    return value


def _settle(options: argparse.Namespace, note: Callable[[str], None]) -> dict[str, Any]:
    load = LOADS[options.load].changed(
        transfers=options.transfers,
        domains=options.domains,
        batch_size=options.batch_size,
        shards=options.shards,
        seal_ms=options.seal_ms,
        validators=options.validators,
        final_seconds=options.final_seconds,
    )
    return run_settle(load, options.runs, note)


def _verify(options: argparse.Namespace, note: Callable[[str], None]) -> dict[str, Any]:
    if options.sweep:
        return run_sweep(note, runs=options.runs)
    load = VerifyLoad(options.scheme, options.keys, options.batch, options.bad, options.hint, options.table_mib)
    return run_verify(load, options.runs, note, target_ns=options.target_ms * _NS_PER_MS)


def _relay(options: argparse.Namespace, note: Callable[[str], None]) -> dict[str, Any]:
    load = RelayLoad(
        options.validators, options.domains, options.seal_ms, options.seconds, options.dead_leader, options.link_ms
    )
    return run_relay(load, options.runs, note)


def _swap(options: argparse.Namespace, note: Callable[[str], None]) -> dict[str, Any]:
    load = SwapLoad(
        at_once=options.at_once,
        seconds=options.seconds,
        open_seconds=options.open_seconds,
        rate_per_s=options.rate_per_s,
        shards=options.shards,
        validators=options.validators,
        seal_ms=options.seal_ms,
        finality=options.finality,
    )
    return run_swap(load, note)


def _hash(options: argparse.Namespace, note: Callable[[str], None]) -> dict[str, Any]:
    return run_hash(options.runs, note, count=options.count, target_ns=options.target_ms * _NS_PER_MS)


def _figures(options: argparse.Namespace, note: Callable[[str], None]) -> dict[str, Any]:
    source: Path | None = options.source
    figures = json.loads(source.read_text(encoding="utf-8")) if source is not None else measure_figures(note)
    write_figures(figures, options.docs)
    return dict(figures)


def _settle_page(report: dict[str, Any]) -> None:
    spread, stages = report["spread"], report["stages"]
    print(f"load        {report['parameters']['name']}, {report['parameters']['transfers']:,} transfers a run")
    print(f"settled     {report['transfers_per_s']:,} transfers/s, median of {len(report['runs'])} closed-loop runs")
    print(f"spread      {spread['transfers_per_s_min']:,} to {spread['transfers_per_s_max']:,}")
    print(
        f"latency     p50 {report['settled_p50_ms']} ms, p99 {report['settled_p99_ms']} ms, "
        f"p99.9 {report['settled_p999_ms']} ms (open loop, {report['parameters']['open_rate_per_s']:,} transfers/s)"
    )
    for name, figures in report.get("finality", {}).items():
        print(
            f"final       {name}: {figures['transfers_per_s']:,} transfers/s; after the seal p50 "
            f"{figures['final_p50_ms']} ms, p99 {figures['final_p99_ms']} ms; after the request p50 "
            f"{figures['request_final_p50_ms']} ms, p99 {figures['request_final_p99_ms']} ms"
        )
    print(f"node        {report['rss_mib']} MiB resident, {report['rss_anonymous_mib']} of it its own")
    print(f"disk        {report['disk_bytes_per_transfer']} bytes a transfer")
    print("            " + ", ".join(f"{name} {value:,}" for name, value in stages.items()))
    print(f"outcome     {report['outcome_hash']}")


def _verify_page(report: dict[str, Any]) -> None:
    if "points" in report:
        for point in report["points"]:
            hint = "with hints" if point["hint"] else ""
            print(
                f"{point['scheme']:8} {point['keys']:6,} keys  {point['batch']:6,} a batch  "
                f"{point['verifies_per_s']:10,}/s  {hint}"
            )
        return
    load, spread = report["parameters"], report["spread"]
    print(f"load        {load['scheme']}, batches of {load['batch']:,}, {load['keys']:,} keys")
    print(f"verified    {report['verifies_per_s']:,}/s on one core ({load['kernel']}), median of {load['runs']} runs")
    print(f"spread      {spread['verifies_per_s_min']:,} to {spread['verifies_per_s_max']:,}")
    if load["hint"]:
        print(f"hints       {report['times_without_hint']:.2f} times as fast as without")
    if load["bad"]:
        print(f"bad         {load['bad']:,} of them: {report['times_a_clean_batch']:.2f} times as long as clean")
    for kind in ("variants", "peers"):
        _compared(kind[:-1], report[kind], "verifies_per_s")
    print(f"outcome     {report['outcome_hash']}")


def _relay_page(report: dict[str, Any]) -> None:
    load, spread = report["parameters"], report["spread"]
    print(
        f"load        {load['validators']} validators, {load['shards']} shards, each seals every {load['seal_ms']} ms"
    )
    print(f"final       p50 {report['final_p50_ms']} ms, p99 {report['final_p99_ms']} ms after the seal")
    print(f"spread      p99 {spread['final_p99_ms_min']} to {spread['final_p99_ms_max']} ms")
    print(f"blocks      {report['blocks_per_s']} a second")
    print(f"cost        {report['messages_per_block']} messages and {report['bytes_per_block']:,} bytes a block")
    for run in report["runs"]:
        if "dead_leader_blocks" in run:
            print(
                f"dead leader {run['dead_leader_views_failed']} views failed in {run['dead_leader_blocks']} blocks, "
                f"longest time without one {run['dead_leader_longest_gap_ms']} ms"
            )
    print(f"outcome     {report['outcome_hash']}")


def _swap_page(report: dict[str, Any]) -> None:
    load = report["parameters"]
    print(
        f"load        {load['at_once']:,} swaps at once, {load['validators']} validators, "
        f"a leg waits for {load['finality']}"
    )
    print(f"swaps       {report['swaps_per_s']:,} a second, sustained")
    print(
        f"latency     p50 {report['swap_p50_ms']} ms, p99 {report['swap_p99_ms']} ms from request to both ends final "
        f"(open loop, {load['open_rate_per_s']:,} swaps/s)"
    )
    print(
        f"legs        {report['htlc_legs_per_s']:,} a second on one core, "
        f"{report['htlc_legs_to_plain']} of plain transfers"
    )
    for run in report["runs"]:
        shares = ", ".join(f"{who} {spent:,} ms" for who, spent in run["cpu_ms"].items())
        print(f"cpu         {run['name']}: {run['swaps']:,} swaps in {run['elapsed_ms']:,} ms: {shares}")
    print(f"outcome     {report['outcome_hash']}")


def _hash_page(report: dict[str, Any]) -> None:
    for name, figure in report["hashes"].items():
        print(f"{name:11} {figure['rows_per_s']:,} a second, {figure['mib_per_s']:,} MiB/s")
        for kind in ("variants", "peers"):
            _compared(kind[:-1], figure[kind], "rows_per_s")
    print(f"outcome     {report['outcome_hash']}")


def _compared(kind: str, figures: dict[str, Any], unit: str) -> None:
    for name, figure in figures.items():
        if "missing" in figure:
            print(f"  {kind:9} {name:14} {figure['missing']}")
        else:
            print(f"  {kind:9} {name:14} {figure[unit]:12,}/s, ours is {figure['ratio']:.2f} times as fast")


def _figures_page(report: dict[str, Any]) -> None:
    print(f"written: {len(report['verify'])} loads, {len(report['sweep']['points'])} points, docs/benchmarks.md")


_NS_PER_MS: Final = 1_000_000
_SCENARIOS: Final = {
    "settle": (_settle, _settle_page),
    "verify": (_verify, _verify_page),
    "relay": (_relay, _relay_page),
    "swap": (_swap, _swap_page),
    "hash": (_hash, _hash_page),
    "figures": (_figures, _figures_page),
}

if __name__ == "__main__":
    sys.exit(main())
