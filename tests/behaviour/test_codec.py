"""Every encoding is exact both ways, and bytes that no encoder makes are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.admin import AdminColumns, AdminRequest, SignedAdmin
from engine.batch import BatchColumns, decode_batch_file, encode_batch_file, sign_messages
from engine.bodies import (
    decode_admin_body,
    decode_batch_body,
    decode_credits_body,
    encode_admin_body,
    encode_batch_body,
    encode_credits_body,
)
from engine.codes import BURNING, DONE, LEAVES, MEANINGS, CodeClass, ResultCode, meaning, result_codes_page
from engine.credit import Credit, decode_credits, encode_credits
from engine.prefix import PrefixType, claim_id, refund_id, run_prefix, signing_prefix
from engine.record import (
    Account,
    Transfer,
    channel_account_id,
    derived_claim,
    derived_refund,
    ordinary_account_id,
    participant_of_account,
    slot_of_account,
    suspense_account_id,
)
from engine.refusals import BatchRefused, EncodingError
from engine.types import CreditKind, TransferFlag, TransferKind
from native.hashing import digest

GENESIS = bytes(range(32))
U16, U32, U64, U128 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64, 128))
transfers = st.builds(
    Transfer,
    id=U128, debit_account=U128, credit_account=U128, amount=U128, reference=U128, user_data=U128,
    expires_at=U64, until=U64, ledger=U32, key_id=U32, valid_for_s=U32, code=U16, flags=U16,
    binding=st.binary(min_size=32, max_size=32),
)  # fmt: skip


def transfer(identity: int, **fields: object) -> Transfer:
    given_: dict = {
        "debit_account": ordinary_account_id(7, 1), "credit_account": ordinary_account_id(8, 1), "amount": 10,
        "ledger": 1, "key_id": 1, "expires_at": 1000, "valid_for_s": 60,
    }  # fmt: skip
    return Transfer(id=identity, **{**given_, **fields})


def batch_of(*items: Transfer) -> BatchColumns:
    return BatchColumns.from_transfers(1, bytes(16), items)


@given(transfers)
@settings(max_examples=100, deadline=None)
def test_a_record_decodes_to_what_was_encoded(one: Transfer) -> None:
    data = one.encode()
    assert len(data) == 160
    assert Transfer.decode(data) == one


def test_fields_stand_where_the_layout_says() -> None:
    """RECORD offsets of docs/spec/02, read one by one."""
    data = transfer(3, user_data=9, until=5, code=77, flags=0x13, reference=4, binding=b"\x05" * 32).encode()
    u = lambda at, size: int.from_bytes(data[at : at + size], "little")  # noqa: E731
    assert [u(at, 16) for at in (0, 48, 64, 80)] == [3, 10, 4, 9]
    assert u(16, 16) == 7 << 96 | 1
    assert [u(96, 8), u(104, 8)] == [1000, 5]
    assert [u(112, 4), u(116, 4), u(120, 4), u(124, 2), u(126, 2)] == [1, 1, 60, 77, 0x13]
    assert data[128:] == b"\x05" * 32


@pytest.mark.parametrize("fields", [{"amount": 2**128}, {"id": -1}, {"expires_at": 2**64}, {"flags": 1 << 16}])
def test_a_value_too_wide_is_refused_and_never_cut(fields: dict) -> None:
    with pytest.raises(EncodingError):
        Transfer(**{**{name: getattr(transfer(1), name) for name in Transfer.__dataclass_fields__}, **fields}).encode()


def test_an_account_leaf_has_160_bytes_and_a_tier_that_can_be() -> None:
    account = Account(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 12, 13)
    data = account.encode()
    assert len(data) == 160
    assert Account.decode(data) == account
    with pytest.raises(EncodingError):
        Account.decode(data[:150] + b"\x01" + data[151:])
    assert Account.decode(data[:148] + b"\x01" + data[149:]).tier == 1


def test_account_ids_name_their_participant_and_kind() -> None:
    """LEDGER-1."""
    assert participant_of_account(ordinary_account_id(7, 2**64 - 1)) == 7
    assert channel_account_id(5, 0x101) == 1 << 64 | 5 << 32 | 0x101
    assert suspense_account_id(7, 5, 3) == 7 << 96 | 0xFFFFFFFF << 64 | 5 << 32 | 3
    for participant in (0, 2**32 - 1):
        with pytest.raises(EncodingError):
            ordinary_account_id(participant, 1)


def test_slots_follow_the_documented_digest() -> None:
    """BYTES-9: every slot is reached, and neighbours do not share one."""
    slots = [slot_of_account(ordinary_account_id(7, serial)) for serial in range(20_000)]
    assert set(slots) <= set(range(4096))
    assert len(set(slots)) > 3900
    assert slot_of_account(0) == 0


@given(st.lists(transfers, min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_columns_hold_the_records_they_were_made_from(items: list[Transfer]) -> None:
    """RECORD-7: the binding column is sparse, everything else dense."""
    columns = batch_of(*items)
    assert [columns.transfer(row) for row in range(columns.count)] == items
    assert columns.fields["expires_at"].tolist() == [item.expires_at for item in items]
    rows = np.arange(0, columns.count, 2)
    part = columns.select(rows)
    assert [part.transfer(row) for row in range(part.count)] == items[::2]


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ((b"", b"", b"", b""), ResultCode.BATCH_EMPTY),
        ((bytes(127), bytes(64), b"", b""), ResultCode.BATCH_MALFORMED),
        ((bytes(128), bytes(63), b"", b""), ResultCode.BATCH_MALFORMED),
        ((bytes(128), bytes(128), b"", b""), ResultCode.BATCH_MALFORMED),
        ((bytes(128 * 8193), bytes(64 * 8193), b"", b""), ResultCode.BATCH_TOO_LARGE),
        ((bytes(128), bytes(64), b"\x00" * 3, b""), ResultCode.BATCH_MALFORMED),
        ((bytes(128), bytes(64), b"\x00" * 4, b"\x01" * 31), ResultCode.BATCH_MALFORMED),
        ((bytes(128), bytes(64), b"\x00" * 4, b"\x00" * 32), ResultCode.BATCH_MALFORMED),
        ((bytes(128), bytes(64), b"\x01\x00\x00\x00", b"\x01" * 32), ResultCode.BATCH_MALFORMED),
        ((bytes(256), bytes(128), b"\x01\0\0\0\x00\0\0\0", b"\x01" * 64), ResultCode.BATCH_MALFORMED),
        ((bytes(256), bytes(128), b"\x00\0\0\0\x00\0\0\0", b"\x01" * 64), ResultCode.BATCH_MALFORMED),
    ],
)
def test_columns_of_another_shape_are_refused_whole(columns: tuple[bytes, ...], code: ResultCode) -> None:
    """RECORD-7, case by case."""
    with pytest.raises(BatchRefused) as refused:
        BatchColumns.from_buffers(1, bytes(16), *columns)
    assert refused.value.code is code


def test_columns_are_views_of_the_bytes_that_came() -> None:
    wire = bytearray(b"\xff" + transfer(1).encode()[:128])
    columns = BatchColumns.from_buffers(1, bytes(16), memoryview(wire)[1:], bytes(64))
    wire[1] = 9
    assert columns.heads[0, 0] == 9


@pytest.mark.parametrize("suite", [1, 2])
def test_a_batch_file_gives_its_batches_back(suite: int) -> None:
    """RECORD-8: one batch or several one after the other, under the network's hash."""
    first = batch_of(transfer(1), transfer(2, binding=b"\x07" * 32, flags=1 << 6))
    second = BatchColumns.from_transfers(2, bytes(range(16)), [transfer(3)], [b"\x09" * 64])
    data = encode_batch_file(first, suite, GENESIS) + encode_batch_file(second, suite, GENESIS)
    read = list(decode_batch_file(data, suite, GENESIS))
    assert [each.domain for each in read] == [1, 2]
    assert read[1].batch_id == bytes(range(16))
    assert read[0].transfer(1) == first.transfer(1)
    assert read[1].signatures.tobytes() == b"\x09" * 64


