"""What a party owes beside its locks: premiums, fees and remainders, written down, sent, sent again until answered.

The book is the one that the bridge runs with; here it meets rows that alone survive and a ledger that may be silent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearspan.bridging.lines.beside import Beside, BesideBook, Due
from clearspan.bridging.market.premiums import RETURN_NUMBER
from engine.record import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.terms import LegTerms
    from clearspan.bridging.lines.beside import Sending
    from clearspan.simulation.bridge.market import Market
    from clearspan.simulation.bridge.stage import Caller, Stage

__all__ = ["Purse"]


class Purse:
    """One party's transfers; ``planned`` are all it ever owed, ``refused`` the keys of those a ledger refused."""

    def __init__(self, stage: Stage, market: Market) -> None:
        self._stage, self._market = stage, market
        self.planned: dict[bytes, Beside] = {}
        self.refused: list[str] = []
        self.rows: dict[bytes, bytes] = {}
        self._returned: set[bytes] = set()
        self._answered_now: list[bytes] = []
        self._written: dict[bytes, bytes | None] = {}
        self._sendings: list[Sending] = []
        self._book = self._new_book()

    def _new_book(self) -> BesideBook:
        windows = {place.world.ledger: 60 for place in self._stage.places}
        return BesideBook(self._stage.realm.genesis, self._market.key_of, windows)

    def __len__(self) -> int:
        return len(self._book)

    @property
    def pending(self) -> bool:
        """Tell whether something waits to be made durable."""
        self._collect()
        return bool(self._written or self._sendings)

    def _collect(self) -> None:
        self._written.update(self._book.take_written())
        self._sendings += self._book.take_sendings()
        self._answered_now += [note.party for note in self._book.take_notes() if note.leg == RETURN_NUMBER]

    def plan(self, rows: Iterable[Beside]) -> None:
        """Take what a swap that begins will owe."""
        planned = list(rows)
        self.planned.update((row.key, row) for row in planned)
        self._book.plan(planned)

    def start(self, party: bytes, due: Due, now: int) -> None:
        """Send what is due now."""
        self._book.start(party, due, now)

    def end(self, party: bytes, now: int, *, claimed: bool) -> None:
        """Take the end of a swap."""
        self._book.end(party, now, claimed=claimed)

    def give_back(self, party: bytes, paid: LegTerms, amount: int, user_data: int, now: int) -> None:
        """Send a premium back to who paid it: the last transfer of a party's side, and here the only one."""
        row = Beside(party, RETURN_NUMBER, Due.RETURNED, paid.ledger, paid.credit_id, paid.debit_id, amount, user_data)
        self.plan([row])
        self.start(party, Due.RETURNED, now)

    def has_returned(self, party: bytes) -> bool:
        """Say whether a party's premium went back, or is on its way."""
        return party in self._returned or self._book.signed(party, RETURN_NUMBER) is not None

    def again(self, now: int) -> None:
        """Send what was sent a while ago and is unanswered."""
        self._sendings += self._book.tick(now)

    def commit(self) -> None:
        """Make durable what was collected."""
        self._collect()
        for key, data in self._written.items():
            if data is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = data
        self._written = {}
        self._returned.update(self._answered_now)
        self._answered_now = []

    def restore(self, claimed_of: Callable[[bytes], bool | None], now: int) -> None:
        """Stand with what is durable."""
        self._book = self._new_book()
        self._written, self._sendings, self._answered_now = {}, [], []
        self._book.restore(list(self.rows.items()), claimed_of, now)

    def take_sendings(self, party: Caller, now: int) -> list[Callable[[], None]]:
        """Return what sends each transfer that is durable."""
        sendings, self._sendings = self._sendings, []
        return [self._sender(party, each, now) for each in sendings]

    def _sender(self, party: Caller, sending: Sending, now: int) -> Callable[[], None]:
        stage, place = self._stage, self._stage.place_of_ledger(sending.ledger)
        record = Transfer.decode(sending.record)

        def told(code: int) -> None:
            stage.reply(party, lambda: self._answered(sending, code))

        def send() -> None:
            self._book.left([sending], now)
            stage.send(party, place.name, lambda: stage.submit(place, record, told))

        return send

    def _answered(self, sending: Sending, code: int) -> None:
        text = self._book.on_answer(sending.digest, code)
        if text:
            self._stage.reach("beside_refused")
            self.refused.append(text)
