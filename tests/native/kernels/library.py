"""The C entries of the signature kernels, loaded from a shared library that the tests build for themselves.

What the binding does not offer is tested here: digests that no message leads to, foretold seeds, hints and tables as
they are handed to the kernel. Objects are kept below build/, named by what they were made of, so that a second build
compiles only what has changed.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import hashlib
import os
import shutil
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
NATIVE: Final = ROOT / "native"
HERE: Final = Path(__file__).parent
STORE: Final = ROOT / "build" / "kernel-tests"
# Folders that are no part of the signature kernels.
LEFT_OUT: Final = ("apply", "merkle")
# Warnings are the build's own affair; here kernels that were broken on purpose are compiled, too.
FLAGS: Final = ("-std=c11", "-O1", "-g1", "-fPIC", "-fno-strict-aliasing", "-w")
REAL, FAKED = "real", "faked"
COMPILER: Final = shutil.which("gcc") or "cc"
KEPT_MAX: Final = 400  # objects; an edit of a header makes some thirty new ones
SEED: Final = bytes(range(32))
FAULTS: Final = {
    1: {-1: "not_canonical", -2: "not_on_curve", -3: "small_order", -4: "mixed_order"},
    2: {-1: "not_canonical", -2: "not_on_curve"},
    3: {-1: "not_canonical", -2: "not_on_curve"},
}


def sources(*, faked_hashes: bool = False) -> list[Path]:
    """Return the C files of the kernels and of the shim, with the hashes replaced where that is asked for."""
    found = [
        path
        for path in sorted(NATIVE.rglob("*.c"))
        if path.parent != NATIVE and path.relative_to(NATIVE).parts[0] not in LEFT_OUT
    ]
    if faked_hashes:
        found = [path for path in found if not path.name.startswith(("sha256", "sm3"))] + [HERE / "fake_hashes.c"]
    return [*found, HERE / "shim.c"]


def compile_object(source: Path, compiler: str, flags: tuple[str, ...], includes: tuple[str, ...] = ()) -> Path:
    """Return the object of a source, compiled unless one made of the same bytes with the same flags is kept."""
    command = [compiler, *flags, f"-I{NATIVE}", f"-I{HERE}", *(f"-I{folder}" for folder in includes)]
    listed = subprocess.run(
        [*command, "-MM", str(source)], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    named = hashlib.sha256("\0".join((compiler, *flags)).encode())
    for name in listed.replace("\\\n", " ").split()[1:]:
        named.update(Path(name).read_bytes())
    target = STORE / f"{source.parent.name}-{source.stem}-{named.hexdigest()[:24]}.o"
    if not target.exists():
        STORE.mkdir(parents=True, exist_ok=True)
        made = target.with_suffix(f".{os.getpid()}")
        subprocess.run([*command, "-c", str(source), "-o", str(made)], check=True, timeout=600)
        made.replace(target)
    return target


def compile_objects(
    found: list[Path], compiler: str, flags: tuple[str, ...], includes: tuple[str, ...] = ()
) -> list[str]:
    """Return the objects of sources; one process compiles and others wait, so that nothing is compiled twice."""
    STORE.mkdir(parents=True, exist_ok=True)
    with (STORE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(lambda source: str(compile_object(source, compiler, flags, includes)), found))
        kept = sorted(STORE.glob("*.o"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[KEPT_MAX:]:
            if str(path) not in made:
                path.unlink(missing_ok=True)
        return made


def build(target: Path, *, faked_hashes: bool = False, extra: tuple[str, ...] = ()) -> Path:
    """Build a shared library; raises CalledProcessError where a source does not compile."""
    objects = compile_objects(sources(faked_hashes=faked_hashes), COMPILER, (*FLAGS, *extra))
    subprocess.run([COMPILER, "-shared", "-o", str(target), *extra, *objects], check=True, timeout=120)
    return target


@dataclass(frozen=True, slots=True)
class Items:
    """What a batch is: each item a key, a signature and a message; all messages of one length."""

    public_keys: tuple[bytes, ...]
    signatures: tuple[bytes, ...]
    messages: tuple[bytes, ...]

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.signatures)


class Kernels:
    """The entries of one library, as functions of bytes."""

    def __init__(self, path: Path) -> None:
        """Load the library and let it reach as high as this CPU does."""
        self._library = ctypes.CDLL(str(path))
        self._library.shim_key_bytes.restype = ctypes.c_size_t
        self.set_variant(2)

    def set_variant(self, level: int) -> None:
        """Hold the kernels down to a level: 0 portable, 1 AVX2, 2 AVX-512 IFMA."""
        self._library.shim_set_variant(level)

    def batch_available(self, suite: int) -> bool:
        """Say whether the batch entry of a suite runs here."""
        return bool(self._library.shim_batch_available(suite))

    def verify(self, suite: int, public_key: bytes, signature: bytes, message: bytes) -> bool | str:
        """Return the verdict on one item, or the fault of its key."""
        code = self._library.shim_verify(suite, public_key, signature, message, ctypes.c_size_t(len(message)))
        return FAULTS[suite][code] if code < 0 else code == 1

    def verify_digest(self, suite: int, public_key: bytes, signature: bytes, digest: bytes) -> bool | str:
        """Return the verdict on one item whose digest is given, or the fault of its key."""
        code = self._library.shim_verify_digest(suite, public_key, signature, digest)
        return FAULTS[suite][code] if code < 0 else code == 1

    def verify_batch(
        self, suite: int, items: Items, *, hints: bytes | None = None, seed: bytes = SEED, tables: bool = False
    ) -> tuple[list[bool], bytes]:
        """Return the verdicts of a batch and the hints that it made; keys must be good ones."""
        count = len(items)
        distinct = list(dict.fromkeys(items.public_keys))
        place = {key: at for at, key in enumerate(distinct)}
        verdicts, hints_out = (
            ctypes.create_string_buffer(b"\xee" * count, count),
            ctypes.create_string_buffer(32 * count),
        )
        code = self._library.shim_verify_batch(
            suite,
            verdicts,
            hints_out,
            b"".join(distinct),
            ctypes.c_size_t(len(distinct)),
            struct.pack(f"={count}I", *(place[key] for key in items.public_keys)),
            b"".join(items.signatures),
            b"".join(items.messages),
            hints,
            ctypes.c_size_t(count),
            ctypes.c_size_t(len(items.messages[0]) if count else 0),
            int(tables),
            seed,
        )
        assert code == 0, code
        assert set(verdicts.raw) <= {0, 1}
        return [verdict == 1 for verdict in verdicts.raw], hints_out.raw


@functools.cache
def kernels(kind: str = REAL) -> Kernels:
    """Return the library of this process, built on first use: of the kernels as they are, or with faked hashes."""
    STORE.mkdir(parents=True, exist_ok=True)
    path = STORE / f"{kind}-{os.getpid()}.so"  # gone once it is loaded
    try:
        build(path, faked_hashes=kind == FAKED)
        return Kernels(path)
    finally:
        path.unlink(missing_ok=True)
