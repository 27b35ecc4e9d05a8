"""The C entries of the kernels under bytes: a committed corpus in each run, libFuzzer with sanitizers at night."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from tests.fuzz.kernels import fuzz
from tests.fuzz.mutants import seed_of

NIGHT_S = 60
BENT = 400


def test_the_corpus_is_what_its_generator_writes() -> None:
    """The committed inputs, named by their number."""
    assert [path.read_bytes() for path in sorted(fuzz.CORPUS.iterdir())] == fuzz.seeds()


def test_every_input_of_the_corpus_passes_the_harness(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Batch equals single, hints and tables change nothing, hashes in lanes are hashes; also on inputs bent at random."""
    generator = random.Random(seed_of(request))
    inputs = []
    for number in range(BENT):
        data = bytearray(generator.choice(fuzz.seeds()))
        for _ in range(generator.choice((1, 2, 5, 30))):
            data.insert(generator.randrange(1, len(data) + 1), generator.randrange(256))
        inputs.append(tmp_path / str(number))
        inputs[-1].write_bytes(data)
    assert fuzz.replay([*sorted(fuzz.CORPUS.iterdir()), *inputs]) == f"{len(fuzz.seeds()) + BENT} inputs"


def test_the_harness_sees_a_difference(tmp_path: Path) -> None:
    """A harness that cannot fail proves nothing: with a single entry that refuses all, it aborts."""
    broken = tmp_path / "broken.c"
    shim = (fuzz.library.HERE / "shim.c").read_text(encoding="utf-8")
    whole = "return fault != 0 ? fault : cs_ed25519_verify(&key.ed25519, signature, message, n);"
    assert whole in shim
    broken.write_text(shim.replace(whole, "return fault != 0 ? fault : 0;"), encoding="utf-8")
    sources = [path for path in fuzz.library.sources() if path.name != "shim.c"]
    sources += [broken, fuzz.HERE / "harness.c", fuzz.HERE / "replay.c"]
    objects = fuzz.library.compile_objects(sources, fuzz.library.COMPILER, fuzz.library.FLAGS)
    subprocess.run([fuzz.library.COMPILER, *objects, "-o", str(tmp_path / "replay")], check=True, timeout=120)
    honest = tmp_path / "honest"
    honest.write_bytes(bytes([0, 0, 2, 3, 47]) + bytes(32) + bytes([1, 0, 0, 0, 0]))  # one item, bent by nothing
    done = subprocess.run([tmp_path / "replay", honest], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "differ" in done.stderr


@pytest.mark.nightly
@pytest.mark.timeout(NIGHT_S + 1200)
def test_libfuzzer_finds_nothing(request: pytest.FixtureRequest) -> None:
    """A minute from the corpus of earlier nights; longer by python -m tests.fuzz.kernels.fuzz --seconds 3600."""
    code = fuzz.fuzz(NIGHT_S, seed_of(request))
    if code == fuzz.SKIPPED:
        message = "libFuzzer is missing: install Debian's packages clang-14 and libclang-rt-14-dev"
        if request.config.getoption("--require-tools"):
            pytest.fail(message)
        pytest.skip(message)
    assert code == 0
