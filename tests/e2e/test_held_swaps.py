"""Swaps that reach a ledger's threshold, with real processes: held, approved by two participants, rejected, too late."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from clearspan.bridging.staging.banks import Bridges, corridor_between, register_banks
from clearspan.bridging.staging.folder import put_corridors
from clearspan.cluster import Cluster
from tests.e2e.support import cut, small_network
from tests.e2e.test_swaps import (
    AMOUNT,
    CNY,
    HKD,
    LOCK_S,
    MARGINS,
    PAYEE,
    PAYER,
    PROVIDER,
    RECEIVED,
    Scene,
    ended,
    order,
    routed,
    words,
)

pytestmark = pytest.mark.timeout(240)

HELD_S = 30.0


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    network = small_network(tmp_path_factory.mktemp("held") / "network", ("CNY", "HKD"), shards=1, lock_min_s=2)
    with cut(Cluster(network, validators=4)) as cluster:
        asyncio.run(register_banks(network, [PROVIDER, PAYER, PAYEE]))
        document = corridor_between(network, CNY, HKD, [PROVIDER.number], lock_s=LOCK_S, margins=MARGINS)
        put_corridors(network, [document.record(0)])
        with cut(Bridges(network, [PROVIDER, PAYER], retry_ms=500)) as bridges:
            yield Scene(cluster, bridges)


@pytest.fixture
def command(clearspan, scene):
    """Run a command on the running network, as JSON; what it prints is read."""

    def call(*arguments: object, code: int = 0):
        ran = clearspan(*arguments, "--network", scene.cluster.network.path, "--json")
        assert ran.code == code, ran.err
        return ran.json if code == 0 else ran.error

    return call


@pytest.fixture
def held_from(command):
    """Set from which amount a ledger holds, for so many seconds; at the end nothing is held any more."""
    touched = []

    def work(ledger: str, amount: str, seconds: int = 600) -> None:
        command("ledger", "rules", "--ledger", ledger, "--hold-from", amount, "--hold-for-s", seconds)
        touched.append(ledger)

    yield work
    for ledger in touched:
        command("ledger", "rules", "--ledger", ledger, "--hold-from", "0")


def begun(scene, lock_s: int = 0) -> bytes:
    """Begin one swap; return its id."""

    async def work() -> bytes:
        async with scene.client() as client:
            (answer,) = await client.run([order(await routed(client, lock_s), lock_s)])
            assert not answer.refusal.code, answer.refusal.text
            return bytes(answer.swap_id)

    return asyncio.run(work())


def the_hold(command, ledger: str) -> dict:
    """Wait until something is held on a ledger; return it."""
    deadline = time.monotonic() + HELD_S
    while not (found := command("hold", "list", "--ledger", ledger)["holds"]):
        assert time.monotonic() < deadline, "nothing is held"
        time.sleep(0.05)
    assert len(found) == 1
    return found[0]


def the_end(scene, swap_id: bytes):
    return asyncio.run(ended(scene, swap_id))


def test_a_held_leg_is_approved_by_two_participants_and_settles(scene, command, held_from):
    """Goal: a hold delays and nothing else. Method: each of both ledgers in turn, the list, two supervisors, the end."""
    for ledger, domain, bank, other, threshold in (
        ("CNY", 1, PAYER, "156", "100.00"),
        ("HKD", 2, PROVIDER, "344", "108.00"),
    ):
        held_from(ledger, threshold)
        before = scene.balance(PAYER, 1)[0], scene.balance(PAYEE, 2)[0]
        swap_id = begun(scene)
        hold = the_hold(command, ledger)
        assert (hold["kind"], hold["rule"]) == ("lock", "threshold"), other
        assert int(hold["from"].replace("-", ""), 16) == bank.account
        assert scene.balance(bank, domain)[1] > 0, "what is held is reserved"
        shown = command("swap", "show", swap_id.hex())
        assert not shown["outcome"]
        command("hold", "release", hold["from"], hold["transfer"], "--ledger", ledger)
        view = the_end(scene, swap_id)
        assert view.outcome == "claimed", [(each.what, each.text) for each in view.timeline]
        assert "leg_held" in words(view) or "held" in " ".join(each.text for each in view.timeline)
        assert scene.balance(PAYER, 1) == (before[0] - AMOUNT, 0)
        assert scene.balance(PAYEE, 2)[0] == before[1] + RECEIVED
        again = command("hold", "release", hold["from"], hold["transfer"], "--ledger", ledger, code=1)
        assert again["code"] == "hold_over"
        command("ledger", "rules", "--ledger", ledger, "--hold-from", "0")


def test_one_supervisor_is_not_enough(scene, command, held_from):
    """Goal: four eyes. Method: the same participant's key twice; a release with an operator; the hold stands."""
    held_from("CNY", "100.00")
    swap_id = begun(scene)
    hold = the_hold(command, "CNY")
    keys = scene.cluster.network.path / "keys" / "cny" / "12"
    (own,) = keys.glob("supervisor-*.key")
    alone = command("hold", "release", hold["from"], hold["transfer"], "--ledger", "CNY", "--key", own, code=2)
    assert "another participant" in alone["next_step"]
    assert the_hold(command, "CNY")["transfer"] == hold["transfer"]
    command("hold", "reject", hold["from"], hold["transfer"], "--ledger", "CNY", "--reason", "9")
    assert the_end(scene, swap_id).outcome == "refused"


