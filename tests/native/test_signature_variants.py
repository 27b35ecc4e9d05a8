"""Every variant of the kernels passes the tests of signatures: each is forced in turn, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from native import kernel, signatures

ROOT: Final = Path(__file__).resolve().parents[2]
# What asks the binding; the C entries are tested at every level by one process.
FILES: Final = (
    "tests/native/test_ed25519.py",
    "tests/native/test_ed25519_batches.py",
    "tests/native/test_registry.py",
    "tests/native/test_signatures.py",
    "tests/native/test_signature_batches.py",
    "tests/vectors/test_signature_vectors.py",
)
# Files and tables do not change with the variant; full batches take a portable kernel long.
LEFT_OUT: Final = " and ".join(
    f"not {part}"
    for part in (
        "c_entries", "no_hint_and_no_table", "coordinate", "halfway", "files", "the_twin_gives", "other_rules", "another_library", "full_batch",
        "vector_file", "committed_tables", "random_bytes_as_a_key", "equal_the_twins", "no_branch", "any_hint_leaves",
    )
)  # fmt: skip

# By day the self-test of tests/portable and the C entries take every vector through the one in the middle too.
BY_DAY: Final = [pytest.param(each, marks=pytest.mark.nightly if each == "avx2" else ()) for each in kernel.VARIANTS]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("variant", BY_DAY)
def test_every_variant_passes_the_same_tests(variant: str) -> None:
    """SIG-11: the variants that this process does not run."""
    if os.environ.get(kernel.VARIABLE) or variant == signatures.kernel_variant():
        pytest.skip("this process runs it, or was told which to run")
    environment = {**os.environ, kernel.VARIABLE: variant}
    probe = [sys.executable, "-c", "import native.signatures as s; print(s.kernel_variant())"]
    found = subprocess.run(probe, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    if found.returncode != 0:
        assert "KernelUnavailable" in found.stderr
        pytest.skip(f"{variant} does not run here")
    assert found.stdout.strip() == variant
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "--import-mode=importlib",
        "-p",
        "no:cacheprovider",
        "-k",
        LEFT_OUT,
    ]
    done = subprocess.run(
        [*command, *FILES], env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
