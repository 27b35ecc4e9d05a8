# cython: embedsignature=False, auto_pickle=False
"""Bindings of the ledger kernel: shapes are checked here, every rule of the ledger is decided in C."""

import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from native.errors import InvariantBroken, ShapeError, StateBytesInvalid, UnknownSuite
from native.kernel import choose_level

cdef extern from "common/variant.h" nogil:
    void cs_variant_set(int level)
    int cs_variant_best()

cdef extern from "apply/layout.h" nogil:
    ctypedef struct cs_u128:
        pass
    ctypedef struct cs_record:
        uint64_t expires_at
    ctypedef struct cs_account:
        cs_u128 id, debits_pending, credits_pending, credit_limit, balance_max
        uint64_t frozen_until
        uint32_t key_lineage, tier
        uint16_t flags
    ctypedef struct cs_decision:
        uint16_t code
    ctypedef struct cs_credit:
        uint64_t sequence
    ctypedef struct cs_key:
        uint32_t participant, lineage
        uint64_t retired_at
        uint16_t role
    ctypedef struct cs_entry:
        cs_record record
        uint8_t digest[32]
        uint64_t time
        uint16_t code
    const uint32_t CS_NONE
    cs_u128 cs_load_u128(const void *source)
    uint32_t cs_slot(cs_u128 account)

cdef extern from "apply/table.h" nogil:
    ctypedef struct cs_seed:
        uint64_t a, b

cdef extern from "apply/accounts.h" nogil:
    ctypedef struct cs_tree:
        pass
    ctypedef struct cs_accounts:
        cs_account *items
        uint64_t count
        cs_tree tree
    uint32_t cs_accounts_find(const cs_accounts *accounts, cs_u128 id)
    cs_account *cs_accounts_touch(cs_accounts *accounts, uint32_t index)
    void cs_accounts_flush(cs_accounts *accounts)
    size_t cs_tree_path(cs_tree *tree, uint64_t index, uint8_t *path)

cdef extern from "apply/window.h" nogil:
    ctypedef struct cs_window:
        cs_entry *items
        uint64_t count
    uint32_t cs_window_find(const cs_window *window, cs_u128 authoriser, cs_u128 debit_account, cs_u128 id)

cdef extern from "apply/pendings.h" nogil:
    ctypedef struct cs_pending:
        pass
    ctypedef struct cs_pendings:
        cs_pending *items
        uint64_t count
    uint32_t cs_pendings_find(const cs_pendings *pendings, cs_u128 debit_account, cs_u128 id)

cdef extern from "apply/rules.h" nogil:
    const int CS_RULE_QUOTE
    const int CS_RULE_BREAKER
    ctypedef struct cs_rule:
        cs_u128 subject, name
        uint64_t until
        uint16_t type, kind
    ctypedef struct cs_rules:
        cs_rule *items
        uint64_t count, live
    int cs_rules_reserve(cs_rules *rules, uint64_t more)
    uint32_t cs_rules_find(const cs_rules *rules, unsigned type, unsigned kind, cs_u128 subject, cs_u128 name)
    int cs_rules_have_room(const cs_rules *rules, unsigned type)
    uint32_t cs_rules_add(cs_rules *rules, const cs_rule *rule)
    void cs_rules_remove(cs_rules *rules, uint32_t index)
    cs_rule *cs_rules_touch(cs_rules *rules, uint32_t index)
    int cs_rule_is_sound(const cs_rule *rule)

cdef extern from "apply/decisions.h" nogil:
    ctypedef struct cs_decisions:
        cs_decision *leaves
        uint64_t count
    ctypedef struct cs_outgoing_item:
        cs_credit message
        uint32_t peer
    ctypedef struct cs_outgoing:
        cs_outgoing_item *items
        uint64_t count, block_first, taken
    int cs_decisions_reserve(cs_decisions *decisions, uint64_t more)
    void cs_decisions_add(cs_decisions *decisions, const uint8_t *digest, uint64_t time, uint16_t code)
    void cs_decisions_truncate(cs_decisions *decisions, uint64_t count)
    void cs_decisions_root(cs_decisions *decisions, uint32_t suite, uint8_t *out)
    void cs_outgoing_reset(cs_outgoing *outgoing)
    int cs_outgoing_root(const cs_outgoing *outgoing, uint32_t peer_count, uint32_t suite, uint8_t *out)

cdef extern from "apply/prepare.h" nogil:
    const int CS_BINDING_ORDER
    const int CS_BINDING_ZERO
    int cs_prepare(uint32_t suite, uint8_t *messages, uint8_t *digests, const uint8_t *genesis_hash,
                   const uint8_t *heads, uint32_t n, const uint8_t *binding_index, const uint8_t *bindings, uint32_t m)