@pytest.mark.parametrize("at", [0, 4, 6, 12, 20, 24, 48, 80, 112, 300])
def test_a_batch_file_with_one_byte_changed_is_refused(at: int) -> None:
    data = bytearray(encode_batch_file(batch_of(transfer(1)), 1, GENESIS))
    data[at] ^= 1
    with pytest.raises(EncodingError):
        list(decode_batch_file(bytes(data), 1, GENESIS))


@pytest.mark.parametrize("length", [0, 1, 111, 112, 200])
def test_a_batch_file_cut_short_is_refused(length: int) -> None:
    data = encode_batch_file(batch_of(transfer(1)), 1, GENESIS)[:length]
    with pytest.raises(EncodingError):
        list(decode_batch_file(data, 1, GENESIS))


def test_prefixes_part_types_networks_and_suites() -> None:
    """BYTES-3: no two of them sign the same bytes."""
    seen = {
        signing_prefix(suite, kind, genesis)
        for suite in (1, 2)
        for kind in PrefixType
        for genesis in (GENESIS, bytes(32))
    }
    assert len(seen) == 2 * len(PrefixType) * 2
    expected = digest(1, b"clearspan/transfer/1" + GENESIS)
    assert signing_prefix(1, PrefixType.TRANSFER, GENESIS) == expected


