"""Break rules of the bridge's papers on purpose, one at a time in a copy, and say which test saw it.

python -m tests.behaviour.bridge_mutations [--only WORD]     prints a table; ends with 1 if a break was not seen
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("native", "engine", "relay", "shards", "clearspan", "tests", "pyproject.toml")
FIRST_FAILURE = re.compile(r"^FAILED \S+?::(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutation:
    """In module ``module``, ``old`` (which must stand there exactly once) becomes ``new``; ``tests`` must see it."""

    module: str
    what: str
    old: str
    new: str
    tests: str


MUTATIONS = (
    Mutation("rates", "half rounds up", "twice == denominator and quotient & 1 == 1", "twice == denominator", "rates"),
    Mutation("rates", "the remainder forgets its sign", "product - whole * divisor, divisor", "abs(product - whole * divisor), divisor", "rates"),
    Mutation("rates", "a reducible fraction is a rate", "gcd(self.numerator, self.denominator) != 1", "False", "rates"),
    Mutation("rates", "needs one unit too much when rounding up", "Rounding.DOWN).amount + 1", "Rounding.DOWN).amount + 2", "rates"),
    Mutation("rates", "an amount of 129 bits passes", "if whole > U128_MAX:\n        raise ConversionOverflowError(amount, str(rate))\n    return Converted", "if whole > U128_MAX + 1:\n        raise ConversionOverflowError(amount, str(rate))\n    return Converted", "rates"),
    Mutation("rates", "an amount of 129 bits passes without its remainder", "if whole > U128_MAX:\n        raise ConversionOverflowError(amount, str(rate))\n    return whole", "if whole > U128_MAX + 1:\n        raise ConversionOverflowError(amount, str(rate))\n    return whole", "rates"),
    Mutation("quotes", "a key of any role signs", " or key.role != Role.ACCOUNT", "", "quotes"),
    Mutation("quotes", "a retired key signs", " or not key.in_force(now)", "", "quotes"),
    Mutation("quotes", "another participant's key signs", "key.participant != quote.provider or ", "", "quotes"),
    Mutation("quotes", "a quote stands at its expiry", "if now >= quote.expires_at", "if now > quote.expires_at", "quotes"),
    Mutation("quotes", "padding is not looked at", "layout != QUOTE_VERSION or zeros != _ZEROS", "layout != QUOTE_VERSION", "quotes"),
    Mutation("quotes", "shares of the premium round down", "-(-self.premium * source_amount // self.total_amount)", "self.premium * source_amount // self.total_amount", "quotes"),
    Mutation("desk", "a quote is drawn beyond what is left", "if amount < 1 or whole > found.left:", "if amount < 1 or whole > quote.total_amount:", "desk"),
    Mutation("desk", "any taker draws", "if quote.taker not in (ANY_TAKER, wanted.taker):", "if False:", "desk"),
    Mutation("desk", "an expired quote is drawn", "if found.is_released or wanted.now >= quote.expires_at:", "if found.is_released:", "desk"),
    Mutation("desk", "a longer timelock is granted", "if wanted.lock_s > quote.lock_s:", "if wanted.lock_s > quote.lock_s + 1:", "desk"),
    Mutation("desk", "the same swap draws twice", "had == (quote_id, taker, amount, onward)", "False", "desk"),
    Mutation("desk", "more is promised than there is", "if self.available(target) < quote.delivers(total):", "if False:", "desk"),
    Mutation("desk", "rounding up twice is not counted", "if extra > 0 and self.available", "if extra > 1 and self.available", "desk"),
    Mutation("desk", "the premium forgets how long a quote stands", "-(-stand_ns // NS_PER_S) + request.lock_s", "request.lock_s", "desk"),
    Mutation("desk", "the share of the premium rounds down", "isqrt(squared - 1) + 1 if squared else 0", "isqrt(squared)", "desk"),
    Mutation("desk_book", "a refund gives nothing back", "self._set_left(found, found.left + drawn.source_amount - came)", "pass", "desk"),
    Mutation("desk_book", "a claim leaves the inventory", "self._hold(quote.target_ledger, -gone)", "pass", "desk"),
    Mutation("desk_book", "a refund after the expiry opens the quote again", "        if not found.is_released and came != drawn.source_amount:", "        if came != drawn.source_amount:", "desk"),
    Mutation("desk", "one taker may have it all", "(request.taker, target), 0) + quote.delivers(total) > most:", "(request.taker, target), 0) > most:", "desk"),
    Mutation("desk", "a premium onward is exchanged beside the quote", "whole = amount + spent", "whole = amount", "desk"),
    Mutation("desk_book", "a refund gives the premium onward back", "else (drawn.spent_target, drawn.spent)", "else (0, 0)", "desk"),
    Mutation("desk_book", "an option that was paid for ends with its quote", "(quote.lock_s * NS_PER_S if quote.premium else 0)", "0", "desk"),
    Mutation("desk_book", "a snapshot forgets the swaps that run", "        yield KeptDraw(drawn)\n", "        pass\n", "desk"),
    Mutation("desk_book", "a snapshot makes quotes whole again", "Kept(found.quote.encode(), found.left,", "Kept(found.quote.encode(), found.quote.total_amount,", "desk"),
    Mutation("routes", "the remainder of the source is dropped", "sent - priced.total\n    for", "0\n    for", "routes"),
    Mutation("routes", "units beyond what is passed on are dropped", "left_account, left_over = quote.remainder_target_account, row.remainder", "left_account, left_over = quote.remainder_target_account, 0", "routes"),
    Mutation("routes", "a middleman pays the premium onward himself", "premium = quote.premium_of(principal) + onward", "premium = quote.premium_of(principal)", "routes"),
    Mutation("routes", "the fee is not funded", "need = principal + (fee_total", "need = principal + 0 * (fee_total", "routes"),
    Mutation("routes", "the search stops one unit early", "    return priced[low] if low else None\n\n\ndef _demand_fits", "    return _priced(path, low - 1) if low > 1 else None\n\n\ndef _demand_fits", "routes"),
    Mutation("routes", "the first route is taken", "if best is None or rank < best[0]:", "if best is None:", "routes"),
    Mutation("routes", "more than is left is planned", "if whole > offer.left:", "if False:", "routes"),
    Mutation("routes", "another taker's quote is used", "quote.taker in (ANY_TAKER, request.payer)", "True", "routes"),
    Mutation("routes", "a ledger is met twice", "if quote.target_ledger in ledgers:", "if quote.target_ledger == ledgers[-1]:", "routes"),
    Mutation("routes", "a provider gives one unit more", "if target_amount > delivered:", "if target_amount > delivered + 1:", "routes"),
    Mutation("corridor", "a version counts before its height", "if effect_height <= height:\n                return", "if effect_height <= height + 1:\n                return", "corridor"),
    Mutation("corridor", "the oldest version counts", "in reversed(versions):", "in versions:", "corridor"),
    Mutation("corridor", "other encodings are read", "if document.encode() != data:", "if False:", "corridor"),
    Mutation("corridor", "a record carries another's document", "document.id_bytes != record.id or document.version != record.version", "document.id_bytes != record.id", "corridor"),
    Mutation("corridor", "suspension is not looked at", "if self.suspended:", "if False:", "corridor"),
    Mutation("corridor", "the answer of yesterday is kept", "if not since_ns <= now_ns < window.until_ns:", "if not since_ns <= now_ns:", "corridor"),
    Mutation("calendar", "one open side suffices", "is_open = is_open and opens <= now_ns", "is_open = is_open or opens <= now_ns", "corridor"),
    Mutation("calendar", "a skipped hour opens an hour late", "if first <= second:", "if True:", "corridor"),
    Mutation("calendar", "an hour that comes twice counts from its second coming", "    if first <= second:\n        return first", "    if first <= second:\n        return second", "corridor"),
    Mutation("calendar", "a holiday is a working day", "if not spans and text not in self.holidays:", "if not spans:", "corridor"),
    Mutation("calendar", "a day begins at midnight in London", "zone_of(zone)).toordinal()", 'zone_of("UTC")).toordinal()', "corridor"),
    Mutation("usage", "the payer's day has no limit", "if sum_ + amount > most:", 'if what == "the day" and sum_ + amount > most:', "corridor"),
    Mutation("usage", "a clock that goes back opens an old day", "today.day < day", "today.day != day", "corridor"),
    Mutation("usage", "yesterday gives back to today", "today is None or today.day != taken.day:\n            return\n        today.total -=", "today is None:\n            return\n        today.total -=", "corridor"),
    Mutation("fees", "fees round down", "-(-amount * rule.per_million // _MILLION)", "amount * rule.per_million // _MILLION", "corridor"),
    Mutation("fees", "a fee has no most", "min(max(asked, amount_of(rule.least)), amount_of(rule.most))", "max(asked, amount_of(rule.least))", "corridor"),
    Mutation("corridor_breakers", "one domain lifts another's breaker", "self._notices.setdefault(notice.corridor_id, {})[notice.domain] = notice", "self._notices[notice.corridor_id] = {notice.domain: notice}", "corridor_breakers"),
    Mutation("corridor_breakers", "the milder of two counts", "return max(found, key=", "return min(found, key=", "corridor_breakers"),
    Mutation("corridor_breakers", "an old notice counts again", "<= (known.set_at, known.strictness)", "< (known.set_at, known.strictness)", "corridor_breakers"),
    Mutation("corridor_breakers", "any breaker of a ledger is one of a corridor", " or request.role != BreakerSubject.CORRIDOR", "", "corridor_breakers"),
    Mutation("corridor_breakers", "a breaker outlives its end", "now < notice.expires_at", "now <= notice.expires_at", "corridor_breakers"),
    Mutation("corridor_breakers", "slow lets one more begin", "if count >= notice.rate:", "if count > notice.rate:", "corridor_breakers"),
    Mutation("names", "accents hide a name", 'and not category.startswith("M")', "", "screening"),
    Mutation("names", "look-alike letters hide a name", "return word.translate(_LOOKALIKES)", "return word", "screening"),
    Mutation("names", "legal forms hide a name", "if word in _LEGAL_FORMS:", "if False:", "screening"),
    Mutation("screening", "every word weighs the same", ".bit_length() or 1", ".bit_length() * 0 or 1", "screening"),
    Mutation("screening", "spaces hide a name", "if joined >= COMPACT_LEAST and joined > score:", "if False:", "screening"),
    Mutation("screening", "added words hide a name", "if contained > score:", "if False:", "screening"),
    Mutation("screening", "words that share letters are one", "TOKEN_LEAST: Final = 7_500", "TOKEN_LEAST: Final = 4_000", "screening"),
    Mutation("screening_record", "a record speaks of any message", "if record.message_hash != message_hash:", "if False:", "screening"),
    Mutation("screening_record", "any key screens", " or key.role != Role.SCREENING", "", "screening"),
    Mutation("patterns", "the window forgets one ns late", "self._flows[0].at_ns <= before_ns", "self._flows[0].at_ns < before_ns", "patterns"),
    Mutation("patterns", "the band begins above its border", "self.rules.threshold * self.rules.band_share <= flow.amount", "self.rules.threshold * self.rules.band_share < flow.amount", "patterns"),
    Mutation("patterns", "a loop may go back in time", "if each.at_ns < since_ns or len(found)", "if len(found)", "patterns"),
    Mutation("patterns", "what is dropped still counts", "payer.in_band -= self._is_in_band(flow)", "pass", "patterns"),
    Mutation("patterns", "a repeated payment counts twice", " or flow.id in self._ids", "", "patterns"),
    Mutation("travel_rule", "the head is not under the tag", "AESGCM(seeds.content_key).encrypt(_NONCE, framed, head + rows)", "AESGCM(seeds.content_key).encrypt(_NONCE, framed, head)", "travel_rule"),
    Mutation("travel_rule", "the commitment is not looked at", "if _commitment(content_key) != envelope", "if False and envelope", "travel_rule"),
    Mutation("travel_rule", "an envelope of any network opens", "if found != network:", "if False:", "travel_rule"),
    Mutation("travel_rule", "padding is not looked at", "end > len(framed) or any(framed[end:]) or ", "", "travel_rule"),
    Mutation("travel_rule", "lengths show through", "framed += bytes(-len(framed) % PADDING_BYTES)", "pass", "travel_rule"),
    Mutation("travel_rule", "the same seeds twice", "len({seeds.content_key, *seeds.ephemerals}) != RECIPIENTS + 1", "False", "travel_rule"),
    Mutation("cases", "two eyes suffice", "if step in (Step.CONFIRM, Step.OBJECT) and officer == case.proposer:", "if False:", "cases"),
    Mutation("cases", "a bystander proposes", "if step in _PROPOSALS and officer != case.officer:", "if False:", "cases"),
    Mutation("cases", "an ended case goes on", "and not case.is_ended and case.opened.deadline <= now:", "and case.opened.deadline <= now:", "cases"),
    Mutation("cases", "a case outlives its deadline", "if at >= case.opened.deadline:", "if at > case.opened.deadline:", "cases"),
    Mutation("cases", "an open case is forgotten", "if not self.case(case_id).is_ended:", "if False:", "cases"),
    Mutation("travel_route", "the salt itself is under seal", "hashlib.sha256(_SALT_PREFIX + salt).digest()", "salt", "disclosure"),
    Mutation("travel_route", "a route's hash is not looked at", "if _hash_of_hashes(suite, hashes) != named:", "if False:", "bridging_envelopes"),
    Mutation("travel_route", "an envelope's hash is not looked at", "if envelope_hash(suite, envelope) != expected:", "if False:", "bridging_envelopes"),
    Mutation("travel_route", "an envelope is for anybody", "    demand_recipients(envelope, network, rule.recipients)", "    pass", "bridging_envelopes"),
    Mutation("travel_route", "data that are asked for are not missed", "if rule.is_needed:", "if False:", "bridging_envelopes"),
    Mutation("disclosure", "envelopes of other terms open", "if sheaf_hash(suite, envelopes) != terms.travel_rule_hash:", "if False:", "disclosure"),
    Mutation("disclosure", "data about another payment pass", "or said != (terms.uetr.hex(), terms.legs[-1].amount)", "", "disclosure"),
    Mutation("disclosure", "the salt is not compared with what was sealed", "salt_hash(salt).hex() == data.salt_hash and ", "", "disclosure"),
    Mutation("edge", "a rejected payment is tried again", "if known is not None:", "if known is not None and known.state is not CaseState.REJECTED:", "edge"),
    Mutation("edge", "the payee is not screened", '(("payer", payment.payer_name), ("payee", payment.payee_name))', '(("payer", payment.payer_name),)', "edge"),
    Mutation("edge", "travel-rule data are not asked for", "and payment.travel_rule_hash == ZERO_HASH", "and False", "edge"),
)  # fmt: skip


def seen_by(mutation: Mutation, tree: Path) -> str | None:
    """Break one rule in the copy, run its tests, mend it; return the first test that failed, None when none did."""
    path = tree / "bridge" / f"{mutation.module}.py"
    text = path.read_text()
    if text.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.module}: {mutation.old!r} stands there {text.count(mutation.old)} times")
    path.write_text(text.replace(mutation.old, mutation.new))
    command = (sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout", "60")
    try:
        done = subprocess.run(
            (*command, f"tests/behaviour/test_{mutation.tests}.py"),
            cwd=tree,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        path.write_text(text)
    found = FIRST_FAILURE.search(done.stdout)
    if done.returncode == 0:
        return None
    return found.group(1) if found else "the module does not load"


def main() -> int:
    """Break every rule and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only mutations whose module and rule contain this")
    only = parser.parse_args().only
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        shutil.copytree(ROOT / "bridge", tree / "bridge", ignore=shutil.ignore_patterns("__pycache__"))
        for part in PARTS:
            (tree / part).symlink_to(ROOT / part)
        print("| module | rule broken | seen by |\n|---|---|---|")
        for mutation in MUTATIONS:
            if only in f"{mutation.module}: {mutation.what}":
                test = seen_by(mutation, tree)
                missed += test is None
                print(
                    f"| {mutation.module} | {mutation.what} | {'**nobody**' if test is None else f'`{test}`'} |",
                    flush=True,
                )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
