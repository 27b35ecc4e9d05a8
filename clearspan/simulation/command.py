"""``clearspan simulate``: runs of simulated domains from seeds, and what they reached."""

from __future__ import annotations

import json
import sys
from collections import Counter

import click

from clearspan.simulation.shards import FAULTS, REACHED, SimulationFailed, simulate_shards

__all__ = ["command"]

_FAILED_EXIT_CODE = 4


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
@click.option("--part", type=click.Choice(["shards", "all"]), default="all", show_default=True, help="What to run.")
@click.option("--seeds", callback=_seeds, default="0:200", show_default=True, help="Seeds, first:last (last excluded).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(part: str, seeds: range, *, as_json: bool) -> None:
    """Simulate domains under faults from seeds; a failing seed prints the line that shows it again."""
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
        if not as_json and sys.stderr.isatty():
            click.echo(f"\rseed {seed}: {transfers} answers, {rounds} rounds", nl=False, err=True)
    result = {
        "part": part,
        "seeds": [seeds.start, seeds.stop],
        "passed": done,
        "failed": None if failed is None else {"seed": failed.seed, "step": failed.step, "what": failed.what},
        "answers": transfers,
        "rounds": rounds,
        "faults": dict(sorted(faults.items())),
        "decisions": dict(sorted(decisions.items())),
        "unreached": sorted({*FAULTS} - {*faults} | {*REACHED} - {*decisions}),
    }
    if as_json:
        click.echo(json.dumps(result))
    else:
        click.echo(f"\n{done} of {len(seeds)} seeds passed: {transfers} answers in {rounds} rounds")
        click.echo("faults:    " + ", ".join(f"{name} {count}" for name, count in sorted(faults.items())))
        click.echo("decisions: " + ", ".join(f"{name} {count}" for name, count in sorted(decisions.items())))
        if failed is not None:
            click.echo(f"failed: {failed}", err=True)
    if failed is not None:
        sys.exit(_FAILED_EXIT_CODE)