def test_a_run_signs_all_its_members_in_order() -> None:
    """RECORD-2: the prefix covers count, smallest deadline, and each member; RECORD-4: a run ends where bit 4 is clear."""
    linked = int(TransferFlag.LINKED)
    items = [
        transfer(1),
        transfer(2, flags=linked),
        transfer(3, flags=linked, expires_at=900),
        transfer(4),
        transfer(5),
    ]
    records = [item.encode() for item in items]
    signed = sign_messages(1, GENESIS, items)
    plain = signing_prefix(1, PrefixType.TRANSFER, GENESIS)
    run = digest(
        1,
        b"clearspan/run/1" + GENESIS + (3).to_bytes(4, "little") + (900).to_bytes(8, "little")
        + b"".join(digest(1, record) for record in records[1:4]),
    )  # fmt: skip
    assert [message[:32] for message, _ in signed] == [plain, run, run, run, plain]
    assert [message[32:] for message, _ in signed] == records
    assert [hashed for _, hashed in signed] == [digest(1, message) for message, _ in signed]
    assert run_prefix(1, GENESIS, records[1:4]) == run


def test_the_ends_of_a_lock_are_derived_from_it() -> None:
    """RECORD-6."""
    lock = transfer(
        5, flags=TransferKind.LOCK | TransferFlag.HASH_IS_SM3, until=77, code=3, user_data=8, binding=b"\x01" * 32
    )
    hashed = digest(1, lock.encode())
    claim, refund = derived_claim(1, lock, hashed, b"\x02" * 32), derived_refund(1, lock, hashed)
    assert claim.id == claim_id(1, hashed) == int.from_bytes(digest(1, b"clearspan/claim/1" + hashed)[:16], "little")
    assert refund.id == refund_id(1, hashed) != claim.id
    assert (claim.flags, refund.flags) == (TransferKind.CLAIM | TransferFlag.HASH_IS_SM3, TransferKind.REFUND)
    assert (claim.binding, refund.binding) == (b"\x02" * 32, bytes(32))
    for end in (claim, refund):
        assert (end.expires_at, end.until, end.key_id, end.valid_for_s) == (0, 0, 0, 0)
        assert (end.reference, end.amount, end.code, end.user_data) == (lock.id, lock.amount, lock.code, lock.user_data)


def credit(sequence: int, kind: CreditKind = CreditKind.CREDIT, reason: int = 0) -> Credit:
    return Credit(sequence, kind, 5, 1, 1 << 100, 1 << 99, 77, 9, b"\x03" * 32, 1234, reason)


def test_credits_are_128_bytes_and_exact() -> None:
    messages = (credit(1), credit(2, CreditKind.RETURN, 136), credit(3, CreditKind.CLAIM))
    data = encode_credits(messages)
    assert len(data) == 3 * 128
    assert decode_credits(data) == messages
    for at, value in ((8, 0), (8, 4), (122, 1), (120, 1)):
        with pytest.raises(EncodingError):
            Credit.decode(data[:at] + bytes([value]) + data[at + 1 : 128])


