"""Pytest fixtures that behaviour tests import: stages on the model, on the machine, and on both at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.model.adapter import MODES, machine_present, make_subject
from tests.model.stage import Stage, genesis_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["bank", "mode", "opened"]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Which subject a scenario runs on."""
    if request.param != "model" and not machine_present():
        pytest.skip("engine.machine is not built here: run `python setup.py build_ext --inplace`")
    return str(request.param)


@pytest.fixture
def opened(mode: str) -> Iterator[Callable[..., Stage]]:
    """Make stages with other parameters; each must be sound when the test is over."""
    stages: list[Stage] = []

    def make(**genesis: Any) -> Stage:
        stages.append(Stage(lambda document, shard: make_subject(mode, document, shard), genesis_document(**genesis)))
        return stages[-1]

    yield make
    for stage in stages:
        for index, shard in enumerate(stage.shards):
            assert shard.check_invariants() == []
            stage.seal(index)


@pytest.fixture
def bank(opened: Callable[..., Stage]) -> Stage:
    """The usual stage: Alice (1000 minor units), Alice's second account, Bob on shard 0; Carol and Dave on shard 1."""
    return opened().furnish()
