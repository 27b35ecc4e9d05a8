"""Draws the rates of a sweep as an SVG picture, with nothing but strings: a panel a scheme, a line a number of keys.

Batch size runs to the right in powers of two; the rate starts at zero, and each panel has its own scale. Dashed: with
hints. Grey: the peers that were measured in the same run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["draw"]

_TITLES: Final = {"ed25519": "Ed25519", "sm2": "SM2 with SM3", "p256": "P-256"}
# Three hues that stay apart for colour-blind readers, and a mark of their own for those who see none.
_HUES: Final = ("#0072b2", "#d55e00", "#00805d")
_INK, _GREY, _RULE, _PAPER = "#1f2933", "#5f6b76", "#d9dee3", "#ffffff"
_PANEL: Final = (300, 250)
_LEFT, _GAP, _RIGHT, _TOP, _FOOT = 60, 62, 20, 96, 66
_DECADE_STEPS: Final = (1, 2, 2.5, 5, 10)
_TICKS: Final = 5
_WORDS_HIGH: Final = 14
_THOUSAND: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a batch size and a rate stand in a panel."""

    left: int
    first: int
    last: int
    top_rate: int

    def x(self, batch: int) -> float:
        """Return the place of a batch size, on a scale of powers of two."""
        span = max(1.0, math.log2(self.last / self.first))
        return round(self.left + _PANEL[0] * math.log2(batch / self.first) / span, 1)

    def y(self, rate: float) -> float:
        """Return the place of a rate, on a scale that begins at zero."""
        return round(_TOP + _PANEL[1] * (1 - rate / self.top_rate), 1)


def draw(sweep: Mapping[str, Any], peers: Mapping[str, Mapping[str, int]]) -> str:
    """Return the picture of a sweep; peers: rates by scheme and name."""
    points = sweep["points"]
    schemes = [scheme for scheme in _TITLES if any(point["scheme"] == scheme for point in points)]
    width = _LEFT + len(schemes) * (_PANEL[0] + _GAP) - _GAP + _RIGHT
    height = _TOP + _PANEL[1] + _FOOT
    keys = sorted({point["keys"] for point in points})
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    font = f'font-family="Helvetica, Arial, sans-serif" font-size="12" fill="{_INK}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} role="img">',
        "<title>Signatures verified a second on one core, against batch size and number of keys</title>",
        f'<rect width="{width}" height="{height}" fill="{_PAPER}"/>',
        *_legend(keys, any(point["hint"] for point in points)),
    ]
    for number, scheme in enumerate(schemes):
        mine = [point for point in points if point["scheme"] == scheme]
        parts += _panel(scheme, mine, keys, peers.get(scheme, {}), _LEFT + number * (_PANEL[0] + _GAP))
    machine, kernel = sweep["machine"], sweep["parameters"]["kernel"]
    note = f"192-byte messages, one thread, CPU time, kernel {kernel}, {machine['processor']}; grey: peers"
    parts.append(_text(_LEFT, height - 12, note, fill=_GREY, size=11))
    return "\n".join([*parts, "</svg>", ""])


def _panel(
    scheme: str, points: Sequence[Mapping[str, Any]], keys: Sequence[int], peers: Mapping[str, int], left: int
) -> list[str]:
    batches = sorted({point["batch"] for point in points})
    step = _step(max([point["verifies_per_s"] for point in points] + list(peers.values())))
    top = math.ceil(max([point["verifies_per_s"] for point in points] + list(peers.values())) / step) * step
    scale = _Scale(left, batches[0], batches[-1], top)
    parts = [_text(left, _TOP - 14, _TITLES[scheme], weight="bold", size=14)]
    for rate in range(0, top + 1, step):
        y = scale.y(rate)
        parts.append(_line(left, y, left + _PANEL[0], y, _RULE if rate else _GREY))
        parts.append(_text(left - 8, y + 4, _rate(rate), anchor="end", fill=_GREY))
    below = _TOP + _PANEL[1]
    shown = batches[:: 2 if len(batches) > _TICKS else 1]
    parts += [_text(scale.x(batch), below + 18, f"{batch:,}", anchor="middle", fill=_GREY) for batch in shown]
    parts.append(_text(left + _PANEL[0] / 2, below + 35, "signatures in a batch", anchor="middle", fill=_GREY))
    parts += _peer_lines(scale, peers)
    for count, hue in zip(keys, _HUES, strict=False):
        for hint in (False, True):
            line = [point for point in points if point["keys"] == count and point["hint"] is hint]
            parts += _curve(scale, sorted(line, key=lambda point: int(point["batch"])), hue, keys.index(count), hint)
    return parts