def admin(identity: int) -> SignedAdmin:
    body = AdminRequest(identity, 1, 1000, 60, AdminRequest.name_of_subject("BANKCNBJ"), participant=9).encode()
    return SignedAdmin(body, (1, 0), (b"\x01" * 64, bytes(64)))


def test_an_admin_request_is_160_bytes_and_exact() -> None:
    request = AdminRequest(1, 7, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, b"\x0d" * 64)
    data = request.encode()
    assert len(data) == 160
    assert AdminRequest.decode(data) == request
    assert data[32:48] == b"\x07\0\x05\0\x06\0\0\0\x07\0\0\0\x08\0\0\0"


def test_bodies_of_the_log_come_back_as_they_were_written() -> None:
    """LOG-2, each kind."""
    columns = batch_of(transfer(1), transfer(2, binding=b"\x07" * 32, flags=1 << 6))
    codes = np.array([1, 20], dtype=np.uint16)
    body = encode_batch_body(columns, submitter=9, codes=codes)
    assert len(body) == 32 + 2 * (128 + 64 + 2) + 36
    read = decode_batch_body(body, 1)
    assert (read.submitter, read.columns.batch_id, read.codes.tolist()) == (9, bytes(16), [1, 20])
    assert read.columns.transfer(1) == columns.transfer(1)

    messages = encode_credits((credit(4), credit(5)))
    assert decode_credits_body(encode_credits_body(0x101, messages)).messages == messages

    requests = AdminColumns.from_requests([admin(1), admin(2)])
    read_admin = decode_admin_body(encode_admin_body(requests, codes=codes))
    assert read_admin.columns.bodies.tobytes() == requests.bodies.tobytes()
    assert read_admin.columns.key_ids.tolist() == [[1, 0], [1, 0]]
    assert read_admin.codes.tolist() == [1, 20]


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_body_that_is_not_accounted_for_to_the_last_byte_is_refused(cut: int) -> None:
    codes = np.array([1], dtype=np.uint16)
    bodies = [
        (encode_batch_body(batch_of(transfer(1)), submitter=0, codes=codes), lambda body: decode_batch_body(body, 1)),
        (encode_credits_body(1, credit(1).encode()), decode_credits_body),
        (encode_admin_body(AdminColumns.from_requests([admin(1)]), codes=codes), decode_admin_body),
    ]
    for body, decode in bodies:
        decode(body)
        for wrong in (body[:-cut], body + bytes(cut)):
            with pytest.raises(EncodingError):
                decode(wrong)


def test_credits_with_a_gap_are_no_body() -> None:
    with pytest.raises(EncodingError):
        decode_credits_body(encode_credits_body(1, encode_credits((credit(1), credit(3)))))


def test_every_code_has_a_meaning_and_the_classes_hold_together() -> None:
    """SEMANTICS of the classes: what burns never executes, what is done was decided, and nothing open is in a tree."""
    assert set(MEANINGS) == set(ResultCode)
    for row in MEANINGS.values():
        assert row.next_step.endswith(".")
        assert (row.iso_reason == "") <= (row.grpc_status == "OK")
        if row.burns:
            assert row.code_class is CodeClass.NO
            assert row.leaf
        if row.leaf:
            # What is held across shards is in a tree and not decided yet: its holders prove that to the relay.
            assert row.code_class in (CodeClass.DONE, CodeClass.NO) or row.code in (
                ResultCode.PREPARED,
                ResultCode.PREPARED_CREDIT,
                ResultCode.HELD,
            )
        assert meaning(row.code.value) is row
    assert {code for code in BURNING if code < 200} == {
        ResultCode(code) for code in (*range(133, 156), *range(157, 162))
    }
    assert ResultCode.EXISTS in DONE
    assert ResultCode.EXISTS not in LEAVES


def test_the_page_of_result_codes_is_the_table() -> None:
    """docs/spec/result-codes.md is what ``python -m engine.codes`` prints."""
    from pathlib import Path

    page = Path(__file__).parents[2] / "docs" / "spec" / "result-codes.md"
    assert page.read_text() == result_codes_page()
