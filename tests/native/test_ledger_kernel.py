"""The ledger kernel alone: its main rules with hand-packed records, hand-computed roots, and bytes that nobody made."""

from __future__ import annotations

import hashlib
import random
import struct
from array import array
from dataclasses import dataclass, field, replace
from typing import Final

import pytest

from native.codes import ResultCode as Code
from native.errors import InvariantBroken, ShapeError, StateBytesInvalid, UnknownSuite
from native.hashing import digest, leaf_hash, leaf_hash_rows, merkle_root, root_from_path
from native.ledger import BATCH_MAX, LedgerState, Prepared, prepare, slots

GENESIS: Final = bytes(range(32))
START: Final = 1_700_000_000 * 10**9
SECOND: Final = 10**9
WINDOW: Final = 60 * SECOND
LEDGER: Final = 7
OTHER_LEDGER: Final = 8
AMOUNT_MAX: Final = 10**18 - 1
SHARDS: Final = (0x100, 0x101)
ISSUER, ALICE, BOB = 1, 10, 11
ISSUER_KEY, ISSUER_KEY_2, ALICE_KEY, BOB_KEY, OLD_KEY = 1, 2, 3, 4, 5
PLAIN, PENDING, POST, VOID, LOCK, CLAIM, REFUND, CANCEL = range(8)
LINKED, SM3, ATTACHED = 0x10, 0x20, 0x40
PAYER_POSTS, PAYEE_POSTS, PAYER_VOIDS, PAYEE_VOIDS = 0x80, 0x100, 0x200, 0x400
MANDATE = 0x800
RECORD = struct.Struct("<16s16s16s16s16s16sQQIIIHH32s")
ACCOUNT = struct.Struct("<16s16s16s16s16s16s16s16sQIIHHIQ")
CREDIT = struct.Struct("<QHHI16s16s16s16s32sQH6x")
ENTRY = struct.Struct("<16s16s16s32sQH6x")
EVENT = struct.Struct("<16s16s32s16sQH6x")
LEAF = struct.Struct("<32sQH6x")
LIMITS: Final = {
    "ids_max": 4096,
    "pendings_max": 512,
    "accounts_max": 200_000,
    "expire_per_batch_max": 100,
    "bucket_ns": SECOND,
    "run_members_max": 16,
}


def u128(value: int) -> bytes:
    return value.to_bytes(16, "little")


def slot_of(account: int) -> int:
    """BYTES-9, in Python."""
    mask = 2**64 - 1
    x = (account & mask) ^ ((account >> 64) * 0x9E3779B97F4A7C15 & mask)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        x ^= x >> 33
        x = x * factor & mask
    x ^= x >> 33
    return x >> 52


