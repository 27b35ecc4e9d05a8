"""Fixtures of the end-to-end tests: a cluster for each module."""

from __future__ import annotations

import pytest

from clearspan.cluster import Cluster
from tests.e2e.support import cut, fund, small_network


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One running node of domain 1, CNY, two shards."""
    network = small_network(tmp_path_factory.mktemp("cluster") / "network")
    with cut(Cluster(network)) as running:
        yield running


@pytest.fixture(scope="module")
def banks(cluster):
    """Two funded banks on it, four accounts each."""
    return fund(cluster)