cdef extern from "apply/state.h" nogil:
    const int CS_NO_MEMORY
    const int CS_FAULT_TIME
    const int CS_FAULT_RELAY_HEIGHT
    const int CS_FAULT_RELAY_TIME
    const int CS_FAULT_CHANNEL_SEQUENCE
    const int CS_FAULT_CHANNEL_MESSAGE
    const int CS_FAULT_LEDGER_TOTAL
    const int CS_FAULT_CONSERVATION
    const int CS_BYTES_INVALID
    const int CS_FAULT_RUN_HELD
    const int CS_FAULT_RUN_SHAPE
    const int CS_FAULT_RUN_DECISION
    const int CS_FAULT_RECORD_OPEN
    ctypedef struct cs_run_view:
        uint32_t status, member
        uint16_t code
    ctypedef struct cs_ledger:
        uint32_t ledger, scale, issuer, window_s, lock_min_s
        uint8_t currency[8]
        cs_u128 amount_max, debits_pending, debits_posted
    ctypedef struct cs_peer:
        uint32_t shard
        uint64_t sent, received
    ctypedef struct cs_limits:
        uint64_t ids_max, pendings_max, accounts_max, expire_per_batch_max, bucket_ns, run_members_max
    ctypedef struct cs_state:
        uint32_t suite, peer_count, ledger_count
        cs_peer *peers
        cs_ledger *ledgers
        cs_limits limits
        uint64_t last_time, relay_height, relay_time
        cs_accounts accounts
        uint64_t key_count
        cs_window window
        cs_pendings pendings
        cs_decisions decisions
        cs_outgoing outgoing
        cs_rules rules
    ctypedef struct cs_parameters:
        uint32_t suite, shard, slot_map_version
        uint8_t genesis_hash[32]
        const uint32_t *slot_owner
        uint32_t peer_count, ledger_count
        const uint32_t *peers
        const cs_ledger *ledgers
        cs_limits limits
        uint64_t genesis_time
        cs_seed seed
    ctypedef struct cs_answers:
        uint16_t *codes
        uint16_t *first_codes
        uint64_t *times
    cs_state *cs_state_new(const cs_parameters *parameters)
    cs_state *cs_state_new_empty(const cs_parameters *parameters)
    void cs_state_free(cs_state *state)
    uint64_t cs_state_bytes(const cs_state *state)
    int cs_apply_batch(cs_state *state, const uint8_t *messages, const uint8_t *digests, const uint8_t *verdicts,
                       uint32_t n, uint64_t now, const cs_answers *answers)
    int cs_apply_credits(cs_state *state, uint32_t peer, const uint8_t *messages, uint32_t count, uint64_t now,
                         uint16_t *codes)
    int cs_apply_relay(cs_state *state, uint64_t height, uint64_t relay_time, const uint8_t *preimages,
                       uint32_t count, const uint8_t *runs, uint32_t run_count, uint64_t now)
    int cs_hold_run(cs_state *state, const uint8_t *messages, const uint8_t *digests, const uint8_t *verdicts,
                    uint32_t n, uint64_t now, const cs_answers *answers, cs_run_view *view)
    int cs_decide_run(cs_state *state, int keeps, uint32_t member, uint16_t code)
    const int CS_PREPARED_BYTES
    uint64_t cs_prepared(const cs_state *state, uint8_t *out)
    int cs_apply_sweep(cs_state *state, uint64_t now)
    int cs_begin_record(cs_state *state, uint64_t now)
    int cs_end_record(cs_state *state)
    uint64_t cs_holds(const cs_state *state, uint8_t *out)
    int cs_end_hold(cs_state *state, cs_u128 debit_account, cs_u128 id, int releases, uint64_t now)
    int64_t cs_open_account(cs_state *state, const cs_account *account)
    int cs_set_key(cs_state *state, uint32_t key_id, const cs_key *key)
    int cs_ids_root(const cs_state *state, uint8_t *out)
    int cs_pendings_root(const cs_state *state, uint8_t *out)
    int cs_channels_root(const cs_state *state, uint8_t *out)
    int cs_ledgers_root(const cs_state *state, uint8_t *out)
    void cs_parameters_root(const cs_state *state, uint8_t *out)
    void cs_accounts_root(cs_state *state, uint8_t *out)
    void cs_rules_root(cs_state *state, uint8_t *out)
    void cs_channel_sums(const cs_state *state, uint32_t ledger_index, cs_u128 *credits, cs_u128 *debits)
    uint32_t cs_find_ledger(const cs_state *state, uint32_t ledger)
    uint64_t cs_export_bytes(const cs_state *state)
    int cs_export(const cs_state *state, uint8_t *out)
    int cs_import(cs_state *state, const uint8_t *data, uint64_t bytes)
    int cs_audit(const cs_state *state, uint32_t *found)

__all__ = [
    "ACCOUNT_BYTES",
    "BATCH_MAX",
    "CREDIT_BYTES",
    "HEAD_BYTES",
    "MESSAGE_BYTES",
    "PENDING_BYTES",
    "RULE_BYTES",
    "TRANSFER_BYTES",
    "BatchResult",
    "LedgerState",
    "Prepared",
    "RunView",
    "prepare",
    "slots",
]

cs_variant_set(choose_level(cs_variant_best()))

TRANSFER_BYTES = 160
HEAD_BYTES = 128
ACCOUNT_BYTES = 160
MESSAGE_BYTES = 192
CREDIT_BYTES = 128
PENDING_BYTES = 200
RULE_BYTES = 128
BATCH_MAX = 8192

cdef enum:
    RECORD = 160
    HEAD = 128
    ACCOUNT = 160
    MESSAGE = 192
    CREDIT = 128
    PENDING = 200
    RULE = 128
    DECISION = 48
    HASH = 32
    SLOTS = 4096
    BATCH_COUNT_MAX = 8192
    PEERS_MAX = 65534
    LEDGERS_MAX = 1024

FAULTS = {
    CS_FAULT_TIME: "log_time_never_decreases",
    CS_FAULT_RELAY_HEIGHT: "relay_heights_follow",
    CS_FAULT_RELAY_TIME: "relay_time_never_decreases",
    CS_FAULT_CHANNEL_SEQUENCE: "channel_sequences_follow",
    CS_FAULT_CHANNEL_MESSAGE: "channel_message_is_of_this_domain",
    CS_FAULT_LEDGER_TOTAL: "ledger_total_fits_128_bits",
    CS_FAULT_CONSERVATION: "release_is_covered_by_reserve",
    CS_FAULT_RUN_HELD: "held_run_is_decided_first",
    CS_FAULT_RUN_SHAPE: "run_record_holds_one_run",
    CS_FAULT_RUN_DECISION: "run_decision_follows_from_its_halves",
    CS_FAULT_RECORD_OPEN: "a_record_is_ended_before_the_next",
}

# In the order of the bits CS_AUDIT_….
AUDITS = (
    "pending_debits_equal_pending_credits_and_total",
    "posted_debits_equal_posted_credits_and_total",
    "sums_fit_128_bits",
    "open_pendings_add_up_to_pending_sides",
    "pending_counts_agree",
    "id_counts_agree",
    "every_item_is_found_under_its_key",
    "accounts_are_of_known_ledgers_and_channels_in_place",
    "rules_are_found_and_tiers_have_theirs",
)


