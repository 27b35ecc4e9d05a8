# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""Corridors in words: which version is in effect, whether it is open now and until when, its limits in money.

It promises no number without its unit: amounts stand in the ledger's currency, instants in UTC.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from clearspan.cli.output import money
from clearspan.cli.places import ledger_place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.corridor import CorridorDocument, MarginParts
    from bridge.fees import FeeRule
    from clearspan.cli.output import Output
    from clearspan.cli.session import Session

__all__ = ["KnownCorridor", "explained", "instant", "known_corridors", "show_corridor"]

_MS: Final = 1_000_000
_NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class KnownCorridor:
    """One version; ``in_effect`` is None while nobody says how high the relay is."""

    document: CorridorDocument
    effect_height: int
    in_effect: bool | None

    @property
    def pair(self) -> tuple[int, int]:
        """The two ledgers, in the direction of the payment."""
        return self.document.source_ledger, self.document.target_ledger

    def state(self, now_ns: int) -> tuple[str, bool, str]:
        """Return what it is now in words, whether swaps may begin, and when it opens or closes next (UTC, or "")."""
        from bridge.calendar import opens_at, window_of

        document = self.document
        if self.in_effect is False:
            return f"comes at relay height {self.effect_height}", False, ""
        if document.suspended:
            return "suspended: it opens with a later version", False, ""
        if not document.calendars:
            return "open at all hours", True, ""
        if window_of(document.calendars, now_ns).is_open:
            closing = instant(_closes_at(document, now_ns))
            return f"open until {closing}", True, closing
        opening = opens_at(document.calendars, now_ns)
        if opening is None:
            return "closed: no opening within a year", False, ""
        return f"closed: it opens at {instant(opening)}", False, instant(opening)

    def summary(self, session: Session) -> dict[str, Any]:
        """Return the JSON of a list's row."""
        document = self.document
        state, is_open, changes_at = self.state(time.time_ns())
        return {
            "id": document.id,
            "version": document.version,
            "effect_height": self.effect_height,
            "in_effect": self.in_effect,
            "source": _name(session, document.source_ledger),
            "target": _name(session, document.target_ledger),
            "state": state,
            "open": is_open,
            "changes_at": changes_at,
            "suspended": document.suspended,
            "lock_s": document.lock_s,
            "quote_s": document.quote_s,
            "providers": list(document.providers),
        }


def _closes_at(document: CorridorDocument, now_ns: int) -> int:
    """Return when an open corridor closes; a window ends at midnight though the next begins there."""
    from bridge.calendar import SEARCH_DAYS_MAX, window_of

    until = now_ns
    for _ in range(SEARCH_DAYS_MAX):
        window = window_of(document.calendars, until)
        if not window.is_open:
            break
        until = window.until_ns
    return until


def known_corridors(session: Session, height: int | None) -> list[KnownCorridor]:
    """Return of each corridor of the folder what is in effect at a relay height first, then what comes after it.

    Where the height is not known, the newest version of each, as neither.
    """
    from clearspan.bridging.market.corridors import read_folder
    from clearspan.bridging.staging.folder import CORRIDORS_FOLDER

    versions: dict[bytes, list[KnownCorridor]] = {}
    for record, document in read_folder(session.network.path / CORRIDORS_FOLDER):
        reached = None if height is None else record.effect_height <= height
        versions.setdefault(record.id, []).append(KnownCorridor(document, record.effect_height, reached))
    found: list[KnownCorridor] = []
    for identity in sorted(versions):
        ordered = sorted(versions[identity], key=lambda each: each.document.version)
        reached_now = [each for each in ordered if each.in_effect is not False]
        found += reached_now[-1:]
        found += [each for each in ordered if each.in_effect is False]
    return found


