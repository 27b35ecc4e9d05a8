"""Real validators under faults: finality resumes within a stated time, and what was final stays as it was.

Killed, frozen, all started anew, a full disk, lossy links and links cut one way (network namespaces). The times that
are asserted are those that docs/operate.md states.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from typing import Self

import pytest

from clearspan.cluster import Validators
from clearspan.pki import issue_certificate
from clearspan.roles import Identity, PeerRole
from tests.e2e.relay_support import Following, height_of, reaches, relay_client
from tests.e2e.support import small_network

# What docs/operate.md states: one of four gone costs one view; a quorum that comes back is at work again in seconds.
ONE_GONE_S = 4.0
QUORUM_BACK_S = 20.0


class Watch:
    """What was ever seen final, by height: never another block again."""

    def __init__(self, validators: Validators) -> None:
        self.validators = validators
        self.seen: dict[int, bytes] = {}

    async def look(self, *participants: int) -> int:
        """Read and verify the chains of validators from the genesis; return the lowest height of them."""
        heights = []
        for participant in participants or self.validators.participants:
            following = Following(self.validators.network)
            async with relay_client(self.validators, participant) as client:
                async for message in client.blocks(1):
                    block = following.take(message)
                    known = self.seen.setdefault(block.header.height, message.block)
                    assert known == message.block, f"height {block.header.height} changed"
            heights.append(following.state.height)
        return min(heights)


async def signs(validators: Validators, participant: int) -> None:
    """Wait until a validator may vote again: one that lost its memory, or never had any, first asks the others."""
    async with asyncio.timeout(QUORUM_BACK_S):
        while True:
            async with relay_client(validators, participant) as client:
                if (await client.status()).may_sign:
                    return
            await asyncio.sleep(0.05)


async def advances(validators: Validators, participant: int, blocks: int, patience_s: float) -> float:
    """Wait for more blocks at a validator; return the seconds it took."""
    return await reaches(validators, participant, await height_of(validators, participant) + blocks, patience_s)


@pytest.fixture(params=[4, 7])
def validators(tmp_path, request):
    network = small_network(tmp_path / "network", validators=request.param)
    with Validators(network) as running:
        yield running


@pytest.mark.timeout(120)
def test_the_core_of_it_with_four(tmp_path):
    """What runs every time, within a minute: one killed, one frozen, a quorum frozen, all killed; nothing is undone."""
    with Validators(small_network(tmp_path / "network")) as validators:
        first, second, third, fourth = validators.participants

        async def work() -> None:
            watch = Watch(validators)
            await advances(validators, first, 2, ONE_GONE_S * 3)
            await asyncio.to_thread(validators.kill, fourth)
            took = await advances(validators, first, 3, ONE_GONE_S * 3)
            assert took < ONE_GONE_S, f"{took:.1f} s for three blocks without {fourth}"
            validators.restart(fourth)
            await reaches(validators, fourth, await height_of(validators, first), QUORUM_BACK_S)
            await signs(validators, fourth)
            validators.send_signal(third, signal.SIGSTOP)
            await advances(validators, first, 5, ONE_GONE_S * 5)
            validators.send_signal(second, signal.SIGSTOP)
            await asyncio.sleep(1)
            height = await height_of(validators, first)
            await asyncio.sleep(2)
            assert await height_of(validators, first) == height, "two of four are no quorum"
            for each in (second, third):
                validators.send_signal(each, signal.SIGCONT)
            took = await advances(validators, first, 3, QUORUM_BACK_S * 2)
            assert took < QUORUM_BACK_S, f"{took:.1f} s until a quorum that was frozen agreed again"
            await reaches(validators, third, height, QUORUM_BACK_S)
            before = await watch.look()
            for each in validators.participants:
                validators.kill(each)
            validators.start()
            took = await reaches(validators, first, before + 3, QUORUM_BACK_S * 2)
            assert took < QUORUM_BACK_S, f"{took:.1f} s until all that were killed agreed again"
            await watch.look()

        asyncio.run(work())


@pytest.mark.nightly
def test_each_is_killed_in_turn(validators):
    """SIGKILL of one: the others lose at most a view's time, and the one that comes back signs again."""

    async def work() -> None:
        watch = Watch(validators)
        for victim in validators.participants:
            other = next(each for each in validators.participants if each != victim)
            await asyncio.to_thread(validators.kill, victim)
            took = await advances(validators, other, 3, ONE_GONE_S * 3)
            assert took < ONE_GONE_S, f"{took:.1f} s for three blocks without {victim}"
            validators.restart(victim)
            await reaches(validators, victim, await height_of(validators, other), QUORUM_BACK_S)
            # The next one dies only then: two that cannot vote are more than may be missing.
            await signs(validators, victim)
        await watch.look()

    asyncio.run(work())