def _peer_lines(scale: _Scale, peers: Mapping[str, int]) -> list[str]:
    """Return a grey line for each peer, named at its end; those too close for words of their own share them."""
    parts: list[str] = []
    groups: list[list[tuple[str, int]]] = []
    for name, rate in sorted(peers.items(), key=lambda each: each[1]):
        y = scale.y(rate)
        parts.append(_line(scale.left, y, scale.left + _PANEL[0], y, _GREY, dash="2 3"))
        if groups and scale.y(groups[-1][-1][1]) - y < _WORDS_HIGH:
            groups[-1].append((name, rate))
        else:
            groups.append([(name, rate)])
    for group in groups:
        label = ", ".join(f"{name} {_rate(rate)}" for name, rate in reversed(group))
        parts.append(_text(scale.left + _PANEL[0], scale.y(group[-1][1]) - 4, label, anchor="end", fill=_GREY, size=10))
    return parts


def _curve(scale: _Scale, points: Sequence[Mapping[str, Any]], hue: str, mark: int, hint: bool) -> list[str]:
    if not points:
        return []
    places = [(scale.x(point["batch"]), scale.y(point["verifies_per_s"])) for point in points]
    path = " ".join(f"{x},{y}" for x, y in places)
    dash = ' stroke-dasharray="6 4"' if hint else ""
    return [
        f'<polyline points="{path}" fill="none" stroke="{hue}" stroke-width="2"{dash}/>',
        *(_mark(x, y, hue, mark) for x, y in places),
    ]


def _mark(x: float, y: float, hue: str, kind: int) -> str:
    if kind == 0:
        return f'<circle cx="{x}" cy="{y}" r="3" fill="{hue}"/>'
    if kind == 1:
        return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="{hue}"/>'
    return f'<path d="M{x:.1f} {y - 4:.1f}l4 7h-8z" fill="{hue}"/>'


def _legend(keys: Iterable[int], hinted: bool) -> list[str]:
    parts = [_text(_LEFT, 22, "Signatures verified a second on one core", weight="bold", size=15)]
    x, y = float(_LEFT), 42
    for number, (count, hue) in enumerate(zip(keys, _HUES, strict=False)):
        label = f"{count:,} key" + ("s" if count != 1 else "")
        parts += [
            f'<line x1="{x}" y1="{y}" x2="{x + 26}" y2="{y}" stroke="{hue}" stroke-width="2"/>',
            _mark(x + 13, y, hue, number),
            _text(x + 32, y + 4, label),
        ]
        x += 48 + 7 * len(label)
    if hinted:
        parts += [
            f'<line x1="{x}" y1="{y}" x2="{x + 26}" y2="{y}" stroke="{_INK}" stroke-width="2" stroke-dasharray="6 4"/>',
            _text(x + 32, y + 4, "with hints of an earlier verifier"),
        ]
    return parts


def _step(largest: int) -> int:
    """Return a round distance between ticks, so that there are about five."""
    rough = max(1, largest) / _TICKS
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in _DECADE_STEPS if step * decade >= rough)
    return max(1, round(step * decade))


def _rate(rate: int) -> str:
    """Return a rate in few letters."""
    if rate < _THOUSAND:
        return str(rate)
    return f"{rate / _THOUSAND:,.{1 if rate < 10 * _THOUSAND else 0}f}k"


def _line(x1: float, y1: float, x2: float, y2: float, hue: str, *, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{hue}" stroke-width="1"{dashes}/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", fill: str = _INK, weight: str = "normal", size: int = 12
) -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{fill}" font-weight="{weight}" font-size="{size}">'
        f"{escape(text)}</text>"
    )
