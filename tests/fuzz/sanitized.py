"""The kernels built with AddressSanitizer and UndefinedBehaviorSanitizer in a folder of their own, and their tests on them.

python -m tests.fuzz.sanitized [--long]

Copies the packages and the tests to a temporary folder, builds the three extensions there, and runs the kernels' tests,
the fuzz tests and the comparison with the model. The first finding ends the run with its trace. Needs gcc's libasan and
libubsan; without them it says so and ends with 77.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("native", "engine", "shards", "relay", "bridge", "clearspan", "tests", "examples", "docs", "bench")
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g"
TESTS = (
    "tests/native",
    "tests/vectors",
    "tests/fuzz/test_native.py",
    "tests/fuzz/test_documents.py",
    "tests/model/test_model_equals_kernel.py",
    "tests/behaviour/test_machine.py",
)
# What measures branches under valgrind cannot run under a sanitizer as well; what builds kernels of its own, broken ones
# or for each variant, tells nothing of these.
LEFT_OUT = "not no_branch_and_no_address and not every_variant and not breaks_are_seen"
SKIPPED = 77


def library(name: str) -> str | None:
    """Return the path of one of gcc's libraries, None when it is not installed."""
    gcc = shutil.which("gcc")
    if gcc is None:
        return None
    found = subprocess.run([gcc, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
    return found if Path(found).is_absolute() and Path(found).exists() else None


def copy(target: Path) -> None:
    """Copy what is needed, without anything that was built."""
    leave = shutil.ignore_patterns("*.so", "__pycache__", "hashing.c", "signatures.c", "ledger.c")
    for name in COPIED:
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, target / name, ignore=leave)
    for name in ("setup.py", "pyproject.toml", "README.md", "CHANGELOG.md", "Makefile"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, target / name)


def run(*, long: bool = False) -> int:
    """Build and test; 0 when nothing was found, 77 when the libraries are missing."""
    libraries = [library(name) for name in ("libasan.so", "libubsan.so", "libstdc++.so.6")]
    if None in libraries:
        print("sanitized: gcc's libasan or libubsan is missing: install Debian's packages gcc and libgcc-12-dev")
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="sanitized-") as name:
        folder = Path(name)
        copy(folder)
        environment = {**os.environ, "CFLAGS": FLAGS, "LDFLAGS": FLAGS, "PYTHONDONTWRITEBYTECODE": "1"}
        build = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
        built = subprocess.run(build, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if built.returncode:
            print(built.stdout[-4000:], built.stderr[-4000:])
            return built.returncode
        environment = {
            **os.environ,
            "LD_PRELOAD": " ".join(str(each) for each in libraries),
            # Python itself keeps what it allocates at its start; of memory that cannot be had the kernels speak.
            "ASAN_OPTIONS": f"detect_leaks=0:allocator_may_return_null=1:halt_on_error=1:log_path={folder / 'finding'}",
            "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:log_path={folder / 'finding'}",
            # Each Python object gets its own malloc, so that reading past one is seen.
            "PYTHONMALLOC": "malloc",
            "PYTHONPATH": str(folder),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout", "1800"]
        command += ["-k", LEFT_OUT, *TESTS, *(["--nightly"] if long else [])]
        code = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
        for finding in sorted(folder.glob("finding*")):
            print(finding.read_text(errors="replace")[:8_000])
        print("sanitized:", "nothing found" if code == 0 else f"ended with {code}")
        return code


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="run the long sweeps on it too")
    return run(long=parser.parse_args().long)


if __name__ == "__main__":
    raise SystemExit(main())
