"""Secrets on disk, whatever they sign for: derivation of a key from a passphrase, files that only their owner reads.

It promises that a file which others may read is not opened, that a file is replaced whole and synced or not at all, and
that a hostile file cannot choose a derivation that takes the machine.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from clearspan.errors import KeyFileExposed, KeyFileInvalid

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Derivation",
    "HexText",
    "ScryptCost",
    "derive",
    "is_known",
    "new_derivation",
    "read_private",
    "write_private",
]

_SALT_BYTES: Final = 16
_KEY_BYTES: Final = 32
# A file chooses its own cost, so a bound keeps a hostile one from taking the machine: 1 GiB, and 16 lanes.
_COST_N_MAX: Final = 1 << 20
_COST_R_MAX: Final = 8
_COST_P_MAX: Final = 16

HexText = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{2})*$")]
"""Bytes as lower-case hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """Cost of one derivation: memory is 128 x n x r bytes. The default takes about 0.1 s and 32 MiB."""

    n: int = 1 << 15
    r: int = 8
    p: int = 1


class Derivation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a container's key follows from its passphrase."""

    name: str
    n: Annotated[int, msgspec.Meta(ge=2, le=_COST_N_MAX)]
    r: Annotated[int, msgspec.Meta(ge=1, le=_COST_R_MAX)]
    p: Annotated[int, msgspec.Meta(ge=1, le=_COST_P_MAX)]
    salt: HexText


def new_derivation(cost: ScryptCost) -> Derivation:
    """Return a derivation with a salt of its own."""
    return Derivation(name="scrypt", n=cost.n, r=cost.r, p=cost.p, salt=secrets.token_bytes(_SALT_BYTES).hex())


def is_known(derivation: Derivation) -> bool:
    """Say whether this is a derivation that ``derive`` can do."""
    return (
        derivation.name == "scrypt"
        and not derivation.n & (derivation.n - 1)
        and len(derivation.salt) == 2 * _SALT_BYTES
    )


def derive(passphrase: bytes, derivation: Derivation) -> bytes:
    """Return the 32 bytes that seal and open a container; takes as long as the derivation's cost says."""
    salt = bytes.fromhex(derivation.salt)
    return Scrypt(salt=salt, length=_KEY_BYTES, n=derivation.n, r=derivation.r, p=derivation.p).derive(passphrase)


def read_private(path: Path, size_max: int) -> bytes:
    """Read a file that only its owner may read; the check is on the open file, so it cannot be swapped in between.

    Raises KeyFileExposed, KeyFileInvalid.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            mode = stat.S_IMODE(status.st_mode)
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileInvalid(str(path), "not a regular file")
            if mode & 0o077:
                raise KeyFileExposed(str(path), mode)
            content = file.read(size_max + 1)
    except OSError as error:
        raise KeyFileInvalid(str(path), error.strerror or "cannot be read") from error
    if len(content) > size_max:
        raise KeyFileInvalid(str(path), f"larger than {size_max} bytes")
    return content


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600, synced, replacing what was there in one step."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
