"""A corridor from its draft to its use with real processes: members sign it, bridges take it, an old quote is refused."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from bridge.calendar import Calendar, Hours
from bridge.corridor import CorridorDocument, Limits
from clearspan.bridging.staging.banks import Bridges, corridor_between, register_banks
from clearspan.cluster import Cluster
from clearspan.iso20022 import format_account
from tests.e2e.support import cut, small_network
from tests.e2e.test_swaps import CNY, HKD, LOCK_S, MARGINS, PAYEE, PAYER, PROVIDER, Scene, order, routed

pytestmark = pytest.mark.timeout(240)

MEMBERS = (91, 92, 93)
EPOCH = 4
PAIR = ("--from", format_account(PAYER.account), "--to", format_account(PAYEE.account), "--source", "CNY")
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Two ledgers, four validators whose epochs are short, two bridges; no corridor yet."""
    network = small_network(tmp_path_factory.mktemp("corridors") / "network", ("CNY", "HKD"), shards=1, lock_min_s=2)
    flags = ("--consensus-idle-ms", "50")
    with cut(Cluster(network, validators=4, validator_flags=flags)) as cluster:
        asyncio.run(register_banks(network, [PROVIDER, PAYER, PAYEE]))
        with cut(Bridges(network, [PROVIDER, PAYER], retry_ms=500)) as bridges:
            yield Scene(cluster, bridges)


class Staff:
    """What the staff of members, of a bank and of nobody type; answers as JSON."""

    def __init__(self, clearspan, scene, folder) -> None:
        self.clearspan, self.network = clearspan, scene.cluster.network
        self.document, self.draft = folder / "corridor.json", folder / "draft.json"

    def call(self, *words: object, code: int = 0):
        ran = self.clearspan(*words, "--network", self.network.path, "--json")
        assert ran.code == code, ran.err
        return ran.json if code == 0 else ran.error

    def approve(self, members=MEMBERS) -> dict:
        """Approve the draft for these members and hand it in; return what was said of it."""
        for each in members:
            self.call("validator", "approve", self.draft, "--validator", each)
        return self.call("validator", "submit", self.draft, "--timeout-s", 30)

    def put_into_effect(self, document: CorridorDocument) -> dict:
        """Propose a corridor's document, approve it and hand it in; return once bridges go by it."""
        self.document.write_bytes(document.encode())
        self.call("corridor", "propose", "--document", self.document, "--ahead", 10, "--out", self.draft)
        said = self.approve()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            corridors = self.call("corridor", "list")["corridors"]
            if any(each["version"] == document.version and each["in_effect"] for each in corridors):
                return said
            assert time.monotonic() < deadline, corridors
            time.sleep(0.1)

    def quote(self, amount: str = "100.00", code: int = 0):
        return self.call("swap", "quote", *PAIR, "--target", "HKD", "--send", amount, code=code)

    def quoted(self) -> dict | None:
        """Return a quote, None while the bridge reads the relay blocks that it missed."""
        ran = self.clearspan(
            "swap", "quote", *PAIR, "--target", "HKD", "--send", "100.00", "--network", self.network.path, "--json"
        )
        return ran.json if ran.code == 0 else None

    def pay(self, amount: str = "100.00", code: int = 0):
        return self.call("swap", "run", *PAIR, "--target", "HKD", "--send", amount, code=code)


@pytest.fixture
def staff(clearspan, scene, tmp_path):
    return Staff(clearspan, scene, tmp_path)


def document(scene, version: int, **changes) -> CorridorDocument:
    """The corridor's document of one version, with some fields changed."""
    network = scene.cluster.network
    found = corridor_between(network, CNY, HKD, [PROVIDER.number], version=version, lock_s=LOCK_S, margins=MARGINS)
    return msgspec.structs.replace(found, **changes)


def closed_now() -> Calendar:
    """Weekly hours of which the next begin tomorrow and the last ended yesterday, whatever the day."""
    other = (datetime.now(UTC) + timedelta(days=3)).isoweekday()
    return Calendar("UTC", (Hours(other, "09:00", "17:00"),))


def holiday_now() -> Calendar:
    """Open at every hour of every day but yesterday, today and tomorrow, which are holidays."""
    today = datetime.now(UTC).date()
    days = tuple((today + timedelta(days=each)).isoformat() for each in (-1, 0, 1))
    return Calendar("UTC", tuple(Hours(day, "00:00", "24:00") for day in range(1, 8)), days)


