"""Builds the harness and runs it: with libFuzzer under sanitizers, or as a replay of the corpus.

python -m tests.fuzz.kernels.fuzz --seconds 120 [--seed 1]

Scalar sources are watched by AddressSanitizer and UndefinedBehaviorSanitizer, those in lanes by AddressSanitizer: a
compiler takes minutes for vector code under both. Needs clang with its runtime libraries (Debian: clang-14 and
libclang-rt-14-dev); without them it says so and ends with 77. What was found to reach new code is kept below build/, so
that a later run goes on from there; a crash leaves its input there and ends the run.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.native.kernels import library

__all__ = ["CORPUS", "SKIPPED", "fuzz", "replay", "seeds"]

HERE: Final = Path(__file__).parent
CORPUS: Final = HERE / "corpus"
FOUND: Final = library.ROOT / "build" / "kernel-fuzz"
SKIPPED: Final = 77
INSTRUCTIONS: Final = (
    "avx512f",
    "avx512ifma",
    "avx512vl",
    "avx512dq",
    "avx512bw",
    "avx2",
    "bmi2",
    "adx",
    "sha",
    "ssse3",
    "sse4.1",
)
# gcc reads the target of a folder from its pragma; clang is told on the command line, for the files that open it.
VECTOR_MARKS: Final = ("avx512ifma.h", "lanes16.h", "lanes8.h", "#pragma GCC target", "immintrin.h")
PLAIN: Final = ("-std=c11", "-O1", "-g1", "-fno-strict-aliasing", "-w")
COVERED: Final = "-fsanitize=fuzzer-no-link"
INPUT_BYTES_MAX: Final = 1024


def _compiler() -> str | None:
    for name in ("clang-14", "clang", "clang-15", "clang-16", "clang-17", "clang-18", "clang-19"):
        found = shutil.which(name)
        if found is None:
            continue
        runtime = subprocess.run(
            [found, "-print-runtime-dir"], capture_output=True, text=True, check=False
        ).stdout.strip()
        here = list(Path(runtime).glob("libclang_rt.fuzzer-*.a")) if runtime else []
        other = subprocess.run(
            [found, "-print-file-name=libclang_rt.fuzzer-x86_64.a"], capture_output=True, text=True, check=False
        )
        if here or Path(other.stdout.strip()).is_absolute():
            return found
    return None


def _is_vector(source: Path) -> bool:
    text = source.read_text(encoding="utf-8")
    return any(mark in text for mark in VECTOR_MARKS) or source.parent.name in {"avx512ifma", "avx2"}


def _object(source: Path, compiler: str) -> Path:
    flags = PLAIN
    if _is_vector(source):
        flags = (*flags, *(f"-m{name}" for name in INSTRUCTIONS), f"{COVERED},address", "-mllvm", "-asan-stack=0")
    else:
        flags = (*flags, f"{COVERED},address,undefined", "-fno-sanitize-recover=all")
    return library.compile_object(source, compiler, flags)


def fuzz(seconds: int, seed: int, runs: int | None = None) -> int:
    """Run libFuzzer; 0 when nothing was found, 77 when there is no libFuzzer."""
    compiler = _compiler()
    if compiler is None:
        print("fuzz: clang with libFuzzer is missing: install Debian's packages clang-14 and libclang-rt-14-dev")
        return SKIPPED
    FOUND.mkdir(parents=True, exist_ok=True)
    (FOUND / "corpus").mkdir(exist_ok=True)
    sources = [*library.sources(), HERE / "harness.c"]
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda source: str(_object(source, compiler)), sources))
    program = FOUND / "harness"
    subprocess.run(
        [compiler, "-fsanitize=fuzzer,address,undefined", *objects, "-o", str(program)], check=True, timeout=300
    )
    limits = [f"-max_total_time={seconds}"] if runs is None else [f"-runs={runs}"]
    command = [
        str(program),
        *limits,
        f"-seed={seed}",
        f"-max_len={INPUT_BYTES_MAX}",
        "-len_control=20",
        "-print_final_stats=1",
    ]
    command += ["-rss_limit_mb=4096", f"-artifact_prefix={FOUND}/", str(FOUND / "corpus"), str(CORPUS)]
    print("fuzz: seed", seed, flush=True)
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=seconds + 600)
    lines = done.stderr.splitlines()
    print(
        "\n".join(lines[-40:] if done.returncode else [line for line in lines[-12:] if line.startswith(("stat", "#"))])
    )
    return done.returncode


def replay(inputs: list[Path]) -> str:
    """Run the harness on files, built without sanitizers from the objects that the tests share; returns what it says."""
    compiler = library.COMPILER
    sources = [*library.sources(), HERE / "harness.c", HERE / "replay.c"]
    objects = library.compile_objects(sources, compiler, library.FLAGS)
    program = library.STORE / f"replay-{random.randrange(2**32):08x}"
    try:
        subprocess.run([compiler, *objects, "-o", str(program)], check=True, timeout=120)
        done = subprocess.run(
            [str(program), *map(str, inputs)], capture_output=True, text=True, check=False, timeout=300
        )
    finally:
        program.unlink(missing_ok=True)
    if done.returncode:
        raise AssertionError(done.stderr or f"ended with {done.returncode}")
    return done.stdout.strip()


def seeds() -> list[bytes]:
    """Return the corpus that is committed: each mode with honest items and each way of bending one."""
    made = []
    for mode in range(3):
        for kind in range(9):
            flags, count = kind % 8, (0, 8, 40, 47)[kind % 4]
            start = bytes([mode, 0, kind % 5, flags, count]) + bytes(range(32))
            bent = bytes([count // 2, kind, 1, 17, 4]) + bytes(range(7, 39))
            made.append(start + bent + bytes([0, (kind + 3) % 9, 3, 33, 1]))
        made += [bytes([mode, 0, 2, 3, 47]), bytes([mode, 0, 2, 6, 47])]
    for suite in range(3):
        made.append(bytes([3, 0, suite]) + bytes(range(200)))
        made.append(bytes([3, 1, suite]) + b"\x58" + b"\x66" * 31 + bytes(140))
    for head, body in ((0, 0), (32, 80), (64, 27), (1, 28), (55, 1), (79, 255)):
        for level in (0, 1):
            made.append(bytes([4, level, head, body, body % 3, head % 8, level % 2]) + bytes(range(90)))
    return made


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write-corpus", action="store_true", help="write the committed corpus anew")
    arguments = parser.parse_args()
    if arguments.write_corpus:
        CORPUS.mkdir(exist_ok=True)
        for number, data in enumerate(seeds()):
            (CORPUS / f"{number:03}").write_bytes(data)
        return 0
    return fuzz(arguments.seconds, arguments.seed or random.SystemRandom().randrange(1, 2**31))


if __name__ == "__main__":
    sys.exit(main())
