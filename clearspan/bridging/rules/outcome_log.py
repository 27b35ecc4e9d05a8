"""Puts outcomes of screening into the logs of the ledgers that are paid on, from behind the payments.

It promises that an outcome leaves only when it is durable here, goes again as the same bytes until its ledger answers
for it, and that no payment waits for any of this.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from clearspan.administration import ADMIN_COUNT_MAX, RingKey, signed_columns
from clearspan.bridging.rules.outcomes import OutcomeState
from clearspan.errors import ClientError
from engine.codes import MEANINGS, CodeClass, ResultCode, code_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from clearspan.bridging.lines.ledgers import LedgerPort
    from clearspan.bridging.rules.outcomes import Outcome, OutcomeBook
    from clearspan.bridging.settings.keys import BridgeKeys
    from engine.genesis import Genesis

__all__ = ["OutcomeLog"]

_PAUSE_S: Final = 0.2
_AGAIN_S: Final = 2.0
_CODES: Final = frozenset(ResultCode)
# The id is a digest of the record: under another content it is the same outcome in a request of another time.
_KNOWN: Final = frozenset({ResultCode.CREATED, ResultCode.EXISTS, ResultCode.EXISTS_WITH_DIFFERENT_CONTENT})
_OVER: Final = frozenset({ResultCode.EXPIRED, ResultCode.TOO_OLD})
_log = structlog.get_logger("clearspan.bridging")


class OutcomeLog:
    """One bridge's; ``run`` it beside the engine, or call ``send`` for one round."""

    def __init__(
        self,
        genesis: Genesis,
        book: OutcomeBook,
        keys: BridgeKeys,
        ledgers: Mapping[int, LedgerPort],
        *,
        committed: Callable[[], Awaitable[None]],
        now: Callable[[], int] = time.time_ns,
        call_out: Callable[[list[str]], None] = lambda _: None,
    ) -> None:
        """Take what is kept, the keys, the lines by domain, what makes durable, our clock, and who calls people."""
        self._genesis, self._book, self._keys, self._ledgers = genesis, book, keys, ledgers
        self._committed, self._now, self._call_out = committed, now, call_out

    async def run(self) -> None:
        """Send what comes; what was not answered is sent again."""
        while True:
            await self._book.came.wait()
            # Outcomes of many payments are one call.
            await asyncio.sleep(_PAUSE_S)
            if not await self.send():
                await asyncio.sleep(_AGAIN_S)

    async def send(self) -> bool:
        """Offer the oldest that wait to their ledgers; say whether every ledger answered."""
        now = self._now()
        found = [
            self._book.renewed(each, now) if each.request.expires_at <= now else each
            for each in self._book.waiting(ADMIN_COUNT_MAX)
        ]
        await self._committed()
        by_domain: dict[int, list[Outcome]] = {}
        for each in found:
            of_domain = by_domain.setdefault(self._keys.domain_of(each.ledger), [])
            if len(of_domain) < ADMIN_COUNT_MAX:
                of_domain.append(each)
        # Side by side: a ledger that does not answer keeps no other one's outcomes back.
        answered = await asyncio.gather(*(self._offer(domain, outcomes) for domain, outcomes in by_domain.items()))
        if not self._book.waiting(1):
            self._book.came.clear()
        await self._committed()
        return all(answered)

    async def _offer(self, domain: int, outcomes: Sequence[Outcome]) -> bool:
        port = self._ledgers.get(domain)
        if port is None:
            return False
        ring, known = self._keys.ring(domain), {int(info.key_id) for info in self._keys.ring(domain)}
        for each in outcomes:
            if each.signed.record.key_id not in known:
                # The key was taken away: nobody signs for it any more, and what is behind it does not wait for that.
                self._call_out([f"the key {each.signed.record.key_id} of an outcome of screening is not here any more"])
                self._book.answered(each, OutcomeState.REFUSED, 0, 0)
        outcomes = [each for each in outcomes if each.signed.record.key_id in known]
        if not outcomes:
            return True
        try:
            signers = [RingKey(ring, ring.index_of(each.signed.record.key_id)) for each in outcomes]
            columns = await asyncio.to_thread(
                signed_columns, self._genesis, [each.request for each in outcomes], signers
            )
            reply = await port.client.administer(columns)
        except (ClientError, KeyError) as error:
            _log.warning("outcomes_not_on_record", domain=domain, count=len(outcomes), reason=str(error))
            return False
        whole = True
        for each, code, at in zip(outcomes, reply.codes.tolist(), reply.times.tolist(), strict=True):
            if code in _KNOWN:
                self._book.answered(each, OutcomeState.ON_RECORD, code, at)
            elif code not in _OVER and code in _CODES and MEANINGS[ResultCode(code)].code_class is CodeClass.NO:
                self._call_out([f"ledger {each.ledger} refuses an outcome of screening: {code_name(code)}"])
                self._book.answered(each, OutcomeState.REFUSED, code, at)
            else:
                whole = False
        return whole
