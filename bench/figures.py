"""Measures what docs/benchmarks.md says of signatures and hashes, and writes it there: tables, data and chart at once.

Between two marks in the document stands what this writes, and nothing else of it is touched.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.chart import draw
from bench.hashes import run_hash
from bench.machine import commit, machine
from bench.sweep import run_sweep
from bench.verify import VerifyLoad, run_verify
from native.errors import UnknownSuite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["DOCUMENTS", "measure_figures", "write_figures"]

DOCUMENTS: Final = Path(__file__).resolve().parent.parent / "docs"
_SCHEMA: Final = 1
_BEGIN, _END = "<!-- python -m bench figures: begin -->", "<!-- python -m bench figures: end -->"
_NAMES: Final = {"ed25519": "Ed25519", "sm2": "SM2", "p256": "P-256"}
_ED25519, _SM2, _P256 = (VerifyLoad(scheme) for scheme in _NAMES)
# The first of each scheme is compared with variants and peers, the others stand alone.
LOADS: Final = (
    _ED25519,
    replace(_ED25519, hint=True),
    replace(_ED25519, keys=4_096),
    replace(_ED25519, keys=4_096, hint=True),
    replace(_ED25519, batch=64),
    replace(_ED25519, batch=64, hint=True),
    replace(_ED25519, bad=1),
    replace(_ED25519, bad=64),
    replace(_ED25519, bad=4_096),
    _SM2,
    replace(_SM2, hint=True),
    replace(_SM2, keys=4_096),
    replace(_SM2, keys=4_096, hint=True),
    replace(_SM2, keys=4_096, table_mib=256),
    replace(_SM2, keys=4_096, table_mib=256, hint=True),
    replace(_SM2, batch=64),
    replace(_SM2, batch=64, hint=True),
    replace(_SM2, bad=1),
    replace(_SM2, bad=1, hint=True),
    replace(_SM2, bad=4_096),
    _P256,
    replace(_P256, hint=True),
    replace(_P256, keys=4_096),
    replace(_P256, keys=4_096, table_mib=256),
    replace(_P256, batch=64),
    replace(_P256, bad=1),
)


def measure_figures(note: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything, two to three minutes long, and return it as one JSON object."""
    verify: list[dict[str, Any]] = []
    for load in LOADS:
        try:
            verify.append(run_verify(load, 5, note, compared=load in (_ED25519, _SM2, _P256)))
        except UnknownSuite:
            note(f"{load.scheme} is not in this build")
    return {
        "schema": _SCHEMA,
        "scenario": "figures",
        "commit": commit(),
        "machine": machine(),
        "verify": verify,
        "hash": run_hash(5, note),
        "sweep": run_sweep(note),
    }


def write_figures(figures: Mapping[str, Any], documents: Path) -> None:
    """Write figures/verify.json, figures/verify.svg and the tables of benchmarks.md in a folder of documents.

    Raises ValueError when the document lacks the two marks.
    """
    page = documents / "benchmarks.md"
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the line {_BEGIN} or {_END}")
    folder = documents / "figures"
    folder.mkdir(exist_ok=True)
    (folder / "verify.json").write_text(_json(figures), encoding="utf-8")
    peers = {
        report["parameters"]["scheme"]: {
            name: peer["verifies_per_s"] for name, peer in report["peers"].items() if "missing" not in peer
        }
        for report in figures["verify"]
        if "peers" in report
    }
    (folder / "verify.svg").write_text(draw(figures["sweep"], peers), encoding="utf-8")
    page.write_text(f"{before}{_BEGIN}\n{_tables(figures)}{_END}{after}", encoding="utf-8")