@pytest.mark.nightly
def test_one_is_frozen_for_half_a_minute(validators):
    """SIGSTOP for 30 s: the others go on, and the one that wakes catches up within seconds and signs."""
    frozen, other = validators.participants[0], validators.participants[1]

    async def work() -> None:
        watch = Watch(validators)
        validators.send_signal(frozen, signal.SIGSTOP)
        began, longest = time.monotonic(), 0.0
        while time.monotonic() - began < 30:
            longest = max(longest, await advances(validators, other, 1, ONE_GONE_S * 3))
        assert longest < ONE_GONE_S, f"{longest:.1f} s without a block"
        validators.send_signal(frozen, signal.SIGCONT)
        took = await reaches(validators, frozen, await height_of(validators, other), QUORUM_BACK_S)
        print(f"frozen 30 s: longest pause of the others {longest:.2f} s, caught up in {took:.2f} s")
        await watch.look()

    asyncio.run(work())


@pytest.mark.nightly
def test_without_a_quorum_nothing_is_final_and_with_it_all_goes_on(validators):
    """A third and one more frozen: no block; thawed: blocks again within the stated time."""
    count = len(validators.participants)
    frozen, awake = validators.participants[: (count - 1) // 3 + 1], validators.participants[-1]

    async def work() -> None:
        watch = Watch(validators)
        await advances(validators, awake, 1, ONE_GONE_S)
        for each in frozen:
            validators.send_signal(each, signal.SIGSTOP)
        await asyncio.sleep(1)
        height = await height_of(validators, awake)
        await asyncio.sleep(8)
        assert await height_of(validators, awake) == height
        for each in frozen:
            validators.send_signal(each, signal.SIGCONT)
        took = await advances(validators, awake, 3, QUORUM_BACK_S * 2)
        print(f"{len(frozen)} of {count} frozen 9 s: blocks again after {took:.2f} s")
        assert took < QUORUM_BACK_S
        await watch.look()

    asyncio.run(work())


@pytest.mark.nightly
def test_all_are_killed_and_started_again(validators):
    """SIGKILL of all at once, three times: they go on where they were, and never sign anew what they had signed."""

    async def work() -> None:
        watch = Watch(validators)
        for _ in range(3):
            await advances(validators, validators.participants[0], 2, QUORUM_BACK_S)
            before = await watch.look()
            for each in validators.participants:
                validators.kill(each)
            validators.start()
            took = await reaches(validators, validators.participants[0], before + 3, QUORUM_BACK_S * 2)
            print(f"all {len(validators.participants)} killed: blocks again {took:.2f} s after the last was ready")
            assert took < QUORUM_BACK_S
        await watch.look()

    asyncio.run(work())


@pytest.mark.nightly
@pytest.mark.root
def test_a_full_disk_silences_one_and_no_more(tmp_path, small_disk):
    """One validator's disk fills: it signs nothing; with room again it goes on by itself, without a restart."""
    network = small_network(tmp_path / "network")
    validators = Validators(network, flags=("--consensus-idle-ms", "20"))
    victim, other = validators.participants[1], validators.participants[0]
    validators.extra[victim] = ("--data-path", str(small_disk / "data"), "--data-chain-bytes-max", str(1 << 30))

    async def work() -> None:
        await reaches(validators, other, 5)
        filler = small_disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        # What was taken ahead is used up first; then it stands still while the others go on.
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            height = await height_of(validators, other)
            await reaches(validators, other, height + 5)
            if await height_of(validators, victim) < height - 10:
                break
        stuck = await height_of(validators, victim)
        assert stuck < await height_of(validators, other) - 5
        filler.unlink()
        took = await reaches(validators, victim, await height_of(validators, other), QUORUM_BACK_S)
        print(f"full disk: stood still at {stuck}, caught up {took:.2f} s after there was room")

    with validators:
        note_port(network, victim, validators.address(victim).port)
        asyncio.run(work())


def note_port(network, participant: int, port: int) -> None:
    """Write a port into the file of addresses, which the others read again: its own note is in another folder."""
    path = network.path / "validators.toml"
    head, name, tail = path.read_text().partition(f'name = "{participant}"')
    path.write_text(head + name + tail.replace("port = 0", f"port = {port}", 1))


@pytest.mark.nightly
def test_a_new_one_begins_at_a_checkpoint(tmp_path):
    """The others keep few blocks: who comes with nothing takes the state of height 1,024, proven, and the rest."""
    network = small_network(tmp_path / "network")
    flags = ("--consensus-idle-ms", "5", "--consensus-block-interval-ms", "1", "--data-history-blocks", "64")
    validators = Validators(network, flags=flags)
    lost, other = validators.participants[1], validators.participants[0]

    async def work() -> None:
        await reaches(validators, other, 1_100, 300)
        validators.kill(lost)
        shutil.rmtree(validators.data(lost))
        validators.restart(lost)
        took = await reaches(validators, lost, await height_of(validators, other), 60)
        print(f"with nothing to height {await height_of(validators, other)} in {took:.2f} s")

    with validators:
        asyncio.run(work())
        assert "sync_restored" in validators.log(lost).read_text()
        validators.restart(lost)
        asyncio.run(reaches(validators, lost, 1_120, 60))


class Namespaces:
    """A network namespace for each validator on one bridge, with rules on what each of them hears."""

    def __init__(self, participants: tuple[int, ...]) -> None:
        # Interface names have 15 characters; a namespace that is deleted keeps its own for a moment.
        self.tag = f"cs{os.getpid() % 10000}x{len(participants)}"
        self.addresses = {each: f"10.77.{os.getpid() % 250}.{place + 1}" for place, each in enumerate(participants)}

    def __enter__(self) -> Self:
        base = next(iter(self.addresses.values())).rpartition(".")[0]
        ip("link", "add", "name", self.tag, "type", "bridge")
        ip("addr", "add", f"{base}.254/24", "dev", self.tag)
        ip("link", "set", self.tag, "up")
        for place, (participant, address) in enumerate(self.addresses.items()):
            name, outer = self.name(participant), f"{self.tag}v{place}"
            ip("netns", "add", name)
            ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", outer, "master", self.tag, "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
            self.nft(participant, "add", "table", "ip", "faults")
            self.nft(participant, "add", "chain", "ip", "faults", "heard", "{ type filter hook input priority 0; }")
        return self

    def __exit__(self, *_: object) -> None:
        for participant in self.addresses:
            subprocess.run(["ip", "netns", "del", self.name(participant)], check=False)
        subprocess.run(["ip", "link", "del", self.tag], check=False)

    def name(self, participant: int) -> str:
        return f"{self.tag}n{participant}"

    def nft(self, participant: int, *words: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.name(participant), "nft", *words], check=True)

    def deaf_to(self, participant: int, other: int) -> None:
        """Cut one way: a validator hears nothing more of another."""
        rule = ("ip", "saddr", self.addresses[other], "drop")
        self.nft(participant, "add", "rule", "ip", "faults", "heard", *rule)

    def lossy(self, participant: int, percent: int) -> None:
        """Lose a share of what a validator would hear of the others."""
        peers = ", ".join(self.addresses.values())
        rule = ("ip", "saddr", "{", peers, "}", "numgen", "random", "mod", "100", "<", str(percent), "drop")
        self.nft(participant, "add", "rule", "ip", "faults", "heard", *rule)

    def heal(self) -> None:
        for participant in self.addresses:
            self.nft(participant, "flush", "chain", "ip", "faults", "heard")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def readdress(network, validators: Validators, addresses: dict[int, str]) -> None:
    """Give every validator an address of its own, in its settings, its certificate and the file of addresses."""
    path = network.path / "validators.toml"
    text = path.read_text()
    for place, (participant, address) in enumerate(addresses.items()):
        head, name, tail = text.partition(f'name = "{participant}"')
        tail = tail.replace('host = "127.0.0.1"', f'host = "{address}"', 1).replace(
            "port = 0", f"port = {7410 + place}", 1
        )
        text = head + name + tail
        identity = Identity(network.genesis.network, PeerRole.VALIDATOR, participant)
        name = f"validator-{participant}"
        issue_certificate(
            network.path / "tls", name, hosts=(address, name), identity=identity, server=True, client=True
        )
        validators.extra[participant] = ("--validator-host", address, "--validator-port", str(7410 + place))
    path.write_text(text)


