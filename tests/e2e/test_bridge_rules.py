"""The rules of a bridge with real processes: a premium and a fee on the ledger, breakers of a corridor, a listed name."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time

import msgspec
import pytest

from bridge.fees import FeeRule
from bridge.screening import ListEntry, WatchList
from clearspan.bridging.staging.banks import Bridges, corridor_between, register_banks
from clearspan.bridging.staging.folder import bridge_config, bridge_folder, put_corridors
from clearspan.cluster import Cluster
from clearspan.pki import DevelopmentPki
from clearspan.roles import Identity, PeerRole
from tests.e2e.support import cut, small_network
from tests.e2e.test_swaps import CNY, HKD, LOCK_S, MARGINS, PAYEE, PAYER, PROVIDER, Scene, ended, order, routed

pytestmark = pytest.mark.timeout(240)

LISTED = WatchList("invented", 1, (ListEntry("L01", ("Quillon Harbour Trading",)),))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    network = small_network(tmp_path_factory.mktemp("rules") / "network", ("CNY", "HKD"), shards=1, lock_min_s=2)
    with cut(Cluster(network, validators=4)) as cluster:
        asyncio.run(register_banks(network, [PROVIDER, PAYER, PAYEE]))
        document = msgspec.structs.replace(
            corridor_between(network, CNY, HKD, [PROVIDER.number], lock_s=LOCK_S, margins=MARGINS),
            premium_volatility_ppb=9_000_000,
            fees=(FeeRule("clearing", f"{PROVIDER.account:032x}", "3", 0, "0", "100"),),
        )
        put_corridors(network, [document.record(0)])
        bridges = Bridges(network, [PROVIDER, PAYER], finality="final", retry_ms=500)
        with cut(bridges):
            made = Scene(cluster, bridges)
            made.document = document
            yield made


def test_a_premium_and_a_fee_leave_the_payer_beside_his_lock(scene):
    """Goal: all that a plan sends leaves the payer. Method: one swap, balances before and after."""
    before = scene.balance(PAYER, 1)[0], scene.balance(PROVIDER, 1)[0]

    async def work():
        async with scene.client() as client:
            (answer,) = await client.run([order(await routed(client))])
            assert not answer.refusal.code, answer.refusal.text
            return await ended(scene, answer.swap_id)

    assert asyncio.run(work()).outcome == "claimed"
    until = time.monotonic() + 15
    while (found := (scene.balance(PAYER, 1)[0], scene.balance(PROVIDER, 1)[0])) != (
        before[0] - 10_000,
        before[1] + 10_000,
    ):
        assert time.monotonic() < until, (before, found)
        time.sleep(0.2)


@pytest.fixture
def command(clearspan, scene):
    """Run a command on the running network, as JSON; what it prints is read."""

    def call(*arguments: object, code: int = 0):
        ran = clearspan(*arguments, "--network", scene.cluster.network.path, "--json")
        assert ran.code == code, ran.err
        return ran.json if code in (0, 3) else ran.error

    return call


def asked(scene, count: int = 1) -> list[str]:
    """Order small swaps at once; return what each was refused with, empty where it began."""

    async def work() -> list[str]:
        async with scene.client() as client:
            quotes = await routed(client)
            answers = await client.run([order(quotes, amount=100) for _ in range(count)])
            return [each.refusal.name for each in answers]

    return asyncio.run(work())


def test_a_breaker_of_a_corridor_is_a_ledgers_decision_that_bridges_are_told_of(scene, command, tmp_path):
    """Goal: each grade meets what would begin, on both bridges, until it is lifted. Method: commands, then a file alone."""
    subject, ledger = ("corridor", "CNY-HKD"), ("--ledger", "CNY", "--reason", "4")
    carried = tmp_path / "stop.breaker"
    for_long = ("--for-s", "600")
    said = command("breaker", "set", *subject, *ledger, *for_long, "--grade", "stop", "--out", carried)
    assert [(each["participant"], each["told"]) for each in said["bridges"]] == [
        (each, True) for each in (PROVIDER.number, PAYER.number)
    ], said
    assert asked(scene) == ["corridor_closed"]
    (listed,) = command("breaker", "list", "--ledger", "CNY")["breakers"]
    assert (listed["kind"], listed["grade"], listed["subject"]) == ("corridor", "stop", scene.document.id)
    (of_bridge, _) = command("bridge", "status")["bridges"]
    assert [(each["grade"], each["domain"]) for each in of_bridge["breakers"]] == [("stop", 1)]
    command("breaker", "set", *subject, *ledger, *for_long, "--grade", "slow", "--per-second", "1")
    assert sorted(asked(scene, 2)) == ["", "limits_exceeded"]
    command("breaker", "set", *subject, *ledger, *for_long, "--grade", "hold")
    assert asked(scene) == ["screening_hold"]
    command("breaker", "clear", *subject, *ledger)
    assert asked(scene) == [""]
    # The other ledger's decision, carried by a file to the payer's bridge alone after a stop that nobody heard.
    other = tmp_path / "other.breaker"
    scene.bridges.kill(PAYER.number, signal.SIGTERM)
    arguments = ("breaker", "set", *subject, "--ledger", "HKD", "--reason", "5", *for_long, "--grade", "stop")
    told = command(*arguments, "--out", other, code=3)["bridges"]
    assert [each["told"] for each in told] == [True, False]
    folder = bridge_folder(scene.cluster.network, PAYER.number) / "data" / "breakers"
    folder.mkdir()
    shutil.copy(other, folder / "other")
    scene.bridges.restart(PAYER.number)
    assert asked(scene) == ["corridor_closed"]
    command("breaker", "clear", *subject, "--ledger", "HKD", "--reason", "5")
    # An old stop that is carried again changes nothing: the ledger cleared it later.
    shutil.copy(carried, folder / "again")
    assert asked(scene) == [""]


def test_a_listed_name_is_a_case_with_a_signed_outcome_on_the_ledgers_record(scene, command, clearspan, tmp_path):
    """Goal: held before a lock, seen, decided by two, proved. Method: a list, a restart, officers, a supervisor's look."""
    network = scene.cluster.network
    path = bridge_config(network, PAYER.number)
    (path.parent / "list.json").write_bytes(LISTED.encode())
    text = path.read_text("utf-8")
    assert 'list = ""' in text
    path.write_text(text.replace('list = ""', 'list = "list.json"'), "utf-8")
    scene.bridges.kill(PAYER.number, signal.SIGTERM)
    scene.bridges.restart(PAYER.number)
    identity = Identity(network.genesis.network, PeerRole.BANK, PAYER.number)
    DevelopmentPki(network.path / "tls", network.genesis.network).issue_client("second-officer", identity)

    async def held() -> tuple[str, bytes]:
        async with scene.client() as client:
            wanted = order(await routed(client))
            wanted.uetr = b"listed-name-0001"
            wanted.payer_name, wanted.payee_name = "Novamar Cement Industries", "Quilon Harbor Trading"
            for _ in range(2):
                (answer,) = await client.run([wanted])
                if not answer.refusal.code:
                    return "", answer.swap_id
                assert answer.refusal.name == "screening_hold"
            return answer.refusal.text.split()[-1], b""

    case_id, _ = asyncio.run(held())
    (case,) = command("bridge", "cases", "list")["cases"][-1:]
    assert case["case"] == case_id and "quilon~quillon" in case["explanation"][0]
    out = tmp_path / "outcome"
    until = time.monotonic() + 30
    while (outcome := command("bridge", "cases", "show", case_id, "--out", out)["outcomes"][0])["state"] != "on_record":
        assert time.monotonic() < until, outcome
        time.sleep(0.2)
    assert (outcome["outcome"], outcome["list_version"], outcome["case"]) == ("hold", 1, case_id)
    verify = ("bridge", "cases", "verify", out, "--public-key", outcome["public_key"])
    assert command(*verify)["score"] == outcome["score"]
    forged = bytearray(out.read_bytes())
    forged[4] ^= 1
    out.write_bytes(bytes(forged))
    assert clearspan(*verify, "--network", network.path).code == 1
    # Two officers decide; one and the same does not.
    command("bridge", "cases", "release", case_id, "--reason", "another company")
    assert command("bridge", "cases", "confirm", case_id, code=1)["code"] == "approval_required"
    command("bridge", "cases", "confirm", case_id, "--certificate", "second-officer")
    seen = command("bridge", "cases", "show", case_id, "--as", "supervisor", "--ledger", "CNY")
    assert int(seen["looked_at"]) and [each["step"] for each in seen["steps"]] == ["take", "propose_release", "confirm"]
    assert command("bridge", "cases", "list", "--all", "--as", "supervisor", "--ledger", "HKD")["cases"]
    assert command("bridge", "cases", "list", "--as", "operator", "--ledger", "CNY", code=2)["code"] == "config_error"
    _, swap_id = asyncio.run(held())
    assert asyncio.run(ended(scene, swap_id)).outcome == "claimed"
