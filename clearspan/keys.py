"""Signing keys on disk: one encrypted container for all suites, of one key or many; secrets never leave it in text.

A container is a JSON document of mode 0600. What it says in the clear (suite, key id, participant, role, public key) is
authenticated together with the secrets: AES-256-GCM under a key that scrypt derives from a passphrase, with the whole
clear part as associated data. So nothing in it can be changed, dropped or swapped without the passphrase. Many keys
share one derivation, because scrypt is slow on purpose.

TLS keys never stand here (clearspan.pki). A passphrase comes from a file only, never from an argument or a variable.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Final, Self

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clearspan.errors import KeyFileInvalid, PassphraseWrong
from clearspan.private_files import (
    Derivation,
    HexText,
    ScryptCost,
    derive,
    is_known,
    new_derivation,
    read_private,
    write_private,
)
from engine.types import KeyId, ParticipantId, Role, SigningSuite
from native.errors import KeyRejected
from native.signatures import SigningKeys, public_key, sign

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["FORMAT", "KeyFile", "KeyInfo", "KeyRing", "ScryptCost", "read_passphrase"]

FORMAT: Final = 1
_KIND: Final = "clearspan-keys"
_SECRET_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_PASSPHRASE_BYTES_MAX: Final = 1024
# A ring of 100,000 keys is some 25 MB; more in one file is a mistake.
_FILE_BYTES_MAX: Final = 64 << 20
_RING_NAME: Final = "ring.json"
_SUFFIX: Final = ".key"
_GENERATE_TRIES_MAX: Final = 16
_UNREGISTERED: Final = KeyId(0)

_U32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What a container says of a key in the clear. key_id is 0 until the ledger has registered it."""

    suite: SigningSuite
    participant: ParticipantId
    role: Role
    public_key: bytes
    key_id: KeyId = _UNREGISTERED


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    suite: int
    key_id: _U32
    participant: _U32
    role: int
    public_key: HexText


