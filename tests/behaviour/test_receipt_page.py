"""Three programs agree on receipts: the engine, the plain-Python verifier, and the page that a payee opens."""

from __future__ import annotations

import hashlib
import html
import json
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from clearspan.verifier.offline import Refusal, read_trust, verify_receipt
from clearspan.verifier.page import build_page, code_table
from engine.block import InclusionPath
from engine.development import development_network
from engine.receipt import ReceiptForm, decode_receipt
from engine.record import ordinary_account_id
from engine.refusals import EncodingError, ProofRefused
from engine.types import SigningSuite
from engine.validators import CertificateSigner, Validator, ValidatorSet, vote_message
from native import signatures
from tests.behaviour.domain_on_log import BANK_A, DomainOnLog
from tests.behaviour.test_machine import busy
from tests.behaviour.test_receipt import administration_of, balance_of, receipt_of

SCRIPT = Path(__file__).parents[2] / "clearspan" / "verifier" / "verify.js"
CHROMIUM = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --virtual-time-budget=60000 --dump-dom"
).split()
# Reads vectors from the standard input and answers each with its state or the step at which it failed.
NODE_PROGRAM = """
const { verifyReceipt, fromHex, Refusal } = require(process.argv[1]);
const { vectors, codes } = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(vectors.map((vector) => {
  try { return verifyReceipt(fromHex(vector.receipt), vector.trust, codes).state; }
  catch (error) { if (error instanceof Refusal) return "refused"; throw error; }
})));
"""


def mixed_set(suites: tuple[int, ...]) -> tuple[list[bytes], ValidatorSet]:
    """Return secrets and a set of validators of these signing suites."""
    secrets = [hashlib.sha256(b"validator" + bytes([at])).digest() for at in range(len(suites))]
    members = tuple(
        Validator(900 + at, suite, 1, signatures.public_key(suite, secret).ljust(64, b"\0"))
        for at, (suite, secret) in enumerate(zip(suites, secrets, strict=True))
    )
    return secrets, ValidatorSet(1, 1, members)


def trust_document(domain: DomainOnLog, validators: ValidatorSet) -> str:
    """Return what a light client writes: the set that it followed to."""
    return json.dumps(
        {
            "format": 1, "network": domain.genesis.network, "hash_suite": int(domain.genesis.hash_suite),
            "genesis_hash": domain.genesis.hash.hex(), "set_id": validators.set_id,
            "first_height": validators.first_height,
            "members": [
                {
                    "participant": each.participant, "suite": int(each.suite), "power": each.power,
                    "public_key": each.public_key[: signatures.PUBLIC_KEY_BYTES[each.suite]].hex(),
                }
                for each in validators.members
            ],
        }
    )  # fmt: skip


def story(hash_suite: int) -> DomainOnLog:
    """A domain of either hash suite with a little of everything behind it."""
    domain = DomainOnLog(development_network(b"test", currencies=(("CNY", 2),), shards=1, hash_suite=hash_suite))
    busy(domain)
    return domain


def sound(hash_suite: int) -> list[tuple[str, bytes, str, ValidatorSet, DomainOnLog]]:
    """Receipts of every form, finality, distance from the anchor and signing suite, and one that only looks like one."""
    domain = story(hash_suite)
    first = ValidatorSet.of_genesis(domain.genesis)
    document = domain.genesis.document.decode("ascii")
    found = [
        ("own header", receipt_of(domain, 1)),
        ("payee's", receipt_of(domain, 2, ReceiptForm.PAYEE)),
        ("verified", receipt_of(domain, 3, verified=2)),
        ("too few to be verified", receipt_of(domain, 2, verified=1)),
        ("a request of administration", administration_of(domain)),
        ("balance", balance_of(domain, ordinary_account_id(BANK_A, 1), verified=3)),
    ]
    rows = [(name, receipt.encode(), document, first, domain) for name, receipt in found]
    secrets, validators = mixed_set((SigningSuite.ED25519, SigningSuite.SM2, SigningSuite.SM2, SigningSuite.ED25519))
    receipt = receipt_of(domain, 1)
    certificate = receipt.anchorage.certificate
    genesis = domain.genesis
    signers = tuple(
        CertificateSigner(
            each.index, each.time, each.executed_held,
            signatures.sign(
                validators.members[each.index].suite, secrets[each.index],
                vote_message(genesis.hash_suite, genesis.hash, certificate.vote_of(each)),
            ),
        )
        for each in certificate.signers
    )  # fmt: skip
    mixed = replace(receipt, anchorage=replace(receipt.anchorage, certificate=replace(certificate, signers=signers)))
    rows.append(("both suites", mixed.encode(), trust_document(domain, validators), validators, domain))
    return rows


def verdict(data: bytes, validators: ValidatorSet, domain: DomainOnLog) -> str:
    """Return the engine's verdict."""
    try:
        found = decode_receipt(data).verify(domain.genesis.hash_suite, domain.genesis.hash, validators)
    except (EncodingError, ProofRefused):
        return "refused"
    return found.anchorage.finality.name.lower()


