"""What a person is told of a swap, a corridor and a decision: each state in words, each with what to do next."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from types import SimpleNamespace

import msgspec
import pytest

from bridge.calendar import Calendar, Hours, SpecialDay
from bridge.refusals import BridgeCode
from clearspan.bridging.market.announced import announced
from clearspan.cli.corridor_words import KnownCorridor
from clearspan.cli.hold_approval import APPROVED_WITHIN_S, HalfSigned, LateRequests
from clearspan.cli.root import run
from clearspan.cli.swap_words import iso_reason, next_step, reason_of_code, timeline_rows
from clearspan.cluster import create_network
from clearspan.errors import ConfigError, Unreachable
from clearspan.network import KnownParticipant, Network
from clearspan.supervision import hold_release
from clearspan.v1 import bridge_pb2
from engine.codes import ResultCode
from engine.record import ordinary_account_id
from engine.types import NS_PER_S
from relay.light import LightClient
from tests.behaviour.bridge_papers import document
from tests.behaviour.bridging_world import CNY, HKD

CURRENCIES = ("CNY", "HKD")


def view(outcome: str = "", legs: tuple[str, ...] = ("waiting", "waiting"), code: int = 0, said: tuple = ()):
    """A swap as a bridge tells of it; ``said`` are (ms, word, sentence)."""
    return bridge_pb2.SwapView(
        uetr=bytes(range(16)),
        outcome=outcome,
        began_at=NS_PER_S,
        legs=[bridge_pb2.LegView(state=state) for state in legs],
        refusal=bridge_pb2.BridgeRefusal(code=code, next_step="Take less."),
        timeline=[
            bridge_pb2.TimelineEntry(at=NS_PER_S + at * 1_000_000, what=what, text=text) for at, what, text in said
        ],
    )


REFUSED = (130, "lock_refused", "The ledger refused the lock of leg 0: breaker_open.")


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (view(), "ends by itself: clearspan swap show 00010203-"),
        (view(legs=("held", "waiting")), "clearspan hold list --ledger CNY"),
        (view(legs=("final", "held")), "clearspan hold list --ledger HKD"),
        (view(said=(REFUSED,)), "sent again while there is time"),
        (view("claimed", ("claimed", "claimed")), "clearspan receipt get --digest"),
        (view("refused", said=(REFUSED,)), "nothing of yours is locked. The ledger refused the lock of leg 0"),
        (view("refused", code=BridgeCode.SWAP_TOO_SHORT), "nothing of yours is locked. Take less."),
        (view("refunded", said=((9, "leg_not_accepted", "The provider of leg 1 refuses: no."),)), "came back. The provider"),
        (view("lost"), "a person must look"),
        (view("kept"), "a person must look"),
    ],
)  # fmt: skip
def test_every_state_of_a_swap_says_what_to_do(shown, words) -> None:
    assert words in next_step(shown, CURRENCIES)


def test_a_line_that_comes_again_stands_once() -> None:
    lines = [(0, "begun", "Begun."), *((at, *REFUSED[1:]) for at in (130, 630, 1_130)), (2_000, "abandoned", "Ended.")]
    assert timeline_rows(view(said=tuple(lines))) == [
        ("0.000", "begun", "Begun."),
        ("0.130", "lock_refused", f"{REFUSED[2]} (3 times, the last at 1.130)"),
        ("2.000", "abandoned", "Ended."),
    ]


def test_a_reason_for_a_bank_is_of_either_table_and_a_silent_provider_is_the_timelock() -> None:
    assert iso_reason(view("refused", code=BridgeCode.CORRIDOR_LIMIT_EXCEEDED)) == "AM02"
    assert iso_reason(view("refused", code=int(ResultCode.INSUFFICIENT_FUNDS))) == "AM04"
    assert iso_reason(view("refunded", code=BridgeCode.PROVIDER_REFUSED)) == ""
    assert reason_of_code(65_000) == ""


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS_PER_S


WORKDAYS = tuple(Hours(day, "09:00", "17:00") for day in range(1, 6))


@pytest.mark.parametrize(
    ("changes", "at", "state"),
    [
        ({}, "2026-11-22T12:00", ("open at all hours", True, "")),
        ({"suspended": True}, "2026-11-23T12:00", ("suspended: it opens with a later version", False, "")),
        (
            {"calendars": (Calendar("UTC", WORKDAYS),)},
            "2026-11-23T12:00",
            ("open until 2026-11-23 17:00:00 UTC", True, "2026-11-23 17:00:00 UTC"),
        ),
        (
            {"calendars": (Calendar("UTC", WORKDAYS),)},
            "2026-11-22T12:00",
            ("closed: it opens at 2026-11-23 09:00:00 UTC", False, "2026-11-23 09:00:00 UTC"),
        ),
        (
            # A holiday, and a special day after it: neither its usual hours nor a holiday.
            {"calendars": (Calendar("UTC", WORKDAYS, ("2026-11-23",), (SpecialDay("2026-11-24", "10:00", "12:00"),)),)},
            "2026-11-23T12:00",
            ("closed: it opens at 2026-11-24 10:00:00 UTC", False, "2026-11-24 10:00:00 UTC"),
        ),
        (
            # Open through midnight: it closes on the second day.
            {"calendars": (Calendar("UTC", (Hours(1, "09:00", "24:00"), Hours(2, "00:00", "05:00"))),)},
            "2026-11-23T12:00",
            ("open until 2026-11-24 05:00:00 UTC", True, "2026-11-24 05:00:00 UTC"),
        ),
    ],
)
def test_a_corridor_says_whether_it_is_open_and_when_that_changes(changes, at, state) -> None:
    known = KnownCorridor(msgspec.structs.replace(document(CNY, HKD), **changes), 7, in_effect=True)
    assert known.state(ns(at)) == state


def test_a_version_that_is_not_reached_says_its_height() -> None:
    known = KnownCorridor(document(CNY, HKD), 900, in_effect=False)
    assert known.state(0) == ("comes at relay height 900", False, "")


def half() -> HalfSigned:
    request = hold_release(LateRequests(), account=5, ledger=CNY, transfer=9, reason=3)
    return HalfSigned(bytes(32), 1, request, 3, bytes(range(64)))


def test_a_decision_that_was_signed_once_survives_its_file_and_waits_long_enough() -> None:
    made = half()
    assert HalfSigned.decode(made.encode().encode()) == made
    left = made.request.expires_at - made.request.valid_for_s * NS_PER_S
    # It is valid already: its validity began a minute ago, for clocks that are behind.
    assert made.request.expires_at - left == 3_600 * NS_PER_S
    assert APPROVED_WITHIN_S == 3_540


@pytest.mark.parametrize(
    "bent",
    [
        b"",
        b"[]",
        b"{" * 20_000,
        lambda tree: tree | {"format": 2},
        lambda tree: tree | {"signature": "00"},
        lambda tree: tree | {"genesis_hash": "zz"},
        lambda tree: tree | {"request": "00" * 10},
        lambda tree: {key: value for key, value in tree.items() if key != "domain"},
    ],
)
def test_a_file_that_is_no_decision_is_refused(bent) -> None:
    data = bent if isinstance(bent, bytes) else json.dumps(bent(json.loads(half().encode()))).encode()
    with pytest.raises(ConfigError, match="no decision that was signed once"):
        HalfSigned.decode(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    network = create_network(tmp_path_factory.mktemp("new") / "net", CURRENCIES, port=0, metrics_port=0)
    accounts = {ordinary_account_id(6001, 1): 7}
    network.note_participants([KnownParticipant(number, "PAYER", 1, accounts=accounts) for number in (6001, 6003)])
    network.key_folder(1, 6001).mkdir(parents=True)
    return network.path


def test_blocks_that_nobody_certified_announce_nothing(folder) -> None:
    """Goal: a validator is believed nothing. Method: no block, and bytes that are none."""
    genesis = Network.load(folder).genesis
    light = LightClient.from_genesis(genesis)

    def sent(*blocks: bytes):
        async def stream(_: int):
            for each in blocks:
                yield SimpleNamespace(block=each, certificate=b"", statements=())

        return stream

    assert asyncio.run(announced(genesis, light, sent())) == (0, [])
    with pytest.raises(Unreachable, match="does not hold"):
        asyncio.run(announced(genesis, light, sent(b"no block")))


def test_a_payer_s_bridge_is_made_of_what_the_folder_knows(folder, capsys) -> None:
    assert run(["bridge", "new", "6001", "--network", str(folder), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["side"], [each["ledger"] for each in made["accounts"]]) == ("payer", ["CNY"])
    assert "participant = 6001" in (folder / "bridges" / "6001" / "bridge.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("6002",), "knows no account of participant 6002"),
        (("6003",), "holds no keys of participant 6003"),
        (("6001", "--pair", "CNY:HKD=0/1"), "no pair with a rate"),
        (("6001", "--pair", "CNYHKD=1"), "no pair with a rate"),
        (("6001", "--pair", "CNY:HKD=27/25"), "no account on HKD"),
        (("6001", "--inventory", "CNY"), "no amount on a ledger"),
        (("6001", "--inventory", "EUR=5"), "no ledger 'EUR'"),
    ],
)
def test_a_bridge_that_cannot_be_is_not_made(folder, capsys, words, reason) -> None:
    assert run(["bridge", "new", *words, "--network", str(folder), "--json"]) == 2
    assert reason in json.loads(capsys.readouterr().err)["error"]["message"]


def test_each_ledger_has_two_supervisors_of_two_participants(folder) -> None:
    """Goal: what is held is released by two institutions. Method: the genesis and the certificates of a new folder."""
    tree = json.loads((folder / "genesis.json").read_bytes())
    for domain in tree["domains"]:
        found = [key["participant"] for key in domain["keys"] if key["role"] == 5]
        assert found == [domain["domain"] * 10 + 2, domain["domain"] * 10 + 4]
        for name in ("supervisor", "regulator"):
            assert (folder / "tls" / f"{name}-{domain['name']}.pem").is_file()