def shard_of(account: int) -> int:
    return SHARDS[slot_of(account) * len(SHARDS) // 4096]


def account_id(participant: int, serial: int, shard: int = SHARDS[0]) -> int:
    """The serial-th account of a participant whose slot is on the shard."""
    found, low = -1, 0
    while found < serial:
        low += 1
        if shard_of(participant << 96 | low) == shard:
            found += 1
    return participant << 96 | low


def suspense_of(participant: int, shard: int) -> int:
    """LEDGER-1: the first of a participant's suspense ids whose slot is on the shard."""
    ids = (participant << 96 | 0xFFFFFFFF << 64 | LEDGER << 32 | number for number in range(1000))
    return next(each for each in ids if shard_of(each) == shard)


ISSUANCE = account_id(ISSUER, 0)
A0, A1 = account_id(ALICE, 0), account_id(ALICE, 1)
B0, B1 = account_id(BOB, 0), account_id(BOB, 1)
FAR = account_id(BOB, 0, SHARDS[1])
FAR_ISSUANCE = account_id(ISSUER, 0, SHARDS[1])


@dataclass(frozen=True)
class Transfer:
    """A record, by default a plain transfer of Alice's to Bob."""

    id: int = 1
    debit: int = A0
    credit: int = B0
    amount: int = 10
    reference: int = 0
    user_data: int = 0
    expires_at: int = START + 30 * SECOND
    until: int = 0
    ledger: int = LEDGER
    key_id: int = ALICE_KEY
    valid_for_s: int = 60
    code: int = 0
    flags: int = PLAIN
    binding: bytes = bytes(32)

    def pack(self) -> bytes:
        ids = (self.id, self.debit, self.credit, self.amount, self.reference, self.user_data)
        return RECORD.pack(
            *map(u128, ids),
            self.expires_at,
            self.until,
            self.ledger,
            self.key_id,
            self.valid_for_s,
            self.code,
            self.flags,
            self.binding,
        )


def parameters(shard: int = SHARDS[0], shards: tuple[int, ...] = SHARDS, **changed: object) -> dict[str, object]:
    owners = array("I", [shards[slot * len(shards) // 4096] for slot in range(4096)])
    given: dict[str, object] = {
        "suite": 1,
        "genesis_hash": GENESIS,
        "shard": shard,
        "slot_map_version": 1,
        "slot_owner": owners.tobytes(),
        "peers": [each for each in shards if each != shard],
        "ledgers": [
            (LEDGER, b"EUR\x00\x00\x00\x00\x00", 2, ISSUER, 60, 5, AMOUNT_MAX),
            (OTHER_LEDGER, b"JPY\x00\x00\x00\x00\x00", 0, ISSUER, 120, 5, 2**127 - 1),
        ],
        "genesis_time": START - SECOND,
    }
    return given | LIMITS | changed


@dataclass
class Shard:
    """A state with a clock, its keys and some accounts."""

    state: LedgerState
    given: dict[str, object]
    now: int = START
    last: list[tuple[int, int, int]] = field(default_factory=list)

    def prepared(self, transfers: list[Transfer]) -> tuple[Prepared, bytes]:
        records = [each.pack() for each in transfers]
        heads = b"".join(record[:128] for record in records)
        bound = [i for i, record in enumerate(records) if any(record[128:])]
        suite = self.given["suite"]
        assert isinstance(suite, int)
        return prepare(suite, GENESIS, heads, array("I", bound), b"".join(records[i][128:] for i in bound)), heads

    def apply(self, *transfers: Transfer, at: int | None = None, bad: tuple[int, ...] = ()) -> list[int]:
        """Apply a batch; return its codes. ``bad`` are the rows whose signature does not hold."""
        self.now = self.now if at is None else at
        ready, heads = self.prepared(list(transfers))
        verdicts = bytes(0 if i in bad else 1 for i in range(len(transfers)))
        answers = self.state.apply_batch(ready, heads, verdicts, self.now)
        self.last = list(zip(answers.codes, answers.first_codes, answers.times, strict=True))
        assert self.state.check_invariants() == []
        return list(answers.codes)

    def one(self, transfer: Transfer, at: int | None = None) -> Code:
        return Code(self.apply(transfer, at=at)[0])

    def balance(self, account: int) -> tuple[int, int, int, int]:
        """Debits pending, debits posted, credits pending, credits posted."""
        leaf = ACCOUNT.unpack(self.state.lookup_accounts(u128(account)))
        return tuple(int.from_bytes(each, "little") for each in leaf[1:5])  # type: ignore[return-value]

    def fund(self, account: int, amount: int, number: int, key: tuple[int, int] = (ISSUER_KEY, ISSUER_KEY_2)) -> None:
        pending = Transfer(
            id=10**9 + number, debit=ISSUANCE, credit=account, amount=amount, key_id=key[0], flags=PENDING,
            expires_at=self.now + 30 * SECOND,
        )  # fmt: skip
        post = replace(pending, id=2 * 10**9 + number, reference=pending.id, key_id=key[1], flags=POST)
        assert self.apply(pending, post) == [Code.CREATED, Code.CREATED]

    def reload(self) -> LedgerState:
        return LedgerState.load(self.state.export(), **self.given)  # type: ignore[arg-type]

    def roots(self) -> tuple[bytes, ...]:
        state = self.state
        return (
            state.accounts_root(),
            state.ids_root(),
            state.pendings_root(),
            state.channels_root(),
            state.ledgers_root(),
            state.parameters_root(),
            state.decisions_root(),
            state.outgoing_root(),
        )


def open_accounts(state: LedgerState, shard: int) -> None:
    for account, lineage in ((A0, ALICE_KEY), (A1, ALICE_KEY), (B0, BOB_KEY), (B1, BOB_KEY), (FAR, BOB_KEY)):
        if shard_of(account) == shard:
            state.open_account(u128(account), LEDGER, lineage, 0, 0, 0, 0, 0, START)
    for account in (ISSUANCE, FAR_ISSUANCE):
        if shard_of(account) == shard:
            state.open_account(u128(account), LEDGER, 0, 1, 0, 0, 0, 0, START)


def new_shard(shard: int = SHARDS[0], **changed: object) -> Shard:
    given = parameters(shard, **changed)
    state = LedgerState(**given)  # type: ignore[arg-type]
    state.set_key(ISSUER_KEY, ISSUER, 1, ISSUER_KEY, 0)
    state.set_key(ISSUER_KEY_2, ISSUER, 1, ISSUER_KEY_2, 0)
    state.set_key(ALICE_KEY, ALICE, 2, ALICE_KEY, 0)
    state.set_key(BOB_KEY, BOB, 2, BOB_KEY, 0)
    state.set_key(OLD_KEY, ALICE, 2, ALICE_KEY, START)
    open_accounts(state, shard)
    return Shard(state, given)


@pytest.fixture
def shard() -> Shard:
    made = new_shard()
    made.fund(A0, 1000, 0)
    made.state.reset_block()
    return made


def pend(**changed: object) -> Transfer:
    everything = PAYER_POSTS | PAYEE_POSTS | PAYER_VOIDS | PAYEE_VOIDS
    return replace(Transfer(flags=PENDING | everything), **changed)  # type: ignore[arg-type]


def post(pending: Transfer, **changed: object) -> Transfer:
    ending = replace(pending, id=pending.id + 1000, reference=pending.id, flags=POST, until=0, binding=bytes(32))
    return replace(ending, **changed)  # type: ignore[arg-type]


def lock(preimage: bytes, **changed: object) -> Transfer:
    made = Transfer(flags=LOCK, binding=hashlib.sha256(preimage).digest(), until=START + 20 * SECOND)
    return replace(made, **changed)  # type: ignore[arg-type]


def derived(state: LedgerState, lock_record: Transfer, preimage: bytes | None) -> tuple[Transfer, bytes]:
    """The claim or refund of RECORD-6 and its digest."""
    found = state.find_pending(u128(lock_record.debit), u128(lock_record.id))
    assert found is not None
    name = b"clearspan/claim/1" if preimage else b"clearspan/refund/1"
    record = replace(
        lock_record,
        id=int.from_bytes(hashlib.sha256(name + found[96:128]).digest()[:16], "little"),
        reference=lock_record.id,
        expires_at=0,
        until=0,
        key_id=0,
        valid_for_s=0,
        flags=(CLAIM | lock_record.flags & SM3) if preimage else REFUND,
        binding=preimage or bytes(32),
    )
    prefix = hashlib.sha256(b"clearspan/transfer/1" + GENESIS).digest()
    return record, hashlib.sha256(prefix + record.pack()).digest()


# What is signed.


def test_slots_follow_the_formula() -> None:
    """BYTES-9, over heads with a stride."""
    rng = random.Random(1)
    accounts = [rng.getrandbits(128) for _ in range(200)]
    heads = b"".join(bytes(16) + u128(each) + bytes(96) for each in accounts)
    out = array("H", bytes(400))
    slots(heads, 128, 16, out)
    assert list(out) == [slot_of(each) for each in accounts]
    with pytest.raises(ShapeError):
        slots(heads, 128, 113, out)
    with pytest.raises(ShapeError):
        slots(heads, 128, 16, array("H", bytes(2)))
    with pytest.raises((BufferError, TypeError)):
        slots(heads, 128, 16, bytes(400))


@pytest.mark.parametrize("suite", [1, 2])
def test_messages_carry_the_prefix_and_a_run_its_own(suite: int) -> None:
    """RECORD-1 to RECORD-4: T, T_run with the least expires_at, and T again for what stays open."""
    flags = [0, LINKED, LINKED, 0, LINKED]
    transfers = [Transfer(id=i + 1, flags=each, expires_at=START + 9 - i) for i, each in enumerate(flags)]
    transfers[0] = replace(transfers[0], flags=ATTACHED, binding=b"\x01" * 32)
    records = [each.pack() for each in transfers]
    heads = b"".join(record[:128] for record in records)
    ready = prepare(suite, GENESIS, heads, array("I", [0]), records[0][128:])
    plain = digest(suite, b"clearspan/transfer/1" + GENESIS)
    hashes = b"".join(digest(suite, record) for record in records[1:4])
    run = digest(suite, b"clearspan/run/1" + GENESIS + struct.pack("<IQ", 3, START + 6) + hashes)
    messages = [prefix + record for prefix, record in zip([plain, run, run, run, plain], records, strict=True)]
    assert ready.messages == b"".join(messages)
    assert ready.digests == b"".join(digest(suite, message) for message in messages)
    assert ready.count == 5


@pytest.mark.parametrize(
    ("heads", "index", "bindings"),
    [
        (0, [], 0),
        (BATCH_MAX + 1, [], 0),
        (2, [0, 0], 2),
        (2, [1, 0], 2),
        (2, [2], 1),
        (2, [0], 2),
        (1, [0, 1], 2),
        (2, [0], -1),
    ],
)
def test_columns_that_are_no_batch_are_refused(heads: int, index: list[int], bindings: int) -> None:
    """RECORD-7: counts, order, range, and bindings that are zero."""
    column = bytes(32) if bindings < 0 else b"\x05" * (32 * bindings)
    with pytest.raises(ShapeError):
        prepare(1, GENESIS, bytes(128 * heads), array("I", index), column)
    with pytest.raises(ShapeError):
        prepare(1, GENESIS, bytes(129), b"", b"")
    with pytest.raises(UnknownSuite):
        prepare(3, GENESIS, bytes(128), b"", b"")


# One request alone.

TOP = 2**128 - 1
SYSTEM = 1 << 64 | LEDGER << 32 | 1
MALFORMED = [
    (Transfer(flags=8), Code.RESERVED_FLAG_SET),
    (Transfer(flags=0x1000, id=0), Code.RESERVED_FLAG_SET),
    (Transfer(flags=MANDATE | SM3), Code.MANDATE_UNSUPPORTED),
    (Transfer(flags=SM3, id=0), Code.KIND_FLAG_NOT_ALLOWED),
    (Transfer(flags=PAYER_POSTS), Code.KIND_FLAG_NOT_ALLOWED),
    (Transfer(flags=LOCK | ATTACHED), Code.KIND_FLAG_NOT_ALLOWED),
    (Transfer(flags=REFUND | SM3), Code.KIND_FLAG_NOT_ALLOWED),
    (Transfer(id=0, debit=0), Code.ID_MUST_NOT_BE_ZERO),
    (Transfer(id=TOP, debit=0), Code.ID_MUST_NOT_BE_MAX),
    (Transfer(debit=SYSTEM, credit=0), Code.DEBIT_ACCOUNT_RESERVED),
    (Transfer(debit=TOP), Code.DEBIT_ACCOUNT_RESERVED),
    (Transfer(credit=SYSTEM, amount=0), Code.CREDIT_ACCOUNT_RESERVED),
    (Transfer(flags=CANCEL, reference=5), Code.CREDIT_ACCOUNT_MUST_BE_ZERO),
    (Transfer(credit=A0, amount=0), Code.ACCOUNTS_MUST_DIFFER),
    (Transfer(amount=0, reference=1), Code.AMOUNT_MUST_NOT_BE_ZERO),
    (Transfer(flags=CANCEL, credit=0, amount=1), Code.AMOUNT_MUST_BE_ZERO),
    (Transfer(reference=1, expires_at=0), Code.REFERENCE_MUST_BE_ZERO),
    (Transfer(flags=POST, expires_at=0), Code.REFERENCE_MUST_NOT_BE_ZERO),
    (Transfer(expires_at=0, until=1), Code.EXPIRES_AT_OUT_OF_RANGE),
    (Transfer(expires_at=2**63), Code.EXPIRES_AT_OUT_OF_RANGE),
    (Transfer(until=1, key_id=0), Code.UNTIL_MUST_BE_ZERO),
    (Transfer(flags=PENDING, until=2**62), Code.UNTIL_OUT_OF_RANGE),
    (Transfer(flags=LOCK), Code.UNTIL_OUT_OF_RANGE),
    (Transfer(flags=LOCK, until=2**63), Code.UNTIL_OUT_OF_RANGE),
    (Transfer(key_id=0, valid_for_s=0), Code.KEY_ID_MUST_NOT_BE_ZERO),
    (Transfer(valid_for_s=0, binding=b"\x01" * 32), Code.VALID_FOR_MUST_NOT_BE_ZERO),
    (Transfer(binding=b"\x01" * 32, ledger=99), Code.BINDING_MUST_BE_ZERO),
    (Transfer(flags=ATTACHED), Code.BINDING_MUST_NOT_BE_ZERO),
    (Transfer(flags=LOCK, until=START + WINDOW), Code.BINDING_MUST_NOT_BE_ZERO),
    (Transfer(ledger=99, valid_for_s=61), Code.LEDGER_NOT_FOUND),
    (Transfer(valid_for_s=61, amount=AMOUNT_MAX + 1), Code.VALID_FOR_EXCEEDS_WINDOW),
    (Transfer(amount=AMOUNT_MAX + 1, debit=FAR), Code.AMOUNT_EXCEEDS_LEDGER_MAX),
    (Transfer(debit=FAR, credit=A0), Code.WRONG_SHARD),
    (Transfer(flags=CLAIM, debit=FAR, id=0, key_id=0), Code.WRONG_SHARD),
]


@pytest.mark.parametrize(("transfer", "code"), MALFORMED, ids=[f"{i}-{c.name}" for i, (_, c) in enumerate(MALFORMED)])
def test_malformed_requests_are_refused_in_order(shard: Shard, transfer: Transfer, code: Code) -> None:
    """Steps 1 to 12: the first that applies answers, nothing changes and no leaf is made."""
    before = shard.state.export()
    assert shard.one(transfer) is code
    assert shard.last == [(code, 0, START)]
    assert shard.state.export() == before


def test_a_plain_transfer_moves_once_and_repeats_its_answer(shard: Shard) -> None:
    """Steps 13 and 21: the same record again is `exists` with the first code and time."""
    assert shard.one(Transfer()) is Code.CREATED
    assert shard.balance(A0) == (0, 10, 0, 1000)
    assert shard.balance(B0) == (0, 0, 0, 10)
    assert shard.one(Transfer(), at=START + SECOND) is Code.EXISTS
    assert shard.last == [(Code.EXISTS, Code.CREATED, START)]
    assert shard.balance(A0) == (0, 10, 0, 1000)
    assert shard.state.decision_count == 1


def test_a_refusal_for_state_burns_the_id(shard: Shard) -> None:
    """LEDGER-61: a late retry never turns a no into a yes."""
    assert shard.one(Transfer(amount=1001)) is Code.INSUFFICIENT_FUNDS
    shard.fund(A0, 5000, 1)
    assert shard.one(Transfer(amount=1001), at=START + 1) is Code.ID_ALREADY_FAILED
    assert shard.last == [(Code.ID_ALREADY_FAILED, Code.INSUFFICIENT_FUNDS, START)]
    assert shard.one(Transfer(amount=1)) is Code.EXISTS_WITH_DIFFERENT_AMOUNT


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"flags": ATTACHED, "binding": b"\x01" * 32, "amount": 3}, Code.EXISTS_WITH_DIFFERENT_FLAGS),
        ({"credit": B1, "amount": 3}, Code.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT),
        ({"amount": 3, "user_data": 3}, Code.EXISTS_WITH_DIFFERENT_AMOUNT),
        ({"user_data": 3, "code": 3}, Code.EXISTS_WITH_DIFFERENT_USER_DATA),
        ({"expires_at": START + 5, "code": 3}, Code.EXISTS_WITH_DIFFERENT_EXPIRES_AT),
        ({"ledger": OTHER_LEDGER, "code": 3}, Code.EXISTS_WITH_DIFFERENT_LEDGER),
        ({"valid_for_s": 59, "code": 3}, Code.EXISTS_WITH_DIFFERENT_VALID_FOR),
        ({"code": 3}, Code.EXISTS_WITH_DIFFERENT_CODE),
    ],
)
def test_an_id_with_other_content_names_the_first_difference(shard: Shard, changed: dict, code: Code) -> None:
    """Step 19; these refusals make neither leaf nor entry (LEDGER-88)."""
    shard.apply(Transfer())
    assert shard.one(replace(Transfer(), **changed)) is code
    assert shard.state.decision_count == 1
    assert shard.state.id_count == 3