def vectors(hash_suite: int, broken: int) -> list[dict[str, str]]:
    """Return sound receipts and ``broken`` variations of each, with the engine's verdict on them."""
    chance = random.Random(hash_suite)  # noqa: S311 - which bytes are broken is no secret
    found = []
    for name, data, trust, validators, domain in sound(hash_suite):
        cases = [data, data[:-1], data + b"\0"]
        for _ in range(broken):
            changed = bytearray(data)
            changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            cases.append(bytes(changed))
        found += [
            {"name": name, "receipt": each.hex(), "trust": trust, "expected": verdict(each, validators, domain)}
            for each in cases
        ]
    return found


@pytest.mark.parametrize("hash_suite", [1, 2])
def test_the_page_and_the_engine_agree(hash_suite: int, need_tool, request) -> None:
    node = need_tool("node", "nodejs")
    cases = vectors(hash_suite, 400 if request.config.getoption("--nightly") else 24)
    done = subprocess.run(
        [node, "-e", NODE_PROGRAM, str(SCRIPT)], input=json.dumps({"vectors": cases, "codes": code_table()}),
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wrong = [
        (case["name"], case["expected"], found)
        for case, found in zip(cases, json.loads(done.stdout), strict=True)
        if found != case["expected"]
    ]
    assert wrong == []
    assert {"anchored", "verified", "refused"} <= {case["expected"] for case in cases}


@pytest.mark.parametrize("hash_suite", [1, 2])
def test_the_plain_verifier_and_the_engine_agree(hash_suite: int, request) -> None:
    for case in vectors(hash_suite, 200 if request.config.getoption("--nightly") else 6):
        try:
            found = verify_receipt(bytes.fromhex(case["receipt"]), read_trust(case["trust"].encode())).state
        except Refusal:
            found = "refused"
        assert found == case["expected"], case["name"]


def test_the_plain_verifier_needs_nothing_that_is_built(tmp_path) -> None:
    """It runs with no site-packages and no kernels, and says what it found or at which step it stopped."""
    _, data, trust, _, _ = sound(1)[0]
    good, bad, document = tmp_path / "good.csr", tmp_path / "bad.csr", tmp_path / "genesis.json"
    good.write_bytes(data)
    bad.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    document.write_text(trust, encoding="ascii")
    root = SCRIPT.parents[2]
    runs = [
        subprocess.run(
            [sys.executable, "-S", "-m", "clearspan.verifier", str(file), str(document)],
            capture_output=True, text=True, check=False, cwd=root, timeout=60,
        )
        for file in (good, bad)
    ]  # fmt: skip
    assert runs[0].returncode == 0, runs[0].stderr
    assert json.loads(runs[0].stdout)["state"] == "anchored"
    assert runs[1].returncode == 4
    assert "certificate" in runs[1].stderr


def test_the_page_runs_in_a_browser_without_a_network(tmp_path, need_tool) -> None:
    """The very file that a payee gets, opened from disk in headless Chromium."""
    chromium = need_tool("chromium", "chromium")
    cases = vectors(1, 2)
    _, data, trust, _, _ = sound(1)[0]
    page = tmp_path / "receipt.html"
    page.write_text(build_page(receipt=data, trust=trust, vectors=cases), encoding="utf-8")
    done = subprocess.run(
        [chromium, f"--user-data-dir={tmp_path / 'profile'}", *CHROMIUM, page.as_uri()],
        capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    shown = re.search(r'<pre id="results">(.*?)</pre>', done.stdout, re.DOTALL)
    assert shown is not None, done.stderr[-2000:]
    results = json.loads(html.unescape(shown.group(1)))
    assert [each.get("finding", "refused") for each in results] == [each["expected"] for each in cases]
    assert "The receipt holds" in done.stdout


def test_the_page_names_no_address() -> None:
    """It can ask nobody: its policy forbids every connection and it holds no link."""
    page = build_page()
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page


def test_a_retired_set_is_stale_trust_in_both(need_tool) -> None:
    node = need_tool("node", "nodejs")
    domain = story(1)
    receipt = receipt_of(domain, 1)
    later = replace(ValidatorSet.of_genesis(domain.genesis), set_id=2)
    with pytest.raises(ProofRefused) as refused:
        receipt.verify(1, domain.genesis.hash, later)
    assert refused.value.step == "stale_trust"
    program = NODE_PROGRAM.replace('return "refused"', "return error.step")
    case = {"receipt": receipt.encode().hex(), "trust": trust_document(domain, later)}
    done = subprocess.run(
        [node, "-e", program, str(SCRIPT)], input=json.dumps({"vectors": [case], "codes": code_table()}),
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(done.stdout) == ["stale_trust"]


def test_the_size_for_a_hundred_validators() -> None:
    """The figure of spec 07, and the bound that it keeps."""
    domain = story(1)
    receipt = receipt_of(domain, 3)
    certificate = receipt.anchorage.certificate
    signers = tuple(replace(certificate.signers[0], index=at) for at in range(67))
    path = InclusionPath(8191, 8192, (bytes(32),) * 13)
    large = replace(
        receipt, decision_path=path,
        anchorage=replace(receipt.anchorage, certificate=replace(certificate, signers=signers)),
    )  # fmt: skip
    assert len(large.encode()) < 10_240