PARAMETERS = frozenset((
    "suite", "genesis_hash", "shard", "slot_map_version", "slot_owner", "peers", "ledgers", "genesis_time", "ids_max",
    "pendings_max", "accounts_max", "expire_per_batch_max", "bucket_ns", "run_members_max",
))


cdef class Bytes:
    """A contiguous buffer of the caller's, held for one call."""

    cdef Py_buffer view
    cdef bint held
    cdef const uint8_t *at
    cdef Py_ssize_t length

    def __cinit__(self, source):
        PyObject_GetBuffer(source, &self.view, PyBUF_SIMPLE)
        self.held = True
        self.at = <const uint8_t *>self.view.buf
        self.length = self.view.len

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


cdef Bytes exactly(what, source, Py_ssize_t length):
    cdef Bytes data = Bytes(source)
    if data.length != length:
        raise ShapeError(what + " bytes", data.length, str(length))
    return data


cdef Bytes rows(what, source, Py_ssize_t row):
    cdef Bytes data = Bytes(source)
    if data.length % row != 0:
        raise ShapeError(what + " bytes", data.length, f"a multiple of {row}")
    return data


cdef uint64_t number(what, value, uint64_t most) except? 0xFFFFFFFFFFFFFFFF:
    if not 0 <= value <= most:
        raise ShapeError(what, value, f"0 to {most}")
    return <uint64_t>value


cdef int amount(cs_u128 *out, what, value) except -1:
    if not 0 <= value < 1 << 128:
        raise ShapeError(what, value, "0 to below 2^128")
    cdef bytes raw = int(value).to_bytes(16, "little")
    memcpy(out, PyBytes_AS_STRING(raw), 16)
    return 0


cdef object amount_of(const cs_u128 *value):
    return int.from_bytes((<const char *>value)[:16], "little")


cdef bytes taken(const void *source, Py_ssize_t length):
    return PyBytes_FromStringAndSize(<const char *>source, length)


cdef bytes room(Py_ssize_t length):
    return PyBytes_FromStringAndSize(NULL, length)


cdef int check_suite(suite) except -1:
    if suite != 1 and suite != 2:
        raise UnknownSuite(suite)
    return 0


cdef int check(int result) except -1:
    """Raise what a negative result means; the one place where kernel codes become exceptions."""
    if result == 0:
        return 0
    if result == CS_NO_MEMORY:
        raise MemoryError("no room for this step; the state is as it was")
    raise InvariantBroken(FAULTS[result])


def slots(account_ids, stride, offset, out):
    cdef Bytes ids = Bytes(account_ids)
    cdef Py_ssize_t row = stride, first = offset, i
    if row < 16 or first < 0 or first > row - 16 or ids.length % row != 0:
        raise ShapeError("account_ids bytes", ids.length, f"rows of {stride} with 16 bytes at {offset}")
    cdef Py_ssize_t count = ids.length // row
    cdef Py_buffer target
    cdef uint16_t slot
    PyObject_GetBuffer(out, &target, 1)  # PyBUF_WRITABLE
    try:
        if target.len != 2 * count:
            raise ShapeError("out bytes", target.len, str(2 * count))
        with nogil:
            for i in range(count):
                slot = <uint16_t>cs_slot(cs_load_u128(ids.at + row * i + first))
                memcpy(<uint8_t *>target.buf + 2 * i, &slot, 2)
    finally:
        PyBuffer_Release(&target)


cdef class Prepared:
    cdef readonly bytes messages
    cdef readonly bytes digests
    cdef readonly uint32_t count
    cdef readonly uint32_t suite
    cdef bytes genesis_hash


def prepare(suite, genesis_hash, heads, binding_index, bindings):
    check_suite(suite)
    cdef Bytes genesis = exactly("genesis_hash", genesis_hash, HASH)
    cdef Bytes head_rows = rows("heads", heads, HEAD)
    cdef Bytes index_rows = rows("binding_index", binding_index, 4)
    cdef Py_ssize_t n = head_rows.length // HEAD, m = index_rows.length // 4
    if not 1 <= n <= BATCH_COUNT_MAX:
        raise ShapeError("heads", n, f"1 to {BATCH_MAX}")
    if m > n:
        raise ShapeError("binding_index", m, f"at most {n}")
    cdef Bytes binding_rows = exactly("bindings", bindings, m * HASH)
    cdef bytes messages = room(n * MESSAGE), digests = room(n * HASH)
    cdef uint8_t *message_at = <uint8_t *>PyBytes_AS_STRING(messages)
    cdef uint8_t *digest_at = <uint8_t *>PyBytes_AS_STRING(digests)
    cdef uint32_t which = suite
    cdef int result
    with nogil:
        result = cs_prepare(which, message_at, digest_at, genesis.at, head_rows.at, <uint32_t>n, index_rows.at,
                            binding_rows.at, <uint32_t>m)
    if result == CS_BINDING_ORDER:
        raise ShapeError("binding_index", m, f"strictly ascending indexes below {n}")
    if result == CS_BINDING_ZERO:
        raise ShapeError("bindings", m, "none of them zero")
    cdef Prepared prepared = Prepared.__new__(Prepared)
    prepared.messages = messages
    prepared.digests = digests
    prepared.count = <uint32_t>n
    prepared.suite = which
    prepared.genesis_hash = taken(genesis.at, HASH)
    return prepared


cdef class BatchResult:
    cdef readonly object codes
    cdef readonly object first_codes
    cdef readonly object times


cdef class RunView:
    cdef readonly uint32_t status
    cdef readonly object member
    cdef readonly uint16_t code
    cdef readonly object codes
    cdef readonly object first_codes
    cdef readonly object times