def show_corridor(session: Session, shown: KnownCorridor, later: Sequence[KnownCorridor], output: Output) -> None:
    """Print a version whole, and say which come after it."""
    import msgspec

    document = shown.document
    summary = shown.summary(session)
    output.document(
        {
            **summary,
            "later": [each.summary(session) for each in later],
            "document": msgspec.to_builtins(document),
        }
    )
    output.line(f"{summary['source']} to {summary['target']}, version {document.version}: {summary['state']}")
    output.line(
        f"from relay height {shown.effect_height} on; timelock {document.lock_s} s, quotes {document.quote_s} s"
    )
    output.line(f"providers: {', '.join(map(str, document.providers)) or 'none'}")
    if document.asset is not None:
        asset = document.asset
        output.line(f"{asset.code} is {'token ' + asset.asset if asset.asset else 'the coin'} of chain {asset.chain}")
        accounts = [(each.participant, each.account) for each in asset.providers]
        output.table(("provider>", "account there"), accounts)
    output.table(("limit", "amount>"), [(each, text) for each, text in _limits(session, document)])
    if document.fees:
        rows = [(each.name, _fee(session, document, each), each.account) for each in document.fees]
        output.table(("fee", "how much", "to account"), rows)
    rules = document.margins
    parts = [
        *_side("here", rules.home),
        *(row for chain, each in sorted(rules.foreign.items()) for row in _side(chain, each)),
        ("skew", rules.skew.ns // _MS, rules.skew.basis),
        ("failover", rules.failover.ns // _MS, rules.failover.basis),
        ("stall", rules.stall.ns // _MS, rules.stall.basis),
    ]
    output.table(("margin", "ms>", "basis"), parts)
    for rule in (document.approval_note, *document.rules):
        output.line(rule)
    for each in later:
        output.line(f"version {each.document.version} {each.state(time.time_ns())[0]}")


def _side(name: str, parts: MarginParts) -> list[tuple[str, int, str]]:
    return [
        (f"{what}, {name}", part.ns // _MS, part.basis)
        for what, part in (
            ("finality", parts.finality),
            ("watching", parts.watching),
            ("submission", parts.submission),
        )
    ]


def _limits(session: Session, document: CorridorDocument) -> list[tuple[str, str]]:
    limits = document.limits
    return [
        (name, _text(session, document.source_ledger, int(value)))
        for name, value in (
            ("one payment, least", limits.payment_least),
            ("one payment, most", limits.payment_most),
            ("a payer's day", limits.participant_day_most),
            ("the day of all", limits.day_most),
        )
    ]


def _fee(session: Session, document: CorridorDocument, fee: FeeRule) -> str:
    def text(value: str) -> str:
        return _text(session, document.source_ledger, int(value))

    return f"{text(fee.flat)} and {fee.per_million} millionths, {text(fee.least)} to {text(fee.most)}"


def explained(session: Session, name: str, source: int, target: int) -> str:
    """Return what a corridor has to say to a refusal of that name on a pair of ledgers, in words; "" where nothing."""
    if not name.startswith("corridor_"):
        return ""
    known = [each for each in known_corridors(session, None) if each.pair == (source, target)]
    if not known:
        return "no corridor leads there; see: clearspan corridor list"
    shown = known[0]
    if name == "corridor_limit_exceeded":
        return "; ".join(f"{each}: {text}" for each, text in _limits(session, shown.document))
    if name == "corridor_closed":
        return shown.state(time.time_ns())[0]
    if name == "corridor_provider_not_listed":
        return f"listed are {', '.join(map(str, shown.document.providers))}"
    return f"version {shown.document.version} is the newest, from relay height {shown.effect_height} on"


def instant(ns: int) -> str:
    """Return an instant as people write it, to the second, in UTC."""
    return datetime.fromtimestamp(ns // _NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _name(session: Session, ledger: int) -> str:
    """Return a ledger's currency, or its number where it is an asset on a chain that is not ours."""
    from clearspan.errors import ConfigError

    try:
        return ledger_place(session, ledger).currency
    except ConfigError:
        return str(ledger)


def _text(session: Session, ledger: int, minor: int) -> str:
    from clearspan.errors import ConfigError

    try:
        found = ledger_place(session, ledger)
    except ConfigError:
        return f"{minor:,} units"
    return money(minor, found.currency, found.scale)["text"]
