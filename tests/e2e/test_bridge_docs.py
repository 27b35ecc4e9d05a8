"""What the page of the bridge tells a stranger to type is typed here, line by line, and ends in a settled swap."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest

from tests.e2e.support import ROOT

PAGE = (ROOT / "docs" / "bridge.md").read_text("utf-8")


def free_ports(count: int) -> int:
    """Return a port that is free, and so are the ones after it; nodes and validators take 2 and 4 from ten on."""
    for _ in range(50):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = probe.getsockname()[1]
        if first + count < 60_000 and all(map(_is_free, range(first, first + count))):
            return first
    pytest.fail("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.mark.nightly
@pytest.mark.timeout(240)
def test_from_nothing_to_a_swap(tmp_path) -> None:
    """Goal: the page works as it stands. Method: its block in a shell; only the ports are others, and the program's way."""
    (block,) = (each for each in re.findall(r"```sh\n(.*?)```", PAGE, re.S) if "clearspan init" in each)
    ports = f"clearspan init net --metrics-port 0 --port {free_ports(14)}"
    commands = block.replace("clearspan init net", ports)
    assert commands.count(ports) == 1
    program = tmp_path / "bin" / "clearspan"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m clearspan "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    # Should a command fail, no process may outlive the shell.
    script = f"set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{commands}"
    ran = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=220, check=False
    )
    assert ran.returncode == 0, ran.stdout[-4_000:] + ran.stderr[-4_000:]
    assert "100.00 CNY buys 108.00 HKD" in ran.stdout
    assert "Settled: every leg was claimed" in ran.stdout
    assert "open at all hours" in ran.stdout
    assert "1,000,000.00 HKD are in circulation" in ran.stdout
    assert "verified: True" in ran.stdout
