"""Fixtures of the end-to-end tests: the command in this process, and a cluster for each module."""

from __future__ import annotations

import pytest

from clearspan.cli.root import run
from clearspan.cluster import Cluster
from tests.e2e.support import Ran, fund, small_network


@pytest.fixture
def clearspan(capsys, monkeypatch):
    """Return a function that runs a command in this process, for the many that need no process of their own."""
    monkeypatch.delenv("CLEARSPAN_CONFIG", raising=False)

    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return call


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One running node of domain 1, CNY, two shards."""
    network = small_network(tmp_path_factory.mktemp("cluster") / "network")
    with Cluster(network) as running:
        yield running


@pytest.fixture(scope="module")
def banks(cluster):
    """Two funded banks on it, four accounts each."""
    return fund(cluster)
