"""``clearspan simulate``: runs of simulated domains, relay networks and swaps from seeds, and what they reached."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click

from clearspan.simulation.bridge import BridgeSimulationFailed, BridgeTally, simulate_bridge
from clearspan.simulation.relay import RelaySimulationFailed, Tally, simulate_relay
from clearspan.simulation.shards import FAULTS, REACHED, SimulationFailed, simulate_shards

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["command"]

_FAILED_EXIT_CODE: Final = 4
_LINE_SEEDS: Final = 500


def _seeds(context: click.Context, parameter: click.Parameter, text: str) -> range:
    first, _, last = text.partition(":")
    try:
        seeds = range(int(first), int(last or int(first) + 1))
    except ValueError as error:
        raise click.BadParameter("give first:last, for example 0:200", context, parameter) from error
    if not seeds:
        raise click.BadParameter("no seed lies in this range", context, parameter)
    return seeds


@click.command("simulate")
@click.option(
    "--part",
    type=click.Choice(["shards", "relay", "bridge", "all"]),
    default="all",
    show_default=True,
    help="What to run.",
)
@click.option("--seeds", callback=_seeds, default="0:200", show_default=True, help="Seeds, first:last (last excluded).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each part.")
def command(part: str, seeds: range, *, as_json: bool) -> None:
    """Simulate domains, relays and swaps under faults; a failing seed prints the line that shows it again."""
    parts = _PARTS if part == "all" else (part,)
    results = [_RUNS[name](seeds, as_json) for name in parts]
    if any(result["failed"] for result in results):
        sys.exit(_FAILED_EXIT_CODE)


def _shards(seeds: range, as_json: bool) -> dict[str, Any]:
    faults: Counter[str] = Counter()
    decisions: Counter[str] = Counter()
    failed: SimulationFailed | None = None
    transfers = rounds = done = 0
    for seed in seeds:
        try:
            report = simulate_shards(seed)
        except SimulationFailed as error:
            failed = error
            break
        done += 1
        faults += report.faults
        decisions += report.decisions
        transfers += report.transfers
        rounds += report.rounds
        _progress(f"seed {seed}: {transfers} answers, {rounds} rounds", done, as_json)
    result = {
        "part": "shards",
        "seeds": [seeds.start, seeds.stop],
        "passed": done,
        "failed": None if failed is None else {"seed": failed.seed, "step": failed.step, "what": failed.what},
        "answers": transfers,
        "rounds": rounds,
        "faults": dict(sorted(faults.items())),
        "decisions": dict(sorted(decisions.items())),
        "unreached": sorted({*FAULTS} - {*faults} | {*REACHED} - {*decisions}),
    }
    lines = [
        f"{done} of {len(seeds)} seeds passed: {transfers} answers in {rounds} rounds",
        "faults:    " + _counted(faults),
        "decisions: " + _counted(decisions),
    ]
    return _tell(result, lines, failed, as_json)


def _relay(seeds: range, as_json: bool) -> dict[str, Any]:
    tally = Tally()
    failed: RelaySimulationFailed | None = None
    for seed in seeds:
        try:
            tally.add(simulate_relay(seed))
        except RelaySimulationFailed as error:
            failed = error
            break
        _progress(f"seed {seed}: {tally.heights} heights, {tally.messages} messages", tally.seeds, as_json)
    result = {
        "part": "relay",
        "seeds": [seeds.start, seeds.stop],
        "passed": tally.seeds,
        "failed": None if failed is None else {"seed": failed.seed, "ns": failed.instant, "what": failed.what},
        "heights": tally.heights,
        "messages": tally.messages,
        "settled_ns_max": tally.settled_ns_max,
        "sizes": {str(count): seeds for count, seeds in sorted(tally.sizes.items())},
        "faults": dict(sorted(tally.faults.items())),
        "lies": dict(sorted(tally.lies.items())),
        "states": dict(sorted(tally.states.items())),
        "refused": dict(sorted(tally.refused.items())),
        "dropped": dict(sorted(tally.dropped.items())),
        "unreached": tally.unreached,
    }
    lines = [
        (
            f"{tally.seeds} of {len(seeds)} seeds passed: {tally.heights} heights, {tally.messages} messages; after the"
            f" faults all were five heights further within {tally.settled_ns_max / 1e9:.1f} s of their time"
        ),
        "in so many seeds",
        "faults: " + _counted(tally.faults),
        "lies:   " + _counted(tally.lies),
        "states: " + _counted(tally.states),
        "unreached: " + (", ".join(tally.unreached) or "nothing"),
    ]
    return _tell(result, lines, failed, as_json)


def _bridge(seeds: range, as_json: bool) -> dict[str, Any]:
    tally = BridgeTally()
    failed: BridgeSimulationFailed | None = None
    for seed in seeds:
        try:
            tally.add(simulate_bridge(seed))
        except BridgeSimulationFailed as error:
            failed = error
            break
        _progress(f"seed {seed}: {tally.swaps} swaps, {tally.steps} steps", tally.seeds, as_json)
    result = {
        "part": "bridge",
        "seeds": [seeds.start, seeds.stop],
        "passed": tally.seeds,
        "failed": None if failed is None else {"seed": failed.seed, "ns": failed.instant, "what": failed.what},
        "swaps": tally.swaps,
        "steps": tally.steps,
        "checks": tally.checks,
        "reached": dict(sorted(tally.reached.items())),
        "refusals": dict(sorted(tally.refusals.items())),
        "unreached": tally.unreached,
        "unreached_rare": tally.unreached_rare,
    }
    lines = [
        f"{tally.seeds} of {len(seeds)} seeds passed: {tally.swaps} swaps, {tally.steps} steps, {tally.checks} checks",
        "reached in so many seeds: " + _counted(tally.reached),
        "refusals: " + _counted(tally.refusals),
        "unreached: " + (", ".join(tally.unreached) or "nothing"),
        "unreached, and rare: " + (", ".join(tally.unreached_rare) or "nothing"),
    ]
    return _tell(result, lines, failed, as_json)


def _progress(text: str, done: int, as_json: bool) -> None:
    if as_json:
        return
    if sys.stderr.isatty():
        click.echo(f"\r{text}", nl=False, err=True)
    elif done % _LINE_SEEDS == 0:
        # A long run that is ended by its budget has said how far it came.
        click.echo(text, err=True)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _tell(result: dict[str, Any], lines: list[str], failed: AssertionError | None, as_json: bool) -> dict[str, Any]:
    if as_json:
        click.echo(json.dumps(result))
    else:
        click.echo("\n" + "\n".join(lines))
        if failed is not None:
            click.echo(f"failed: {failed}", err=True)
    return result


_RUNS: Final[dict[str, Callable[[range, bool], dict[str, Any]]]] = {
    "shards": _shards,
    "relay": _relay,
    "bridge": _bridge,
}
_PARTS: Final = tuple(_RUNS)