@pytest.mark.nightly
@pytest.mark.root
@pytest.mark.parametrize("count", [4, 7])
def test_lossy_and_one_way_cut_links(tmp_path, need_root, need_tool, count):
    """10 % loss everywhere: blocks go on. One that is heard by nobody, one that hears nobody: the others go on."""
    need_tool("ip", "iproute2")
    need_tool("nft", "nftables")
    network = small_network(tmp_path / "network", validators=count)
    validators = Validators(network)
    first, second, watched = validators.participants[0], validators.participants[1], validators.participants[-1]

    async def work(spaces: Namespaces) -> None:
        watch = Watch(validators)
        await reaches(validators, watched, 5)
        for each in validators.participants:
            spaces.lossy(each, 10)
        began = time.monotonic()
        await advances(validators, watched, 20, 60)
        print(f"{count} validators, 10 % loss: {20 / (time.monotonic() - began):.1f} blocks/s")
        spaces.heal()
        for each in validators.participants[1:]:
            spaces.deaf_to(each, first)
        took = await advances(validators, watched, 10, 60)
        print(f"{count} validators, one heard by nobody: 10 blocks in {took:.1f} s")
        spaces.heal()
        for each in validators.participants[2:]:
            spaces.deaf_to(second, each)
        took = await advances(validators, watched, 10, 60)
        print(f"{count} validators, one hears almost nobody: 10 blocks in {took:.1f} s")
        spaces.heal()
        # Everybody is deaf to somebody: a quorum is left of none of them, until it heals.
        for place, each in enumerate(validators.participants):
            for step in range(1, (count - 1) // 3 + 2):
                spaces.deaf_to(each, validators.participants[(place + step) % count])
        await asyncio.sleep(10)
        spaces.heal()
        took = await advances(validators, watched, 3, QUORUM_BACK_S * 2)
        print(f"{count} validators, cut in a ring for 10 s: blocks again after {took:.2f} s")
        assert took < QUORUM_BACK_S
        top = await height_of(validators, watched)
        for each in validators.participants:
            await reaches(validators, each, top, QUORUM_BACK_S)
        await watch.look()

    with Namespaces(validators.participants) as spaces:
        readdress(network, validators, spaces.addresses)
        validators.run_in(lambda participant: ["ip", "netns", "exec", spaces.name(participant)])
        with validators:
            asyncio.run(work(spaces))
