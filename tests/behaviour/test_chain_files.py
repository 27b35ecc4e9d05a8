"""What a bridge keeps of chains on disk: settings, a key, the relay's secrets. Nothing of it trusts what it reads."""

from __future__ import annotations

import json
import pickle
import stat
import sys

import msgspec
import pytest

import bridge.evm  # noqa: F401 - before any test imports what lifts the recursion limit
from bridge.leg import HashFunction
from bridge.margins import Margins, SideMargins
from bridge.ports import Timing
from bridge.watcher import Watcher
from clearspan.bridging.chains.config import ChainSection, read_chains, render_chains
from clearspan.bridging.chains.evm_line import evm_settings, open_line
from clearspan.bridging.chains.key import ChainKey
from clearspan.bridging.chains.opening import RelayPast, open_chains, poll_ns_of
from clearspan.bridging.chains.reveal_history import RevealHistory
from clearspan.bridging.chains.served import Chains
from clearspan.bridging.lines.relay import FinalBlock
from clearspan.bridging.settings.config import BridgeChainsSection, BridgeConfig, BridgeSection
from clearspan.errors import ConfigError, KeyFileExposed, KeyFileInvalid, PassphraseWrong
from clearspan.private_files import ScryptCost, write_private
from clearspan.settings import Loaded
from native.hashing import digest

QUICK = ScryptCost(n=2)
SECTION = ChainSection(
    name="besu", chain_id=1337, contract="0x" + "12" * 20, endpoints=("https://node.example:8545/secret",), key="a.key"
)


def written(folder, *sections: ChainSection, text: str = ""):
    path = folder / "chains.toml"
    write_private(path, (text or render_chains(sections)).encode())
    return path


def test_what_is_rendered_is_read_again(tmp_path) -> None:
    """Every key, also those that are left out at first."""
    other = msgspec.structs.replace(
        SECTION, name="other", key="b.key", endpoints=("http://127.0.0.1:8545", "http://[::1]:1", "http://localhost:2"),
        agreement=2, tick="ms", genesis="0x" + "ab" * 32, finality_tag=True,
    )  # fmt: skip
    found = read_chains(written(tmp_path, SECTION, other))
    assert found.chains == (SECTION, other)
    assert found.resolve("keys/x") == tmp_path / "keys" / "x"


def test_what_is_left_out_is_the_careful_choice() -> None:
    """TLS, finality by depth, fees with caps, and the adapter gets exactly that."""
    settings = evm_settings(SECTION)
    assert (SECTION.plain_http, settings.finality.depth, settings.agreement) == (False, 64, 1)
    assert (settings.fees.cap, settings.fees.claim_cap) == (200 * 10**9, 2_000 * 10**9)
    assert settings.tick_ns == 10**9 and settings.genesis is None