def test_other_differences_of_kinds(shard: Shard) -> None:
    """Step 19: reference, until, key and binding, which plain transfers cannot differ in alone."""
    first = pend(id=5, until=5 * SECOND)
    shard.apply(
        first,
        lock(b"x" * 32, id=6),
        post(first, amount=1),
        replace(Transfer(id=8), flags=ATTACHED, binding=b"\x01" * 32),
    )
    assert [row[0] for row in shard.last] == [Code.CREATED] * 4
    codes = shard.apply(
        replace(first, until=6 * SECOND),
        lock(b"y" * 32, id=6),
        post(first, amount=1, reference=99),
        replace(Transfer(id=8), flags=ATTACHED, binding=b"\x02" * 32),
    )
    assert codes == [
        Code.EXISTS_WITH_DIFFERENT_UNTIL,
        Code.EXISTS_WITH_DIFFERENT_BINDING,
        Code.EXISTS_WITH_DIFFERENT_REFERENCE,
        Code.EXISTS_WITH_DIFFERENT_BINDING,
    ]


def test_keys_and_authority_come_before_time_and_state(shard: Shard) -> None:
    """Steps 14 to 18; only a key that is no longer in force makes a leaf."""
    transfers = [
        Transfer(key_id=6),
        Transfer(key_id=OLD_KEY),
        Transfer(debit=account_id(ALICE, 9)),
        Transfer(key_id=BOB_KEY),
        Transfer(key_id=ISSUER_KEY),
        Transfer(expires_at=1),
    ]
    assert shard.apply(*transfers, bad=(5,)) == [
        Code.KEY_NOT_FOUND,
        Code.KEY_NOT_IN_FORCE,
        Code.DEBIT_ACCOUNT_NOT_FOUND,
        Code.KEY_NOT_AUTHORISED,
        Code.KEY_NOT_AUTHORISED,
        Code.INVALID_SIGNATURE,
    ]
    assert [LEAF.unpack(shard.state.decision_leaves())[2]] == [Code.KEY_NOT_IN_FORCE]
    assert shard.state.id_count == 2


def test_time_bounds(shard: Shard) -> None:
    """Step 20: each bound at its very nanosecond; only `expired` makes a leaf, none burns."""
    now = shard.now
    assert shard.apply(
        Transfer(id=1, expires_at=now),
        Transfer(id=2, expires_at=now - 1),
        Transfer(id=3, expires_at=now - WINDOW),
        Transfer(id=4, expires_at=now - WINDOW - 1),
        Transfer(id=5, expires_at=now + WINDOW),
        Transfer(id=6, expires_at=now + WINDOW + 1),
        Transfer(id=7, expires_at=1, valid_for_s=60),
    ) == [
        Code.CREATED,
        Code.EXPIRED,
        Code.EXPIRED,
        Code.TOO_OLD,
        Code.CREATED,
        Code.TOO_EARLY,
        Code.TOO_OLD,
    ]
    assert shard.state.decision_count == 4


def test_ids_are_known_until_their_bucket_has_passed(shard: Shard) -> None:
    """LEDGER-13: kept to the end of the bucket of expires_at + window, then dropped whole; the record is too old then."""
    shard.apply(Transfer())
    end = (START + 30 * SECOND + WINDOW) // SECOND * SECOND + SECOND
    assert shard.one(Transfer(), at=end - 1) is Code.EXISTS
    assert shard.one(Transfer(), at=end) is Code.TOO_OLD
    assert shard.state.id_count == 0
    assert shard.state.ids_root() == hashlib.sha256(b"").digest()


