"""Four validators as processes on loopback: they agree, serve what is final, and come back after what is done to them."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import urllib.request

import grpc
import grpc.aio
import psutil
import pytest

from clearspan.cluster import ValidatorFailed, Validators
from clearspan.errors import ConfigError, Refused
from clearspan.pki import channel_credentials
from clearspan.validator.addresses import AddressBook
from clearspan.validator.books import ChainBook
from clearspan.validator.config import VALIDATOR
from clearspan.validator.folder import validator_config, validator_entries
from clearspan.validator.links import EXCHANGE_PATH
from clearspan.validator.service import REVEALS_AT_ONCE_MAX
from engine.relay_block import RelayRecord, header_record
from engine.types import RelayRecordType, VotePhase
from engine.validators import Vote
from relay.messages import VoteMessage
from relay.v1 import relay_pb2
from tests.e2e.relay_support import Following, height_of, reaches, relay_client, shard_chain, tls_of
from tests.e2e.support import cut, small_network

SHARD, FORKED = 256, 257


@pytest.fixture(scope="module")
def validators(tmp_path_factory):
    """Four validators without any node."""
    network = small_network(tmp_path_factory.mktemp("validators") / "network")
    with cut(Validators(network)) as running:
        yield running


@pytest.fixture(scope="module")
def chain(validators):
    """A shard whose headers are offered."""
    return shard_chain(validators.network, SHARD)


async def offer_everywhere(validators, offer):
    """Offer to every validator that runs, as a node does."""
    answers = []
    for participant in validators.participants:
        if validators.is_running(participant):
            async with relay_client(validators, participant, "operator-cny") as client:
                answers.append(await client.offer(offer))
    return answers


def anchored(shard: int, height: int):
    return lambda following: following.state.shards[shard].height >= height


def test_empty_blocks_become_final_one_by_one(validators):
    """A stranger follows one validator from the genesis; every block follows, and a quorum signed it."""

    async def work() -> Following:
        following = Following(validators.network)
        async with relay_client(validators, validators.participants[0]) as client:
            await following.follow(client, lambda each: len(each.blocks) >= 5)
        return following

    following = asyncio.run(work())
    assert [block.header.height for block in following.blocks] == list(range(1, len(following.blocks) + 1))


def test_all_four_have_the_same_chain(validators):
    """The same bytes under every height, whichever validator is asked."""

    async def first_blocks(participant: int) -> list[bytes]:
        await reaches(validators, participant, 5)
        async with relay_client(validators, participant) as client:
            return [each.block async for each in client.blocks(1)][:5]

    async def work() -> list[list[bytes]]:
        return [await first_blocks(participant) for participant in validators.participants]

    chains = asyncio.run(work())
    assert len(chains[0]) == 5
    assert all(each == chains[0] for each in chains)


def test_an_offered_header_is_anchored(validators, chain):
    """It stands in a block within moments; offered again, it is refused with the reason."""

    async def work():
        chain.seal()
        offer = chain.offer()
        answers = await offer_everywhere(validators, offer)
        following = Following(validators.network)
        async with relay_client(validators, validators.participants[1]) as client:
            await following.follow(client, anchored(SHARD, 1))
        async with relay_client(validators, validators.participants[1], "operator-cny") as client:
            again = await client.offer(offer)
        return answers, following, again

    answers, following, again = asyncio.run(work())
    assert any(each.taken for each in answers)
    assert following.state.shards[SHARD].hash == chain.last.hash
    assert (again.taken, again.reason) == (False, "header_height")


def test_two_headers_of_one_height_suspend_their_shard(validators):
    """An operator that tells one half of the validators this and the other half that convicts itself by two signatures."""
    one, other = shard_chain(validators.network, FORKED), shard_chain(validators.network, FORKED)
    one.seal()
    other.seal(account_count=5)
    halves = validators.participants[:2], validators.participants[2:]

    async def work() -> str:
        for half, chain in zip(halves, (one, other), strict=True):
            for participant in half:
                async with relay_client(validators, participant, "operator-cny") as client:
                    await client.offer(chain.offer())
        async with relay_client(validators, validators.participants[0]) as client, asyncio.timeout(20):
            while True:
                shards = (await client.status()).shards
                if standing := next(each.standing for each in shards if each.shard == FORKED):
                    return standing
                await asyncio.sleep(0.05)

    assert asyncio.run(work()) == "suspended"


def test_status_tells_peers_and_shards(validators):
    """Each validator is connected to the three others and signs."""

    async def work():
        async with relay_client(validators, validators.participants[2]) as client, asyncio.timeout(20):
            while True:
                status = await client.status()
                if all(peer.connected for peer in status.peers):
                    return status
                await asyncio.sleep(0.05)

    status = asyncio.run(work())
    assert (status.set_id, status.index, status.may_sign, status.behind) == (1, 2, True, False)
    assert [(peer.index, peer.connected) for peer in status.peers] == [(0, True), (1, True), (3, True)]
    assert [shard.shard for shard in status.shards] == [SHARD, SHARD + 1]


def test_who_may_call_what(validators, chain):
    """Offers are an operator's, records a watcher's or a validator's, streams of agreement a validator's."""

    async def refused(speaker: str, call) -> str:
        async with relay_client(validators, validators.participants[0], speaker) as client:
            with pytest.raises(Refused) as caught:
                await call(client)
            return caught.value.name

    async def work() -> list[str]:
        offer = chain.offer()
        record = header_record(offer.signed)
        unknown = RelayRecord(RelayRecordType.REVEAL, b"short")
        return [
            await refused("reader", lambda client: client.offer(offer)),
            await refused("issuer-cny", lambda client: client.submit(record)),
            await refused("reader", lambda client: anext(client.blocks(0))),
            await refused("supervisor-cny", lambda client: client.submit(unknown)),
            await not_taken("operator-cny", record),
        ]

    async def not_taken(speaker: str, record: RelayRecord) -> str:
        async with relay_client(validators, validators.participants[0], speaker) as client:
            return (await client.submit(record)).reason

    found = asyncio.run(work())
    assert found == ["role_refused", "role_refused", "batch_malformed", "batch_malformed", "record_type"]


def test_reveals_go_over_one_stream_and_a_refusal_ends_it(validators):
    """What waits or is final is answered as standing; a message that is none is refused, and a new stream opened."""
    first, second = bytes(range(32)), bytes(range(1, 33))

    async def work() -> None:
        async with relay_client(validators, validators.participants[0], "issuer-cny") as client:
            assert await client.reveal([first]) == [""]
            # One of them is known here, and in a block before long.
            assert await client.reveal([second, first, second]) == ["", "", ""]
            for wrong in ([], [first[1:]], [first] * (REVEALS_AT_ONCE_MAX + 1)):
                with pytest.raises(Refused):
                    await client.reveal(wrong)
                assert await client.reveal([first]) == [""]
            following = Following(validators.network)
            await following.follow(client, lambda each: {first, second} <= each.state.reveals.keys())
        async with relay_client(validators, validators.participants[0], "reader") as client:
            with pytest.raises(Refused) as caught:
                await client.reveal([first])
            assert caught.value.name == "role_refused"

    asyncio.run(work())


def test_figures_of_a_validator(validators):
    """Views, votes, latencies, peers and heights stand among the metrics."""
    port = validators.address(validators.participants[0]).metrics_port
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:  # noqa: S310
        text = answer.read().decode()
    names = ("views_total", "timeouts_total", "certificate_seconds_bucket", "peer_queued_bytes", "final_height")
    for name in (*names, "shard_standing"):
        assert f"clearspan_relay_{name}" in text, name


def test_the_command_asks_all(validators, clearspan):
    """`validator status` names each; one that does not answer makes exit code 3."""
    ran = clearspan("validator", "status", "--network", validators.network.path, "--json")
    assert ran.code == 0
    assert [each["participant"] for each in ran.json["validators"]] == list(validators.participants)
    assert all(each["final_height"] > 0 for each in ran.json["validators"])


def test_one_that_was_killed_catches_up(validators, clearspan):
    """SIGKILL: the others go on; started again it has what it missed, and the same blocks."""
    victim, other = validators.participants[3], validators.participants[0]

    async def height_after(more: int) -> int:
        async with relay_client(validators, other) as client:
            now = (await client.status()).final_height
        await reaches(validators, other, now + more)
        return now + more

    assert validators.kill(victim) == -signal.SIGKILL
    target = asyncio.run(height_after(6))
    silent = clearspan("validator", "status", "--network", validators.network.path, "--json")
    assert silent.code == 3
    validators.restart(victim)
    asyncio.run(reaches(validators, victim, target))

    async def signs() -> bool:
        async with relay_client(validators, victim) as client:
            return (await client.status()).may_sign

    async def signs_again() -> None:
        async with asyncio.timeout(10):
            while not await signs():  # noqa: ASYNC110 - it is another process that is waited for
                await asyncio.sleep(0.05)

    asyncio.run(signs_again())


def exchange(validators, target: int, speaker: int, key: bytes, messages):
    """Open a stream of agreement to a validator with another's certificate; return what ends it."""

    async def work() -> str:
        tls = tls_of(validators.network, f"validator-{speaker}")
        address = validators.address(target).target
        async with grpc.aio.secure_channel(address, channel_credentials(tls)) as channel:
            call = channel.stream_unary(
                EXCHANGE_PATH,
                request_serializer=relay_pb2.Envelope.SerializeToString,
                response_deserializer=relay_pb2.ExchangeEnd.FromString,
            )

            async def envelopes():
                yield relay_pb2.Envelope(version=1, public_key=key)
                async for message in messages():
                    yield relay_pb2.Envelope(version=1, message=message)

            try:
                await call(envelopes())
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name} {error.details()}"
            return "ended"

    return work()


