"""Fixtures of the EVM tests: the pinned node and compiler, a fresh chain with the contract for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import bridge.evm.adapter  # noqa: F401 - before any test imports what lifts the recursion limit
from tests.evm import toolchain
from tests.evm.node import AnvilNode
from tests.evm.world import EvmWorld


def _lacking(request: pytest.FixtureRequest, what: str) -> None:
    message = f"{what} is missing: run {toolchain.INSTALL}"
    if request.config.getoption("--require-tools"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def anvil(request: pytest.FixtureRequest) -> Path:
    found = toolchain.anvil()
    if found is None:
        _lacking(request, "npm's @foundry-rs/anvil")
    return found


@pytest.fixture(scope="session")
def tokens(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Bytecode of the test contracts by name."""
    if toolchain.compiler() is None:
        _lacking(request, "npm's solc")
    folder = tmp_path_factory.mktemp("solc")
    made = toolchain.compile_files(folder / "settings.json", toolchain.HERE / "contracts" / "TestTokens.sol")
    return {name: bytes.fromhex(one["bytecode"]) for name, one in made["contracts"]["TestTokens.sol"].items()}


@pytest.fixture
def world(anvil: Path, tmp_path: Path) -> Iterator[EvmWorld]:
    node = AnvilNode(anvil, tmp_path / "node.state")
    try:
        world = EvmWorld(node, tmp_path)
        world.set_up()
        yield world
    finally:
        node.close()