class _Clear(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything but the ciphertext; its encoding is the associated data."""

    kind: str
    format: int
    derivation: Derivation
    cipher: str
    nonce: HexText
    keys: list[_Entry]


class _Container(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    clear: _Clear
    ciphertext: HexText


class KeyRing:
    """Keys with their secrets in memory, in an order that does not change: index i is the i-th key.

    Secrets are held twice: in native SigningKeys, which wipes them, and as bytes for saving again. Neither is shown by
    repr, pickled or compared.
    """

    __slots__ = ("_infos", "_secrets", "_signing")

    def __init__(self, infos: Iterable[KeyInfo] = (), key_secrets: Iterable[bytes] = ()) -> None:
        """Take keys and their secrets of 32 bytes, pairwise; raises ValueError where the two do not belong together."""
        self._signing = SigningKeys()
        self._infos: list[KeyInfo] = []
        self._secrets: list[bytes] = []
        for info, secret in zip(infos, key_secrets, strict=True):
            self._add(info, secret)

    def __repr__(self) -> str:
        """Show how many keys there are and nothing of them."""
        return f"<KeyRing of {len(self)} keys>"

    def __reduce__(self) -> tuple[object, ...]:
        """Refuse to be pickled: secrets stay in this process."""
        message = "a KeyRing is not pickled: secrets stay in this process"
        raise TypeError(message)

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._infos)

    def __iter__(self) -> Iterator[KeyInfo]:
        """Iterate over what is known of the keys, in order."""
        return iter(self._infos)

    def __getitem__(self, index: int) -> KeyInfo:
        """Return what is known of one key."""
        return self._infos[index]

    @property
    def signing_keys(self) -> SigningKeys:
        """The native keys, at the same indexes, for sign_batch."""
        return self._signing

    def index_of(self, key_id: int) -> int:
        """Return the index of a registered key. Raises KeyError."""
        for index, info in enumerate(self._infos):
            if info.key_id == key_id:
                return index
        raise KeyError(key_id)

    def create(self, suite: SigningSuite, participant: ParticipantId, role: Role) -> int:
        """Make a key from the system's randomness and return its index. Raises UnknownSuite."""
        secret, public = _generate(suite)
        return self._add(KeyInfo(suite, participant, role, public), secret)

    def set_key_id(self, index: int, key_id: KeyId) -> None:
        """Note the id under which the ledger registered a key; save the ring to keep it."""
        self._infos[index] = replace(self._infos[index], key_id=key_id)

    def sign(self, index: int, message: bytes) -> bytes:
        """Sign one message with one key, 64 bytes; batches go through signing_keys."""
        return sign(self._infos[index].suite, self._secrets[index], message)

    def save(self, path: Path, passphrase: bytes, cost: ScryptCost | None = None) -> None:
        """Write all keys as one container, synced, replacing what was there in one step."""
        content = _seal(self._infos, self._secrets, passphrase, cost if cost is not None else ScryptCost())
        write_private(path, content)

    @classmethod
    def load(cls, path: Path, passphrase: bytes) -> Self:
        """Read one container, or a directory of them: its ring.json, then its *.key files by name.

        Raises KeyFileExposed, KeyFileInvalid or PassphraseWrong, naming the file.
        """
        ring = cls()
        paths = [path]
        if path.is_dir():
            paths = [*([path / _RING_NAME] * (path / _RING_NAME).exists()), *sorted(path.glob(f"*{_SUFFIX}"))]
            if not paths:
                raise KeyFileInvalid(str(path), f"holds neither {_RING_NAME} nor *{_SUFFIX}")
        for each in paths:
            for info, secret in _open(read_private(each, _FILE_BYTES_MAX), each, passphrase):
                try:
                    ring._add(info, secret)
                except (ValueError, KeyRejected) as error:
                    raise KeyFileInvalid(str(each), "a public key is not that of its secret") from error
        return ring

    def _add(self, info: KeyInfo, secret: bytes) -> int:
        index = self._signing.register(info.suite, secret)
        if self._signing.public_key(index) != info.public_key:
            message = "the public key is not that of the secret"
            raise ValueError(message)
        self._infos.append(info)
        self._secrets.append(secret)
        return index


class KeyFile:
    """A container that holds exactly one key; the form in which a person's or an institution's key is kept."""

    __slots__ = ("_ring",)

    def __init__(self, ring: KeyRing) -> None:
        """Take a ring of one key. Raises ValueError for any other number."""
        if len(ring) != 1:
            message = f"a key file holds one key, not {len(ring)}"
            raise ValueError(message)
        self._ring = ring

    def __repr__(self) -> str:
        """Show the key without its secret."""
        return f"<KeyFile {self.info}>"

    def __reduce__(self) -> tuple[object, ...]:
        """Refuse to be pickled, as the ring does."""
        return self._ring.__reduce__()

    @property
    def info(self) -> KeyInfo:
        """What is known of the key."""
        return self._ring[0]

    @property
    def ring(self) -> KeyRing:
        """The same key as a ring of one."""
        return self._ring

    @classmethod
    def create(cls, suite: SigningSuite, participant: ParticipantId, role: Role) -> Self:
        """Make a key from the system's randomness. Raises UnknownSuite."""
        ring = KeyRing()
        ring.create(suite, participant, role)
        return cls(ring)

    @classmethod
    def load(cls, path: Path, passphrase: bytes) -> Self:
        """Read one key. Raises KeyFileExposed, KeyFileInvalid (also for another number of keys) or PassphraseWrong."""
        ring = KeyRing.load(path, passphrase)
        if len(ring) != 1:
            raise KeyFileInvalid(str(path), f"holds {len(ring)} keys where one is demanded")
        return cls(ring)

    def save(self, path: Path, passphrase: bytes, cost: ScryptCost | None = None) -> None:
        """Write the key, synced, with mode 0600, replacing what was there in one step."""
        self._ring.save(path, passphrase, cost)

    def set_key_id(self, key_id: KeyId) -> None:
        """Note the id under which the ledger registered the key."""
        self._ring.set_key_id(0, key_id)

    def sign(self, message: bytes) -> bytes:
        """Sign one message, 64 bytes."""
        return self._ring.sign(0, message)


def read_passphrase(path: Path) -> bytes:
    """Read a passphrase from a file of mode 0600, without its last line end.

    Raises KeyFileExposed when others may read the file, KeyFileInvalid when it is missing, empty or longer than 1 KiB.
    """
    content = read_private(path, _PASSPHRASE_BYTES_MAX + 2)
    passphrase = content.removesuffix(b"\n").removesuffix(b"\r")
    if not passphrase or len(passphrase) > _PASSPHRASE_BYTES_MAX:
        raise KeyFileInvalid(str(path), f"a passphrase has 1 to {_PASSPHRASE_BYTES_MAX} bytes")
    return passphrase


def _generate(suite: SigningSuite) -> tuple[bytes, bytes]:
    """Return a new secret and its public key; SM2 and P-256 refuse about one of 2^32 secrets, drawn again."""
    for _ in range(_GENERATE_TRIES_MAX):
        secret = secrets.token_bytes(_SECRET_BYTES)
        try:
            return secret, public_key(suite, secret)
        except KeyRejected:
            continue
    message = f"suite {suite} refuses every secret"
    raise RuntimeError(message)


def _seal(infos: Sequence[KeyInfo], key_secrets: Sequence[bytes], passphrase: bytes, cost: ScryptCost) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    clear = _Clear(
        kind=_KIND,
        format=FORMAT,
        derivation=new_derivation(cost),
        cipher="aes-256-gcm",
        nonce=nonce.hex(),
        keys=[
            _Entry(
                suite=info.suite,
                key_id=info.key_id,
                participant=info.participant,
                role=info.role,
                public_key=info.public_key.hex(),
            )
            for info in infos
        ],
    )
    sealed = AESGCM(derive(passphrase, clear.derivation)).encrypt(nonce, b"".join(key_secrets), _associated(clear))
    return msgspec.json.format(msgspec.json.encode(_Container(clear=clear, ciphertext=sealed.hex())), indent=1) + b"\n"


def _open(content: bytes, path: Path, passphrase: bytes) -> list[tuple[KeyInfo, bytes]]:
    try:
        container = msgspec.json.decode(content, type=_Container)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeyFileInvalid(str(path), f"no container: {error}") from error
    clear = container.clear
    if clear.kind != _KIND or clear.format != FORMAT:
        raise KeyFileInvalid(str(path), f"format {clear.format} of kind {clear.kind[:40]!r} is not known here")
    derivation = clear.derivation
    nonce, sealed = bytes.fromhex(clear.nonce), bytes.fromhex(container.ciphertext)
    expected = _SECRET_BYTES * len(clear.keys) + _TAG_BYTES
    if clear.cipher != "aes-256-gcm" or not is_known(derivation):
        raise KeyFileInvalid(str(path), "cipher or derivation is not known here")
    if len(nonce) != _NONCE_BYTES or len(sealed) != expected:
        raise KeyFileInvalid(str(path), "nonce or ciphertext has the wrong length")
    try:
        opened = AESGCM(derive(passphrase, derivation)).decrypt(nonce, sealed, _associated(clear))
    except InvalidTag as error:
        raise PassphraseWrong(str(path)) from error
    try:
        infos = [_info(entry) for entry in clear.keys]
    except ValueError as error:
        raise KeyFileInvalid(str(path), str(error)) from error
    return [
        (info, opened[start : start + _SECRET_BYTES])
        for info, start in zip(infos, range(0, len(opened), _SECRET_BYTES), strict=True)
    ]


def _info(entry: _Entry) -> KeyInfo:
    return KeyInfo(
        SigningSuite(entry.suite),
        ParticipantId(entry.participant),
        Role(entry.role),
        bytes.fromhex(entry.public_key),
        KeyId(entry.key_id),
    )


def _associated(clear: _Clear) -> bytes:
    return msgspec.json.encode(clear, order="sorted")
