"""The rules of a bridge with real processes: a premium and a fee on the ledger, a breaker from a file, a listed name."""

from __future__ import annotations

import asyncio
import signal
import time

import msgspec
import pytest

from bridge.corridor_breakers import BreakerNotice, SignedNotice
from bridge.fees import FeeRule
from bridge.screening import ListEntry, WatchList
from clearspan.bridging.folder import bridge_config, bridge_folder, put_corridors
from clearspan.bridging.stage import Bridges, corridor_between, register_banks
from clearspan.cluster import Cluster
from clearspan.founding import supervisor_of
from engine.types import NS_PER_S, BreakerGrade, Role
from tests.e2e.support import small_network
from tests.e2e.test_swaps import CNY, HKD, LOCK_S, MARGINS, PAYEE, PAYER, PROVIDER, Scene, ended, order, routed

pytestmark = pytest.mark.timeout(240)

LISTED = WatchList("invented", 1, (ListEntry("L01", ("Quillon Harbour Trading",)),))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    network = small_network(tmp_path_factory.mktemp("rules") / "network", ("CNY", "HKD"), shards=1, lock_min_s=2)
    with Cluster(network, validators=4) as cluster:
        asyncio.run(register_banks(network, [PROVIDER, PAYER, PAYEE]))
        document = msgspec.structs.replace(
            corridor_between(network, CNY, HKD, [PROVIDER.number], lock_s=LOCK_S, margins=MARGINS),
            premium_volatility_ppb=9_000_000,
            fees=(FeeRule("clearing", f"{PROVIDER.account:032x}", "3", 0, "0", "100"),),
        )
        put_corridors(network, [document.record(0)])
        bridges = Bridges(network, [PROVIDER, PAYER], finality="final", retry_ms=500)
        with bridges:
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


def notice(scene, grade: BreakerGrade | None, sequence: int) -> bytes:
    """Two keys of the supervisor of the ledger that is paid on."""
    network = scene.cluster.network
    ring = network.load_keys(1, supervisor_of(1))
    now = time.time_ns()
    made = BreakerNotice(scene.document.id_bytes, grade, 4, 0, sequence, now, now + 600 * NS_PER_S)
    message = made.message(network.genesis.hash_suite, network.genesis.hash)
    known = sorted((info.key_id, at) for at, info in enumerate(ring) if info.role == Role.SUPERVISOR)[:2]
    return SignedNotice(made, tuple((key_id, ring.sign(at, message)) for key_id, at in known)).encode()


def test_a_breaker_of_a_file_stops_what_would_begin(scene):
    """Goal: no restart for a stop. Method: a notice is put into the folder of a running bridge, and one that clears."""
    folder = bridge_folder(scene.cluster.network, PAYER.number) / "data" / "breakers"
    folder.mkdir()

    async def until(name: str) -> None:
        async with scene.client() as client, asyncio.timeout(20):
            while True:
                (answer,) = await client.run([order(await routed(client), amount=100)])
                if answer.refusal.name == name:
                    return
                await asyncio.sleep(0.2)

    (folder / "stop").write_bytes(notice(scene, BreakerGrade.STOP, 1))
    asyncio.run(until("corridor_closed"))
    (folder / "clear").write_bytes(notice(scene, None, 2))
    asyncio.run(until(""))


def test_a_listed_name_is_a_case_of_the_bridge(scene):
    """Goal: held before a lock, with a case that is there after a restart. Method: a list, a restart, two names."""
    path = bridge_config(scene.cluster.network, PAYER.number)
    (path.parent / "list.json").write_bytes(LISTED.encode())
    text = path.read_text("utf-8")
    assert 'list = ""' in text
    path.write_text(text.replace('list = ""', 'list = "list.json"'), "utf-8")
    scene.bridges.kill(PAYER.number, signal.SIGTERM)
    scene.bridges.restart(PAYER.number)

    async def work() -> None:
        async with scene.client() as client:
            wanted = order(await routed(client))
            wanted.payer_name, wanted.payee_name = "Novamar Cement Industries", "Quilon Harbor Trading"
            for _ in range(2):
                (answer,) = await client.run([wanted])
                assert answer.refusal.name == "screening_hold"
            (case,) = (await client.cases()).cases
            assert case.case_id.hex() in answer.refusal.text and case.uetr == wanted.uetr
            reply = await client.step_case(case.case_id, "take")
            assert reply.case.state == "owned"
            assert (await client.step_case(case.case_id, "confirm")).refusal.name == "terms_malformed"

    asyncio.run(work())
