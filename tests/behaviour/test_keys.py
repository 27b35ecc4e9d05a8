"""Containers of signing keys: they open with their passphrase alone, whole, and to their owner alone."""

from __future__ import annotations

import json
import pickle
import stat
import time
from pathlib import Path

import pytest

from clearspan.errors import KeyFileExposed, KeyFileInvalid, PassphraseWrong
from clearspan.keys import KeyFile, KeyRing, ScryptCost, read_passphrase
from engine.types import KeyId, ParticipantId, Role, SigningSuite
from native.signatures import verify

CHEAP = ScryptCost(n=1 << 10)
PASSPHRASE = b"correct horse"


def make(suite: SigningSuite = SigningSuite.ED25519) -> KeyFile:
    return KeyFile.create(suite, ParticipantId(20), Role.ACCOUNT)


@pytest.mark.parametrize("suite", list(SigningSuite))
def test_a_key_comes_back_and_signs(tmp_path: Path, suite: SigningSuite) -> None:
    key = make(suite)
    key.set_key_id(KeyId(9))
    path = tmp_path / "keys" / "a.key"
    key.save(path, PASSPHRASE, CHEAP)
    again = KeyFile.load(path, PASSPHRASE)
    assert again.info == key.info
    assert again.info.key_id == 9
    assert verify(suite, again.info.public_key, again.sign(b"message"), b"message")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_default_cost_opens(tmp_path: Path) -> None:
    make().save(tmp_path / "a.key", PASSPHRASE)
    started = time.monotonic()
    KeyFile.load(tmp_path / "a.key", PASSPHRASE)
    assert time.monotonic() - started < 10


def test_a_wrong_passphrase_opens_nothing(tmp_path: Path) -> None:
    make().save(tmp_path / "a.key", PASSPHRASE, CHEAP)
    with pytest.raises(PassphraseWrong):
        KeyFile.load(tmp_path / "a.key", b"wrong")


@pytest.mark.parametrize("field", ["suite", "key_id", "participant", "role", "public_key"])
def test_nothing_in_the_clear_can_be_changed(tmp_path: Path, field: str) -> None:
    """Goal: every field of the header is authenticated. Method: change each in a file that else is whole."""
    path = tmp_path / "a.key"
    make().save(path, PASSPHRASE, CHEAP)
    document = json.loads(path.read_text())
    entry = document["clear"]["keys"][0]
    entry[field] = "00" * 32 if field == "public_key" else entry[field] + 1
    path.write_text(json.dumps(document))
    with pytest.raises(PassphraseWrong):
        KeyFile.load(path, PASSPHRASE)


def test_keys_of_a_ring_cannot_be_swapped_or_dropped(tmp_path: Path) -> None:
    ring = KeyRing()
    for _ in range(3):
        ring.create(SigningSuite.ED25519, ParticipantId(20), Role.ACCOUNT)
    path = tmp_path / "ring.json"
    ring.save(path, PASSPHRASE, CHEAP)
    whole = path.read_text()
    swapped = json.loads(whole)
    swapped["clear"]["keys"].reverse()
    dropped = json.loads(whole)
    dropped["clear"]["keys"].pop()
    path.write_text(json.dumps(swapped))
    with pytest.raises(PassphraseWrong):
        KeyRing.load(path, PASSPHRASE)
    path.write_text(json.dumps(dropped))
    with pytest.raises(KeyFileInvalid, match="length"):
        KeyRing.load(path, PASSPHRASE)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_a_file_that_others_may_touch_is_not_opened(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.key"
    make().save(path, PASSPHRASE, CHEAP)
    path.chmod(mode)
    with pytest.raises(KeyFileExposed) as caught:
        KeyFile.load(path, PASSPHRASE)
    assert caught.value.mode == mode
    assert "chmod 600" in caught.value.next_step


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d["clear"].update(format=2), "format 2"),
        (lambda d: d["clear"].update(kind="other"), "kind"),
        (lambda d: d["clear"].update(cipher="rot13"), "cipher"),
        (lambda d: d["clear"].update(extra=1), "extra"),
        (lambda d: d["clear"]["derivation"].update(n=1 << 30), "1048576"),
        (lambda d: d["clear"]["derivation"].update(n=1000), "derivation"),
        (lambda d: d["clear"]["derivation"].update(p=10**6), "16"),
        (lambda d: d["clear"].update(nonce="00"), "length"),
        (lambda d: d.update(ciphertext="zz"), "regex"),
        (lambda d: d.pop("ciphertext"), "ciphertext"),
    ],
)
def test_a_file_of_another_kind_is_named_and_costs_nothing(tmp_path: Path, change, reason: str) -> None:
    path = tmp_path / "a.key"
    make().save(path, PASSPHRASE, CHEAP)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(KeyFileInvalid, match=reason):
        KeyFile.load(path, PASSPHRASE)


def test_no_secret_in_text_or_pickles(tmp_path: Path) -> None:
    ring = KeyRing()
    index = ring.create(SigningSuite.ED25519, ParticipantId(20), Role.ACCOUNT)
    secret = ring._secrets[index]
    key = KeyFile(ring)
    path = tmp_path / "a.key"
    key.save(path, PASSPHRASE, CHEAP)
    for text in (repr(ring), repr(key), str(key.info), path.read_text()):
        assert secret.hex() not in text
        assert repr(secret)[2:-1] not in text
    for value in (ring, key):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(value)


def test_a_public_key_that_is_not_its_secrets_is_refused() -> None:
    ring = KeyRing()
    ring.create(SigningSuite.ED25519, ParticipantId(20), Role.ACCOUNT)
    with pytest.raises(ValueError, match="public key"):
        KeyRing([ring[0]], [bytes(range(32))])


def test_a_ring_of_thousands_pays_for_one_derivation(tmp_path: Path) -> None:
    ring = KeyRing()
    for number in range(2_000):
        index = ring.create(SigningSuite.ED25519, ParticipantId(20), Role.ACCOUNT)
        ring.set_key_id(index, KeyId(number + 1))
    ring.save(tmp_path / "ring.json", PASSPHRASE, CHEAP)
    started = time.monotonic()
    again = KeyRing.load(tmp_path, PASSPHRASE)
    assert time.monotonic() - started < 10
    assert list(again) == list(ring)
    assert again.index_of(1_500) == 1_499


def test_a_directory_is_its_ring_and_its_key_files(tmp_path: Path) -> None:
    ring = KeyRing()
    ring.create(SigningSuite.SM2, ParticipantId(20), Role.ACCOUNT)
    ring.save(tmp_path / "ring.json", PASSPHRASE, CHEAP)
    make().save(tmp_path / "b.key", PASSPHRASE, CHEAP)
    make().save(tmp_path / "a.key", PASSPHRASE, CHEAP)
    assert [info.suite for info in KeyRing.load(tmp_path, PASSPHRASE)] == [2, 1, 1]
    (tmp_path / "empty").mkdir()
    with pytest.raises(KeyFileInvalid, match="neither"):
        KeyRing.load(tmp_path / "empty", PASSPHRASE)


def test_a_passphrase_comes_from_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(b"correct horse\n")
    path.chmod(0o600)
    assert read_passphrase(path) == PASSPHRASE
    path.chmod(0o644)
    with pytest.raises(KeyFileExposed):
        read_passphrase(path)
    path.chmod(0o600)
    for content in (b"", b"\n", b"x" * 1025):
        path.write_bytes(content)
        with pytest.raises(KeyFileInvalid):
            read_passphrase(path)
