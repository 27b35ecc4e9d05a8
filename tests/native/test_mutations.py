"""The kernels broken on purpose: each break is written for the sources as they stand, and at night a few are tried."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fuzz.mutants import seed_of
from tests.native import mutations

TRIED_AT_NIGHT = 5


def test_every_break_finds_its_place() -> None:
    """A break whose text is gone would be tried no more: it is found once in the sources, and its name is its own."""
    assert mutations.check_texts() == []
    names = [mutation.name for mutation in mutations.MUTATIONS]
    assert len(set(names)) == len(names)


def test_the_page_tells_of_every_break() -> None:
    """MUTATIONS.md has a row for each, and each row names a test that saw it."""
    page = (Path(mutations.__file__).with_name("MUTATIONS.md")).read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+) \| (?:SIG-[^|]+) \| (.+) \|$", page, re.M))
    assert list(rows) == [mutation.name for mutation in mutations.MUTATIONS]
    assert [name for name, seen in rows.items() if "test_" not in seen] == []


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_a_few_breaks_are_seen(request: pytest.FixtureRequest) -> None:
    """Drawn at random each night; all of them take half an hour: python -m tests.native.mutations."""
    assert mutations.main(["--sample", str(TRIED_AT_NIGHT), "--seed", str(seed_of(request) or 1)]) == 0