def test_a_key_of_somebody_else_opens_no_stream(validators):
    """The first envelope names the sender's key, which must be of the participant in the certificate."""
    one, other = validators.participants[:2]
    entries = {entry.participant: entry for entry in validator_entries(validators.network)}

    async def nothing():
        await asyncio.sleep(5)
        yield b""

    found = asyncio.run(exchange(validators, one, other, entries[one].public_key, nothing))
    assert found.startswith("PERMISSION_DENIED")


def test_a_flooding_peer_slows_nobody(validators):
    """Garbage and forged votes at full speed from a member: blocks come as before, memory stays where it was."""
    flooder, target = validators.participants[3], validators.participants[0]
    key = next(each.public_key for each in validator_entries(validators.network) if each.participant == flooder)
    genesis = validators.network.genesis
    process = psutil.Process(validators.address(target).pid)
    sent = 0

    async def flood():
        nonlocal sent
        vote = Vote(1, 1 << 40, 0, VotePhase.PREPARE, b"\1" * 32, 1, bytes(32))
        forged = VoteMessage(3, vote, bytes(64)).encode(genesis.hash)
        while True:
            yield forged if sent % 2 else b"x" * 100_000
            sent += 1

    async def paced(blocks: int) -> float:
        now = await height_of(validators, target)
        return await reaches(validators, target, now + blocks)

    async def work() -> tuple[float, float]:
        calm = await paced(5)
        flooding = asyncio.create_task(exchange(validators, target, flooder, key, flood))
        await asyncio.sleep(0.5)
        flooded = await paced(5)
        assert not flooding.done()
        flooding.cancel()
        return calm, flooded

    validators.kill(flooder)
    try:
        before = process.memory_info().rss
        calm, flooded = asyncio.run(work())
        grown = process.memory_info().rss - before
    finally:
        validators.restart(flooder)
    assert sent > 100
    assert grown < 128 << 20, f"{grown >> 20} MiB more"
    assert flooded < 3 * calm + 3, f"{flooded:.1f} s for what took {calm:.1f} s"


