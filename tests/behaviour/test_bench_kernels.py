"""The benches of the kernels run small, print the reports that they promise, and come to the same outcome every time."""

from __future__ import annotations

import hashlib
import json
import shutil
import xml.etree.ElementTree as ElementTree

import pytest

from bench.__main__ import main
from bench.chart import draw
from bench.figures import DOCUMENTS, write_figures
from bench.kernels import VARIANTS, KernelProcess
from bench.peers import CryptoMb, PeerMissingError
from bench.peers.crypto_mb import installed
from bench.signed import SCHEMES, SignedItems, spoiled_positions
from bench.sweep import run_sweep
from bench.timing import Contender, Timing, take_turns, timed
from bench.verify import VerifyLoad, run_verify
from native.signatures import kernel_variant

FRAME = {"schema", "scenario", "parameters", "commit", "machine", "runs", "spread", "outcome_hash"}
SMALL = ["--keys", "3", "--batch", "24", "--runs", "1", "--target-ms", "1", "--json", "--quiet"]
# Of 24 verdicts: all good, and with the seventh and the nineteenth bad. Signatures and rows follow from fixed labels.
ALL_GOOD = "5b8b4d29020ea5b1bc427c40a0cab2bf944be057ec482110f1d12b68008cd286"
TWO_BAD = "de146f06bed5be152fbeb6a7a87a239e2f7b842fbf8379fcd5b64dd87eb8f972"
SIGNED = {
    "ed25519": "820dbd4fa2e3d2f192bfffaf0854b7e6a68b441b8e5d035668409d25d01a7222",
    "sm2": "ac69178e1ee8c9a583717c47595766066d879a9033bc583d4fd1a73553be264d",
    "p256": "bc70c73dddd494e0c3dc8bc046fd8d89d0a88fda2b85dbd5038289e6a7bf9057",
}
HASHED = "75551ecc7c230a288352ca11c52d1580ea7f023c345632128323260efbd07e07"
PEERS = {
    "ed25519": {"cryptography", "pynacl", "crypto_mb"},
    "sm2": {"gmssl", "gmssl-pyx", "crypto_mb"},
    "p256": {"cryptography", "crypto_mb"},
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_small_batch_with_bad_signatures_comes_to_its_outcome(scheme, capsys) -> None:
    """One JSON object; every variant and every peer is there with its rate or the reason why not."""
    assert main(["verify", "--scheme", scheme, "--bad", "2", *SMALL]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert err == ""
    assert set(report) >= FRAME
    assert (report["schema"], report["scenario"], report["parameters"]["scheme"]) == (1, "verify", scheme)
    assert report["outcome_hash"] == TWO_BAD
    assert report["verifies_per_s"] > 0 < report["wall_verifies_per_s"]
    assert report["clean_verifies_per_s"] > 0 < report["times_a_clean_batch"]
    assert set(report["variants"]) == set(VARIANTS)
    used = [name for name, variant in report["variants"].items() if variant.get("used")]
    assert used == [kernel_variant()]
    assert set(report["peers"]) == PEERS[scheme]
    for figure in (*report["variants"].values(), *report["peers"].values()):
        assert figure.get("missing") or (figure["verifies_per_s"] > 0 < figure["ratio"]), figure
    assert all(peer.get("same_verdicts", True) for peer in report["peers"].values())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_hints_change_no_outcome(scheme, capsys) -> None:
    """With hints the verdicts are the same, and the report says what they were worth."""
    assert main(["verify", "--scheme", scheme, "--hint", *SMALL]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["outcome_hash"] == ALL_GOOD == hashlib.sha256(b"\x01" * 24).hexdigest()
    assert report["times_without_hint"] > 0 < report["no_hint_verifies_per_s"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_items_are_the_same_everywhere(scheme, tmp_path) -> None:
    """Keys, messages and signatures follow from their numbers; saved and loaded they are the same; two are spoiled."""
    items = SignedItems.make(scheme, 3, 24, 2)
    digest = hashlib.sha256()
    for array in (items.public_keys, items.signatures, items.messages):
        digest.update(array.tobytes())
    assert digest.hexdigest() == SIGNED[scheme]
    items.save(tmp_path / "items.npz")
    again = SignedItems.load(tmp_path / "items.npz")
    assert (again.signatures == items.signatures).all()
    assert (
        [i for i in range(24) if (items.spoiled[i] != items.signatures[i]).any()] == spoiled_positions(24, 2) == [6, 18]
    )


def test_a_batch_has_no_more_bad_signatures_than_signatures(capsys) -> None:
    """What cannot be measured is refused before anything is."""
    with pytest.raises(SystemExit) as refused:
        main(["verify", "--batch", "4", "--bad", "5"])
    assert refused.value.code == 2
    assert "no 5 signatures to spoil" in capsys.readouterr().err


def test_wrong_verdicts_end_the_measurement(monkeypatch) -> None:
    """A rate of wrong answers is no figure."""
    monkeypatch.setattr(VerifyLoad, "expected", lambda load: b"\x00" * load.batch)
    with pytest.raises(RuntimeError, match="the verdicts of .* are wrong"):
        run_verify(VerifyLoad("ed25519", 2, 8), 1, lambda _: None, compared=False, target_ns=1)


def test_small_hashes_come_to_their_outcome(capsys) -> None:
    """Rows and trees under both suites, each variant, and the peers that there are."""
    assert main(["hash", "--count", "16", "--runs", "1", "--target-ms", "1", "--json", "--quiet"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) >= FRAME
    assert report["outcome_hash"] == HASHED
    assert {name.partition("_")[0] for name in report["hashes"]} == {"sha256", "sm3"}
    for name, figure in report["hashes"].items():
        assert report[f"{name}_per_s"] == figure["rows_per_s"] > 0
        assert set(figure["variants"]) == set(VARIANTS)
    assert "crypto_mb" in report["hashes"]["sm3_rows_64"]["peers"]


def test_a_page_says_what_the_object_says(capsys) -> None:
    """Without --json the same figures come as a page, a line for each variant and peer."""
    assert main(["verify", "--bad", "1", *[word for word in SMALL if word != "--json"]]) == 0
    page = capsys.readouterr().out
    assert all(f" {name} " in page for name in (*VARIANTS, *PEERS["ed25519"]))
    assert "times as long as clean" in page


def test_a_variant_that_is_not_there_refuses() -> None:
    """A process that was told a variant it does not have ends before it measures."""
    process = KernelProcess("avx1024")
    assert process.variant is None
    with pytest.raises((RuntimeError, BrokenPipeError)):
        process.ask({"task": "verify"})
    process.close()


def test_a_peer_that_is_not_installed_says_so() -> None:
    """The reason stands in the report in the place of its figures."""
    with pytest.raises(PeerMissingError, match="not installed"):
        installed("clearspan-has-no-such-peer", "libnothing.a")


def test_crypto_mb_has_another_rule() -> None:
    """The reason why it is a peer and not a part: it accepts S + L, which makes a second good signature of a first."""
    items = SignedItems.make("ed25519", 1, 1)
    order = 2**252 + 27742317777372353535851937790883648493
    number = int.from_bytes(items.signatures[0, 32:].tobytes(), "little") + order
    items.spoiled[0, 32:] = list(number.to_bytes(32, "little"))
    try:
        assert CryptoMb().verify(items, 1) == b"\x01"
    except PeerMissingError as error:
        pytest.skip(f"crypto_mb: {error.reason}")


def test_contenders_take_turns() -> None:
    """Each turn goes through all of them; a median is taken over turns, and a ratio over turns side by side."""
    calls: list[tuple[str, int, int]] = []

    def contender(name: str, each_ns: int, *, divisible: bool) -> Contender:
        def run(items: int, passes: int) -> Timing:
            calls.append((name, items, passes))
            return Timing(items * passes, items * passes * each_ns, 2 * items * passes * each_ns)

        return Contender(name, 100, run, divisible)

    measured = take_turns([contender("fast", 10, divisible=False), contender("slow", 1_000, divisible=True)], 3, 10_000)
    assert calls[4:] == [("fast", 100, 10), ("slow", 10, 1)] * 3
    assert (measured["fast"].per_s, measured["slow"].per_s) == (100_000_000, 1_000_000)
    assert measured["fast"].wall_per_s == 50_000_000
    assert measured["fast"].ratio_to(measured["slow"]) == 100.0
    assert timed(lambda: None, 5, 2).items == 10


def test_a_sweep_is_drawn_and_written_into_the_documents(tmp_path) -> None:
    """A small sweep gives a well-formed picture with a line for each number of keys; what surrounds the marks stays."""
    quiet: list[str] = []
    sweep = run_sweep(quiet.append, schemes=("ed25519",), batches=(8, 16), keys=(1, 8), runs=1, target_ns=1)
    assert [(point["keys"], point["hint"], point["batch"]) for point in sweep["points"]] == [
        (keys, hint, batch) for keys in (1, 8) for hint in (False, True) for batch in (8, 16)
    ]
    picture = ElementTree.fromstring(draw(sweep, {"ed25519": {"crypto_mb": 1_000}}))
    assert len(picture.findall("{*}polyline")) == 4
    assert any("crypto_mb" in (text.text or "") for text in picture.findall("{*}text"))
    report = run_verify(VerifyLoad("ed25519", 2, 8, 1), 1, quiet.append, target_ns=1)
    figures = json.loads((DOCUMENTS / "figures" / "verify.json").read_text(encoding="utf-8"))
    page = tmp_path / "benchmarks.md"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="lacks"):
        write_figures(figures, tmp_path)
    page.write_text(
        "before\n<!-- python -m bench figures: begin -->\nold\n<!-- python -m bench figures: end -->\nafter\n"
    )
    write_figures({**figures, "verify": [report], "sweep": sweep}, tmp_path)
    written = page.read_text()
    assert written.startswith("before\n")
    assert written.endswith("end -->\nafter\n")
    assert "| Ed25519 | 2 | 64 | 8 |" in written
    assert "old" not in written


def test_the_documents_show_the_figures_that_are_kept(tmp_path) -> None:
    """Tables and chart of docs/ are what its data gives: nobody edits one of them alone."""
    shutil.copy(DOCUMENTS / "benchmarks.md", tmp_path)
    write_figures(json.loads((DOCUMENTS / "figures" / "verify.json").read_text(encoding="utf-8")), tmp_path)
    for name in ("benchmarks.md", "figures/verify.json", "figures/verify.svg"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (DOCUMENTS / name).read_text(encoding="utf-8"), name
