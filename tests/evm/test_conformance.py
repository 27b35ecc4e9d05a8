"""The adapter on a real node passes the conformance kit, with native coin and with a token."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bridge.conformance import CHECKS
from bridge.leg import ExpectingAdapter
from tests.evm.world import EvmWorld, rig_factory


@pytest.mark.parametrize("asset", ["native", "token"])
@pytest.mark.parametrize("check", CHECKS)
def test_adapter_conforms(check: str, asset: str, anvil: Path, tokens: dict[str, bytes], tmp_path: Path) -> None:
    async def run() -> None:
        code = tokens["PlainToken"] if asset == "token" else None
        async with rig_factory(anvil, tmp_path, code)() as rig:
            await CHECKS[check](rig)

    asyncio.run(run())


def test_the_port_is_what_the_adapter_has(world: EvmWorld) -> None:
    assert isinstance(world.leg(), ExpectingAdapter)