def test_two_supervisors_decide_at_two_places(scene, command, held_from, tmp_path):
    """Goal: no key leaves its place. Method: one signs and writes, the same cannot be the other, the second sends."""
    held_from("CNY", "100.00")
    swap_id = begun(scene)
    hold = the_hold(command, "CNY")
    half = tmp_path / "release.json"
    release = ("hold", "release", hold["from"], hold["transfer"], "--ledger", "CNY")
    assert command(*release, "--as", "supervisor", "--out", half)["sent"] is False
    assert the_hold(command, "CNY")["state"] == "waiting"
    same = command("hold", "approve", half, "--as", "supervisor", code=1)
    assert same["code"] == "signers_must_differ"
    assert "no registered key" in command("hold", "approve", half, "--as", "operator", code=2)["message"]
    told = command("hold", "approve", half)
    assert (told["decision"], told["transfer"], told["ledger"]) == ("release", hold["transfer"], "CNY")
    assert the_end(scene, swap_id).outcome == "claimed"
    # Sent again it is answered as it was the first time.
    assert command("hold", "approve", half) == told
    half.write_text(half.read_text("utf-8").replace('"format": 1', '"format": 2'), "utf-8")
    assert "format 2" in command("hold", "approve", half, code=2)["message"]


def test_a_rejected_leg_brings_the_money_back(scene, command, held_from):
    """Goal: no is an outcome. Method: the payer's leg rejected, then the provider's: balances as before."""
    before = scene.balance(PAYER, 1), scene.balance(PROVIDER, 2), scene.balance(PAYEE, 2)
    for ledger, threshold in (("CNY", "100.00"), ("HKD", "108.00")):
        held_from(ledger, threshold)
        swap_id = begun(scene, 12)
        hold = the_hold(command, ledger)
        command("hold", "reject", hold["from"], hold["transfer"], "--ledger", ledger, "--reason", "9")
        view = the_end(scene, swap_id)
        assert view.outcome == {"CNY": "refused", "HKD": "refunded"}[ledger]
        assert "revealing" not in words(view)
        shown = command("swap", "show", swap_id.hex())
        assert "hold_rejected" in shown["next_step"] or ledger == "HKD", shown["next_step"]
        command("ledger", "rules", "--ledger", ledger, "--hold-from", "0")
    assert scene.balance(PAYER, 1) == before[0]
    assert scene.balance(PAYEE, 2) == before[2]
    deadline = time.monotonic() + 20
    while scene.balance(PROVIDER, 2) != before[1]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_nobody_decides_and_the_clock_does(scene, command, held_from):
    """Goal: a hold has an end of its own. Method: two seconds to decide; the money is back, and a release is too late."""
    held_from("CNY", "100.00", 2)
    before = scene.balance(PAYER, 1)
    swap_id = begun(scene, 12)
    hold = the_hold(command, "CNY")
    view = the_end(scene, swap_id)
    assert view.outcome == "refused"
    assert "hold_expired" in command("swap", "show", swap_id.hex())["next_step"]
    late = command("hold", "release", hold["from"], hold["transfer"], "--ledger", "CNY", code=1)
    assert late["code"] == "hold_over"
    assert scene.balance(PAYER, 1) == before


@pytest.mark.parametrize(("who", "ledger", "threshold"), [(PAYER, "CNY", "100.00"), (PROVIDER, "HKD", "108.00")])
def test_an_approval_that_comes_while_the_bridge_is_down_counts(scene, command, held_from, who, ledger, threshold):
    """Goal: the ledger decides, whoever watches. Method: SIGKILL while held, the release, a restart, the end."""
    held_from(ledger, threshold)
    before = scene.balance(PAYER, 1)[0], scene.balance(PAYEE, 2)[0]
    swap_id = begun(scene)
    hold = the_hold(command, ledger)
    scene.bridges.kill(who.number, signal.SIGKILL)
    command("hold", "release", hold["from"], hold["transfer"], "--ledger", ledger)
    scene.bridges.restart(who.number)
    view = the_end(scene, swap_id)
    assert view.outcome == "claimed", [(each.what, each.text) for each in view.timeline]
    assert scene.balance(PAYER, 1) == (before[0] - AMOUNT, 0)
    assert scene.balance(PAYEE, 2)[0] == before[1] + RECEIVED
