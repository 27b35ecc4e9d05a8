"""Breakers of corridors in a seed: decided on a ledger, told to every bridge, and believed for a proof alone.

Beside those that a ledger decides there are some that it did not decide, that it refused, or that no ledger of the
corridor decided. ``decided`` holds what a ledger of a corridor truly has, as it is to be compared with what stands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from bridge.refusals import BridgeCode
from clearspan.simulation.bridge.realm import OPERATOR, SUPERVISORS
from clearspan.simulation.bridge.rules import Phase
from clearspan.simulation.bridge.verifier import BlockLine
from engine.admin import AdminRequest
from engine.prefix import PrefixType, record_digest, signing_prefix
from engine.types import NS_PER_S, AdminType, BreakerGrade, BreakerSubject
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clearspan.simulation.bridge.market import Market
    from clearspan.simulation.bridge.papers import Closing
    from clearspan.simulation.bridge.party import Party
    from clearspan.simulation.bridge.places import Place
    from clearspan.simulation.bridge.stage import Stage

__all__ = ["Closings", "Standing"]

_REASON: Final = 9
_VALID_S: Final = 3_600
_AGAIN_NS: Final = 2 * NS_PER_S
_TELLS_MAX: Final = 60
_FINAL_NS: Final = 6 * NS_PER_S
_BLOCK_KEY: Final = 5


@dataclass(frozen=True, slots=True)
class Standing:
    """What one ledger decided of one corridor; ``grade`` None lifts what it had set. Instants in ns."""

    hop: int
    domain: int
    grade: BreakerGrade | None
    rate: int
    set_at: int
    ends_at: int


class Closings:
    """Those of one scene."""

    def __init__(self, stage: Stage, market: Market, parties: Sequence[Party]) -> None:
        self._stage, self._market, self._parties = stage, market, parties
        self.decided: list[Standing] = []
        self.told: dict[tuple[str, Standing], int] = {}

    def start(self) -> None:
        """Wait for the moments of the plan."""
        for closing in self._stage.plan.closings:
            if closing.phase is Phase.BEFORE:
                self._close(closing)
            else:
                self._stage.when(closing.phase.value, partial(self._close, closing))

    def standing(self, party: str, hop: int, now: int, *, told: bool) -> list[Standing]:
        """Return what stands on a hop's corridor: all of it, or only what a party has been told."""
        newest: dict[int, Standing] = {}
        for each in self.decided:
            if each.hop == hop and (not told or (party, each) in self.told):
                known = newest.get(each.domain)
                if known is None or (each.set_at, each.grade or 0) > (known.set_at, known.grade or 0):
                    newest[each.domain] = each
        return [each for each in newest.values() if each.grade is not None and now < each.ends_at]

    # What is decided.

    def _close(self, closing: Closing) -> None:
        stage, place = self._stage, self._stage.places[closing.index]
        stage.reach(f"corridor_{closing.grade.name.lower()}_{closing.phase.value}")
        request = self._request(closing, place)
        lifts = replace(request, type=int(AdminType.BREAKER_CLEAR), suite=0, limit_a=0, limit_b=0)
        if len(stage.plan.closings) == 1:
            # What does not stand cannot be lifted: the ledger refuses, and that is on the record as well.
            early = replace(lifts, id=stage.next_id())
            self._decide_and_claim(place, early, (OPERATOR, SUPERVISORS[1]), "refused")
        self._ask(place, request, (OPERATOR, SUPERVISORS[0]), closing.hop)
        if closing.clears_ns:
            lifts = replace(lifts, id=stage.next_id())
            stage.after(closing.clears_ns, lambda: self._ask(place, lifts, (OPERATOR, SUPERVISORS[1]), closing.hop))
        self._invent(closing, place)

    def _request(self, closing: Closing, place: Place) -> AdminRequest:
        stage = self._stage
        return AdminRequest(
            id=stage.next_id(),
            type=int(AdminType.BREAKER_SET),
            expires_at=stage.start + _VALID_S // 2 * NS_PER_S,
            valid_for_s=_VALID_S,
            subject=int.from_bytes(self._market.document(closing.hop).id_bytes, "big"),
            role=int(BreakerSubject.CORRIDOR),
            suite=int(closing.grade),
            limit_a=1 if closing.grade is BreakerGrade.SLOW else 0,
            limit_b=stage.clock_of(place) + closing.lasts_ns,
            reason=_REASON,
        )

    def _ask(self, place: Place, request: AdminRequest, keys: tuple[int, ...], hop: int) -> None:
        """Have a ledger decide, and when it has tell everybody; these lines lose nothing."""
        stage = self._stage

        def told(code: int) -> None:
            if code == ResultCode.CREATED:
                # The block that says so is sealed at the end of this round.
                stage.after(0, lambda: self._decided(place, request, hop))
            elif code not in (ResultCode.ADMIN_FIELD_NOT_ALLOWED, ResultCode.BREAKER_NOT_FOUND):
                # Over before a silent node heard of it; anything else is a fault.
                stage.fail(f"{place.name}: a breaker of a corridor was refused with {code}")

        place.administer(place.world.admin(request, *keys), told)

    def _decided(self, place: Place, request: AdminRequest, hop: int) -> None:
        body = request.encode()
        clears = request.type == AdminType.BREAKER_CLEAR
        grade, set_at = None if clears else BreakerGrade(request.suite), place.decided[body].time
        standing = Standing(hop, place.world.domain, grade, request.limit_a, set_at, request.limit_b)
        self.decided.append(standing)
        for party in self._parties:
            self._tell(party, place, body, standing, _TELLS_MAX)

    def _tell(self, party: Party, place: Place, body: bytes, standing: Standing, tries: int) -> None:
        """Tell one bridge, again until it believes it."""
        stage = self._stage
        height = place.decided[body].height

        def tell() -> None:
            if (party.name, standing) in self.told:
                return
            if party.gate is None or not stage.linked(party, place.name) or stage.is_down(place):
                again()
                return
            code = party.hear_breaker(self._line(place, body), place.world.domain, height, body)
            if code is None:
                self.told[party.name, standing] = stage.now
                stage.reach("breaker_believed")
            elif code == BridgeCode.BREAKER_UNPROVED:
                stage.reach("breaker_unproved")
                again()
            else:
                stage.fail(f"{party.name}: a breaker that a ledger decided was refused: {code.name}")

        def again() -> None:
            if tries:
                stage.after(_AGAIN_NS, lambda: self._tell(party, place, body, standing, tries - 1))

        stage.after(stage.delay(), tell)

    def _line(self, place: Place, body: bytes) -> BlockLine:
        stage = self._stage
        prefix = signing_prefix(stage.suite, PrefixType.ACCOUNT, stage.realm.genesis.hash)
        return BlockLine(stage.relay, place, stage.suite, record_digest(stage.suite, prefix, body))

    # What is invented.

    def _invent(self, closing: Closing, place: Place) -> None:
        """Tell everybody of stops that nobody decided, that a ledger refused, or that another ledger decided."""
        stage = self._stage
        stop = replace(closing, grade=BreakerGrade.STOP, lasts_ns=300 * NS_PER_S)
        never = self._request(stop, place).encode()
        self._claim(place, never, 1, "invented")
        unsigned = self._request(stop, place)
        self._decide_and_claim(place, unsigned, (OPERATOR, _BLOCK_KEY), "unsigned")
        hop = closing.hop
        sides = {self._market.ledgers[hop - 1], self._market.ledgers[hop]}
        other = next((each for each in stage.places if each.world.ledger not in sides), None)
        if other is not None:
            elsewhere = self._request(stop, other)
            self._decide_and_claim(other, elsewhere, (OPERATOR, SUPERVISORS[0]), "elsewhere")

    def _decide_and_claim(self, place: Place, request: AdminRequest, keys: tuple[int, ...], how: str) -> None:
        body = request.encode()

        def claim() -> None:
            found = place.decided.get(body)
            self._claim(place, body, found.height if found is not None else 1, how)

        def told(code: int) -> None:
            del code
            # Once it is final, so that nothing but what it says speaks against it.
            self._stage.after(_FINAL_NS, claim)

        place.administer(place.world.admin(request, *keys), told)

    def _claim(self, place: Place, body: bytes, height: int, how: str) -> None:
        """Tell every bridge what is not so; what stands is held in ``gate_checks``."""
        for party in self._parties:
            code = party.hear_breaker(self._line(place, body), place.world.domain, height, body)
            if code is None:
                self._stage.fail(f"{party.name} believes a breaker that is {how}")
            else:
                self._stage.reach(f"breaker_{how}_{code.name.lower()}")
