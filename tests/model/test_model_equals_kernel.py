"""The model and the machine give the same answers, accounts, messages, roots and headers on whatever is played.

Hypothesis makes the choices and shrinks what it finds; seeded walks are longer and many more. Every step compares codes,
first codes, times, all account leaves, all subtrees of the state root and the machine's own invariants; every play ends
with a replay of its log by both. A failure prints a script that does again what was done.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.model.adapter import machine_present
from tests.model.play import GENESES, Play
from tests.model.walk import agree_after, script_of, walk

pytestmark = pytest.mark.skipif(not machine_present(), reason="engine.machine is not built here: run `make build`")

WALK_STEPS = 60
CI_SEEDS = range(200)
OVER_SHARDS_SEEDS = range(80)
RULES_SEEDS = range(80)
NIGHTLY_SEEDS = 200_000


class DrawnChooser:
    """Choices drawn by Hypothesis, which shrinks them towards the plainest."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def below(self, count: int) -> int:
        return self._data.draw(st.integers(0, count - 1)) if count > 1 else 0


def _play(data: st.DataObject, genesis: int, steps: int, *, over_shards: bool = False, rules: bool = False) -> None:
    play = Play(DrawnChooser(data), genesis=GENESES[genesis], over_shards=over_shards, rules=rules)
    try:
        for _ in range(steps):
            play.step()
        agree_after(play)
    except BaseException:
        note(script_of(play))
        raise


def _settings(examples: int) -> settings:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    return settings(max_examples=examples, deadline=None, suppress_health_check=checks, print_blob=True)


@pytest.mark.timeout(900)  # of which it needs more than seconds only to shrink what it found
@_settings(150)
@given(data=st.data(), genesis=st.integers(0, len(GENESES) - 1), steps=st.integers(1, 20))
def test_model_equals_machine(data, genesis, steps):
    """LEDGER-1 to LEDGER-70, ADMIN-1 to ADMIN-7, by choices that shrink."""
    _play(data, genesis, steps)


@pytest.mark.parametrize("seed", CI_SEEDS)
def test_a_walk_is_equal_all_the_way(seed, tmp_path, monkeypatch):
    """The same by seeds; `python -m tests.model.walk --seeds N:M` runs any others."""
    monkeypatch.chdir(tmp_path)
    walk(seed, WALK_STEPS)


@pytest.mark.timeout(900)
@_settings(60)
@given(data=st.data(), genesis=st.integers(0, len(GENESES) - 1), steps=st.integers(1, 20))
def test_model_equals_machine_over_shards(data, genesis, steps):
    """LEDGER-90 to LEDGER-97 beside all the others."""
    _play(data, genesis, steps, over_shards=True)


@pytest.mark.parametrize("seed", OVER_SHARDS_SEEDS)
def test_a_walk_over_shards_is_equal_all_the_way(seed, tmp_path, monkeypatch):
    """With runs over both shards and relay blocks that decide them: `--over-shards` runs any others."""
    monkeypatch.chdir(tmp_path)
    walk(seed, WALK_STEPS, over_shards=True)


@pytest.mark.timeout(900)
@_settings(60)
@given(data=st.data(), genesis=st.integers(0, len(GENESES) - 1), steps=st.integers(1, 20), over_shards=st.booleans())
def test_model_equals_machine_with_rules(data, genesis, steps, over_shards):
    """LEDGER-100 to LEDGER-107 beside all the others."""
    _play(data, genesis, steps, over_shards=over_shards, rules=True)


@pytest.mark.parametrize("seed", RULES_SEEDS)
def test_a_walk_with_rules_is_equal_all_the_way(seed, tmp_path, monkeypatch):
    """With quotes, thresholds, breakers, tiers and holds: `--rules` runs any others."""
    monkeypatch.chdir(tmp_path)
    walk(seed, WALK_STEPS, over_shards=seed % 3 == 2, rules=True)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_many_walks_are_equal(tmp_path, monkeypatch, capsys):
    """As many walks as the night has time for, from a first seed that is printed."""
    monkeypatch.chdir(tmp_path)
    first = random.SystemRandom().randrange(2**32)
    for seed in range(first, first + NIGHTLY_SEEDS):
        if (seed - first) % 1000 == 0:
            with capsys.disabled():
                print(f"walks {first}:{seed} are equal", flush=True)
        walk(seed, WALK_STEPS * (1 + seed % 4), over_shards=seed % 2 == 1, rules=seed % 4 > 1)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@_settings(3000)
@given(data=st.data(), genesis=st.integers(0, len(GENESES) - 1), steps=st.integers(1, 40))
def test_model_equals_machine_all_night(data, genesis, steps):
    _play(data, genesis, steps)
