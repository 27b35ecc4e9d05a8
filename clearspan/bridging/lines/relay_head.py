"""How far the relay has come, as its validators tell: what a bridge that begins again must have read first.

It promises a height that no third of the validators can make up once two thirds and one have told theirs: one liar
among four neither hides blocks by a low number nor holds a bridge up by a high one. While fewer answer it says the most
that any of them told, so a low number still hides nothing. It proves nothing; who reads up to there verifies it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from clearspan.relay_link.errors import LineLost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from clearspan.relay_link.lines import ValidatorLine

__all__ = ["heads_told", "height_of"]

_PATIENCE_S: Final = 5.0
_AGAIN_S: Final = 0.2
_log = structlog.get_logger("clearspan.bridging")


def height_of(told: Sequence[int], count: int, *, patient: bool) -> int | None:
    """Return the height that ``count`` validators say is final, None while too few have answered.

    Of two thirds and one, as many as agree to a block, it is what more than a third say. Patient asks for so many;
    without that a third and one are enough, of whom one is honest, and the most that one of them says counts.
    """
    faulty = max(0, count - 1) // 3
    if not count or len(told) <= faulty:
        return None
    if len(told) > 2 * faulty:
        return sorted(told, reverse=True)[faulty]
    return None if patient else max(told)


async def heads_told(
    lines: Callable[[], Sequence[ValidatorLine]], *, patience_s: float = _PATIENCE_S, again_s: float = _AGAIN_S
) -> AsyncIterator[int]:
    """Ask validators how far the relay has come; yield that height, and again when more answers make it another one.

    It ends with the answers of two thirds and one. Those that do not answer are asked again; after ``patience_s`` what
    fewer say is yielded meanwhile: some may be gone for long.
    """
    began, before = time.monotonic(), None
    told: dict[str, int] = {}
    while True:
        now = lines()
        answers = await asyncio.gather(*(_height(line) for line in now if line.name not in told))
        told.update({name: height for name, height in answers if height is not None})
        heights, count = [told[line.name] for line in now if line.name in told], len(now)
        agreed = height_of(heights, count, patient=True)
        is_late = time.monotonic() >= began + patience_s
        found = height_of(heights, count, patient=False) if is_late else agreed
        if found is not None and found != before:
            before = found
            yield found
        if agreed is not None:
            return
        await asyncio.sleep(again_s)


async def _height(line: ValidatorLine) -> tuple[str, int | None]:
    try:
        return line.name, (await line.status()).final_height
    except LineLost:
        return line.name, None
    except Exception as error:  # noqa: BLE001 - whatever it was, it is asked again, and the others are heard
        _log.error("relay_head_not_told", validator=line.name, error=type(error).__name__, exc_info=error)
        return line.name, None