cdef class Parameters:
    """The keyword parameters of a state, checked and laid out for C."""

    cdef cs_parameters c
    cdef Bytes owners
    cdef bytes genesis_hash
    cdef uint32_t *peers
    cdef cs_ledger *ledgers

    def __dealloc__(self):
        free(self.peers)
        free(self.ledgers)

    cdef int fill(self, dict given) except -1:
        check_suite(given["suite"])
        self.genesis_hash = bytes(given["genesis_hash"])
        exactly("genesis_hash", self.genesis_hash, HASH)
        self.c.suite = given["suite"]
        self.c.shard = <uint32_t>number("shard", given["shard"], 0xFFFFFFFF)
        self.c.slot_map_version = <uint32_t>number("slot_map_version", given["slot_map_version"], 0xFFFFFFFF)
        memcpy(self.c.genesis_hash, PyBytes_AS_STRING(self.genesis_hash), HASH)
        self.fill_peers(given["peers"], given["slot_owner"])
        self.fill_ledgers(given["ledgers"])
        self.c.limits.ids_max = number("ids_max", given["ids_max"], 1 << 31)
        self.c.limits.pendings_max = number("pendings_max", given["pendings_max"], 1 << 31)
        self.c.limits.accounts_max = number("accounts_max", given["accounts_max"], 1 << 31)
        self.c.limits.expire_per_batch_max = number("expire_per_batch_max", given["expire_per_batch_max"], 1 << 31)
        self.c.limits.bucket_ns = number("bucket_ns", given["bucket_ns"], 1 << 62)
        self.c.limits.run_members_max = number("run_members_max", given["run_members_max"], BATCH_COUNT_MAX)
        if self.c.limits.bucket_ns == 0:
            raise ShapeError("bucket_ns", 0, "at least 1")
        self.c.genesis_time = number("genesis_time", given["genesis_time"], (1 << 63) - 1)
        # Seeds the order inside hash tables, which no answer depends on and nobody may foresee.
        cdef bytes seed = os.urandom(16)
        memcpy(&self.c.seed, PyBytes_AS_STRING(seed), 16)
        return 0

    cdef int fill_peers(self, peers, slot_owner) except -1:
        cdef list known = list(peers)
        cdef Py_ssize_t i
        if known != sorted(set(known)) or self.c.shard in known or len(known) > PEERS_MAX:
            raise ShapeError("peers", len(known), "other shards, ascending, each once")
        self.peers = <uint32_t *>calloc(len(known) + 1, sizeof(uint32_t))
        if self.peers == NULL:
            raise MemoryError
        for i in range(len(known)):
            self.peers[i] = <uint32_t>number("peer", known[i], 0xFFFFFFFF)
        self.owners = exactly("slot_owner", slot_owner, SLOTS * 4)
        for owner in set(memoryview(taken(self.owners.at, SLOTS * 4)).cast("I")):
            if owner != self.c.shard and owner not in known:
                raise ShapeError("slot_owner", owner, "this shard or one of its peers")
        self.c.peers = self.peers
        self.c.peer_count = <uint32_t>len(known)
        self.c.slot_owner = <const uint32_t *>self.owners.at
        if <uintptr_t>self.owners.at % 4 != 0:
            raise ShapeError("slot_owner address", <uintptr_t>self.owners.at % 4, "a multiple of 4")
        return 0

    cdef int fill_ledgers(self, ledgers) except -1:
        cdef list given = list(ledgers)
        cdef cs_ledger *entry
        cdef Bytes name
        if len(given) > LEDGERS_MAX or len({each[0] for each in given}) != len(given):
            raise ShapeError("ledgers", len(given), f"at most {LEDGERS_MAX}, each number once")
        self.ledgers = <cs_ledger *>calloc(len(given) + 1, sizeof(cs_ledger))
        if self.ledgers == NULL:
            raise MemoryError
        for i, (ledger, currency, scale, issuer, window_s, lock_min_s, amount_max) in enumerate(given):
            entry = &self.ledgers[<Py_ssize_t>i]
            entry.ledger = <uint32_t>number("ledger", ledger, 0xFFFFFFFF)
            entry.scale = <uint32_t>number("scale", scale, 0xFFFFFFFF)
            entry.issuer = <uint32_t>number("issuer", issuer, 0xFFFFFFFF)
            entry.window_s = <uint32_t>number("window_s", window_s, 86400)
            entry.lock_min_s = <uint32_t>number("lock_min_s", lock_min_s, 0xFFFFFFFF)
            name = exactly("currency", currency, 8)
            memcpy(entry.currency, name.at, 8)
            amount(&entry.amount_max, "amount_max", amount_max)
        self.c.ledgers = self.ledgers
        self.c.ledger_count = <uint32_t>len(given)
        return 0


