"""The adapter's pure parts: fees, transactions as bytes, the book, addresses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account
from eth_keys import keys
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.evm.adapter import EvmSettings
from bridge.evm.book import Attempt, BookDamaged, FileBook, Outgoing
from bridge.evm.contract import claimed_preimage, locked_order, refusal_of, terms_of
from bridge.evm.fees import FeePolicy, Offer
from bridge.evm.rpc import Endpoint
from bridge.evm.transaction import Signer, SignerWrong, Transaction, sign
from bridge.leg import LegCode, LegRefused
from native.hashing import digest

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = keys.PrivateKey(digest(1, b"a key of the EVM tests: pieces"))
SIGNER = Signer(KEY.public_key.to_checksum_address(), lambda message: KEY.sign_msg_hash(message).to_bytes())
WEI = st.integers(0, 10**13)


@given(
    nonce=st.integers(0, 2**63), to=st.binary(min_size=20, max_size=20), value=st.integers(0, 2**128 - 1),
    data=st.binary(max_size=100), gas=st.integers(21_000, 10**7), max_fee=WEI, priority=WEI, chain_id=st.integers(1, 2**40),
    dynamic=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_transactions_are_the_librarys(nonce, to, value, data, gas, max_fee, priority, chain_id, dynamic) -> None:
    """Both forms come out byte for byte as eth-account makes them, signature included."""
    made = sign(Transaction(chain_id, nonce, to, value, data, gas, Offer(max_fee, priority), dynamic), SIGNER)
    fees = {"maxFeePerGas": max_fee, "maxPriorityFeePerGas": priority, "type": 2} if dynamic else {"gasPrice": max_fee}
    theirs = Account.sign_transaction(
        {"nonce": nonce, "to": to, "value": value, "data": data, "gas": gas, "chainId": chain_id, **fees},
        KEY.to_bytes(),
    )
    assert made == bytes(theirs.raw_transaction) and keccak(made) == bytes(theirs.hash)


@pytest.mark.parametrize(
    "answer",
    [lambda d: b"", lambda d: b"s" * 65, lambda d: KEY.sign_msg_hash(b"o" * 32).to_bytes(), lambda d: b"\xff" * 65],
)
def test_wrong_signature_is_not_sent(answer) -> None:
    transaction = Transaction(1, 0, b"t" * 20, 0, b"", 21_000, Offer(2, 1), True)
    with pytest.raises(SignerWrong):
        sign(transaction, replace(SIGNER, sign_digest=answer))


POLICY = FeePolicy(cap=1_000, claim_cap=10_000, priority_fee=10, bump_percent=25)


def test_first_offer_has_room_and_keeps_the_cap() -> None:
    assert POLICY.first(100, claim=False) == Offer(210, 10)
    assert POLICY.first(800, claim=False) == Offer(1_000, 10)
    assert POLICY.first(5_000, claim=True) == Offer(10_000, 10)
    for base_fee, claim in ((991, False), (9_991, True)):
        with pytest.raises(LegRefused) as caught:
            POLICY.first(base_fee, claim=claim)
        assert caught.value.code is LegCode.FEE_CAP


@given(
    max_fee=st.integers(1, 12_000),
    priority=st.integers(0, 12_000),
    base_fee=st.integers(0, 20_000),
    claim=st.booleans(),
)
def test_better_offer_replaces_and_keeps_the_cap(max_fee: int, priority: int, base_fee: int, claim: bool) -> None:
    """Every better offer is at least an eighth above the last one in its maximum, within the cap, and consistent."""
    better = POLICY.better(Offer(max_fee, min(priority, max_fee)), base_fee, claim=claim)
    if better is None:
        assert max_fee * 113 > POLICY.cap_of(claim=claim) * 100 - 100
        return
    assert better.max_fee * 100 >= max_fee * 113 and better.max_fee <= POLICY.cap_of(claim=claim)
    assert 0 <= better.priority_fee <= better.max_fee


def test_bettering_ends_at_the_cap() -> None:
    offer, steps = POLICY.first(0, claim=True), 0
    while offer is not None:
        last, offer, steps = offer, POLICY.better(offer, 0, claim=True), steps + 1
    assert last.max_fee * 113 > POLICY.claim_cap * 100 and steps < 60


@pytest.mark.parametrize(
    "change",
    [
        {"bump_percent": 12},
        {"stuck_blocks": 0},
        {"gas_margin_percent": -1},
        {"cap": 1},
        {"claim_cap": 1},
        {"priority_fee": -1},
    ],
    ids=str,
)
def test_policy_that_could_never_send_is_refused(change: dict) -> None:
    with pytest.raises(ValueError):
        FeePolicy(**change)


def test_gas_limit() -> None:
    policy = FeePolicy(gas_margin_percent=25, gas_max=1_000)
    assert [policy.gas_limit(gas) for gas in (1, 100, 800, 1_000)] == [2, 125, 1_000, 1_000]
    with pytest.raises(LegRefused):
        policy.gas_limit(1_001)


OUT = Outgoing(
    "claim", b"l" * 32, 7, b"t" * 20, 0, b"data", 90_000, True, (Attempt(b"raw", b"h" * 32, Offer(2**80, 1), 5),)
)


def test_book_keeps_what_is_out(tmp_path: Path) -> None:
    book = FileBook(tmp_path / "book.json")
    assert book.read() == ()
    book.write((OUT, replace(OUT, nonce=8).tried(OUT.attempts[0])))
    assert FileBook(tmp_path / "book.json").read() == (OUT, replace(OUT, nonce=8, attempts=OUT.attempts * 2))
    assert ((tmp_path / "book.json").stat().st_mode & 0o777) == 0o600 and [
        path.name for path in tmp_path.iterdir()
    ] == ["book.json"]
    book.write(())
    assert book.read() == ()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format":2,"outgoing":[]}',
        '{"format":1,"outgoing":[],"more":1}',
        '{"format":1,"outgoing":[{"kind":"gift"}]}',
    ],
)
def test_damaged_book_stops_the_adapter(tmp_path: Path, content: str) -> None:
    """Guessing which nonces are used would be worse than not starting."""
    (tmp_path / "book.json").write_text(content)
    with pytest.raises(BookDamaged):
        FileBook(tmp_path / "book.json").read()


def test_every_cut_of_a_book_is_seen(tmp_path: Path) -> None:
    book = FileBook(tmp_path / "book.json")
    book.write((OUT,))
    whole = (tmp_path / "book.json").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "book.json").write_bytes(whole[:length])
        with pytest.raises(BookDamaged):
            book.read()


def test_settings_that_cannot_be_meant() -> None:
    endpoints = (Endpoint("http://127.0.0.1:1"),)
    with pytest.raises(ValueError, match="contract"):
        EvmSettings(1, "nowhere", endpoints)
    for agreement in (0, 2):
        with pytest.raises(ValueError, match="agreement"):
            EvmSettings(1, SIGNER.address, endpoints, agreement=agreement)
    with pytest.raises(ValueError, match="agreement"):
        EvmSettings(1, SIGNER.address, ())


def test_endpoint_keeps_its_secrets_out_of_text() -> None:
    shown = repr(Endpoint("https://user:word@example.org/v1/token", {"Authorization": "Bearer x"}))
    assert "word" not in shown and "token" not in shown and "Bearer" not in shown


@given(topics=st.lists(st.binary(max_size=40), max_size=5), data=st.binary(max_size=300))
def test_any_event_is_read_or_passed_over(topics: list[bytes], data: bytes) -> None:
    """Garbage in the place of events never raises and never becomes a lock."""
    assert locked_order(topics, data, 1, SIGNER.address, 10**9) is None
    assert claimed_preimage(data, b"h" * 32) is None
    assert refusal_of(data)[0] in LegCode


def test_ticks_of_a_millisecond() -> None:
    from bridge.leg import HashFunction, LockOrder

    order = LockOrder(
        b"i" * 32, SIGNER.address, SIGNER.address, 1, HashFunction.SHA256, b"h" * 32, 1_700_000_000_123_000_000, ""
    )
    assert terms_of(order, 1, SIGNER.address, 10**6).timelock == 1_700_000_000_123
    with pytest.raises(LegRefused):
        terms_of(order, 1, SIGNER.address, 10**9)


def test_artifact_is_plain_json() -> None:
    from tests.evm.toolchain import SHIPPED

    text = SHIPPED.read_text()
    assert json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n" == text


def test_what_the_adapter_imports_leaves_the_recursion_limit_alone() -> None:
    """With the limit that it sets, a nested answer of a node would overflow the stack instead of being refused."""
    program = (
        "import sys; limit = sys.getrecursionlimit(); import bridge.evm.adapter, bridge.evm.deploy, bridge.evm.rpc; "
    )
    program += "assert 'py_ecc' in sys.modules and sys.getrecursionlimit() == limit, sys.getrecursionlimit()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=ROOT)
