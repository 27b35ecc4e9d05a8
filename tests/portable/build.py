"""Builds the kernels' self-test for a target, writes out the vectors, and runs the one on the other.

python -m tests.portable [TARGET ...]

A target is a compiler with its flags and, where this machine is another one, an emulator. All kernels are compiled and
linked in, the ledger's too, with the flags that the extensions are built with; the program is static.
"""

from __future__ import annotations

import hashlib
import platform
import runpy
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from native.twins import hashing as twin
from tests.vectors import signature_files

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]
CODES: Final = {None: 0, "not_canonical": -1, "not_on_curve": -2, "small_order": -3, "mixed_order": -4}
HASHES: Final = {
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "sha512": lambda data: hashlib.sha512(data).digest(),
    "sm3": twin.sm3,
}
HASHED_BYTES: Final = (*range(150), 183, 184, 191, 192, 193, 239, 240, 241, 255, 256, 257, 1000, 4096)
LEAVES: Final = (*range(36), 63, 64, 65, 127, 128, 129, 255, 256, 257, 300)
# Batches as large as that take every path of a large one; an emulator is twenty times as slow.
FILLED: Final = 512
FILLED_EMULATED: Final = 40
COMPILE_S: Final = 240
RUN_S: Final = 240


@dataclass(frozen=True, slots=True)
class Tool:
    """A program and the Debian package that has it."""

    program: str
    package: str


@dataclass(frozen=True, slots=True)
class Build:
    """One compiler and its flags beside those of the extensions."""

    name: str
    compiler: Tool
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """Where a build runs. variants: those that must have run, exactly; None: whatever this machine has."""

    name: str
    title: str
    build: Build
    emulator: Tool | None = None
    options: tuple[str, ...] = ()
    variants: tuple[str, ...] | None = None

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What must be installed."""
        return (self.build.compiler,) if self.emulator is None else (self.build.compiler, self.emulator)


# What runs on any x86-64: the kernels open wider instruction sets file by file, and only call them where they are.
# Less optimised than what ships, which all other tests run. On another machine this build is that machine's own.
_X86_64: Final = platform.machine() in {"x86_64", "AMD64"}
OWN: Final = Build("own", Tool("gcc", "gcc"), ("-O1", *(("-march=x86-64", "-mno-avx") if _X86_64 else ())))
ARM: Final = Build("aarch64", Tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"))
QEMU_X86_64: Final = Tool("qemu-x86_64", "qemu-user")
_NATIVE: Final = Target("native", "this machine, every variant forced in turn", OWN)
_ARM: Final = Target("aarch64", "64-bit Arm", ARM, emulator=Tool("qemu-aarch64", "qemu-user"), variants=("scalar",))
_EMULATED: Final = (
    Target(
        "no-avx", "x86-64 without AVX", OWN, emulator=QEMU_X86_64, options=("-cpu", "Nehalem"), variants=("scalar",)
    ),
    Target(
        "avx2",
        "x86-64 with AVX2 and without AVX-512",
        OWN,
        emulator=QEMU_X86_64,
        options=("-cpu", "max"),
        variants=("scalar", "avx2"),
    ),
)
TARGETS: Final = {target.name: target for target in (_NATIVE, _ARM, *(_EMULATED if _X86_64 else ()))}


def sources() -> list[Path]:
    """Return the C files of every kernel; what Cython writes stands one folder higher."""
    return sorted((ROOT / "native").glob("*/**/*.c"))


def compiled(build: Build, folder: Path, workers: int = 2) -> Path:
    """Compile and link into a folder; raises AssertionError with the compiler's words."""
    setup = runpy.run_path(str(ROOT / "setup.py"), run_name="setup of the portable tests")
    setup["generate_codes"]()
    flags = [*setup["C_FLAGS"], *build.flags, f"-I{ROOT / 'native'}"]
    program = ROOT / "tests" / "portable" / "selftest.c"

    def object_of(number: int, source: Path) -> str:
        out = folder / f"{number}-{source.stem}.o"
        _call([build.compiler.program, *flags, "-c", str(source), "-o", str(out)])
        return str(out)

    with ThreadPoolExecutor(workers) as pool:
        objects = list(pool.map(object_of, *zip(*enumerate([program, *sources()]), strict=True)))
    out = folder / "selftest"
    _call([build.compiler.program, "-static", *objects, "-o", str(out)])
    return out


def _call(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=COMPILE_S, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def run(target: Target, program: Path, lines: str, timeout_s: float = RUN_S) -> list[str]:
    """Run it on vectors and return what it printed, a line for each variant; raises AssertionError."""
    words = [str(program), str(FILLED if target.emulator is None else FILLED_EMULATED)]
    if target.emulator is not None:
        words = [target.emulator.program, *target.options, *words]
    done = subprocess.run(words, input=lines, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{target.title}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout.splitlines()


def vectors() -> str:
    """Return all vectors as the program reads them."""
    return "\n".join([*_signature_lines(), *_hash_lines(), *_merkle_lines()]) + "\n"


def _signature_lines() -> Iterator[str]:
    for suite in signature_files.SUITES:
        keys: dict[bytes, int] = {}
        for case in signature_files.load(suite):
            key, signature = case.public_key.hex(), case.signature.hex()
            # What has another length never reaches the kernels: the binding refuses it.
            if len(case.public_key) != signature_files.KEY_BYTES[suite]:
                continue
            keys[case.public_key] = CODES[case.key_fault]
            if case.key_fault is not None or len(case.signature) != signature_files.SIGNATURE_BYTES:
                continue
            if case.message is not None:
                yield f"item {suite} {key} {signature} {_hex(case.message)} {int(case.accept)}"
            elif case.digest is not None:
                yield f"digest {suite} {key} {signature} {case.digest.hex()} {int(case.accept)}"
            if case.secret is not None and case.message is not None and case.accept:
                yield f"sign {suite} {case.secret.hex()} {key} {_hex(case.message)} {signature}"
        for public_key, code in keys.items():
            yield f"key {suite} {public_key.hex()} {code}"


def _hash_lines() -> Iterator[str]:
    for name, function in HASHES.items():
        for count in HASHED_BYTES:
            message = hashlib.shake_256(name.encode()).digest(count)
            yield f"hash {name} {_hex(message)} {function(message).hex()}"


def _merkle_lines() -> Iterator[str]:
    for suite in (twin.SUITE_SHA256, twin.SUITE_SM3):
        hashes = [twin.leaf_hash(suite, number.to_bytes(8, "little")) for number in range(max(LEAVES))]
        for count in LEAVES:
            yield f"merkle {suite} {count} {twin.merkle_root(suite, b''.join(hashes[:count])).hex()}"


def _hex(data: bytes) -> str:
    return data.hex() or "-"


def missing(target: Target) -> list[Tool]:
    """Return what is not installed."""
    return [tool for tool in target.tools if shutil.which(tool.program) is None]


def check(target: Target, program: Path, lines: str) -> list[str]:
    """Run a target, and hold what ran against what must have run."""
    answers = run(target, program, lines)
    ran = tuple(answer.partition(":")[0] for answer in answers)
    assert ran, "no variant ran"
    assert ran == (target.variants or ran), (target.name, ran)
    return answers