def test_a_corridor_from_its_draft_to_its_successor(scene, staff):
    """Goal: no bridge is told anything by hand. Method: two versions by three members' keys, swaps and an old quote."""
    assert staff.quote(code=1)["code"] == "corridor_unknown"
    staff.call("validator", "propose", "epoch-length", EPOCH, "--out", staff.draft)
    staff.approve()

    first = document(scene, 1)
    staff.document.write_bytes(first.encode())
    staff.call("corridor", "propose", "--document", staff.document, "--ahead", 10, "--out", staff.draft)
    staff.call("validator", "approve", staff.draft, "--validator", MEMBERS[0])
    alone = staff.call("validator", "submit", staff.draft, code=2)
    assert "power 1 of 4" in alone["message"]
    said = staff.put_into_effect(first)
    assert any("corridor" in each for each in said["says"])
    assert staff.pay()["outcome"] == "claimed"

    async def quotes_now() -> list[bytes]:
        async with scene.client() as client:
            return await routed(client)

    old = asyncio.run(quotes_now())
    most = Limits("1", "20000", str(10**30), "50000", "UTC")
    staff.put_into_effect(document(scene, 2, limits=most))

    async def run_the_old() -> tuple[str, str]:
        async with scene.client() as client:
            (answer,) = await client.run([order(old)])
            return answer.refusal.name, answer.refusal.next_step

    name, next_step = asyncio.run(run_the_old())
    assert name == "corridor_not_in_effect"
    assert "successor" in next_step
    assert staff.pay()["outcome"] == "claimed"
    shown = staff.call("corridor", "show", "CNY", "HKD")
    assert (shown["version"], shown["in_effect"]) == (2, True)
    # The version before cannot come again, nor one that leaves a number out.
    for version in (2, 4):
        staff.document.write_bytes(document(scene, version).encode())
        again = staff.call(
            "corridor", "propose", "--document", staff.document, "--out", staff.draft, code=2
        )  # fmt: skip
        assert "3 is next" in again["message"]


def test_limits_of_a_payment_and_of_a_day(staff):
    """Goal: both bounds by their code, and what to do. Method: 200.00 at once and 500.00 a day are allowed."""
    too_much = staff.pay("200.01", code=1)
    assert too_much["code"] == "corridor_limit_exceeded"
    assert "one payment, most: 200.00 CNY" in too_much["message"]
    # Two payments of 100.00 of the test before are of this day too, whichever version they were under.
    for amount in ("200.00", "100.00"):
        assert staff.pay(amount)["outcome"] == "claimed"
    beyond = staff.pay("0.01", code=1)
    assert beyond["code"] == "corridor_limit_exceeded"
    assert "next business day" in beyond["next_step"]


def test_outside_hours_and_on_a_holiday_nothing_begins(scene, staff):
    """Goal: closed is said with the time it opens. Method: versions whose calendars are closed now, and one suspended."""
    for version, changes in (
        (3, {"calendars": (closed_now(),)}),
        (4, {"calendars": (holiday_now(),)}),
        (5, {"suspended": True}),
    ):
        staff.put_into_effect(document(scene, version, **changes))
        refused = staff.pay(code=1)
        assert refused["code"] == "corridor_closed"
        assert "it opens" in refused["message"]
        shown = staff.call("corridor", "show", "CNY", "HKD")
        assert shown["open"] is False
        assert shown["suspended"] is (version == 5)


def test_a_bridge_that_never_saw_the_announcement_is_given_it_from_the_blocks(scene, staff):
    """Goal: what is in effect can always be had, and proven. Method: no file and later blocks; then the command."""
    bridges, folder = scene.bridges, scene.cluster.network.path / "corridors"
    staff.put_into_effect(document(scene, 6))
    # What it writes down of a swap says also how far it has read the relay: behind the announcement.
    assert staff.pay()["outcome"] == "claimed"
    bridges.kill(PAYER.number, signal.SIGTERM)
    shutil.rmtree(folder)
    bridges.restart(PAYER.number)
    assert staff.quote(code=1)["code"] == "corridor_unknown"
    fetched = staff.call("corridor", "fetch")
    assert [each["version"] for each in fetched["corridors"]] == [1, 2, 3, 4, 5, 6]
    bridges.kill(PAYER.number, signal.SIGTERM)
    bridges.restart(PAYER.number)
    deadline = time.monotonic() + PATIENCE_S
    while staff.quoted() is None:
        assert time.monotonic() < deadline, "it does not come to the height that the version is in effect from"
        time.sleep(0.1)
    assert staff.pay()["outcome"] == "claimed"