def _json(figures: Mapping[str, Any]) -> str:
    """Return the figures with a line for each report and each point, so that a change can be read."""
    parts = []
    for name, value in figures.items():
        if isinstance(value, list):
            lines = ",\n".join("  " + json.dumps(each) for each in value)
            parts.append(f'"{name}": [\n{lines}\n]')
        elif name == "sweep":
            head = json.dumps({key: each for key, each in value.items() if key != "points"})
            lines = ",\n".join("  " + json.dumps(each) for each in value["points"])
            parts.append(f'"{name}": {head[:-1]}, "points": [\n{lines}\n]}}')
        else:
            parts.append(f'"{name}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _tables(figures: Mapping[str, Any]) -> str:
    where = figures["machine"]
    reports = figures["verify"]
    compared = [report for report in reports if "peers" in report]
    place = f"{where['processor']}, {where['cores']} cores, {where['system']}, Python {where['python']}"
    return "\n".join(
        [
            f"{place}, commit `{figures['commit'][:12]}`, load average {where['load_average'][0]}.",
            "",
            "**Signatures a second on one core**, 64 keys, batches of 4,096; in parentheses, how much faster ours is.",
            "",
            *_table(("scheme", "used", "scalar", "avx2", "peers"), [_against(each) for each in compared]),
            "",
            "**Other shapes.** *Times*: with bad signatures, as long as a clean batch; with hints, as fast as without.",
            "",
            *_table(
                ("scheme", "keys", "tables, MiB", "batch", "hints", "bad", "signatures/s (range)", "us each", "times"),
                [_shape(each) for each in reports],
            ),
            "",
            f"**Hashes**, {figures['hash']['parameters']['loads'][0]['count']:,} rows or leaves in one call.",
            "",
            *_table(
                ("", "rows/s", "MiB/s", "scalar", "avx2", "peers"),
                [_hash(name, each) for name, each in figures["hash"]["hashes"].items()],
            ),
            "",
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _against(report: Mapping[str, Any]) -> list[str]:
    variants = report["variants"]
    return [
        _NAMES[report["parameters"]["scheme"]],
        f"**{report['verifies_per_s']:,}** ({report['parameters']['kernel']})",
        *(_rate(variants[name], "verifies_per_s") for name in ("scalar", "avx2")),
        _peers(report["peers"], "verifies_per_s"),
    ]


def _shape(report: Mapping[str, Any]) -> list[str]:
    load, spread = report["parameters"], report["spread"]
    times = report.get("times_a_clean_batch", report.get("times_without_hint", ""))
    return [
        _NAMES[load["scheme"]],
        f"{load['keys']:,}",
        f"{load['table_mib']}",
        f"{load['batch']:,}",
        "yes" if load["hint"] else "",
        f"{load['bad']:,}" if load["bad"] else "",
        f"{report['verifies_per_s']:,} ({spread['verifies_per_s_min']:,} to {spread['verifies_per_s_max']:,})",
        f"{report['verify_us']:.2f}",
        f"{times:.2f}" if times else "",
    ]


def _hash(name: str, figure: Mapping[str, Any]) -> list[str]:
    suite, what, row_bytes = name.split("_")
    title = f"{'SHA-256' if suite == 'sha256' else 'SM3'}, " + (
        f"rows of {row_bytes} bytes" if what == "rows" else f"tree over leaves of {row_bytes} bytes"
    )
    variants = figure["variants"]
    return [
        title,
        f"**{figure['rows_per_s']:,}**",
        f"{figure['mib_per_s']:,}",
        *(_rate(variants[each], "rows_per_s") for each in ("scalar", "avx2")),
        _peers(figure["peers"], "rows_per_s"),
    ]


def _rate(figure: Mapping[str, Any], unit: str) -> str:
    return "-" if "missing" in figure else f"{figure[unit]:,} ({figure['ratio']:.1f})"


def _peers(peers: Mapping[str, Mapping[str, Any]], unit: str) -> str:
    return "; ".join(
        f"{name}: {peer['missing']}" if "missing" in peer else f"{name} {_rate(peer, unit)}"
        for name, peer in peers.items()
    )
