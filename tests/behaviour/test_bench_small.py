"""A small size of each named load runs, prints the report that it promises, and comes to the same outcome every time."""

from __future__ import annotations

import json

import pytest

from bench.__main__ import main
from bench.loads import LOADS
from bench.machine import ProcessUse, disk_bytes, machine

# What came of the load and not of its timing: counts by result code, and every account's totals. A change here
# means that a figure measured before cannot be compared with one measured after.
OUTCOMES = {
    "small-settle": "421c7a32bf0f7aae9e462a70fda7f370a6a015defb98546e4482da74a89ba58e",
    "small-hot": "a09544ce37e2d1844bacb1aa407096d8ff266d2bc4d82c298d7d3b82b484d8fd",
    "small-sm2": "63015743d18f18762cf23d523c229b17d42e8e45654d52c831fd27161c6dd12c",
}
FIGURES = ("transfers_per_s", "settled_p50_ms", "settled_p99_ms", "settled_p999_ms", "rss_mib")
FRAME = ("schema", "scenario", "parameters", "commit", "machine", "runs", "spread", "outcome_hash", "stages")


@pytest.mark.parametrize("name", sorted(OUTCOMES))
def test_a_small_load_comes_to_its_outcome(name, capsys) -> None:
    """One JSON object on standard output, with every field of the schema, and the outcome that it always had."""
    assert main(["settle", "--load", name, "--runs", "1", "--json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert err == ""
    assert set(FRAME) <= set(report)
    assert (report["schema"], report["scenario"], report["parameters"]["name"]) == (1, "settle", name)
    assert all(report[figure] > 0 for figure in FIGURES), report
    # So small a load may fit into pages that its log had already.
    assert report["disk_bytes_per_transfer"] >= 0
    assert report["settled_p50_ms"] <= report["settled_p99_ms"] <= report["settled_p999_ms"]
    assert {"verify_ns", "apply_ns", "commit_ns", "client_cpu_ns"} <= set(report["stages"])
    assert ("finality" in report) == (LOADS[name].validators > 0)
    if "finality" in report:
        assert 0 < report["final_p50_ms"] <= report["final_p99_ms"]
        assert report["final_p50_ms"] <= report["request_final_p99_ms"]
        assert all(share["sealed_blocks"] and share["blocks_per_s"] > 0 for share in report["finality"].values())
    assert set(report["results"]) == {"created", "created_in_transit"}
    assert sum(report["results"].values()) == 2 * LOADS[name].transfers
    assert report["outcome_hash"] == OUTCOMES[name]


def test_everything_that_can_be_measured_is_listed(capsys) -> None:
    """`--list` names each load and each scenario once; each large load has parameters of its own and the same seed."""
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["settle"] * len(LOADS) + ["verify"] * 3 + [
        "relay",
        "swap",
        "verify",
        "hash",
        "figures",
    ]
    assert all(f"--load {name}" in line and load.title in line for line, (name, load) in zip(lines, LOADS.items()))
    assert len({(load.transfers, *load.parameters().values()) for load in LOADS.values()}) == len(LOADS)


def test_a_load_may_be_changed_by_flags() -> None:
    """What a flag does not name stays as the load has it, and the report says what was used."""
    load = LOADS["canonical"].changed(transfers=7, shards=1)
    assert (load.transfers, load.shards, load.batch_size) == (7, 1, LOADS["canonical"].batch_size)
    assert load.parameters()["transfers"] == 7


def test_what_a_process_used_is_read_from_the_system(tmp_path) -> None:
    """This process has threads, memory and CPU time; a file takes whole blocks; the machine has a name."""
    import os

    use = ProcessUse.of(os.getpid())
    assert use.cpu_ns > 0
    assert use.rss_mib >= use.anonymous_mib > 0
    assert os.getpid() in use.threads_ns
    later = ProcessUse.of(os.getpid()).threads_since(use)
    assert later == sorted(later, reverse=True)
    (tmp_path / "file").write_bytes(bytes(5000))
    assert disk_bytes(tmp_path) >= 5000
    assert machine()["cores"] >= 1
    assert machine()["kernel"]


def test_agreement_over_slow_links_needs_no_second_view(capsys) -> None:
    """Seven validators, 50 ms from each other: five times that to a certificate, and messages linear in their number."""
    words = ["relay", "--validators", "7", "--link-ms", "50", "--runs", "1", "--json", "--quiet"]
    assert main(words) == 0
    first = capsys.readouterr().out
    report = json.loads(first)
    assert (report["scenario"], report["parameters"]["link_ms"], report["runs"][0]["timeouts"]) == ("relay", 50, 0)
    assert 250 <= report["final_p50_ms"] <= report["final_p99_ms"] <= 600
    assert 5 * 6 - 1 <= report["messages_per_block"] <= 5 * 6 + 1
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["outcome_hash"] == report["outcome_hash"]