def test_roots_of_ids_and_decisions_are_those_of_the_spec(shard: Shard) -> None:
    """LEDGER-60 and LEDGER-70 by hand: two records of one bucket, one of another, chained once a log record."""
    first, second, third = Transfer(id=3), Transfer(id=4, amount=10**6), Transfer(id=5, expires_at=START + 31 * SECOND)
    ready, _ = shard.prepared([first, second, third])
    base = LedgerState.load(shard.state.export(), **shard.given)
    empty = b"".join(shard_bucket_digests(base)[(START + 30 * SECOND + WINDOW) // SECOND])
    shard.apply(first, second, third)
    digests = [ready.digests[32 * i :][:32] for i in range(3)]
    codes = [Code.CREATED, Code.INSUFFICIENT_FUNDS, Code.CREATED]
    entries = [
        ENTRY.pack(u128(A0), u128(A0), u128(each.id), digests[i], START, codes[i])
        for i, each in enumerate([first, second, third])
    ]
    leaves = [
        struct.pack("<QQ", (START + 30 * SECOND + WINDOW) // SECOND, 4)
        + hashlib.sha256(empty + entries[0] + entries[1]).digest(),
        struct.pack("<QQ", (START + 31 * SECOND + WINDOW) // SECOND, 1)
        + hashlib.sha256(bytes(32) + entries[2]).digest(),
    ]
    assert shard.state.ids_root() == merkle_root(1, leaf_hash_rows(1, b"".join(leaves), 48))
    decisions = b"".join(LEAF.pack(digests[i], START, codes[i]) for i in range(3))
    assert shard.state.decision_leaves() == decisions
    assert shard.state.decisions_root() == merkle_root(1, leaf_hash_rows(1, decisions, 48))


def shard_bucket_digests(state: LedgerState) -> dict[int, list[bytes]]:
    """The digests of id buckets by number, read from exported bytes."""
    data = state.export()
    accounts, keys, buckets = struct.unpack_from("<QQQ", data, 104)
    ledgers, peers = struct.unpack_from("<II", data, 192)
    at = 200 + 32 * ledgers + 16 * peers + 160 * accounts + 24 * keys
    found: dict[int, list[bytes]] = {}
    for _ in range(buckets):
        number, count = struct.unpack_from("<QQ", data, at)
        found[number] = [data[at + 16 : at + 48]]
        at += 48 + 224 * count
    return found


def test_account_ledger_and_parameter_leaves(shard: Shard) -> None:
    """LEDGER-70: leaves of accounts with channel accounts first, of ledgers with totals, of the parameters."""
    shard.apply(Transfer())
    leaves = b"".join(shard.state.account(i) for i in range(shard.state.account_count))
    hashes = leaf_hash_rows(1, leaves, 160)
    assert shard.state.accounts_root() == merkle_root(1, hashes)
    assert [leaves[160 * i :][:16] for i in range(2)] == [
        u128(1 << 64 | ledger << 32 | SHARDS[1]) for ledger in (LEDGER, OTHER_LEDGER)
    ]
    index = shard.state.find_account(u128(B0))
    path = shard.state.account_path(index)
    leaf = leaf_hash(1, shard.state.account(index))
    assert root_from_path(1, leaf, index, shard.state.account_count, path) == shard.state.accounts_root()
    ledgers = [
        struct.pack("<IIIIII", LEDGER, 2, ISSUER, 60, 5, 0)
        + u128(AMOUNT_MAX)
        + u128(0)
        + u128(1010)
        + b"EUR"
        + bytes(5),
        struct.pack("<IIIIII", OTHER_LEDGER, 0, ISSUER, 120, 5, 0) + u128(2**127 - 1) + bytes(32) + b"JPY" + bytes(5),
    ]
    assert shard.state.ledgers_root() == merkle_root(1, leaf_hash_rows(1, b"".join(ledgers), 80))
    parameters_leaf = struct.pack("<IIQQQQQQQQQ", 1, 0, START, 0, 0, *LIMITS.values())
    assert shard.state.parameters_root() == leaf_hash(1, parameters_leaf)
    assert shard.state.channels_root() == leaf_hash(1, struct.pack("<IIQQ", SHARDS[1], 0, 0, 0))


def test_state_rules_of_accounts(shard: Shard) -> None:
    """Rules a to c and g, in order."""
    state = shard.state
    other = account_id(BOB, 5)
    state.open_account(u128(other), OTHER_LEDGER, BOB_KEY, 0, 0, 0, 0, 0, START)
    alice, bob = state.find_account(u128(A0)), state.find_account(u128(B0))
    state.update_account(bob, balance_max=15)
    assert shard.apply(
        Transfer(id=1, ledger=OTHER_LEDGER),
        Transfer(id=2, credit=other),
        Transfer(id=3, credit=account_id(BOB, 99)),
        Transfer(id=4, debit=ISSUANCE, key_id=ISSUER_KEY),
        Transfer(id=5, amount=16),
        Transfer(id=6, amount=15),
        Transfer(id=7, amount=1, debit=B0, credit=A0, key_id=BOB_KEY),
        Transfer(id=8, amount=1),
    ) == [
        Code.DEBIT_ACCOUNT_OTHER_LEDGER,
        Code.CREDIT_ACCOUNT_OTHER_LEDGER,
        Code.CREDIT_ACCOUNT_NOT_FOUND,
        Code.ISSUE_REQUIRES_PENDING,
        Code.EXCEEDS_BALANCE_MAX,
        Code.CREATED,
        Code.CREATED,
        Code.CREATED,
    ]
    state.update_account(bob, flags=4)
    state.update_account(alice, flags=2, frozen_until=START + 5)
    frozen = [Transfer(id=20), replace(Transfer(id=21), expires_at=START + WINDOW)]
    assert shard.apply(frozen[0], at=START + 4) == [Code.DEBIT_ACCOUNT_FROZEN]
    assert shard.apply(frozen[1], at=START + 5) == [Code.CREDIT_ACCOUNT_CLOSED]
    state.update_account(alice, flags=6)
    assert shard.one(Transfer(id=22)) is Code.DEBIT_ACCOUNT_CLOSED
    with pytest.raises(ShapeError):
        state.update_account(alice, flags=8)


def test_a_credit_limit_is_part_of_the_balance(shard: Shard) -> None:
    """LEDGER-2, with a limit near 2^128 that must not wrap."""
    alice = shard.state.find_account(u128(A0))
    shard.state.update_account(alice, credit_limit=5)
    assert shard.apply(Transfer(id=1, amount=1005), Transfer(id=2, amount=1)) == [Code.CREATED, Code.INSUFFICIENT_FUNDS]
    shard.state.update_account(alice, credit_limit=TOP)
    assert shard.one(Transfer(id=3, amount=AMOUNT_MAX)) is Code.CREATED


def test_ledger_totals_stay_within_127_bits() -> None:
    """LEDGER-3: the sum of debits pending and posted, to the unit."""
    shard = new_shard()
    account, bank = account_id(ALICE, 7), account_id(ISSUER, 7)
    shard.state.open_account(u128(bank), OTHER_LEDGER, 0, 1, 0, 0, 0, 0, START)
    shard.state.open_account(u128(account), OTHER_LEDGER, ALICE_KEY, 0, 0, 0, 0, 0, START)
    issue = Transfer(debit=bank, credit=account, key_id=ISSUER_KEY, ledger=OTHER_LEDGER, flags=PENDING)
    assert shard.apply(
        replace(issue, id=1, amount=2**127 - 2),
        replace(issue, id=2, amount=2),
        replace(issue, id=3, amount=1),
        replace(issue, id=4, amount=1),
    ) == [Code.CREATED, Code.OVERFLOWS_LEDGER_TOTAL, Code.CREATED, Code.OVERFLOWS_LEDGER_TOTAL]
    assert shard.state.totals(OTHER_LEDGER)[:2] == (2**127 - 1, 0)


# Pendings.


def test_post_takes_all_or_less_and_void_releases(shard: Shard) -> None:
    """Post and void end a pending once; what is not posted returns."""
    first, second = pend(id=1), pend(id=2)
    assert shard.apply(first, second) == [Code.CREATED] * 2
    assert shard.balance(A0) == (20, 0, 0, 1000)
    assert shard.balance(B0) == (0, 0, 20, 0)
    ends = [
        post(first, id=11, amount=11),
        post(first, id=12, amount=4),
        post(first, id=13, amount=4),
        post(second, id=14, amount=9, flags=VOID),
        post(second, id=15, flags=VOID, credit=B1),
        post(second, id=16, flags=VOID, key_id=BOB_KEY),
        post(second, id=17),
        post(second, id=18, reference=77),
    ]
    assert shard.apply(*ends) == [
        Code.EXCEEDS_PENDING_AMOUNT,
        Code.CREATED,
        Code.PENDING_ALREADY_POSTED,
        Code.PENDING_HAS_DIFFERENT_AMOUNT,
        Code.PENDING_HAS_DIFFERENT_CREDIT_ACCOUNT,
        Code.CREATED,
        Code.PENDING_ALREADY_VOIDED,
        Code.PENDING_NOT_FOUND,
    ]
    assert shard.balance(A0) == (0, 4, 0, 1000)
    assert shard.balance(B0) == (0, 0, 0, 4)


@pytest.mark.parametrize(
    ("bit", "kind", "key"),
    [(PAYER_POSTS, POST, 3), (PAYEE_POSTS, POST, 4), (PAYER_VOIDS, VOID, 3), (PAYEE_VOIDS, VOID, 4)],
)
def test_the_bits_of_a_pending_say_who_may_end_it(shard: Shard, bit: int, kind: int, key: int) -> None:
    """LEDGER-10: each bit permits one party one end, and nothing else."""
    permitted, forbidden = pend(id=1, flags=PENDING | bit), pend(id=2, flags=PENDING | (0x780 & ~bit))
    ends = [post(each, id=each.id + 10, flags=kind, key_id=key) for each in (permitted, forbidden)]
    assert shard.apply(permitted, forbidden, *ends)[2:] == [Code.CREATED, Code.NOT_PERMITTED_BY_PENDING]


def test_an_issue_needs_two_keys_of_different_lineage(shard: Shard) -> None:
    """LEDGER-10: one issuer key makes the pending, another posts it, either voids it, the payee does neither."""
    issue = pend(debit=ISSUANCE, credit=B0, key_id=ISSUER_KEY)
    assert shard.apply(
        issue,
        post(issue, id=11, key_id=ISSUER_KEY),
        post(issue, id=12, key_id=BOB_KEY),
        post(issue, id=13, key_id=ISSUER_KEY_2),
        replace(issue, id=2),
        post(replace(issue, id=2), id=14, key_id=ISSUER_KEY, flags=VOID),
    ) == [
        Code.CREATED,
        Code.ISSUER_KEYS_MUST_DIFFER,
        Code.NOT_PERMITTED_BY_PENDING,
        Code.CREATED,
        Code.CREATED,
        Code.CREATED,
    ]


def test_due_pendings_end_in_order_and_in_portions() -> None:
    """LEDGER-30: by (due, id), at most expire_per_batch_max a log record; one not yet swept cannot be posted any more."""
    shard = new_shard(expire_per_batch_max=2)
    shard.fund(A0, 1000, 0)
    shard.state.reset_block()
    untils = {5: 3, 9: 1, 2: 3, 7: 2, 4: 0}
    made = {each: pend(id=each, until=until * SECOND) for each, until in untils.items()}
    ready, _ = shard.prepared(list(made.values()))
    by_digest = {ready.digests[32 * i :][:32]: each for i, each in enumerate(made)}
    shard.apply(*made.values())
    shard.state.reset_block()
    assert shard.one(post(made[2]), at=START + 3 * SECOND) is Code.PENDING_EXPIRED
    shard.state.sweep(START + 3 * SECOND)
    leaves = [LEAF.unpack_from(shard.state.decision_leaves(), 48 * i) for i in range(shard.state.decision_count)]
    order = [by_digest[leaf[0]] for leaf in leaves if leaf[2] == Code.EXPIRED_BY_TIMEOUT]
    assert order == [9, 7, 2, 5]
    assert shard.balance(A0) == (10, 0, 0, 1000)
    assert shard.one(post(made[7], id=99)) is Code.PENDING_EXPIRED


def test_pending_buckets_chain_their_events(shard: Shard) -> None:
    """LEDGER-70 and LEDGER-31 by hand: created, posted, forgotten; a bucket without pendings is gone."""
    shard.state.sweep(START + 3 * WINDOW)  # whatever the fixture issued is forgotten
    assert shard.state.pending_count == 0
    assert shard.state.pendings_root() == hashlib.sha256(b"").digest()
    at = START + 3 * WINDOW
    first = pend(id=1, expires_at=at + 5 * SECOND)
    second = pend(id=2, expires_at=at + 50 * SECOND, until=7 * SECOND)
    third = replace(first, id=3)
    ready, _ = shard.prepared([first, second, third])
    digests = [ready.digests[32 * i :][:32] for i in range(3)]
    shard.apply(first, second, third, at=at)

    def event(transfer: Transfer, time: int, kind: int, posted: int = 0) -> bytes:
        return EVENT.pack(u128(A0), u128(transfer.id), digests[transfer.id - 1], u128(posted), time, kind)

    timed = hashlib.sha256(bytes(32) + event(second, at, 1)).digest()
    timeless = hashlib.sha256(bytes(32) + event(first, at, 1) + event(third, at, 1)).digest()

    def root(*buckets: tuple[int, int, bytes]) -> bytes:
        leaves = b"".join(struct.pack("<QQ", number, count) + chained for number, count, chained in buckets)
        return merkle_root(1, leaf_hash_rows(1, leaves, 48))

    due_bucket = (at + 7 * SECOND) // SECOND
    assert shard.state.pendings_root() == root((due_bucket, 1, timed), (2**64 - 1, 2, timeless))
    shard.apply(post(first, amount=3), at=at + SECOND)
    timeless = hashlib.sha256(timeless + event(first, at + SECOND, 2, 3)).digest()
    assert shard.state.pendings_root() == root((due_bucket, 1, timed), (2**64 - 1, 2, timeless))
    shard.state.sweep(at + 8 * SECOND)
    timed = hashlib.sha256(timed + event(second, at + 8 * SECOND, 4)).digest()
    assert shard.state.pendings_root() == root((due_bucket, 1, timed), (2**64 - 1, 2, timeless))
    forget = (at + 5 * SECOND + WINDOW) // SECOND * SECOND + SECOND
    shard.state.sweep(forget - 1)
    assert shard.state.pending_count == 3
    shard.state.sweep(forget)
    timeless = hashlib.sha256(timeless + event(first, forget, 7)).digest()
    assert shard.state.pendings_root() == root((due_bucket, 1, timed), (2**64 - 1, 1, timeless))
    shard.state.sweep(at + 200 * SECOND)
    assert shard.state.pendings_root() == root((2**64 - 1, 1, timeless))


def test_a_pending_that_outlives_its_id_keeps_the_id(shard: Shard) -> None:
    """A pending without timeout whose id entry is gone: the id cannot make a second one beside it."""
    shard.apply(pend())
    later = START + 10 * WINDOW
    assert shard.one(pend(), at=later) is Code.TOO_OLD
    assert shard.one(pend(expires_at=later)) is Code.EXISTS_WITH_DIFFERENT_EXPIRES_AT
    assert shard.one(Transfer(expires_at=later)) is Code.CREATED
    assert shard.one(post(pend(), expires_at=later)) is Code.CREATED


def test_cancel_burns_an_unused_id(shard: Shard) -> None:
    """A cancelled id answers `id_already_failed`; a used one cannot be cancelled, nor the cancel's own."""
    cancel = Transfer(id=5, flags=CANCEL, credit=0, amount=0, reference=1)
    assert shard.one(cancel) is Code.CREATED
    assert shard.one(Transfer(), at=START + 1) is Code.ID_ALREADY_FAILED
    assert shard.last == [(Code.ID_ALREADY_FAILED, Code.CANCELLED, START)]
    assert shard.one(Transfer(id=2)) is Code.CREATED
    assert shard.one(replace(cancel, id=6, reference=2)) is Code.CANCEL_TOO_LATE
    assert shard.one(replace(cancel, id=7, reference=7)) is Code.CANCEL_TOO_LATE
    assert shard.one(cancel) is Code.EXISTS
    code, time, record_digest, record = shard.state.find_id(u128(A0), u128(A0), u128(1)) or (0, 0, b"", b"")
    assert (code, time, record_digest) == (Code.CANCELLED, START, bytes(32))
    assert record == replace(Transfer(), credit=0, amount=0, ledger=0, key_id=0, valid_for_s=0).pack()


def test_full_tables_answer_open_and_burn_nothing() -> None:
    """Step 21: `window_full` and `pendings_full`; a cancel needs two places."""
    shard = new_shard(ids_max=6, pendings_max=2)
    shard.fund(A0, 1000, 0)  # two ids, one pending
    cancel = Transfer(id=9, flags=CANCEL, credit=0, amount=0, reference=8)
    assert shard.apply(pend(id=1), pend(id=2), Transfer(id=3), Transfer(id=4), cancel) == [
        Code.CREATED,
        Code.PENDINGS_FULL,
        Code.CREATED,
        Code.CREATED,
        Code.WINDOW_FULL,
    ]
    assert shard.apply(cancel, Transfer(id=5), Transfer(id=6)) == [
        Code.WINDOW_FULL,
        Code.CREATED,
        Code.WINDOW_FULL,
    ]
    assert shard.state.id_count == 6


# Runs.


def run_of(*transfers: Transfer) -> list[Transfer]:
    return [replace(each, flags=each.flags | LINKED) for each in transfers[:-1]] + [transfers[-1]]


def test_a_run_settles_all_and_sees_its_own_effects(shard: Shard) -> None:
    """LEDGER-20f: Bob pays on what Alice just paid him."""
    members = run_of(Transfer(id=1, amount=100), Transfer(id=2, amount=100, debit=B0, credit=A1, key_id=BOB_KEY))
    assert shard.apply(*members) == [Code.CREATED] * 2
    assert shard.balance(A1) == (0, 0, 0, 100)
    assert shard.apply(*members, at=START + 1) == [Code.EXISTS] * 2
    assert {row[2] for row in shard.last} == {START}
    assert shard.apply(*run_of(members[0], replace(Transfer(id=3), expires_at=START + 9)))[0] == (
        Code.EXISTS_WITH_DIFFERENT_RUN
    )


def test_a_failed_run_leaves_nothing_but_its_failing_member(shard: Shard) -> None:
    """LEDGER-20f: balances, pendings, ids and leaves go back; a code that does not burn leaves the state untouched."""
    open_pending, timed = pend(id=50), pend(id=51, until=5 * SECOND)
    shard.apply(open_pending, timed)
    before, roots = shard.state.export(), shard.roots()
    members = run_of(
        Transfer(id=1),
        pend(id=2, until=9 * SECOND),
        pend(id=3),
        lock(b"p" * 32, id=4),
        post(open_pending, id=5, amount=3),
        post(timed, id=6, flags=VOID),
        Transfer(id=7),
    )
    assert shard.apply(*members, bad=(6,)) == [Code.LINKED_EVENT_FAILED] * 6 + [Code.INVALID_SIGNATURE]
    assert shard.state.export() == before
    assert shard.roots() == roots
    failing = [*members[:-1], Transfer(id=7, amount=10**6)]
    assert shard.apply(*failing) == [Code.LINKED_EVENT_FAILED] * 6 + [Code.INSUFFICIENT_FUNDS]
    assert shard.state.decision_count == 3
    assert shard.balance(A0) == (20, 0, 0, 1000)
    assert shard.apply(*failing) == [Code.LINKED_EVENT_FAILED] * 6 + [Code.ID_ALREADY_FAILED]
    assert shard.last[-1] == (Code.ID_ALREADY_FAILED, Code.INSUFFICIENT_FUNDS, START)
    assert shard.last[0] == (Code.LINKED_EVENT_FAILED, 0, START)
    fresh = [*members[:-1], Transfer(id=8)]
    assert shard.apply(*fresh) == [Code.CREATED] * 7
    assert shard.balance(A0) == (30, 23, 0, 1000)


def test_runs_that_are_refused_whole(shard: Shard) -> None:
    """LEDGER-20a, b and e, and the places that all members need."""
    assert shard.apply(Transfer(id=1), Transfer(id=2, flags=LINKED)) == [Code.CREATED, Code.LINKED_EVENT_CHAIN_OPEN]
    long = run_of(*(Transfer(id=10 + i) for i in range(17)))
    assert shard.apply(*long) == [Code.LINKED_RUN_TOO_LONG] * 17
    assert shard.apply(*run_of(Transfer(id=3), Transfer(id=4, amount=0), Transfer(id=0))) == [
        Code.LINKED_EVENT_FAILED,
        Code.AMOUNT_MUST_NOT_BE_ZERO,
        Code.LINKED_EVENT_FAILED,
    ]
    cancel = Transfer(id=5, flags=CANCEL, credit=0, amount=0, reference=99)
    assert shard.apply(*run_of(Transfer(id=3), cancel)) == [Code.LINKED_EVENT_FAILED, Code.KIND_FLAG_NOT_ALLOWED]
    assert shard.apply(*run_of(Transfer(id=3), Transfer(id=4, credit=FAR))) == [Code.LINKED_RUN_SPANS_SHARDS] * 2
    small = new_shard(ids_max=3, pendings_max=1)
    small.fund(A0, 1000, 0)
    assert small.apply(*run_of(Transfer(id=1), Transfer(id=2))) == [Code.WINDOW_FULL, Code.LINKED_EVENT_FAILED]
    small = new_shard(pendings_max=2)
    small.fund(A0, 1000, 0)
    assert small.apply(*run_of(pend(id=1), pend(id=2))) == [Code.PENDINGS_FULL, Code.LINKED_EVENT_FAILED]


def test_a_known_member_answers_for_its_run(shard: Shard) -> None:
    """LEDGER-20c: once a member is known as done, the others that are not answer `too_old`."""
    members = run_of(Transfer(id=1, expires_at=START + 1), Transfer(id=2, expires_at=START + 40 * SECOND))
    assert shard.apply(*members) == [Code.CREATED] * 2
    later = START + 70 * SECOND
    assert shard.apply(*members, at=later) == [Code.TOO_OLD, Code.EXISTS]


# Locks.


def test_reveals_claim_before_refunds(shard: Shard) -> None:
    """LEDGER-40: a reveal before the timelock pays the payee, the timelock refunds what is left, in order."""
    secret, other = b"s" * 32, b"o" * 32
    locks = [
        lock(secret, id=1),
        lock(secret, id=2, until=START + 10 * SECOND),
        lock(secret, id=3, flags=LOCK | SM3, binding=digest(2, secret)),
        lock(other, id=4, until=START + 10 * SECOND),
        lock(other, id=5),
    ]
    assert shard.apply(*locks) == [Code.CREATED] * 5
    assert shard.apply(lock(other, id=6, until=START + 4 * SECOND)) == [Code.TIMELOCK_TOO_SOON]
    shard.state.reset_block()
    expected = [derived(shard.state, each, secret) for each in (locks[0], locks[2])]
    expected += [derived(shard.state, each, None) for each in (locks[1], locks[3])]
    assert shard.one(expected[0][0]) is Code.PREIMAGE_NOT_FINAL
    assert shard.one(expected[2][0]) is Code.TOO_EARLY
    shard.state.apply_relay(1, START + 10 * SECOND, secret + secret, START + 11 * SECOND)
    now = START + 11 * SECOND
    leaves = [LEAF.unpack_from(shard.state.decision_leaves(), 48 * i) for i in range(shard.state.decision_count)]
    codes = [Code.CLAIMED, Code.CLAIMED, Code.REFUNDED, Code.REFUNDED]
    assert leaves == [(each[1], now, code) for each, code in zip(expected, codes, strict=True)]
    assert shard.balance(A0) == (10, 20, 0, 1000)
    assert shard.balance(B0) == (0, 0, 10, 20)
    assert (shard.state.relay_height, shard.state.relay_time) == (1, START + 10 * SECOND)
    assert shard.apply(*(each[0] for each in expected), at=now + 1) == [Code.EXISTS] * 4
    assert shard.last[0] == (Code.EXISTS, Code.CLAIMED, now)
    assert shard.last[2] == (Code.EXISTS, Code.REFUNDED, now)
    assert shard.one(replace(expected[0][0], amount=1)) is Code.PENDING_ALREADY_POSTED
    assert shard.one(replace(expected[2][0], flags=CLAIM)) is Code.PENDING_ALREADY_VOIDED
    assert shard.one(post(locks[4], id=60)) is Code.PENDING_IS_LOCK
    assert shard.one(replace(expected[0][0], reference=77)) is Code.PENDING_NOT_FOUND
    assert shard.one(lock(other, id=7, until=START + 10 * SECOND)) is Code.TIMELOCK_TOO_SOON


def test_many_locks_of_one_hashlock_end_in_order_of_creation(shard: Shard) -> None:
    """The list of a hashlock survives ends at its head, middle and tail."""
    secret = b"s" * 32
    untils = [20, 6, 20, 6, 20, 6]
    shard.apply(*(lock(secret, id=i + 1, until=START + until * SECOND) for i, until in enumerate(untils)))
    shard.state.apply_relay(1, START + 6 * SECOND, b"", START + 6 * SECOND)
    assert shard.state.check_invariants() == []
    shard.apply(lock(secret, id=9), at=START + 6 * SECOND)
    shard.state.reset_block()
    claims = [derived(shard.state, lock(secret, id=each), secret)[1] for each in (1, 3, 5, 9)]
    shard.state = shard.reload()
    shard.state.apply_relay(2, START + 7 * SECOND, secret, START + 7 * SECOND)
    data = shard.state.decision_leaves()
    assert [LEAF.unpack_from(data, 48 * i)[0] for i in range(4)] == claims
    assert shard.balance(A0)[:2] == (0, 40)
    assert shard.state.check_invariants() == []


# Credits.


@pytest.fixture
def pair() -> tuple[Shard, Shard]:
    near, far = new_shard(), new_shard(SHARDS[1])
    near.fund(A0, 1000, 0)
    near.state.reset_block()
    return near, far


def deliver(source: Shard, target: Shard, now: int) -> list[Code]:
    """Carry what the source sent to the target; return the codes."""
    codes: list[Code] = []
    for peer, messages in source.state.take_outgoing():
        assert peer == target.given["shard"]
        answered = target.state.apply_credits(source.given["shard"], messages, now)  # type: ignore[arg-type]
        codes += [Code(each) for each in struct.unpack(f"<{len(answered) // 2}H", answered)]
        assert target.state.check_invariants() == []
    return codes


def in_transit(source: Shard, target: Shard) -> int:
    """CHANNEL-2: what the source's channel account was credited less what the target's mirror was debited."""
    credited = source.balance(1 << 64 | LEDGER << 32 | target.given["shard"])[3]  # type: ignore[operator]
    return credited - target.balance(1 << 64 | LEDGER << 32 | source.given["shard"])[1]  # type: ignore[operator]


def test_a_credit_leaves_with_its_debit_and_lands_once(pair: tuple[Shard, Shard]) -> None:
    """CHANNEL-1 and CHANNEL-2: message layout, channel and mirror, leaf at the destination."""
    near, far = pair
    transfer = Transfer(credit=FAR, user_data=5, code=6)
    ready, _ = near.prepared([transfer])
    assert near.one(transfer) is Code.CREATED_IN_TRANSIT
    message = CREDIT.pack(
        1, 1, 6, LEDGER, u128(A0), u128(FAR), u128(10), u128(5), ready.digests, START, 0
    )  # fmt: skip
    assert near.state.outgoing_messages() == [(SHARDS[1], message)]
    assert near.state.outgoing_root() == leaf_hash(1, message)
    assert in_transit(near, far) == 10
    assert deliver(near, far, START + 5) == [Code.CREDITED]
    assert in_transit(near, far) == 0
    assert far.balance(FAR) == (0, 0, 0, 10)
    assert far.state.decision_leaves() == LEAF.pack(ready.digests, START + 5, Code.CREDITED)
    assert (near.state.channel(SHARDS[1]), far.state.channel(SHARDS[0])) == ((1, 0), (0, 1))
    assert near.state.take_outgoing() == []
    assert near.state.totals(LEDGER) == (0, 1010, 10, 0)
    near.state.reset_block()
    assert near.state.outgoing_count == 0


def test_messages_not_yet_taken_outlive_the_block(pair: tuple[Shard, Shard]) -> None:
    """reset_block ends the block's tree but loses no message, through a checkpoint too."""
    near, far = pair
    near.apply(Transfer(credit=FAR))
    near.state.reset_block()
    assert near.state.outgoing_root() == hashlib.sha256(b"").digest()
    near.state = near.reload()
    near.apply(Transfer(id=2, credit=FAR))
    assert near.state.outgoing_count == 1
    assert deliver(near, far, START) == [Code.CREDITED] * 2


def test_a_credit_that_cannot_land_returns(pair: tuple[Shard, Shard]) -> None:
    """LEDGER-50: each reason, and the return always lands at the payer, frozen or not."""
    near, far = pair
    other = account_id(BOB, 3, SHARDS[1])
    far.state.open_account(u128(other), OTHER_LEDGER, BOB_KEY, 0, 0, 0, 0, 0, START)
    closed = account_id(BOB, 4, SHARDS[1])
    index = far.state.open_account(u128(closed), LEDGER, BOB_KEY, 0, 0, 0, 0, 0, START)
    far.state.update_account(index, flags=4)
    far.state.update_account(far.state.find_account(u128(FAR)), balance_max=15)
    payees = [account_id(BOB, 9, SHARDS[1]), other, closed, FAR, FAR]
    transfers = [Transfer(id=i + 1, credit=each) for i, each in enumerate(payees)]
    ready, _ = near.prepared(transfers)
    near.apply(*transfers)
    near.state.update_account(near.state.find_account(u128(A0)), flags=2)
    reasons = [
        Code.CREDIT_ACCOUNT_NOT_FOUND,
        Code.CREDIT_ACCOUNT_OTHER_LEDGER,
        Code.CREDIT_ACCOUNT_CLOSED,
        Code.CREDITED,
        Code.EXCEEDS_BALANCE_MAX,
    ]
    assert deliver(near, far, START + 1) == reasons
    returned = far.state.outgoing_messages()
    assert CREDIT.unpack(returned[3][1]) == (
        4, 2, 0, LEDGER, u128(A0), u128(FAR), u128(10), u128(0), ready.digests[128:160], START + 1, reasons[4],
    )  # fmt: skip
    assert far.state.decision_count == 1
    assert far.balance(1 << 64 | LEDGER << 32 | SHARDS[0]) == (0, 50, 0, 40)
    near.state.reset_block()
    assert deliver(far, near, START + 2) == [Code.RETURNED] * 4
    assert near.balance(A0) == (0, 50, 0, 1040)
    assert near.state.decision_count == 4
    assert in_transit(near, far) == in_transit(far, near) == 0


def test_a_return_without_home_lands_in_suspense(pair: tuple[Shard, Shard]) -> None:
    """LEDGER-50: the payer closed meanwhile; the suspense account of its participant is registered once."""
    near, far = pair
    near.apply(*(Transfer(id=i, credit=account_id(BOB, 9, SHARDS[1])) for i in (1, 2)))
    deliver(near, far, START)
    near.state.update_account(near.state.find_account(u128(A0)), flags=4)
    count = near.state.account_count
    assert deliver(far, near, START + 3) == [Code.RETURNED] * 2
    suspense = suspense_of(ALICE, SHARDS[0])
    assert near.state.account_count == count + 1
    assert near.balance(suspense) == (0, 0, 0, 20)
    leaf = ACCOUNT.unpack(near.state.lookup_accounts(u128(suspense)))
    assert leaf[8:] == (START + 3, LEDGER, 0, 16, 0, 0, 0)


def test_a_claim_over_shards_never_returns(pair: tuple[Shard, Shard]) -> None:
    """LEDGER-50: money of a claim that has no home lands in suspense in the payee's name."""
    near, far = pair
    missing = account_id(BOB, 9, SHARDS[1])
    near.apply(lock(b"s" * 32, id=1, credit=FAR), lock(b"s" * 32, id=2, credit=missing))
    near.state.apply_relay(1, START, b"s" * 32, START)
    assert deliver(near, far, START + 1) == [Code.CREDITED, Code.CREDITED_TO_SUSPENSE]
    assert far.balance(FAR)[3] == far.balance(suspense_of(BOB, SHARDS[1]))[3] == 10
    assert in_transit(near, far) == 0
    assert far.state.decision_count == 2


def test_a_post_over_shards_sends_what_it_posts(pair: tuple[Shard, Shard]) -> None:
    """A remote payee's pending stands on the channel account until it is posted; the payee may post it from afar."""
    near, far = pair
    pending = pend(credit=FAR)
    assert near.apply(pending) == [Code.CREATED]
    assert near.balance(1 << 64 | LEDGER << 32 | SHARDS[1]) == (0, 0, 10, 0)
    assert near.one(post(pending, amount=4, key_id=BOB_KEY)) is Code.CREATED_IN_TRANSIT
    assert deliver(near, far, START) == [Code.CREDITED]
    assert far.balance(FAR) == (0, 0, 0, 4)


def test_totals_of_credits_end_at_128_bits() -> None:
    """LEDGER-51: a credit past 2^127 - 1 returns, a claim or return past 2^128 - 1 stops the machine for good."""
    far = new_shard(SHARDS[1])
    account = account_id(BOB, 6, SHARDS[1])
    far.state.open_account(u128(account), OTHER_LEDGER, BOB_KEY, 0, 0, 0, 0, 0, START)

    def message(sequence: int, kind: int, amount: int) -> bytes:
        return CREDIT.pack(
            sequence, kind, 0, OTHER_LEDGER, u128(A0), u128(account), u128(amount), bytes(16), bytes(32), START, 0
        )

    assert far.state.apply_credits(SHARDS[0], message(1, 1, 2**127 - 1), START) == struct.pack("<H", Code.CREDITED)
    assert far.state.apply_credits(SHARDS[0], message(2, 1, 1), START) == struct.pack("<H", Code.OVERFLOWS_LEDGER_TOTAL)
    assert far.state.apply_credits(SHARDS[0], message(3, 3, 2**127 - 1), START) == struct.pack(
        "<H", Code.CREDITED_TO_SUSPENSE
    )
    assert far.state.totals(OTHER_LEDGER)[1] == 2**128 - 1
    assert far.state.check_invariants() == []
    for _ in range(2):
        with pytest.raises(InvariantBroken, match="ledger_total"):
            far.state.apply_credits(SHARDS[0], message(4, 3, 1), START)
    with pytest.raises(InvariantBroken):
        far.state.sweep(START)


# A broken log, and growth.


def test_a_broken_log_changes_nothing(shard: Shard) -> None:
    """Time, relay heights and sequences out of order are refused before anything is touched."""
    state, before = shard.state, shard.state.export()
    message = CREDIT.pack(2, 1, 0, LEDGER, u128(A0), u128(A0), u128(1), bytes(16), bytes(32), START, 0)
    ready, heads = shard.prepared([Transfer()])
    for broken in (
        lambda: state.sweep(START - 1),
        lambda: state.sweep(2**63),
        lambda: state.apply_batch(ready, heads, b"\x01", START - 1),
        lambda: state.apply_relay(2, START, b"", START),
        lambda: state.apply_credits(SHARDS[1], message, START),
        lambda: state.apply_credits(SHARDS[1], b"\x01" + message[1:8] + b"\x04" + message[9:], START),
    ):
        with pytest.raises(InvariantBroken):
            broken()
    for misshapen in (
        lambda: state.apply_batch(ready, heads + bytes(128), b"\x01", START),
        lambda: state.apply_batch(ready, heads, b"", START),
        lambda: state.apply_credits(SHARDS[0], message, START),
        lambda: state.apply_relay(1, START, b"x", START),
        lambda: state.find_account(b"x"),
        lambda: state.account(10**6),
        lambda: state.set_key(9, 1, 1, 1, 0),
        lambda: state.open_account(u128(A0), LEDGER, 0, 0, 0, 0, 0, 0, 0),
    ):
        with pytest.raises(ShapeError):
            misshapen()
    assert state.export() == before
    state.apply_relay(1, START, b"", START - 5)
    assert state.last_time == START
    with pytest.raises(InvariantBroken, match="relay_time"):
        state.apply_relay(2, START - 1, b"", START)


def test_a_hundred_thousand_accounts() -> None:
    """Growth of array, index and tree: every account is found, the root is that of the leaves."""
    shard = new_shard(accounts_max=100_010)
    state, first = shard.state, shard.state.account_count
    for i in range(100_010 - first):
        assert state.open_account(u128(20 << 96 | i + 1), LEDGER, ALICE_KEY, 0, 0, 0, 0, i, START) == first + i
    assert state.open_account(u128(21 << 96 | 1), LEDGER, ALICE_KEY, 0, 0, 0, 0, 0, START) == -1
    assert state.account_count == 100_010
    leaves = b"".join(state.account(i) for i in range(state.account_count))
    assert state.accounts_root() == merkle_root(1, leaf_hash_rows(1, leaves, 160))
    asked = b"".join(u128(20 << 96 | i) for i in (0, 1, 5000, 90_000, 100_010))
    found = state.lookup_accounts(asked)
    assert [found[160 * i :][:16] for i in range(5)] == [bytes(16), asked[16:32], asked[32:48], asked[48:64], bytes(16)]
    assert state.check_invariants() == []
    assert state.memory_bytes() > 100_010 * 160


# Checkpoints, and everything at once.


@dataclass
class Soak:
    """Random traffic over two shards, from one seed."""

    rng: random.Random
    near: Shard
    far: Shard
    number: int = 100
    height: int = 0
    secrets: tuple[bytes, ...] = tuple(bytes([i]) * 32 for i in range(1, 5))
    known: list[Transfer] = field(default_factory=list)
    pendings: list[Transfer] = field(default_factory=list)

    def transfer(self, now: int, *, local: bool = False) -> Transfer:
        rng = self.rng
        self.number += 1
        debit, key = rng.choice(
            ((A0, ALICE_KEY), (A0, ALICE_KEY), (B0, BOB_KEY), (A1, ALICE_KEY), (ISSUANCE, ISSUER_KEY))
        )
        payees = (A0, B0, B1) if local else (A0, B0, B1, FAR, FAR, account_id(BOB, 9, SHARDS[1]))
        credit = rng.choice([each for each in payees if each != debit])
        made = Transfer(
            id=self.number, debit=debit, credit=credit, amount=rng.randrange(1, 100), key_id=key,
            expires_at=now + rng.randrange(0 if local else -2, 40) * SECOND,
        )  # fmt: skip
        kind = rng.choice((PLAIN, PLAIN, PENDING, PENDING, POST, POST, POST, VOID, LOCK, LOCK, CANCEL, "again"))
        if debit == ISSUANCE or (kind in (POST, VOID) and not self.pendings):
            kind = PENDING
        if kind == "again" and self.known and not local:
            return rng.choice(self.known)
        if kind == PENDING:
            return pend(**vars_of(made), until=rng.choice((0, 3, 9)) * SECOND)
        if kind in (POST, VOID):
            return self.ending(rng.choice(self.pendings), kind, made.expires_at)
        if kind == LOCK:
            sm3 = rng.random() < 0.5
            hashlock = digest(2 if sm3 else 1, rng.choice(self.secrets))
            return replace(made, flags=LOCK | SM3 * sm3, binding=hashlock, until=now + rng.randrange(4, 15) * SECOND)
        if kind == CANCEL and not local:
            return replace(made, flags=CANCEL, credit=0, amount=0, reference=self.number + rng.randrange(-9, 9))
        return made

    def ending(self, ended: Transfer, kind: int, expires_at: int) -> Transfer:
        key = ISSUER_KEY_2 if ended.debit == ISSUANCE else self.rng.choice((ended.key_id, BOB_KEY))
        amount = ended.amount if kind == VOID else self.rng.randrange(1, ended.amount + 2)
        return replace(
            ended, id=self.number, reference=ended.id, flags=kind, until=0, key_id=key, binding=bytes(32),
            amount=amount, expires_at=expires_at,
        )  # fmt: skip

    def step(self, now: int) -> None:
        rng = self.rng
        transfers: list[Transfer] = []
        for _ in range(rng.randrange(1, 5)):
            if rng.random() < 0.4:
                transfers += run_of(*(self.transfer(now, local=True) for _ in range(rng.randrange(2, 5))))
            else:
                transfers += [self.transfer(now) for _ in range(3)]
        self.known = [*self.known, *transfers][-40:]
        self.pendings = [*self.pendings, *(each for each in transfers if each.flags & 15 == PENDING)][-12:]
        self.near.apply(*transfers, at=now, bad=tuple(i for i in range(len(transfers)) if rng.random() < 0.03))
        if rng.random() < 0.3:
            self.height += 1
            self.near.state.apply_relay(self.height, now - 2 * SECOND, rng.choice(self.secrets), now)
            assert self.near.state.check_invariants() == []
        if rng.random() < 0.7:
            deliver(self.near, self.far, now)
            deliver(self.far, self.near, now)
        if rng.random() < 0.2:
            self.near.state.reset_block()


def vars_of(transfer: Transfer) -> dict[str, object]:
    kept = ("id", "debit", "credit", "amount", "key_id", "expires_at")
    return {name: getattr(transfer, name) for name in kept}


def soaked(seed: int, steps: int) -> Soak:
    near = new_shard(ids_max=300, pendings_max=150, expire_per_batch_max=3)
    far = new_shard(SHARDS[1])
    near.state.update_account(near.state.find_account(u128(B1)), balance_max=500)
    soak = Soak(random.Random(seed), near, far)
    near.fund(A0, 5000, 0)
    near.fund(B0, 500, 1)
    for i in range(steps):
        soak.step(START + (i + 1) * SECOND)
    return soak


@pytest.mark.parametrize("seed", range(6))
def test_random_traffic_keeps_the_state_sound(seed: int) -> None:
    """Every step is sound, money in transit never negative, and a reloaded state goes on exactly like the first."""
    soak = soaked(seed, 60)
    assert in_transit(soak.near, soak.far) >= 0
    data = soak.near.state.export()
    twin = Shard(soak.near.reload(), soak.near.given, soak.near.now)
    assert twin.state.export() == data
    assert twin.roots() == soak.near.roots()
    now = START + 100 * SECOND
    for i in range(40):
        batch = [soak.transfer(now + i * SECOND) for _ in range(8)]
        assert twin.apply(*batch, at=now + i * SECOND) == soak.near.apply(*batch, at=now + i * SECOND)
        assert twin.roots() == soak.near.roots()
    assert twin.state.export() == soak.near.state.export()
    assert twin.state.take_outgoing() == soak.near.state.take_outgoing()


def test_exported_bytes_do_not_depend_on_how_tables_grew() -> None:
    """The same traffic in a state that was reloaded, and so reindexed, in between gives the same bytes."""
    plain, reloaded = new_shard(), new_shard()
    for each in (plain, reloaded):
        each.fund(A0, 10**6, 0)
    for i in range(30):
        batch = [pend(id=100 * i + k + 1, amount=1, until=(k % 5) * SECOND) for k in range(20)]
        at = START + i * SECOND
        batch = [replace(each, expires_at=at + 9 * SECOND) for each in batch]
        assert plain.apply(*batch, at=at) == reloaded.apply(*batch, at=at)
        reloaded.state = reloaded.reload()
    assert plain.state.export() == reloaded.state.export()


def test_hostile_checkpoint_bytes_are_refused_by_type() -> None:
    """Every cut and thousands of changed bytes: StateBytesInvalid, or a state that is sound; never anything else."""
    soak = soaked(3, 40)
    data, given = soak.near.state.export(), soak.near.given
    assert soak.near.state.pending_count > 5
    assert soak.near.state.id_count > 30
    rng = random.Random(9)
    cuts = [*range(300), *(rng.randrange(len(data)) for _ in range(200))]
    for cut in cuts:
        with pytest.raises(StateBytesInvalid):
            LedgerState.load(data[:cut], **given)
    with pytest.raises(StateBytesInvalid):
        LedgerState.load(data + bytes(1), **given)
    with pytest.raises(StateBytesInvalid):
        LedgerState.load(data, **{**given, "ids_max": 301})
    refused = 0
    for i in range(6000):
        changed = bytearray(data)
        at = rng.randrange(200) if i % 3 == 0 else rng.randrange(len(data))
        width = rng.choice((1, 1, 2, 4, 8, 16))
        changed[at : at + width] = rng.choice((rng.randbytes(width), bytes(width), b"\xff" * width))[: len(data) - at]
        try:
            loaded = LedgerState.load(bytes(changed), **given)
        except StateBytesInvalid:
            refused += 1
            continue
        assert loaded.check_invariants() == []
        loaded.sweep(loaded.last_time)
        Shard(loaded, given).apply(Transfer(id=77), at=max(loaded.last_time, START + 50 * SECOND))
    assert refused > 1500


# Runs over shards.


def held(shard: Shard, *members: Transfer, keeps: bool = True) -> list[int]:
    """Hold a run and keep it, or take it back; return the codes that this shard found."""
    ready, _ = shard.prepared(list(members))
    view = shard.state.hold_run(ready, bytes([1] * len(members)), shard.now)
    shard.state.decide_run(keeps)
    assert shard.state.check_invariants() == []
    return list(view.codes)


def over_shards() -> list[Transfer]:
    """Alice pays an account on the other shard 5 and 6 of hers, and reserves 7 for a third."""
    return run_of(Transfer(id=1, credit=FAR, amount=5), pend(id=2, amount=7, until=SECOND), Transfer(id=3, amount=6))


def t_run(shard: Shard, members: list[Transfer]) -> bytes:
    return shard.prepared(members)[0].messages[:32]


@pytest.fixture
def related(shard: Shard) -> Shard:
    shard.state.apply_relay(1, START - 1, b"", START)
    return shard


def test_a_held_run_lets_nothing_else_happen(related: Shard) -> None:
    """LEDGER-92: the two calls are one step; what is faulty is refused and nothing has changed."""
    state, members = related.state, over_shards()
    ready, heads = related.prepared(members)
    with pytest.raises(InvariantBroken, match="run_decision"):
        state.decide_run(keeps=False)
    assert state.hold_run(ready, b"\1\1\1", related.now).status == 0
    for step in (
        lambda: state.apply_batch(ready, heads, b"\1\1\1", related.now),
        lambda: state.sweep(related.now),
        lambda: state.apply_relay(2, START, b"", related.now),
        lambda: state.hold_run(ready, b"\1\1\1", related.now),
    ):
        with pytest.raises(InvariantBroken, match="held_run"):
            step()
    for wrong in ((False, 3, Code.INSUFFICIENT_FUNDS), (False, 0, Code.CREATED)):
        with pytest.raises(InvariantBroken, match="run_decision"):
            state.decide_run(*wrong)
    state.decide_run(keeps=True)
    assert related.balance(A0) == (18, 0, 0, 1000)
    assert state.check_invariants() == []


def test_a_run_that_is_refused_cannot_be_kept(related: Shard) -> None:
    members = over_shards()
    ready, _ = related.prepared([*members[:-1], replace(members[-1], amount=5_000)])
    view = related.state.hold_run(ready, b"\1\1\1", related.now)
    assert (view.status, view.member, view.code) == (5, 2, Code.INSUFFICIENT_FUNDS)
    with pytest.raises(InvariantBroken, match="run_decision"):
        related.state.decide_run(keeps=True)
    related.state.decide_run(keeps=False, member=2, code=view.code)
    assert related.balance(A0) == (0, 0, 0, 1000)


@pytest.mark.parametrize(
    "members",
    [
        [Transfer(id=1)],
        [Transfer(id=1), Transfer(id=2)],
        [Transfer(id=1, flags=LINKED), Transfer(id=2, flags=LINKED)],
        run_of(Transfer(id=1), Transfer(id=2)) * 2,
        run_of(*(Transfer(id=i) for i in range(1, 18))),
    ],
)
def test_only_one_closed_run_is_held(related: Shard, members: list[Transfer]) -> None:
    ready, _ = related.prepared(members)
    before = related.state.export()
    with pytest.raises(InvariantBroken, match="one_run"):
        related.state.hold_run(ready, bytes(len(members)), related.now)
    assert related.state.export() == before


def test_a_run_that_is_taken_back_leaves_no_byte(related: Shard) -> None:
    """LEDGER-92."""
    before, roots = related.state.export(), related.roots()
    assert held(related, *over_shards(), keeps=False) == [Code.PREPARED] * 3
    assert related.state.export() == before
    assert related.roots() == roots


@pytest.mark.parametrize("ending", ["commit", "abort"])
def test_halves_survive_their_checkpoint(related: Shard, ending: str) -> None:
    """CHECK-1: the loaded state decides as the one that was saved."""
    members = over_shards()
    held(related, *members)
    deadline = min(each.expires_at for each in members)
    again = related.reload()
    assert again.export() == related.state.export()
    assert again.prepared() == related.state.prepared()
    assert {row[:32] for row in (again.prepared()[i : i + 72] for i in range(0, 216, 72))} == {t_run(related, members)}
    relay_time, runs = (deadline - 1, t_run(related, members) * 2) if ending == "commit" else (deadline, b"")
    for state in (again, related.state):
        state.apply_relay(2, relay_time, b"", START, runs)
        assert state.check_invariants() == []
    assert again.export() == related.state.export()
    assert LedgerState.load(again.export(), **related.given).export() == again.export()
    assert related.balance(A0) == ((7, 11, 0, 1000) if ending == "commit" else (0, 0, 0, 1000))
    assert related.state.prepared() == b""


def test_the_events_of_halves(related: Shard) -> None:
    """LEDGER-70: prepared in the bucket of the deadline; a committed pending goes to the bucket of its own time."""
    members = over_shards()
    suite = related.given["suite"]
    held(related, *members)
    due = members[0].expires_at
    names = [related.prepared(members)[0].digests[at : at + 32] for at in (0, 32, 64)]

    def event(row: int, number: int, posted: int = 0) -> bytes:
        return EVENT.pack(u128(members[row].debit), u128(members[row].id), names[row], u128(posted), START, number)

    before = related.state.pendings_root()
    first = digest(suite, bytes(32) + b"".join(event(row, 8) for row in range(3)))
    assert struct.pack("<QQ", due // SECOND, 3) + first in related.state.export()
    related.state.apply_relay(2, due - 1, b"", START, t_run(related, members))
    second = digest(suite, first + event(0, 2, 5) + event(1, 10) + event(2, 2, 6))
    third = digest(suite, bytes(32) + event(1, 1))
    assert before != related.state.pendings_root()
    exported = related.state.export()
    assert struct.pack("<QQ", due // SECOND, 2) + second in exported
    assert struct.pack("<QQ", (START + SECOND) // SECOND, 1) + third in exported


def test_changed_bytes_of_halves_are_refused(related: Shard) -> None:
    """CHECK-1: what no half can be is refused, whatever else is sound."""
    members = over_shards()
    held(related, *members)
    data = related.state.export()
    row = data.index(u128(members[0].debit) + u128(members[0].id) + u128(FAR))
    for state in (1, 4, 5, 6, 7, 9, 10, 12):
        changed = data[: row + 196] + bytes([state]) + data[row + 197 :]
        with pytest.raises(StateBytesInvalid):
            LedgerState.load(changed, **related.given)
    for offset, value in ((64, 1), (160, 0), (176, 5)):
        changed = data[: row + offset] + value.to_bytes(8, "little") + data[row + offset + 8 :]
        with pytest.raises(StateBytesInvalid):
            LedgerState.load(changed, **related.given)


def test_a_credit_half_that_collides_is_refused() -> None:
    """LEDGER-91: its key is the record's digest, so only the same record can meet it: here once more under another run."""
    far = new_shard(SHARDS[1])
    far.state.apply_relay(1, START - 1, b"", START)
    members = run_of(Transfer(id=1, credit=FAR, amount=5), Transfer(id=2, credit=FAR, amount=6))
    assert held(far, *members) == [Code.PREPARED_CREDIT] * 2
    ready, _ = far.prepared(members)
    view = far.state.hold_run(ready, b"\1\1", far.now)
    assert (view.status, view.member, view.code) == (6, 0, Code.EXISTS_WITH_DIFFERENT_RUN)
    far.state.decide_run(keeps=False, member=0, code=view.code)
    data = far.state.export()
    assert far.reload().export() == data


def test_hostile_bytes_of_halves_are_refused_or_sound(related: Shard) -> None:
    """As for all bytes of a checkpoint; what is taken also survives the block that decides it."""
    members = over_shards()
    held(related, *members)
    data, given, run = related.state.export(), related.given, t_run(related, members)
    rng, taken = random.Random(4), 0
    start = data.index(u128(members[0].debit) + u128(members[0].id) + u128(FAR)) - 200
    for _ in range(4000):
        changed = bytearray(data)
        at, width = rng.randrange(start, len(data)), rng.choice((1, 1, 2, 8, 16))
        changed[at : at + width] = rng.choice((rng.randbytes(width), bytes(width), b"\xff" * width))[: len(data) - at]
        try:
            loaded = LedgerState.load(bytes(changed), **given)
        except StateBytesInvalid:
            continue
        taken += 1
        loaded.apply_relay(2, rng.choice((START, START + 100 * SECOND)), b"", START + SECOND, rng.choice((run, b"")))
        assert loaded.check_invariants() == []
    assert 1000 < taken < 3500


def test_exported_bytes_may_stand_between_others(shard: Shard) -> None:
    """Goal: a large state is copied once, into its place. Method: what stands around it changes nothing of it."""
    alone = shard.state.export()
    assert shard.state.export_bytes == len(alone)
    for before, after in ((b"", b""), (b"head", b""), (b"", b"tail"), (b"\x00" * 100, b"\xff" * 7)):
        assert shard.state.export(before, after) == before + alone + after
    for wrong in (None, 7, "text", bytearray(b"x")):
        with pytest.raises(TypeError):
            shard.state.export(wrong)  # type: ignore[arg-type]
