"""What the README tells a stranger to type is typed here, line by line, and does what it says."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest

from tests.e2e.support import ROOT

README = (ROOT / "README.md").read_text()


def shell_blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", README, re.S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.timeout(180)
def test_one_transfer_by_hand(tmp_path) -> None:
    """The commands settle a transfer, prove it and audit the node; only the port is another, and the way to the program."""
    (block,) = (each for each in shell_blocks() if "clearspan init" in each)
    commands = block.replace(". .venv/bin/activate\n", "").replace(
        "clearspan init net", f"clearspan init net --metrics-port 0 --port {free_port()}"
    )
    assert len(commands.splitlines()) == len(block.splitlines()) - 1
    program = tmp_path / "bin" / "clearspan"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m clearspan "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    # Should a command fail, the node must not outlive the shell.
    script = f"set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{commands}"
    ran = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "12.50 CNY" in ran.stdout
    assert "verified: True" in ran.stdout
    assert "final, " in ran.stdout
    assert (tmp_path / "receipt.html").read_text().startswith("<!")
    assert "no difference" in ran.stdout


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    """`make demo` and `make test` are what the README says first; both are there and set up by themselves."""
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"^make (\w+)", "\n".join(shell_blocks()), re.M)) | {"build"}
    assert {"demo", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}: \$\((BUILT|READY)\)", makefile, re.M), target
