"""What all tests share: the two switches, and skips that name the tool they lack."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import structlog

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nightly", action="store_true", help="run the long sweeps too")
    parser.addoption("--require-tools", action="store_true", help="fail where a test would skip for want of a tool")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--nightly"):
        skip = pytest.mark.skip(reason="a long sweep: run with --nightly")
        for item in items:
            if "nightly" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def logs_as_they_were():
    """A test that runs a command in this process configures its logs; the next one gets the defaults back."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def repository_root() -> Path:
    return ROOT


@pytest.fixture
def nightly(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--nightly"))


@pytest.fixture
def need_tool(request: pytest.FixtureRequest):
    """Return a function that skips (or, where tools are required, fails) when a program is missing."""

    def need(program: str, package: str) -> str:
        found = shutil.which(program)
        if found is None:
            message = f"{program} is missing: install Debian's package {package}"
            if request.config.getoption("--require-tools"):
                pytest.fail(message)
            pytest.skip(message)
        return found

    return need


@pytest.fixture
def need_root(request: pytest.FixtureRequest) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root (it mounts a small tmpfs)")
