"""Intel's crypto_mb as a peer: a small harness, compiled into a temporary folder where the library is installed.

It comes with the packages ipp-crypto-static and ipp-crypto-include, which are not needed for anything else. Its
verdicts are not ours: it accepts S of L and above, keys that are not canonical, and SM2 keys off the curve.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bench.signed import SignedItems

__all__ = ["CryptoMb", "PeerMissingError", "installed"]

_SOURCE: Final = Path(__file__).with_name("crypto_mb.c")
_FLAGS: Final = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-DBN_OPENSSL_DISABLE")
# With OpenSSL's development files, and without them.
_LIBCRYPTO: Final = ("-lcrypto", "-l:libcrypto.so.3")
_COMPILE_S: Final = 60


class PeerMissingError(Exception):
    """A peer cannot be measured here; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


class CryptoMb:
    """The compiled harness, loaded into this process."""

    def __init__(self) -> None:
        """Compile and load it; raises PeerMissingError."""
        archive = installed("ipp-crypto-static", "libcrypto_mb.a")
        headers = installed("ipp-crypto-include", "crypto_mb/ed25519.h").parent.parent
        compiler = shutil.which("gcc")
        if compiler is None:
            raise PeerMissingError("gcc is missing: install Debian's package gcc")
        with tempfile.TemporaryDirectory(prefix="clearspan-peer-") as folder:
            # Once loaded it stays, and the file may go.
            self._library = ctypes.CDLL(str(_compile(compiler, archive, headers, Path(folder) / "peer.so")))
        self.version = metadata.version("ipp-crypto-static")

    def verify(self, items: SignedItems, count: int) -> bytes:
        """Verify the first count items; return a byte for each, by this library's rule. Raises PeerMissingError."""
        return self.prepared(items)(count)

    def prepared(self, items: SignedItems) -> _Verifier:
        """Lay out a batch as the harness wants it, outside of what is timed."""
        return _Verifier(self._library, items)

    def sm3(self, rows: bytes, row_bytes: int) -> bytes:
        """Return SM3 of each row, 32 bytes each. Raises PeerMissingError."""
        count = len(rows) // row_bytes
        out = ctypes.create_string_buffer(32 * count)
        _checked(self._library.peer_sm3(out, rows, ctypes.c_size_t(count), ctypes.c_size_t(row_bytes)))
        return out.raw


class _Verifier:
    """One batch, ready to be verified again and again."""

    def __init__(self, library: ctypes.CDLL, items: SignedItems) -> None:
        """Repeat each item's key beside it, in the order in which the lanes take them."""
        self._function = getattr(library, f"peer_{items.scheme}")
        self._keys = items.public_keys[items.key_numbers()].tobytes()
        self._signatures, self._messages = items.spoiled.tobytes(), items.messages.tobytes()
        self._message_bytes = items.messages.shape[1]
        self._out = ctypes.create_string_buffer(len(items))

    def __call__(self, count: int) -> bytes:
        """Verify the first count items."""
        sizes = ctypes.c_size_t(count), ctypes.c_size_t(self._message_bytes)
        _checked(self._function(self._out, self._keys, self._signatures, self._messages, *sizes))
        return self._out.raw[:count]


def _checked(code: int) -> None:
    if code:
        raise PeerMissingError("this CPU lacks AVX-512 IFMA, which crypto_mb needs")


def installed(package: str, ending: str) -> Path:
    """Return a file of an installed package; raises PeerMissingError."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if str(file).endswith(ending):
            return Path(str(file.locate())).resolve()
    raise PeerMissingError("not installed")


def _compile(compiler: str, archive: Path, headers: Path, target: Path) -> Path:
    words = [compiler, *_FLAGS, "-isystem", str(headers), str(_SOURCE), str(archive)]
    for libcrypto in _LIBCRYPTO:
        done = subprocess.run(  # noqa: S603
            [*words, libcrypto, "-o", str(target)], capture_output=True, text=True, timeout=_COMPILE_S, check=False
        )
        if done.returncode == 0:
            return target
    raise PeerMissingError("its harness does not compile: " + done.stderr.strip().rpartition("\n")[2])