def test_what_was_kept_is_on_the_disk(validators):
    """An orderly end, and the book of one validator holds every block with certificate and transcript."""
    last = validators.participants[2]
    assert validators.kill(last, signal.SIGTERM) == 0
    book = ChainBook(validators.data(last) / "chain")
    try:
        height = book.last_height()
        entries = list(book.range(1, height))
        assert [entry.height for entry in entries] == list(range(1, height + 1))
        assert all(entry.certificate and entry.transcript for entry in entries)
    finally:
        book.close()
    validators.restart(last)


def test_one_that_lost_everything_waits_before_it_signs(validators):
    """A new directory for a key that voted before: it catches up, hears from the others what is past, then votes."""
    lost, other = validators.participants[1], validators.participants[0]
    validators.kill(lost)
    shutil.rmtree(validators.data(lost))
    validators.restart(lost)

    async def work() -> None:
        await reaches(validators, lost, await height_of(validators, other))
        async with relay_client(validators, lost) as client, asyncio.timeout(20):
            while not (await client.status()).may_sign:  # noqa: ASYNC110 - it is another process that is waited for
                await asyncio.sleep(0.05)

    asyncio.run(work())
    assert "votes_restored" in validators.log(lost).read_text()


def test_an_observer_follows_and_never_signs(validators):
    """Without a key it asks by itself, has what is final, and is in no set."""
    watcher, other = validators.participants[2], validators.participants[0]
    validators.kill(watcher)
    validators.extra[watcher] = ("--validator-key", "")
    try:
        validators.restart(watcher)

        async def work():
            await reaches(validators, watcher, await height_of(validators, other) + 3)
            async with relay_client(validators, watcher) as client:
                return await client.status()

        status = asyncio.run(work())
        assert (status.index, status.may_sign) == (-1, False)
    finally:
        del validators.extra[watcher]
        validators.restart(watcher)


