"""What all tests share: the two switches, their order, the command, and skips that name the tool they lack."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import structlog

from clearspan.cli.root import run

ROOT = Path(__file__).resolve().parent.parent
FIRST = ("e2e", "crash", "evm", "simulation")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nightly", action="store_true", help="run the long sweeps too")
    parser.addoption("--require-tools", action="store_true", help="fail where a test would skip for want of a tool")


def pytest_configure(config: pytest.Config) -> None:
    """Where bytecode is not to be written beside sources, hundreds of child processes share it in pytest's cache."""
    cache = getattr(config, "cache", None)
    if cache is not None and os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(cache.mkdir("bytecode")))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Tests that wait for processes come first: at the end there are only short ones left to share out.
    items.sort(key=lambda item: _place(item.path))
    if not config.getoption("--nightly"):
        skip = pytest.mark.skip(reason="a long sweep: run with --nightly")
        for item in items:
            if "nightly" in item.keywords:
                item.add_marker(skip)


def _place(path: Path) -> int:
    folder = path.relative_to(ROOT / "tests").parts[0] if path.is_relative_to(ROOT / "tests") else ""
    return FIRST.index(folder) if folder in FIRST else len(FIRST)


@pytest.fixture(autouse=True)
def logs_as_they_were():
    """A test that runs a command in this process configures its logs; the next one gets the defaults back."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def clearspan(capsys, monkeypatch):
    """Return a function that runs a command in this process, for the many that need no process of their own."""
    from tests.e2e.support import Ran  # noqa: PLC0415 - most tests run no command, and load nothing of it

    monkeypatch.delenv("CLEARSPAN_CONFIG", raising=False)

    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return call


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
