"""A key for a chain that is not ours, on disk: one secret of the curve secp256k1 in a container like the others.

It promises what the containers of signing keys promise (clearspan.keys): mode 0600, AES-256-GCM under scrypt of a
passphrase that comes from a file, everything in the clear authenticated with the secret. The secret is shown by
nothing and leaves only into a signer. Needs the extra ``evm``.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, Self

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge.evm.transaction import signer_of
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

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.evm.transaction import Signer

__all__ = ["ChainKey"]

_KIND: Final = "clearspan-chain-key"
_FORMAT: Final = 1
_CURVE: Final = "secp256k1"
_CIPHER: Final = "aes-256-gcm"
_SECRET_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_FILE_BYTES_MAX: Final = 1 << 16
# The order of the curve's group: a secret is from 1 to one less.
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class _Clear(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything but the ciphertext; its encoding is the associated data."""

    kind: str
    format: int
    curve: str
    address: str
    derivation: Derivation
    cipher: str
    nonce: HexText


class _Container(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    clear: _Clear
    ciphertext: HexText


class ChainKey:
    """One key and its address; ``signer`` is all that the rest of the process gets of it."""

    __slots__ = ("_secret", "address")

    def __init__(self, secret: bytes) -> None:
        """Take a secret of 32 bytes. Raises ValueError for a number that is no secret of the curve."""
        if len(secret) != _SECRET_BYTES or not 0 < int.from_bytes(secret, "big") < _ORDER:
            message = "no secret of the curve"
            raise ValueError(message)
        self._secret = secret
        self.address = signer_of(secret).address

    def __repr__(self) -> str:
        """Show the address and nothing of the secret."""
        return f"<ChainKey {self.address}>"

    def __reduce__(self) -> tuple[object, ...]:
        """Refuse to be pickled: the secret stays in this process."""
        message = "a ChainKey is not pickled: its secret stays in this process"
        raise TypeError(message)

    @classmethod
    def create(cls) -> Self:
        """Make a key from the system's randomness."""
        return cls((secrets.randbelow(_ORDER - 1) + 1).to_bytes(_SECRET_BYTES, "big"))

    def signer(self) -> Signer:
        """Return what signs digests with it."""
        return signer_of(self._secret)

    def save(self, path: Path, passphrase: bytes, cost: ScryptCost | None = None) -> None:
        """Write the container, synced, with mode 0600, replacing what was there in one step."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        clear = _Clear(
            kind=_KIND,
            format=_FORMAT,
            curve=_CURVE,
            address=self.address,
            derivation=new_derivation(cost if cost is not None else ScryptCost()),
            cipher=_CIPHER,
            nonce=nonce.hex(),
        )
        sealed = AESGCM(derive(passphrase, clear.derivation)).encrypt(nonce, self._secret, _associated(clear))
        content = msgspec.json.encode(_Container(clear=clear, ciphertext=sealed.hex()))
        write_private(path, msgspec.json.format(content, indent=1) + b"\n")

    @classmethod
    def load(cls, path: Path, passphrase: bytes) -> Self:
        """Read a container. Raises KeyFileExposed, KeyFileInvalid or PassphraseWrong, naming the file."""
        container = _decode(path)
        clear = container.clear
        nonce, sealed = bytes.fromhex(clear.nonce), bytes.fromhex(container.ciphertext)
        if clear.cipher != _CIPHER or clear.curve != _CURVE or not is_known(clear.derivation):
            raise KeyFileInvalid(str(path), "curve, cipher or derivation is not known here")
        if len(nonce) != _NONCE_BYTES or len(sealed) != _SECRET_BYTES + _TAG_BYTES:
            raise KeyFileInvalid(str(path), "nonce or ciphertext has the wrong length")
        try:
            opened = AESGCM(derive(passphrase, clear.derivation)).decrypt(nonce, sealed, _associated(clear))
        except InvalidTag as error:
            raise PassphraseWrong(str(path)) from error
        try:
            key = cls(opened)
        except ValueError as error:
            raise KeyFileInvalid(str(path), str(error)) from error
        if key.address != clear.address:
            raise KeyFileInvalid(str(path), "the address is not that of the secret")
        return key

    @staticmethod
    def address_in(path: Path) -> str:
        """Return the address that a container says it is of, without its passphrase. Raises KeyFileError."""
        return _decode(path).clear.address


def _decode(path: Path) -> _Container:
    try:
        container = msgspec.json.decode(read_private(path, _FILE_BYTES_MAX), type=_Container)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeyFileInvalid(str(path), f"no container: {error}") from error
    if container.clear.kind != _KIND or container.clear.format != _FORMAT:
        kind = container.clear.kind[:40]
        raise KeyFileInvalid(str(path), f"format {container.clear.format} of kind {kind!r} is not known here")
    return container


def _associated(clear: _Clear) -> bytes:
    return msgspec.json.encode(clear, order="sorted")
