"""Screening (SCREEN-1 to -9): which names are found and which are not, why, and the record that says so.

Every name here is made up for these tests.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.names import NAME_CHARACTERS_MAX, TOKENS_MAX, normalise
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.screening import ListEntry, Screen, WatchList, decode_list
from bridge.screening_record import SCREENING_RECORD_BYTES, ScreeningOutcome, ScreeningRecord, SignedScreening
from engine.parties import Key
from engine.refusals import EncodingError
from engine.types import Role
from native.signatures import SUITE_ED25519, public_key, sign

HOLD = 8_800
LISTED = (
    ("L01", "Quillon Harbour Trading Co., Ltd."), ("L02", "Varnholt Maritime Services GmbH"),
    ("L03", "Zephyrine Capital Holdings plc"), ("L04", "Orbeline Chemical Works LLC"),
    ("L05", "Brackmoor Steel & Tube Company"), ("L06", "Société Générale d'Équipement Méridor S.A."),
    ("L07", "Tessaly Northgate Logistics Pte. Ltd."), ("L08", "金海潮贸易有限公司"), ("L09", "蓝礁石国际航运股份有限公司"),
    ("L10", "Kvistholm Ørsund Offshore AS"), ("L11", "Dravonia Aerospace Components JSC"),
    ("L12", "Pelham Wexcroft Insurance Brokers Limited"), ("L13", "Ironvale Petroleum Exploration Inc."),
    ("L14", "Sunmere Agricultural Commodities B.V."), ("L15", "Halvorsgate Precious Metals Refining AG"),
    ("L16", "Bluefin Arc Shipping Lines SA"), ("L17", "Kestrelmont Dual Use Electronics Kft."),
    ("L18", "Торговый дом Северолит ООО"), ("L19", "Novamar Cement Industries PCL"), ("L20", "Umbrathal Security Systems"),
)  # fmt: skip
# (what a payment says, which entry is meant)
MEANT = (
    ("QUILLON HARBOUR TRADING COMPANY LIMITED", "L01"), ("Quilon Harbor Trading Co Ltd", "L01"),
    ("Trading Co. Quillon Harbour", "L01"), ("Varnholt  Maritime-Services", "L02"), ("Vamholt Maritime Services Gmbh", "L02"),
    ("Zephyrine Capital Holding PLC", "L03"), ("Zephyriné Capital Holdings", "L03"), ("Orbelin Chemical Works", "L04"),
    ("Brackmoor Steel and Tube Co", "L05"), ("Brackmoor Stel & Tube Company", "L05"),
    ("Societe Generale d’Equipement Meridor", "L06"), ("SOCIETE GENERALE DEQUIPEMENT MERIDOR SA", "L06"),
    ("Tessaly North Gate Logistics", "L07"), ("金海潮贸易", "L08"), ("金海潮貿易有限公司", None), ("蓝礁石国际航运公司", "L09"),
    ("Kvistholm Orsund Offshore", "L10"), ("Dravonia Aero-space Components", "L11"),
    ("Pelham Wexcroft Insurance Broker Ltd", "L12"), ("Ironvale Petroleum Exploration Incorporated", "L13"),
    ("Sunmere Agricultural Comodities BV", "L14"), ("Halvorsgate Precious Metals Refining", "L15"),
    ("Blue Fin Arc Shipping Lines", "L16"), ("Kestrelmont Dual-Use Electronics", "L17"), ("Торговый Дом СЕВЕРОЛИТ", "L18"),
    ("Nоvаmаr Cement Industries", "L19"), ("Ｕｍｂｒａｔｈａｌ Security Systems", "L20"), ("Umbrathal Security System Ltd", "L20"),
    ("Ironvale\u200b Petroleum Exploration", "L13"), ("Quillon Harbour Trading Co., Ltd. (Branch)", "L01"),
    ("The Old Quillon Harbour Trading", "L01"), ("Kvistholm Orsund Offshore Norway Branch", "L10"),
)  # fmt: skip
# Names that share words, forms or sounds with the list and are other companies.
OTHERS = (
    "Silverlake Harbour Trading Co., Ltd.", "Golden Harbour Trading Co., Ltd.", "Harbour Trading", "Maritime Services GmbH",
    "Carrowell Maritime Services GmbH", "Meridian Capital Holdings plc", "Capital Holdings plc", "Norwick Chemical Works LLC",
    "Ashdown Steel & Tube Company", "Steel and Tube", "Northgate Logistics Pte. Ltd.", "Southgate Logistics Pte. Ltd.",
    "金山贸易有限公司", "白礁石国际贸易有限公司", "海潮有限公司", "Northern Offshore AS", "Aerospace Components JSC",
    "Larkfield Insurance Brokers Limited", "Redvale Petroleum Exploration Inc.", "Petroleum Exploration Inc.",
    "Highmere Agricultural Commodities B.V.", "Precious Metals Refining AG", "Greenfin Shipping Lines SA",
    "Dual Use Electronics Kft.", "Торговый дом Южногор ООО", "Coastal Cement Industries PCL", "Security Systems Ltd",
    "General Equipment Company", "Limited Company", "Trading", "Holdings International Group", "Zenith Capital Partners",
    "Oakline Works", "Tessellate Software GmbH", "Novatech Industries", "Pelican Insurance", "Blue Arc Energy",
)  # fmt: skip


def listing() -> WatchList:
    return WatchList("invented", 7, tuple(ListEntry(number, (name,)) for number, name in LISTED))


SCREEN = Screen(listing(), 1)


def found(name: str) -> str | None:
    matches = SCREEN.look(name, HOLD)
    return matches[0].entry_id if matches else None


@pytest.mark.parametrize(("name", "meant"), MEANT, ids=lambda value: str(value))
def test_listed_names_are_found_however_they_are_written(name: str, meant: str | None) -> None:
    """Case, accents, width, forms, order, spacing, one typing mistake in a word, look-alike letters, hidden characters.

    The one that is not found is written in other Han characters: lists carry both.
    """
    assert found(name) == meant, SCREEN.look(name, 0)[:2]


@pytest.mark.parametrize("name", OTHERS)
def test_other_companies_are_not_held(name: str) -> None:
    """Shared branch words, forms and sounds are no match."""
    assert found(name) is None, SCREEN.look(name, HOLD)[0].explain()


def test_precision_and_recall_on_the_invented_list() -> None:
    """All that is meant is found, nothing else is, with room between the two sides of the threshold."""
    meant = [SCREEN.look(name, 0)[0].score for name, entry in MEANT if entry is not None]
    others = [max((match.score for match in SCREEN.look(name, 0)), default=0) for name in OTHERS]
    assert min(meant) >= HOLD > max(others)
    assert min(meant) - max(others) >= 300, (min(meant), max(others))


def test_a_score_comes_with_its_reasons() -> None:
    """A person sees the words that fit, how well, and those that are left over."""
    (match, *_) = SCREEN.look("Quilon Harbour Trading Overseas Ltd", 0)
    assert (match.entry_id, match.listed, match.method) == ("L01", "Quillon Harbour Trading Co., Ltd.", "contained")
    assert match.pairs == (("quilon", "quillon", 9230), ("harbour", "harbour", 10_000), ("trading", "trading", 10_000))
    assert (match.only_in_name, match.only_in_list) == (("overseas",), ())
    assert match.explain().startswith(
        f"{match.score} of 10000 by contained against 'Quillon Harbour Trading Co., Ltd.'"
    )
    assert "quilon~quillon 9230" in match.explain() and "overseas" in match.explain()
    (joined, *_) = SCREEN.look("Blue Fin Arc Shipping Lines", HOLD)
    assert (joined.entry_id, joined.method, joined.score) == ("L16", "joined", 10_000)


def test_words_that_stand_in_every_name_tell_little() -> None:
    """Three common words of four are 3,000 of 10,000, where they would be 7,500 if every word weighed the same."""
    names = [f"{first}{last} Overseas International Trading" for first in ("Ar", "Bel", "Cor", "Dov") for last in
             ("alim", "eston", "ivar", "omund", "uthen", "ylis", "azen", "erib")]  # fmt: skip
    entries = tuple(ListEntry(f"{number:02}", (name,)) for number, name in enumerate(names))
    screen = Screen(WatchList("common", 1, entries), 1)
    (match, *_) = screen.look("Zwickham Overseas International Trading", 0)
    assert match.score < 3_500 and match.only_in_name == ("zwickham",)
    assert screen.look(names[3].upper(), HOLD)[0].entry_id == "03"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60), st.integers(0, 10_000))
def test_any_text_is_looked_at_or_refused(name: str, least: int) -> None:
    """Whatever stands in a name field: matches at or above the least score, best first, or a refusal; twice the same."""
    try:
        matches = SCREEN.look(name, least)
    except BridgeRefused as refused:
        assert refused.code is BridgeCode.TERMS_MALFORMED
        return
    assert matches == SCREEN.look(name, least)
    assert [match.score for match in matches] == sorted((match.score for match in matches), reverse=True)
    assert all(least <= match.score <= 10_000 for match in matches)


@settings(deadline=None)
@given(st.sampled_from([name for _, name in LISTED]), st.randoms(use_true_random=False))
def test_a_listed_name_is_a_perfect_match_in_any_order_and_case(name: str, order) -> None:
    """The words turned round, in capitals, with other forms."""
    words = normalise(name).tokens
    shuffled = list(words)
    order.shuffle(shuffled)
    assert SCREEN.look(" ".join(shuffled).upper() + " LTD", 10_000)[0].listed == name


def test_names_without_letters_or_beyond_the_bound_are_refused_and_not_passed() -> None:
    """What cannot be read cannot be cleared."""
    for name in ("", "   ", "—…!", "\u200b", "x" * (NAME_CHARACTERS_MAX + 1)):
        with pytest.raises(BridgeRefused) as caught:
            SCREEN.look(name, HOLD)
        assert caught.value.code is BridgeCode.TERMS_MALFORMED
    assert len(normalise("a " * 250).tokens) == TOKENS_MAX


@pytest.mark.parametrize(
    ("given", "tokens", "forms"),
    [
        ("Brackmoor Steel & Tube Company", ("brackmoor", "steel", "and", "tube"), ("company",)),
        ("Société d'Équipement S.A.", ("societe", "dequipement"), ("sa",)),
        ("ＫＶＩＳＴＨＯＬＭ Ørsund", ("kvistholm", "orsund"), ()), ("Straße", ("strasse",), ()),
        ("蓝礁石国际航运股份有限公司", ("蓝礁石国际航运",), ("股份有限公司",)), ("Limited Company", ("limited", "company"), ()),
        ("Nоvamar", ("novamar",), ()), ("Торговый дом", ("торговыи", "дом"), ()),
    ],
)  # fmt: skip
def test_names_are_brought_to_one_form(given: str, tokens: tuple[str, ...], forms: tuple[str, ...]) -> None:
    """Marks fall, width and case fold, forms stand apart, Han characters stay, masked letters are unmasked."""
    assert (normalise(given).tokens, normalise(given).forms) == (tokens, forms)


def test_a_list_has_one_hash_and_its_screen_says_which() -> None:
    """Version, order and every name are under the hash; a list out of order is none."""
    one = listing()
    assert decode_list(one.encode()) == one and SCREEN.hash == one.hash(1) and SCREEN.version == 7
    assert WatchList("invented", 8, one.entries).hash(1) != one.hash(1)
    assert WatchList("invented", 7, one.entries[:-1]).hash(1) != one.hash(1)
    with pytest.raises(BridgeRefused):
        WatchList("invented", 7, one.entries[::-1])
    for data in (b"", b"{}", b"[" * 99_999, one.encode()[:-1]):
        with pytest.raises(BridgeRefused):
            decode_list(data)
    assert Screen(WatchList("empty", 1, ()), 1).look("Anything", 0) == ()


# The record.

GENESIS, SECRET = hashlib.sha256(b"net").digest(), hashlib.sha256(b"a screening key").digest()
MESSAGE = hashlib.sha256(b"a message").digest()
RECORD = ScreeningRecord(
    ScreeningOutcome.HOLD, 9_615, 41, 3, 7, 1_790_000_000 * 10**9, bytes(range(16)), SCREEN.hash, MESSAGE, bytes(32)
)
KEY = Key(3, 41, Role.SCREENING, SUITE_ED25519, 3, 0, public_key(SUITE_ED25519, SECRET).ljust(64, b"\0"))


def signed(record: ScreeningRecord = RECORD) -> SignedScreening:
    return SignedScreening(record, sign(SUITE_ED25519, SECRET, record.message(1, GENESIS)))


def test_a_record_is_192_bytes_that_say_what_was_looked_at() -> None:
    """What decodes encodes to the same bytes; every changed byte is another record or none."""
    data = RECORD.encode()
    assert len(data) == SCREENING_RECORD_BYTES and ScreeningRecord.decode(data) == RECORD
    assert SignedScreening.decode(signed().encode()) == signed()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x41
        try:
            assert ScreeningRecord.decode(bytes(changed)).encode() == bytes(changed)
        except EncodingError:
            pass


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": ScreeningOutcome.PASS}, {"case_id": bytes(16)}, {"score": 10_001}, {"participant": 0}, {"key_id": 0},
        {"list_version": 0}, {"screened_at": 0}, {"list_hash": b""}, {"message_hash": bytes(31)},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_record_that_contradicts_itself_cannot_be_made(change: dict[str, object]) -> None:
    """A pass has no case, a hold has one, and every number is within its field."""
    with pytest.raises(EncodingError):
        replace(RECORD, **change)


def test_only_a_screening_key_in_force_speaks_and_only_of_its_message() -> None:
    """Anything else is held, never passed."""
    now = RECORD.screened_at
    signed().verify(1, GENESIS, lambda _: KEY, MESSAGE, now)
    for made, key, message, genesis in (
        (signed(), None, MESSAGE, GENESIS),
        (signed(), replace(KEY, participant=42), MESSAGE, GENESIS),
        (signed(), replace(KEY, role=Role.ACCOUNT), MESSAGE, GENESIS),
        (signed(), replace(KEY, retired_at=now), MESSAGE, GENESIS),
        (signed(), KEY, bytes(32), GENESIS),
        (signed(), KEY, MESSAGE, bytes(32)),
        (SignedScreening(replace(RECORD, score=1), signed().signature), KEY, MESSAGE, GENESIS),
        (SignedScreening(RECORD, b""), KEY, MESSAGE, GENESIS),
    ):
        with pytest.raises(BridgeRefused) as caught:
            made.verify(1, genesis, lambda _, key=key: key, message, now)
        assert caught.value.code is BridgeCode.SCREENING_HOLD