cdef class LedgerState:
    cdef cs_state *state
    cdef bytes genesis_hash
    cdef bint busy
    cdef Prepared held  # what the held run's members point into

    def __cinit__(self, *, _data=None, **parameters):
        cdef Parameters laid_out = Parameters()
        cdef Bytes source
        cdef int result
        if parameters.keys() != PARAMETERS:
            raise TypeError(f"parameters are {', '.join(sorted(PARAMETERS))}")
        laid_out.fill(parameters)
        self.genesis_hash = laid_out.genesis_hash
        self.state = cs_state_new(&laid_out.c) if _data is None else cs_state_new_empty(&laid_out.c)
        if self.state == NULL:
            raise MemoryError
        if _data is not None:
            source = Bytes(_data)
            with nogil:
                result = cs_import(self.state, source.at, <uint64_t>source.length)
            if result == CS_BYTES_INVALID:
                raise StateBytesInvalid(source.length)
            check(result)

    @classmethod
    def load(cls, data, **parameters):
        return cls.__new__(cls, _data=data, **parameters)

    def __dealloc__(self):
        cs_state_free(self.state)

    cdef int enter(self) except -1:
        """Refuse a second thread."""
        if self.busy:
            raise RuntimeError("another thread is inside this state")
        return 0

    # Steps.

    def apply_batch(self, Prepared prepared not None, heads, verdicts, now):
        self.enter()
        cdef uint32_t n = prepared.count
        cdef uint64_t time = number("now", now, 0xFFFFFFFFFFFFFFFF)
        exactly("heads", heads, n * HEAD)
        cdef Bytes verdict_rows = exactly("verdicts", verdicts, n)
        if prepared.suite != self.state.suite or prepared.genesis_hash != self.genesis_hash:
            raise ShapeError("prepared suite", prepared.suite, "the suite and genesis of this state")
        cdef const uint8_t *messages = <const uint8_t *>PyBytes_AS_STRING(prepared.messages)
        cdef const uint8_t *digests = <const uint8_t *>PyBytes_AS_STRING(prepared.digests)
        cdef bytes codes = room(2 * n), first_codes = room(2 * n), times = room(8 * n)
        cdef cs_answers answers
        answers.codes = <uint16_t *>PyBytes_AS_STRING(codes)
        answers.first_codes = <uint16_t *>PyBytes_AS_STRING(first_codes)
        answers.times = <uint64_t *>PyBytes_AS_STRING(times)
        cdef int result
        self.busy = True
        with nogil:
            result = cs_apply_batch(self.state, messages, digests, verdict_rows.at, n, time, &answers)
        self.busy = False
        check(result)
        cdef BatchResult answered = BatchResult.__new__(BatchResult)
        answered.codes = memoryview(codes).cast("H")
        answered.first_codes = memoryview(first_codes).cast("H")
        answered.times = memoryview(times).cast("Q")
        return answered

    def apply_credits(self, peer, messages, now):
        self.enter()
        cdef uint32_t index = self.peer_index(peer)
        cdef Bytes message_rows = rows("messages", messages, CREDIT)
        cdef uint64_t time = number("now", now, 0xFFFFFFFFFFFFFFFF)
        if message_rows.length // CREDIT > 0xFFFFFFFF:
            raise ShapeError("messages", message_rows.length // CREDIT, "below 2^32")
        cdef uint32_t count = <uint32_t>(message_rows.length // CREDIT)
        cdef bytes codes = room(2 * <Py_ssize_t>count)
        cdef uint16_t *code_at = <uint16_t *>PyBytes_AS_STRING(codes)
        cdef int result
        self.busy = True
        with nogil:
            result = cs_apply_credits(self.state, index, message_rows.at, count, time, code_at)
        self.busy = False
        check(result)
        return codes

    def hold_run(self, Prepared prepared not None, verdicts, now):
        self.enter()
        cdef uint32_t n = prepared.count
        cdef uint64_t time = number("now", now, 0xFFFFFFFFFFFFFFFF)
        cdef Bytes verdict_rows = exactly("verdicts", verdicts, n)
        if prepared.suite != self.state.suite or prepared.genesis_hash != self.genesis_hash:
            raise ShapeError("prepared suite", prepared.suite, "the suite and genesis of this state")
        cdef const uint8_t *messages = <const uint8_t *>PyBytes_AS_STRING(prepared.messages)
        cdef const uint8_t *digests = <const uint8_t *>PyBytes_AS_STRING(prepared.digests)
        cdef bytes codes = room(2 * n), first_codes = room(2 * n), times = room(8 * n)
        cdef cs_answers answers
        answers.codes = <uint16_t *>PyBytes_AS_STRING(codes)
        answers.first_codes = <uint16_t *>PyBytes_AS_STRING(first_codes)
        answers.times = <uint64_t *>PyBytes_AS_STRING(times)
        cdef cs_run_view seen
        cdef int result
        self.busy = True
        with nogil:
            result = cs_hold_run(self.state, messages, digests, verdict_rows.at, n, time, &answers, &seen)
        self.busy = False
        check(result)
        self.held = prepared
        cdef RunView view = RunView.__new__(RunView)
        view.status = seen.status
        view.member = None if seen.member == CS_NONE else seen.member
        view.code = seen.code
        view.codes = memoryview(codes).cast("H")
        view.first_codes = memoryview(first_codes).cast("H")
        view.times = memoryview(times).cast("Q")
        return view

    def decide_run(self, keeps, member=None, code=0):
        self.enter()
        cdef int kept = bool(keeps)
        cdef uint32_t index = CS_NONE
        if member is not None:
            index = <uint32_t>number("member", member, 0xFFFFFFFE)
        cdef uint16_t with_code = <uint16_t>number("code", code, 0xFFFF)
        cdef int result
        self.busy = True
        with nogil:
            result = cs_decide_run(self.state, kept, index, with_code)
        self.busy = False
        check(result)
        self.held = None

    def prepared(self):
        self.enter()
        cdef bytes found = room(cs_prepared(self.state, NULL) * CS_PREPARED_BYTES)
        cs_prepared(self.state, <uint8_t *>PyBytes_AS_STRING(found))
        return found

    def apply_relay(self, height, relay_time, preimages, now, runs=b""):
        self.enter()
        cdef Bytes preimage_rows = rows("preimages", preimages, HASH)
        cdef Bytes run_rows = rows("runs", runs, HASH)
        if run_rows.length // HASH > 0xFFFFFFFF:
            raise ShapeError("runs", run_rows.length // HASH, "below 2^32")
        cdef uint32_t run_count = <uint32_t>(run_rows.length // HASH)
        cdef uint64_t block_height = number("height", height, 0xFFFFFFFFFFFFFFFF)
        cdef uint64_t block_time = number("relay_time", relay_time, 0xFFFFFFFFFFFFFFFF)
        cdef uint64_t time = number("now", now, 0xFFFFFFFFFFFFFFFF)
        if preimage_rows.length // HASH > 0xFFFFFFFF:
            raise ShapeError("preimages", preimage_rows.length // HASH, "below 2^32")
        cdef uint32_t count = <uint32_t>(preimage_rows.length // HASH)
        cdef int result
        self.busy = True
        with nogil:
            result = cs_apply_relay(self.state, block_height, block_time, preimage_rows.at, count, run_rows.at,
                                    run_count, time)
        self.busy = False
        check(result)

    def sweep(self, now):
        self.enter()
        cdef uint64_t time = number("now", now, 0xFFFFFFFFFFFFFFFF)
        cdef int result
        self.busy = True
        with nogil:
            result = cs_apply_sweep(self.state, time)
        self.busy = False
        check(result)

    def begin_record(self, now):
        self.enter()
        cdef uint64_t time = number("now", now, 0xFFFFFFFFFFFFFFFF)
        cdef int result
        self.busy = True
        with nogil:
            result = cs_begin_record(self.state, time)
        self.busy = False
        check(result)

    def end_record(self):
        self.enter()
        cdef int result
        self.busy = True
        with nogil:
            result = cs_end_record(self.state)
        self.busy = False
        check(result)

    def end_hold(self, debit, id, releases, now):
        self.enter()
        cdef Bytes account = exactly("debit", debit, 16), name = exactly("id", id, 16)
        cdef int result = cs_end_hold(self.state, cs_load_u128(account.at), cs_load_u128(name.at), bool(releases),
                                      number("now", now, 0xFFFFFFFFFFFFFFFF))
        if result < 0:
            check(result)
        return result

    def take_outgoing(self):
        self.enter()
        cdef cs_outgoing *outgoing = &self.state.outgoing
        cdef dict by_peer = {}
        cdef uint64_t i
        for i in range(outgoing.taken, outgoing.count):
            by_peer.setdefault(outgoing.items[i].peer, bytearray()).extend(taken(&outgoing.items[i].message, CREDIT))
        outgoing.taken = outgoing.count
        return [(self.state.peers[<uint32_t>peer].shard, bytes(by_peer[peer])) for peer in sorted(by_peer)]

    # Accounts and keys.

    def open_account(self, account_id, ledger, key_lineage, flags, code, credit_limit, balance_max, user_data,
                     opened_at):
        self.enter()
        cdef Bytes identity = exactly("account_id", account_id, 16)
        # The layout of docs/spec/03, with all sums zero.
        cdef bytes leaf = b"".join((
            taken(identity.at, 16), bytes(64),
            *(int(value).to_bytes(16, "little") for value in (credit_limit, balance_max, user_data)),
            int(opened_at).to_bytes(8, "little"), int(ledger).to_bytes(4, "little"),
            int(key_lineage).to_bytes(4, "little"), int(flags).to_bytes(2, "little"), int(code).to_bytes(2, "little"),
            bytes(12),
        ))
        cdef cs_account account
        memcpy(&account, PyBytes_AS_STRING(leaf), ACCOUNT)
        if cs_find_ledger(self.state, <uint32_t>ledger) == CS_NONE:
            raise ShapeError("ledger", ledger, "a ledger of this state")
        if account.flags & ~0x17:
            raise ShapeError("flags", flags, "bits 0, 1, 2 and 4")
        cdef uint32_t found = cs_accounts_find(&self.state.accounts, account.id)
        if found != CS_NONE:
            raise ShapeError("account_id", found, "an id that is not registered")
        if self.state.accounts.count >= self.state.limits.accounts_max:
            return -1
        cdef int64_t index = cs_open_account(self.state, &account)
        if index < 0:
            raise MemoryError("no room for another account; the state is as it was")
        return index

    def find_account(self, account_id):
        self.enter()
        cdef Bytes identity = exactly("account_id", account_id, 16)
        cdef uint32_t index = cs_accounts_find(&self.state.accounts, cs_load_u128(identity.at))
        return -1 if index == CS_NONE else index

    cdef uint32_t account_index(self, index) except? 0xFFFFFFFF:
        self.enter()
        if not 0 <= index < self.state.accounts.count:
            raise ShapeError("index", index, f"0 to below {self.state.accounts.count}")
        return <uint32_t>index

    def account(self, index):
        return taken(&self.state.accounts.items[self.account_index(index)], ACCOUNT)

    def lookup_accounts(self, account_ids):
        self.enter()
        cdef Bytes ids = rows("account_ids", account_ids, 16)
        cdef bytearray found = bytearray(ids.length * 10)
        cdef char *at = found
        cdef uint32_t index
        cdef Py_ssize_t i
        for i in range(ids.length // 16):
            index = cs_accounts_find(&self.state.accounts, cs_load_u128(ids.at + 16 * i))
            if index != CS_NONE:
                memcpy(at + ACCOUNT * i, &self.state.accounts.items[index], ACCOUNT)
        return bytes(found)

    def update_account(self, index, *, flags=None, frozen_until=None, credit_limit=None, balance_max=None,
                       key_lineage=None, tier=None):
        cdef uint32_t which = self.account_index(index)
        cdef cs_account changed = self.state.accounts.items[which]
        if flags is not None:
            if (flags ^ changed.flags) & ~0x07:
                raise ShapeError("flags", flags, "only bits 0, 1 and 2 changed")
            changed.flags = <uint16_t>number("flags", flags, 0x1F)
        if frozen_until is not None:
            changed.frozen_until = number("frozen_until", frozen_until, 0xFFFFFFFFFFFFFFFF)
        if credit_limit is not None:
            amount(&changed.credit_limit, "credit_limit", credit_limit)
        if balance_max is not None:
            amount(&changed.balance_max, "balance_max", balance_max)
        if key_lineage is not None:
            changed.key_lineage = <uint32_t>number("key_lineage", key_lineage, 0xFFFFFFFF)
        if tier is not None:
            changed.tier = <uint32_t>number("tier", tier, 0xFFFF)
        cs_accounts_touch(&self.state.accounts, which)[0] = changed

    def account_has_pendings(self, index):
        cdef const cs_account *account = &self.state.accounts.items[self.account_index(index)]
        return amount_of(&account.debits_pending) != 0 or amount_of(&account.credits_pending) != 0

    def account_path(self, index):
        cdef uint32_t which = self.account_index(index)
        cdef uint8_t path[64 * HASH]
        cs_accounts_flush(&self.state.accounts)
        cdef size_t entries = cs_tree_path(&self.state.accounts.tree, which, path), i
        return tuple([taken(path + HASH * i, HASH) for i in range(entries)])

    def set_key(self, key_id, participant, role, lineage, retired_at):
        self.enter()
        cdef cs_key key
        if not 1 <= key_id <= self.state.key_count + 1:
            raise ShapeError("key_id", key_id, f"1 to {self.state.key_count + 1}")
        if not 1 <= lineage <= key_id:
            raise ShapeError("lineage", lineage, f"1 to {key_id}")
        memcpy(&key, PyBytes_AS_STRING(bytes(sizeof(cs_key))), sizeof(cs_key))
        key.participant = <uint32_t>number("participant", participant, 0xFFFFFFFF)
        key.role = <uint16_t>number("role", role, 0xFFFF)
        key.lineage = <uint32_t>lineage
        key.retired_at = number("retired_at", retired_at, 0xFFFFFFFFFFFFFFFF)
        check(cs_set_key(self.state, <uint32_t>key_id, &key))

    def find_id(self, authoriser, debit, id):
        self.enter()
        cdef Bytes by = exactly("authoriser", authoriser, 16), account = exactly("debit", debit, 16)
        cdef Bytes name = exactly("id", id, 16)
        cdef uint32_t index = cs_window_find(&self.state.window, cs_load_u128(by.at), cs_load_u128(account.at),
                                             cs_load_u128(name.at))
        if index == CS_NONE:
            return None
        cdef const cs_entry *entry = &self.state.window.items[index]
        return entry.code, entry.time, taken(entry.digest, HASH), taken(&entry.record, RECORD)

    def find_pending(self, debit, id):
        self.enter()
        cdef Bytes account = exactly("debit", debit, 16), name = exactly("id", id, 16)
        cdef uint32_t index = cs_pendings_find(&self.state.pendings, cs_load_u128(account.at), cs_load_u128(name.at))
        return None if index == CS_NONE else taken(&self.state.pendings.items[index], PENDING)

    def holds(self):
        self.enter()
        cdef bytes found = room(cs_holds(self.state, NULL) * PENDING)
        cs_holds(self.state, <uint8_t *>PyBytes_AS_STRING(found))
        return found

    # Rules.

    cdef uint32_t rule_index(self, type, kind, subject, name) except? 0xFFFFFFFE:
        cdef Bytes about = exactly("subject", subject, 16), named = exactly("name", name, 16)
        return cs_rules_find(&self.state.rules, <unsigned>number("type", type, 0xFFFF),
                             <unsigned>number("kind", kind, 0xFFFF), cs_load_u128(about.at), cs_load_u128(named.at))

    def find_rule(self, type, kind, subject, name):
        self.enter()
        cdef uint32_t index = self.rule_index(type, kind, subject, name)
        return None if index == CS_NONE else taken(&self.state.rules.items[index], RULE)

    def set_rule(self, row):
        self.enter()
        cdef Bytes given = exactly("row", row, RULE)
        cdef cs_rule rule
        memcpy(&rule, given.at, RULE)
        if rule.type == 0 or not cs_rule_is_sound(&rule):
            raise ShapeError("row type", rule.type, "a rule that can stand")
        cdef cs_rules *rules = &self.state.rules
        cdef uint32_t index = cs_rules_find(rules, rule.type, rule.kind if rule.type == CS_RULE_BREAKER else 0, rule.subject, rule.name)
        if index != CS_NONE:
            cs_rules_touch(rules, index)[0] = rule
            return True
        if not cs_rules_have_room(rules, rule.type):
            return False
        check(-1 if cs_rules_reserve(rules, 1) != 0 else 0)
        cs_rules_add(rules, &rule)
        return True

    def remove_rule(self, type, kind, subject, name):
        self.enter()
        cdef uint32_t index = self.rule_index(type, kind, subject, name)
        if index == CS_NONE:
            return False
        cs_rules_remove(&self.state.rules, index)
        return True

    def trim_quotes(self, account, before):
        self.enter()
        cdef Bytes about = exactly("account", account, 16)
        cdef uint64_t limit = number("before", before, 0xFFFFFFFFFFFFFFFF)
        cdef cs_rules *rules = &self.state.rules
        cdef uint64_t count = rules.count, left = 0, i
        with nogil:
            for i in range(count):
                if rules.items[i].type == CS_RULE_QUOTE and memcmp(&rules.items[i].subject, about.at, 16) == 0:
                    if rules.items[i].until < limit:
                        cs_rules_remove(rules, <uint32_t>i)
                    else:
                        left += 1
        return left

    def trim_breakers(self, now):
        self.enter()
        cdef uint64_t limit = number("now", now, 0xFFFFFFFFFFFFFFFF)
        cdef cs_rules *rules = &self.state.rules
        cdef uint64_t count = rules.count, i
        with nogil:
            for i in range(count):
                if rules.items[i].type == CS_RULE_BREAKER and rules.items[i].until <= limit:
                    cs_rules_remove(rules, <uint32_t>i)

    def rules(self):
        self.enter()
        return taken(self.state.rules.items, self.state.rules.count * RULE)

    @property
    def rule_count(self):
        self.enter()
        return self.state.rules.count

    # Roots.

    def rules_root(self):
        self.enter()
        cdef uint8_t out[HASH]
        self.busy = True
        with nogil:
            cs_rules_root(self.state, out)
        self.busy = False
        return taken(out, HASH)

    def accounts_root(self):
        self.enter()
        cdef uint8_t out[HASH]
        self.busy = True
        with nogil:
            cs_accounts_root(self.state, out)
        self.busy = False
        return taken(out, HASH)

    def ids_root(self):
        self.enter()
        cdef uint8_t out[HASH]
        cdef int result
        self.busy = True
        with nogil:
            result = cs_ids_root(self.state, out)
        self.busy = False
        check(result)
        return taken(out, HASH)

    def pendings_root(self):
        self.enter()
        cdef uint8_t out[HASH]
        cdef int result
        self.busy = True
        with nogil:
            result = cs_pendings_root(self.state, out)
        self.busy = False
        check(result)
        return taken(out, HASH)

    def channels_root(self):
        self.enter()
        cdef uint8_t out[HASH]
        check(cs_channels_root(self.state, out))
        return taken(out, HASH)

    def ledgers_root(self):
        self.enter()
        cdef uint8_t out[HASH]
        check(cs_ledgers_root(self.state, out))
        return taken(out, HASH)

    def parameters_root(self):
        self.enter()
        cdef uint8_t out[HASH]
        cs_parameters_root(self.state, out)
        return taken(out, HASH)

    def decisions_root(self):
        self.enter()
        cdef uint8_t out[HASH]
        self.busy = True
        with nogil:
            cs_decisions_root(&self.state.decisions, self.state.suite, out)
        self.busy = False
        return taken(out, HASH)

    def outgoing_root(self):
        self.enter()
        cdef uint8_t out[HASH]
        cdef int result
        self.busy = True
        with nogil:
            result = cs_outgoing_root(&self.state.outgoing, self.state.peer_count, self.state.suite, out)
        self.busy = False
        check(-1 if result != 0 else 0)
        return taken(out, HASH)

    # The current block.

    def add_decision(self, digest, time, code):
        self.enter()
        cdef Bytes hashed = exactly("digest", digest, HASH)
        cdef uint64_t at = number("time", time, 0xFFFFFFFFFFFFFFFF)
        cdef uint16_t which = <uint16_t>number("code", code, 0xFFFF)
        check(-1 if cs_decisions_reserve(&self.state.decisions, 1) != 0 else 0)
        cs_decisions_add(&self.state.decisions, hashed.at, at, which)

    def decision_leaves(self):
        self.enter()
        return taken(self.state.decisions.leaves, self.state.decisions.count * DECISION)

    def outgoing_messages(self):
        self.enter()
        cdef const cs_outgoing *outgoing = &self.state.outgoing
        cdef list messages = [
            (outgoing.items[i].peer, taken(&outgoing.items[i].message, CREDIT))
            for i in range(outgoing.block_first, outgoing.count)
        ]
        # Sorting is stable, and messages to one peer were made in order of their sequence.
        messages.sort(key=first)
        return [(self.state.peers[<uint32_t>peer].shard, message) for peer, message in messages]

    def reset_block(self):
        self.enter()
        cs_decisions_truncate(&self.state.decisions, 0)
        cs_outgoing_reset(&self.state.outgoing)

    # Counters.

    @property
    def decision_count(self):
        self.enter()
        return self.state.decisions.count

    @property
    def outgoing_count(self):
        self.enter()
        return self.state.outgoing.count - self.state.outgoing.block_first

    @property
    def account_count(self):
        self.enter()
        return self.state.accounts.count

    @property
    def id_count(self):
        self.enter()
        return self.state.window.count

    @property
    def pending_count(self):
        self.enter()
        return self.state.pendings.count

    @property
    def key_count(self):
        self.enter()
        return self.state.key_count

    @property
    def last_time(self):
        self.enter()
        return self.state.last_time

    @property
    def relay_height(self):
        self.enter()
        return self.state.relay_height

    @property
    def relay_time(self):
        self.enter()
        return self.state.relay_time

    cdef uint32_t peer_index(self, peer) except? 0xFFFFFFFF:
        cdef uint32_t i
        for i in range(self.state.peer_count):
            if self.state.peers[i].shard == peer:
                return i
        raise ShapeError("peer", peer, "a peer of this shard")

    def channel(self, peer):
        self.enter()
        cdef const cs_peer *channel = &self.state.peers[self.peer_index(peer)]
        return channel.sent, channel.received

    def totals(self, ledger):
        self.enter()
        cdef uint32_t index = cs_find_ledger(self.state, <uint32_t>number("ledger", ledger, 0xFFFFFFFF))
        cdef cs_u128 channel_credits, channel_debits
        if index == CS_NONE:
            raise ShapeError("ledger", ledger, "a ledger of this state")
        cs_channel_sums(self.state, index, &channel_credits, &channel_debits)
        cdef const cs_ledger *entry = &self.state.ledgers[index]
        return (amount_of(&entry.debits_pending), amount_of(&entry.debits_posted), amount_of(&channel_credits),
                amount_of(&channel_debits))

    # The whole state.

    @property
    def export_bytes(self):
        self.enter()
        return cs_export_bytes(self.state)

    def export(self, bytes before not None=b"", bytes after not None=b""):
        self.enter()
        cdef uint64_t length = cs_export_bytes(self.state)
        cdef Py_ssize_t start = len(before), rest = len(after)
        cdef bytes data = room(start + <Py_ssize_t>length + rest)
        cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(data) + start
        cdef int result
        memcpy(PyBytes_AS_STRING(data), PyBytes_AS_STRING(before), start)
        memcpy(out + length, PyBytes_AS_STRING(after), rest)
        self.busy = True
        with nogil:
            result = cs_export(self.state, out)
        self.busy = False
        check(result)
        return data

    def check_invariants(self):
        self.enter()
        cdef uint32_t found = 0
        cdef int result
        self.busy = True
        with nogil:
            result = cs_audit(self.state, &found)
        self.busy = False
        check(result)
        return [name for bit, name in enumerate(AUDITS) if found >> bit & 1]

    def memory_bytes(self):
        self.enter()
        return cs_state_bytes(self.state)


def first(pair):
    return pair[0]