def test_a_validator_that_cannot_start_is_named(tmp_path):
    """Unknown keys are refused with their path, a broken file of addresses with its line."""
    network = small_network(tmp_path / "network")
    participant = validator_entries(network)[0].participant
    config = validator_config(network, participant)
    config.write_text(config.read_text().replace("[peers]", "[peers]\nadress = 3"))
    with pytest.raises(ValidatorFailed, match="exit code 2") as caught:
        Validators(network, 1).start()
    assert "peers.adress" in caught.value.log.read_text()


def test_settings_and_addresses_are_checked(tmp_path):
    """What is rendered reads back; a wrong entry is named; a changed file is read again."""
    network = small_network(tmp_path / "network", validators=7)
    entries = validator_entries(network)
    assert len(entries) == 7
    loaded = VALIDATOR.load(validator_config(network, entries[0].participant))
    assert VALIDATOR.parse(VALIDATOR.render(loaded.config).encode(), "again") == loaded.config
    assert loaded.config.follow.domains == ("cny",)
    path = network.path / "validators.toml"
    book = AddressBook(path)
    text = path.read_text()
    path.write_text(text.replace("port = 0", "port = 7411", 1))
    assert book.refresh()
    assert book.target(entries[0].public_key) == "127.0.0.1:7411"
    path.write_text("format = 1\n[[validator]]\nname = 4\n")
    assert not book.refresh()
    assert book.target(entries[0].public_key) == "127.0.0.1:7411"
    with pytest.raises(ConfigError, match="validator\\[0\\]"):
        AddressBook(path)


def test_json_of_ready_line(tmp_path):
    """--check says that the settings are good without starting anything."""
    from tests.e2e.support import program

    network = small_network(tmp_path / "network")
    participant = validator_entries(network)[0].participant
    ran = program("validator", "run", "--config", str(validator_config(network, participant)), "--check")
    assert json.loads(ran.stdout) == {"ready": False, "name": f"validator-{participant}", "settings": "good"}