REFUSED = [
    ({"endpoints": ("http://10.0.0.1:8545",)}, "plain_http"),
    ({"endpoints": ("http://node.example",)}, "TLS"),
    ({"endpoints": ("ftp://127.0.0.1",)}, "http or https"),
    ({"endpoints": ("https:///x",)}, "http or https"),
    ({"endpoints": ("https://[::1",)}, "http or https"),
    ({"agreement": 2}, "agree"),
    ({"fee_cap": 1}, "priority_fee"),
    ({"finality_depth": 0}, "final"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_what_cannot_be_meant_is_refused_by_its_place(tmp_path, changes, words) -> None:
    """The message says which key and what to do, and never shows an endpoint: it may hold a secret."""
    with pytest.raises(ConfigError) as caught:
        read_chains(written(tmp_path, msgspec.structs.replace(SECTION, **changes)))
    said = f"{caught.value} {caught.value.next_step}"
    assert words in said and "chain[0]" in said
    assert not any(each in said for each in changes.get("endpoints", ()))


def test_plain_http_is_a_choice_by_name(tmp_path) -> None:
    """For a network that is the operator's own."""
    open_one = msgspec.structs.replace(SECTION, endpoints=("http://10.0.0.1:8545",), plain_http=True)
    assert read_chains(written(tmp_path, open_one)).chains == (open_one,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("format = 2\n", "format 2"),
        ("format = 1\n[[chain]]\nname = 'x'\n", "chain_id"),
        ("format = 1\n[[chain]]\nname = 'Besu!'\n", "chain"),
        ("format = 1\nother = 2\n", "other"),
        ("format = \n", "line 1"),
        ("\xff", "line 1"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused(tmp_path, text, words) -> None:
    """With the place, and as ConfigError like every settings file."""
    with pytest.raises(ConfigError) as caught:
        read_chains(written(tmp_path, text=text))
    assert words in str(caught.value)


def test_names_and_keys_stand_once(tmp_path) -> None:
    """Two senders for one key would take each other's nonces."""
    with pytest.raises(ConfigError, match="named twice"):
        read_chains(written(tmp_path, SECTION, SECTION))
    with pytest.raises(ConfigError, match="one key"):
        read_chains(written(tmp_path, SECTION, msgspec.structs.replace(SECTION, name="again")))


def test_a_file_that_others_may_read_is_not_opened(tmp_path) -> None:
    """Endpoints may carry a secret; there is no key in it to be replaced. One that is missing is no lost backup."""
    path = written(tmp_path, SECTION)
    path.chmod(0o644)
    with pytest.raises(KeyFileExposed) as caught:
        read_chains(path)
    assert caught.value.next_step.startswith(f"run chmod 600 {path}, and where an endpoint")
    assert "key" not in caught.value.next_step
    path.unlink()
    with pytest.raises(ConfigError) as missing:
        read_chains(path)
    assert "docs/bridge-evm.md" in missing.value.next_step


# Keys.


def test_a_key_is_saved_privately_and_opened_by_its_passphrase_alone(tmp_path) -> None:
    """Its address is the same again, the file has mode 0600, and nothing of the secret stands in it or is shown."""
    key, path = ChainKey.create(), tmp_path / "keys" / "besu.key"
    key.save(path, b"a passphrase", QUICK)
    again = ChainKey.load(path, b"a passphrase")
    assert again.address == key.address == ChainKey.address_in(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = key._secret
    assert secret.hex() not in path.read_text() and secret.hex() not in repr(key)
    message = digest(1, b"what is signed")
    assert again.signer().sign_digest(message) == key.signer().sign_digest(message)
    with pytest.raises(PassphraseWrong):
        ChainKey.load(path, b"another")
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize(
    "change",
    [
        {"address": "0x" + "11" * 20},
        {"curve": "p256"},
        {"cipher": "none"},
        {"kind": "clearspan-keys"},
        {"format": 2},
        {"nonce": "00"},
        {"derivation": {"name": "scrypt", "n": 2, "r": 1, "p": 1, "salt": "00" * 16}},
        {"derivation": {"name": "plain", "n": 2, "r": 1, "p": 1, "salt": "00" * 16}},
        {"derivation": {"name": "scrypt", "n": 1 << 24, "r": 1, "p": 1, "salt": "00" * 16}},
    ],
)
def test_nothing_in_a_key_file_can_be_changed(tmp_path, change) -> None:
    """What stands in the clear is authenticated with the secret, and a hostile cost is not paid."""
    path = tmp_path / "besu.key"
    ChainKey.create().save(path, b"x", QUICK)
    document = json.loads(path.read_text())
    document["clear"] |= change
    write_private(path, json.dumps(document).encode())
    with pytest.raises((KeyFileInvalid, PassphraseWrong)):
        ChainKey.load(path, b"x")


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, b"\x01" * 31])
def test_a_number_that_is_no_secret_is_none(secret) -> None:
    """0, the order of the curve and beyond, and another length."""
    with pytest.raises(ValueError, match="secret"):
        ChainKey(secret)


def test_a_line_is_opened_from_the_files_and_its_book_must_be_whole(tmp_path) -> None:
    """A damaged book stops the start: sending on could use a nonce twice."""
    write_private(tmp_path / "keys" / "passphrase", b"x\n")
    key = ChainKey.create()
    key.save(tmp_path / "a.key", b"x", QUICK)
    loaded = read_chains(written(tmp_path, SECTION))
    line = open_line(SECTION, loaded, tmp_path / "data")
    assert (line.name, line.address, line.out_count) == ("besu", key.address, 0)
    line._loop.call_soon_threadsafe(line._loop.stop)
    (tmp_path / "data" / "chain-besu.json").write_text("{")
    with pytest.raises(ConfigError, match="sent twice|book|chain-besu"):
        open_line(SECTION, loaded, tmp_path / "data")


def test_a_bridge_without_a_chain_opens_none(tmp_path) -> None:
    """And one that names a file which is not there is told so."""
    config = BridgeConfig(format=1, bridge=BridgeSection(genesis="genesis.json", participant=1))
    assert not len(open_chains(Loaded(config, tmp_path)))
    assert poll_ns_of(Chains()) == Timing().poll_ns
    named = msgspec.structs.replace(config, chains=BridgeChainsSection(file="chains.toml"))
    with pytest.raises(ConfigError):
        open_chains(Loaded(named, tmp_path))


def test_a_bridge_that_lacks_the_extra_is_told_what_to_install(tmp_path, monkeypatch) -> None:
    """Chains need a library that most bridges do without."""
    written(tmp_path, SECTION)
    monkeypatch.setitem(sys.modules, "clearspan.bridging.chains.evm_line", None)
    config = BridgeConfig(
        format=1,
        bridge=BridgeSection(genesis="genesis.json", participant=1),
        chains=BridgeChainsSection(file="chains.toml"),
    )
    with pytest.raises(ConfigError, match="extra evm") as caught:
        open_chains(Loaded(config, tmp_path))
    assert "clearspan[evm]" in caught.value.next_step


# What the relay revealed.


def secret(number: int) -> bytes:
    return digest(1, number.to_bytes(8, "big"))


def test_what_was_revealed_is_known_again(tmp_path) -> None:
    """In order, of too many the newest, and how far the relay was read."""
    history = RevealHistory(tmp_path / "reveals", keep=4)
    for height in range(1, 8):
        history.take(height, [secret(height)] if height != 4 else [])
    history.take(7, [secret(99)])  # a block that is known changes nothing
    history.close()
    again = RevealHistory(tmp_path / "reveals", keep=4)
    assert again.preimages == tuple(secret(each) for each in (3, 5, 6, 7))
    assert (again.height, len(again)) == (7, 4)


@pytest.mark.parametrize("torn", range(1, 81, 7))
def test_a_torn_end_is_read_from_the_relay_again(tmp_path, torn) -> None:
    """Whatever the last bytes are that reached the disk, nothing below the height it claims is missing."""
    path = tmp_path / "reveals"
    history = RevealHistory(path)
    history.take(5, [secret(5)])
    history.take(9, [secret(9), secret(10)])
    history._file.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-torn])
    again = RevealHistory(path)
    assert again.height in (5, 9)
    assert set(again.preimages) >= ({secret(5)} if again.height == 5 else {secret(5), secret(9), secret(10)})
    again.take(9, [secret(9), secret(10)])
    assert set(again.preimages) == {secret(5), secret(9), secret(10)}


class FullDisk:
    """A file on a disk that takes a part of what is written, and no more."""

    def __init__(self, file) -> None:
        self.file, self.closed = file, False

    def write(self, data) -> None:
        self.file.write(data[:13])
        self.file.flush()
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        self.file.close()


def test_a_full_disk_leaves_no_hole(tmp_path) -> None:
    """The block that was not kept is not known, is given again, and stands in a file that can be read to its end."""
    history = RevealHistory(tmp_path / "reveals")
    history.take(1, [secret(1)])
    history._file = FullDisk(history._file)
    with pytest.raises(OSError, match="space"):
        history.take(2, [secret(2)])
    assert history.height == 1
    history.take(2, [secret(2)])
    history.take(3, [secret(3)])
    history._file.close()
    again = RevealHistory(tmp_path / "reveals")
    assert (again.preimages, again.height) == ((secret(1), secret(2), secret(3)), 3)


def test_a_file_of_another_kind_begins_anew(tmp_path) -> None:
    """Then all of the relay is read again, which is safe."""
    path = tmp_path / "reveals"
    path.write_bytes(b"something else")
    history = RevealHistory(path)
    assert (history.height, len(history)) == (0, 0)


def test_the_file_stays_small(tmp_path) -> None:
    """Many more secrets than are kept leave no more than a few times as many rows."""
    history = RevealHistory(tmp_path / "reveals", keep=8)
    for height in range(1, 400):
        history.take(height, [secret(height)])
    assert (tmp_path / "reveals").stat().st_size < 60 * 40
    history.close()


class FakePort:
    """As much of a chain as counts here."""

    name, address, poll_s = "besu", "0x", 0.5


def test_a_bridge_with_chains_reads_the_relay_from_where_its_history_ends(tmp_path) -> None:
    """And teaches its watcher what is out, so that a used secret is refused; one without chains reads as before."""
    chains = Chains([FakePort()])
    past = RelayPast(tmp_path, chains)
    assert (past.height(40), past.is_whole) == (0, True)
    told: list[int] = []
    take = past.listening(lambda block: told.append(block.height))
    take(FinalBlock(1, 10, (secret(1),)))
    take(FinalBlock(2, 20, ()))
    past.close()
    again = RelayPast(tmp_path, chains)
    assert (again.height(40), again.height(1), told) == (2, 1, [1, 2])
    side = SideMargins(1, 1, 1)
    watcher = Watcher(1, lambda _: Margins(side, {}, 0, 0, 0), Timing())
    again.teach(watcher, 100)
    assert digest(int(HashFunction.SHA256), secret(1)) in watcher._revealed
    assert poll_ns_of(chains) == 500_000_000
    again.close()
    plain = RelayPast(tmp_path / "plain", Chains())
    assert (plain.height(40), plain.is_whole) == (40, False)
    assert plain.listening(told.append) == told.append
    plain.close()


@pytest.mark.parametrize("torn", [0, 41])
def test_a_secret_of_zeros_is_a_secret(tmp_path, torn) -> None:
    """Anybody may have it revealed. It marks nothing: a block that is torn behind it is read from the relay again."""
    path = tmp_path / "reveals"
    history = RevealHistory(path)
    history.take(5, [secret(5)])
    history.take(6, [bytes(32), secret(6)])
    history._file.close()
    path.write_bytes(path.read_bytes()[: -torn or None])
    again = RevealHistory(path)
    assert again.height == (5 if torn else 6)
    assert again.preimages == ((secret(5),) if torn else (secret(5), bytes(32), secret(6)))
