# cython: embedsignature=False
"""Bindings of the signature kernels: lengths and indexes are checked here, every verdict is given in C."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from native.suites cimport (
    CS_HINT_BYTES, CS_MEMORY_ALIGNMENT, CS_SEED_BYTES, CS_SUITE_ED25519, CS_SUITE_P256, CS_SUITE_SM2, CS_TABLES_AT_ONCE,
    cs_chunk_of, cs_columns, cs_cpu_feature, cs_first_unknown, cs_has_hint, cs_index_at, cs_key, cs_key_of,
    cs_levels_built, cs_plan, cs_signing_item, cs_slot_at, cs_slots, cs_suite, cs_suite_of, cs_survey, cs_variant_best,
    cs_variant_set, cs_verify_columns, cs_wipe,
)

from os import cpu_count, urandom

from native.errors import KeyRejected, ShapeError, UnknownKey, UnknownSuite
from native.kernel import VARIANTS, choose_level

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

__all__ = [
    "HINT_BYTES",
    "PUBLIC_KEY_BYTES",
    "SECRET_BYTES",
    "SIGNATURE_BYTES",
    "SUITE_ED25519",
    "SUITE_P256",
    "SUITE_SM2",
    "TABLE_BYTES_MAX",
    "KeyRegistry",
    "SigningKeys",
    "cpu_features",
    "kernel_variant",
    "kernel_variants",
    "public_key",
    "sign",
    "sign_batch",
    "verify",
    "verify_batch",
]

# The same numbers as in suites/suites.h and suites/keys.h, where arrays need constants.
cdef enum:
    SUITES_END = 4
    SECRET_SIZE = 32
    SIGNATURE_SIZE = 64
    PUBLIC_KEY_SIZE_MAX = 64
    INDEX_SIZE = 4
    CHUNKS_MAX = 25
    THREADS_MAX = 64
    SIGNED_AT_ONCE = 64  # items handed to a kernel that signs in lanes; it takes eight or sixteen at a time
    TABLE_AFTER_USES = 16  # by then a key has lost about what its table costs, and every later item gains
    KEPT_MEMORIES = 4  # pieces of working memory that a registry keeps from one batch to the next

SUITE_ED25519 = CS_SUITE_ED25519
SUITE_SM2 = CS_SUITE_SM2
SUITE_P256 = CS_SUITE_P256
SECRET_BYTES = SECRET_SIZE
SIGNATURE_BYTES = SIGNATURE_SIZE
HINT_BYTES = CS_HINT_BYTES
PUBLIC_KEY_BYTES = {number: cs_suite_of(number).public_key_bytes for number in range(1, SUITES_END)}
TABLE_BYTES_MAX = 64 << 20

cdef int LEVEL = choose_level(cs_variant_best())
cs_variant_set(LEVEL)
cdef size_t CPUS = cpu_count() or 1  # more threads than these only wait for each other


def kernel_variant():
    return VARIANTS[LEVEL]


def kernel_variants():
    return VARIANTS[:cs_levels_built()]


def cpu_features():
    cdef list names = []
    while cs_cpu_feature(len(names)) != NULL:
        names.append(cs_cpu_feature(len(names)).decode("ascii"))
    return tuple(names)


cdef const cs_suite *checked_suite(suite) except NULL:
    cdef const cs_suite *found = NULL
    if 0 < suite < SUITES_END:
        found = cs_suite_of(suite)
    if found == NULL:
        raise UnknownSuite(suite)
    return found


cdef object rejection(uint32_t suite, int reason):
    """Return the exception for a negative reason."""
    return KeyRejected(cs_suite_of(suite).reason_word(reason).decode("ascii"), suite)


# --- Buffers and slots. ---

cdef class Span:
    """The bytes of a contiguous buffer, held until this object goes."""

    cdef Py_buffer view
    cdef uint8_t *start
    cdef size_t size

    def __cinit__(self, owner, bint writable=False):
        PyObject_GetBuffer(owner, &self.view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
        self.start = <uint8_t *>self.view.buf
        self.size = self.view.len

    def __dealloc__(self):
        PyBuffer_Release(&self.view)  # does nothing when no buffer was taken


cdef int check_size(what, Span span, size_t expected) except -1:
    if span.size != expected:
        raise ShapeError(what + " bytes", span.size, str(expected))
    return 0


cdef int check_apart(what, Span written, list others) except -1:
    """Raise ShapeError where a buffer that is written shares bytes with another one."""
    cdef Span other
    for other in others:
        if written.start < other.start + other.size and other.start < written.start + written.size:
            raise ShapeError(what, written.size, "bytes that no other buffer shares")
    return 0


cdef size_t count_of(Span indexes) except? -1:
    if indexes.view.itemsize != 1 and indexes.view.itemsize != INDEX_SIZE:
        raise ShapeError("index bytes", indexes.view.itemsize, "4, or raw bytes")
    if indexes.size % INDEX_SIZE != 0:
        raise ShapeError("indexes bytes", indexes.size, "a multiple of 4")
    return indexes.size // INDEX_SIZE


cdef size_t stride_of(Span messages, size_t count) except? -1:
    if count == 0:
        check_size("messages", messages, 0)
        return 0
    if messages.size % count != 0:
        raise ShapeError("messages bytes", messages.size, f"a multiple of the count {count}")
    return messages.size // count


cdef int check_indexes(const uint8_t *indexes, size_t count, uint64_t bound, uint64_t registered) except -1:
    """Raise UnknownKey for the first index that is not below bound."""
    cdef size_t bad
    with nogil:
        bad = cs_first_unknown(indexes, count, bound)
    if bad < count:
        raise UnknownKey(cs_index_at(indexes, bad), registered)
    return 0


cdef void *next_slot(cs_slots *slots) except NULL:
    """Return the zeroed slot that count names, not counted yet."""
    cdef uint64_t place = slots.count
    cdef uint64_t chunk_slots
    cdef int chunk = cs_chunk_of(&place, &chunk_slots)
    if chunk >= CHUNKS_MAX:
        raise MemoryError("a registry holds fewer than 2^31 keys")
    if slots.chunks[chunk] == NULL:
        slots.chunks[chunk] = <uint8_t *>calloc(chunk_slots, slots.slot_bytes)
        if slots.chunks[chunk] == NULL:
            raise MemoryError(f"no room for {chunk_slots} more keys")
    return slots.chunks[chunk] + place * slots.slot_bytes


cdef void free_chunks(cs_slots *slots) noexcept:
    cdef uint64_t chunk_slots = 64
    cdef int chunk
    for chunk in range(CHUNKS_MAX):
        if slots.chunks[chunk] != NULL:
            cs_wipe(slots.chunks[chunk], slots.slot_bytes * chunk_slots)
            free(slots.chunks[chunk])
            slots.chunks[chunk] = NULL
        chunk_slots <<= 1


# --- Registered keys and their tables. ---

cdef struct Memory:
    void *start
    size_t size


cdef struct Pins:
    # The keys whose tables a batch reads or fills: count of them, of which those from built_count on it fills.
    cs_key **keys
    size_t count
    size_t built_count
    bint filled


cdef class KeyRegistry:
    # Everything but slots below their count is touched with the GIL only.
    cdef cs_slots slots
    cdef cs_key *newest  # of the keys with a table, in the order of their last use
    cdef cs_key *oldest
    cdef size_t tables_size
    cdef size_t table_count
    cdef readonly size_t table_bytes_max
    cdef uint64_t batch
    # What batches work in, because fresh pages cost a tenth of a batch. A batch takes memory while it runs, and others
    # make their own meanwhile.
    cdef Memory kept[KEPT_MEMORIES]

    def __cinit__(self, *, table_bytes_max=TABLE_BYTES_MAX):
        if not 0 <= table_bytes_max < 1 << 63:
            raise ShapeError("table_bytes_max", table_bytes_max, "0 to 2^63 - 1")
        memset(&self.slots, 0, sizeof(self.slots))
        memset(self.kept, 0, sizeof(self.kept))
        self.slots.slot_bytes = sizeof(cs_key)
        self.newest = self.oldest = NULL
        self.tables_size = self.table_count = self.batch = 0
        self.table_bytes_max = table_bytes_max

    def __dealloc__(self):
        cdef uint64_t index
        cdef cs_key *key
        cdef int i
        for i in range(KEPT_MEMORIES):
            free(self.kept[i].start)
        for index in range(self.slots.count):
            key = <cs_key *>cs_slot_at(&self.slots, index)
            free(key.loaded)
            free(key.table)
        free_chunks(&self.slots)

    def __len__(self):
        return self.slots.count

    def __repr__(self):
        return f"<KeyRegistry of {self.slots.count} keys>"

    def __reduce__(self):
        raise TypeError("a KeyRegistry is not pickled: register its keys again, in order")

    def register(self, suite, public_key):
        cdef const cs_suite *which = checked_suite(suite)
        cdef Span encoded = Span(public_key)
        cdef cs_key *key
        cdef void *loaded
        cdef int reason
        check_size("public_key", encoded, which.public_key_bytes)
        key = <cs_key *>next_slot(&self.slots)
        loaded = malloc(which.loaded_key_bytes)
        if loaded == NULL:
            raise MemoryError("no room for another key")
        # With the GIL, so that two threads never fill one slot.
        reason = which.key_load(loaded, encoded.start)
        if reason != 0:
            free(loaded)
            raise rejection(suite, reason)
        key.loaded = loaded
        key.suite = suite
        memcpy(key.public_key, encoded.start, encoded.size)
        self.slots.count += 1
        return self.slots.count

    def rotate(self, index, suite, public_key):
        cdef cs_key *old = self.key(index)
        successor = self.register(suite, public_key)
        self.revoke_key(old)
        return successor

    def revoke(self, index):
        self.revoke_key(self.key(index))

    def revoked(self, index):
        return self.key(index).revoked != 0

    cdef cs_key *key(self, index) except NULL:
        if not 0 < index <= self.slots.count:
            raise UnknownKey(index, self.slots.count)
        return <cs_key *>cs_slot_at(&self.slots, <uint64_t>index - 1)

    def suite(self, index):
        return self.key(index).suite

    def public_key(self, index):
        cdef cs_key *key = self.key(index)
        return (<const char *>key.public_key)[:cs_suite_of(key.suite).public_key_bytes]

    def tables(self):
        return self.table_count

    def table_bytes(self):
        return self.tables_size

    @staticmethod
    def bytes_per_key(suite):
        return checked_suite(suite).loaded_key_bytes + sizeof(cs_key)

    @staticmethod
    def table_bytes_per_key(suite):
        cdef const cs_suite *which = checked_suite(suite)
        return which.table_bytes() if which.batches() else 0

    # The tables: a list of the keys that have one, newest use first.

    cdef void link(self, cs_key *key) noexcept:
        key.newer = NULL
        key.older = self.newest
        if self.newest != NULL:
            self.newest.newer = key
        self.newest = key
        if self.oldest == NULL:
            self.oldest = key

    cdef void unlink(self, cs_key *key) noexcept:
        if key.newer != NULL:
            key.newer.older = key.older
        else:
            self.newest = key.older
        if key.older != NULL:
            key.older.newer = key.newer
        else:
            self.oldest = key.newer

    cdef void free_table(self, cs_key *key) noexcept:
        self.unlink(key)
        self.tables_size -= cs_suite_of(key.suite).table_bytes()
        self.table_count -= 1
        free(key.table)
        key.table = NULL
        key.built = 0
        key.uses = 0

    cdef void revoke_key(self, cs_key *key) noexcept:
        key.revoked = 1
        if key.table != NULL and key.pins == 0:
            self.free_table(key)

    cdef bint make_table(self, cs_key *key) noexcept:
        """Give a key an unfilled table, of memory that tables unused for longest give up; False where there is none."""
        cdef size_t size = cs_suite_of(key.suite).table_bytes()
        cdef cs_key *unused = self.oldest
        cdef cs_key *newer
        # From the first table of this very batch on, the list holds no other.
        while unused != NULL and unused.batch != self.batch and self.tables_size + size > self.table_bytes_max:
            newer = unused.newer
            if unused.pins == 0:
                self.free_table(unused)
            unused = newer
        if self.tables_size + size > self.table_bytes_max:
            return False
        key.table = aligned_alloc(CS_MEMORY_ALIGNMENT, size)
        if key.table == NULL:
            return False
        self.link(key)
        self.tables_size += size
        self.table_count += 1
        return True

    cdef int pin_tables(self, cs_columns *columns, Pins *pins, const void **tables) except -1:
        """Set the table of each item that has one, and pin them. Keys that came to be used get theirs, to be filled.

        Items with hints do without: they would read a table only where their hint is wrong.
        """
        cdef size_t at
        cdef cs_key *key
        self.batch += 1
        for at in range(columns.count):
            key = cs_key_of(columns, at)
            if key == NULL or key.revoked != 0 or cs_suite_of(key.suite).table_bytes() == 0:
                continue
            if key.table == NULL:
                key.uses += key.uses < TABLE_AFTER_USES and not cs_has_hint(columns, at)
            elif key.built != 0 and key.batch != self.batch:
                key.batch = self.batch
                key.pins += 1
                pins.keys[pins.count] = key
                pins.count += 1
                self.unlink(key)
                self.link(key)
        pins.built_count = pins.count
        for at in range(columns.count):
            key = cs_key_of(columns, at)
            if (key != NULL and key.table == NULL and key.uses >= TABLE_AFTER_USES and key.batch != self.batch
                    and key.revoked == 0):
                key.batch = self.batch  # whether it gets one or not
                if cs_suite_of(key.suite).batches() and self.make_table(key):
                    key.pins = 1
                    pins.keys[pins.count] = key
                    pins.count += 1
            tables[at] = key.table if key != NULL and key.batch == self.batch else NULL
        return 0

    cdef void unpin_tables(self, const Pins *pins) noexcept:
        cdef size_t i
        cdef cs_key *key
        for i in range(pins.count):
            key = pins.keys[i]
            key.pins -= 1
            key.built = i < pins.built_count or pins.filled
            if key.pins == 0 and (key.revoked != 0 or key.built == 0):
                self.free_table(key)

    # The memory that batches work in.

    cdef int take_memory(self, Memory *taken, size_t size) except -1:
        cdef int i
        for i in range(KEPT_MEMORIES):
            if self.kept[i].size >= size:
                taken[0] = self.kept[i]
                self.kept[i].start = NULL
                self.kept[i].size = 0
                return 0
        taken.start = aligned_alloc(CS_MEMORY_ALIGNMENT, size)
        if taken.start == NULL:
            raise MemoryError("no room to verify a batch in")
        taken.size = size
        return 0

    cdef void give_memory(self, Memory given) noexcept:
        """Keep memory in place of what is smaller, and free the smallest."""
        cdef int i
        for i in range(KEPT_MEMORIES):
            if given.size > self.kept[i].size:
                given, self.kept[i] = self.kept[i], given
        free(given.start)


# --- Verification. ---

cdef void fill_tables(Pins *pins) noexcept nogil:
    """Fill the tables that nobody has filled, several of one suite at a time."""
    cdef void *tables[8]  # CS_TABLES_AT_ONCE
    cdef const void *keys[8]
    cdef uint32_t suite
    cdef size_t i, gathered
    for suite in range(1, SUITES_END):
        gathered = 0
        for i in range(pins.built_count, pins.count):
            if pins.keys[i].suite != suite:
                continue
            tables[gathered] = pins.keys[i].table
            keys[gathered] = pins.keys[i].loaded
            gathered += 1
            if gathered == CS_TABLES_AT_ONCE:
                cs_suite_of(suite).tables_build(tables, keys, gathered)
                gathered = 0
        if gathered > 0:
            cs_suite_of(suite).tables_build(tables, keys, gathered)
    pins.filled = True


cdef size_t verify_prepared(KeyRegistry registry, cs_columns *columns, size_t threads, Pins *pins) except? -1:
    """Verify checked columns, whose tables are pinned, and return how many items failed."""
    cdef Memory memories[THREADS_MAX]
    cdef void *work[THREADS_MAX]
    cdef bytes seeds
    cdef const uint8_t *seed
    cdef size_t failed, i
    cdef size_t taken = 0
    threads = cs_plan(columns, threads)
    memset(work, 0, sizeof(work))
    # Fresh for every run of a kernel: a signer who could foretell them could have bad signatures pass.
    seeds = urandom(columns.seeds_per_part * columns.part_count * CS_SEED_BYTES) if columns.seeds_per_part else b""
    seed = <const uint8_t *>PyBytes_AS_STRING(seeds)
    try:
        while columns.work_bytes > 0 and taken < threads:
            registry.take_memory(&memories[taken], columns.work_bytes)
            work[taken] = memories[taken].start
            taken += 1
        with nogil:
            fill_tables(pins)
            failed = cs_verify_columns(columns, work, threads, seed)
    finally:
        for i in range(taken):
            registry.give_memory(memories[i])
    return failed


cdef bint wants_tables(const cs_columns *columns) noexcept nogil:
    """Whether some suite of a batch verifies sooner with tables."""
    cdef uint32_t suite
    for suite in range(1, SUITES_END):
        if (columns.suite_counts[suite] > 1 and cs_suite_of(suite).table_bytes() > 0
                and cs_suite_of(suite).batches()):
            return True
    return False


cdef size_t verify_checked(KeyRegistry registry, cs_columns *columns, Span indexes, size_t threads) except? -1:
    """Verify columns whose lengths agree and return how many items failed."""
    cdef Pins pins
    cdef const void **tables = NULL
    # A copy, so that no index changes behind its check.
    cdef uint8_t *copied = <uint8_t *>malloc(indexes.size)
    memset(&pins, 0, sizeof(pins))
    try:
        if copied == NULL:
            raise MemoryError("no room to verify a batch in")
        memcpy(copied, indexes.start, indexes.size)
        columns.indexes = copied
        check_indexes(copied, columns.count, registry.slots.count + 1, registry.slots.count)
        with nogil:
            cs_survey(columns)
        if wants_tables(columns):
            # Distinct keys of the batch: at most its items, and at most those that are registered.
            pins.keys = <cs_key **>malloc(min(columns.count, registry.slots.count) * sizeof(cs_key *))
            tables = <const void **>malloc(columns.count * sizeof(void *))
            if pins.keys == NULL or tables == NULL:
                raise MemoryError("no room to verify a batch in")
            registry.pin_tables(columns, &pins, tables)
            columns.tables = tables
        return verify_prepared(registry, columns, threads, &pins)
    finally:
        registry.unpin_tables(&pins)
        free(pins.keys)
        free(tables)
        free(copied)


def verify_batch(KeyRegistry registry not None, key_indexes, signatures, messages, out, *, hints=None, hints_out=None,
                 threads=1):
    cdef Span indexes = Span(key_indexes)
    cdef Span given = Span(signatures)
    cdef Span texts = Span(messages)
    cdef Span verdicts = Span(out, True)
    cdef Span hinted = None if hints is None else Span(hints)
    cdef Span hinting = None if hints_out is None else Span(hints_out, True)
    cdef list read = [indexes, given, texts] if hinted is None else [indexes, given, texts, hinted]
    cdef cs_columns columns
    cdef size_t thread_count
    if threads < 1:
        raise ShapeError("threads", threads, "1 or more")
    thread_count = min(threads, CPUS)
    memset(&columns, 0, sizeof(columns))
    columns.keys = &registry.slots
    columns.count = count_of(indexes)
    check_size("signatures", given, columns.count * SIGNATURE_SIZE)
    check_size("out", verdicts, columns.count)
    columns.stride = stride_of(texts, columns.count)
    columns.signatures = given.start
    columns.messages = texts.start
    columns.verdicts = verdicts.start
    check_apart("out", verdicts, read)
    if hinted is not None:
        check_size("hints", hinted, columns.count * CS_HINT_BYTES)
        columns.hints = hinted.start
    if hinting is not None:
        check_size("hints_out", hinting, columns.count * CS_HINT_BYTES)
        columns.hints_out = hinting.start
        check_apart("hints_out", hinting, read + [verdicts])
    if columns.count == 0:
        return 0
    return verify_checked(registry, &columns, indexes, thread_count)


def verify(suite, public_key, signature, message):
    cdef const cs_suite *which = checked_suite(suite)
    cdef Span encoded = Span(public_key)
    cdef Span given = Span(signature)
    cdef Span text = Span(message)
    cdef void *loaded
    cdef bint good
    check_size("public_key", encoded, which.public_key_bytes)
    check_size("signature", given, SIGNATURE_SIZE)
    loaded = malloc(which.loaded_key_bytes)
    if loaded == NULL:
        raise MemoryError("no room for a key")
    with nogil:
        good = (which.key_load(loaded, encoded.start) == 0
                and which.verify(loaded, given.start, text.start, text.size) == 1)
    free(loaded)
    return good


# --- Signing. ---

cdef struct SigningKey:
    uint32_t suite
    uint8_t secret[SECRET_SIZE]
    uint8_t public_key[PUBLIC_KEY_SIZE_MAX]


cdef class SigningKeys:
    cdef cs_slots slots

    def __cinit__(self):
        memset(&self.slots, 0, sizeof(self.slots))
        self.slots.slot_bytes = sizeof(SigningKey)

    def __dealloc__(self):
        free_chunks(&self.slots)  # wipes them

    def __len__(self):
        return self.slots.count

    def __repr__(self):
        return f"<SigningKeys of {self.slots.count} secrets>"

    def __reduce__(self):
        raise TypeError("SigningKeys are not pickled: secrets stay in this process")

    def register(self, suite, secret):
        cdef const cs_suite *which = checked_suite(suite)
        cdef Span given = Span(secret)
        cdef SigningKey *key
        cdef int reason
        check_size("secret", given, SECRET_SIZE)
        key = <SigningKey *>next_slot(&self.slots)
        reason = which.derive(key.public_key, given.start)
        if reason != 0:
            raise rejection(suite, reason)
        key.suite = suite
        memcpy(key.secret, given.start, SECRET_SIZE)
        self.slots.count += 1
        return self.slots.count - 1

    cdef SigningKey *key(self, index) except NULL:
        if not 0 <= index < self.slots.count:
            raise UnknownKey(index, self.slots.count)
        return <SigningKey *>cs_slot_at(&self.slots, index)

    def suite(self, index):
        return self.key(index).suite

    def public_key(self, index):
        cdef SigningKey *key = self.key(index)
        return (<const char *>key.public_key)[:cs_suite_of(key.suite).public_key_bytes]


cdef struct Gathered:
    # Items of one suite on their way to the kernel that signs them in lanes.
    size_t count
    cs_signing_item items[SIGNED_AT_ONCE]


cdef int sign_columns(const cs_slots *keys, const uint8_t *indexes, const uint8_t *messages, uint8_t *signatures,
                      size_t count, size_t stride, uint32_t *suite) noexcept nogil:
    """Sign all items; 0, or the reason of the first that cannot be signed and its suite."""
    cdef Gathered gathered[SUITES_END]
    cdef Gathered *run
    cdef cs_signing_item item
    cdef SigningKey *key
    cdef size_t at
    cdef int reason
    for at in range(SUITES_END):
        gathered[at].count = 0
    for at in range(count):
        key = <SigningKey *>cs_slot_at(keys, cs_index_at(indexes, at))
        suite[0] = key.suite
        item.signature = signatures + SIGNATURE_SIZE * at
        item.secret = key.secret
        item.public_key = key.public_key
        item.message = messages + stride * at
        if count > 1 and cs_suite_of(key.suite).signs_in_lanes():
            run = &gathered[key.suite]
            run.items[run.count] = item
            run.count += 1
            if run.count == SIGNED_AT_ONCE:
                cs_suite_of(key.suite).sign_batch(run.items, run.count, stride)
                run.count = 0
            continue
        reason = cs_suite_of(key.suite).sign(item.signature, item.secret, item.public_key, item.message, stride)
        if reason != 0:
            return reason
    for at in range(1, SUITES_END):
        if gathered[at].count > 0:
            cs_suite_of(<uint32_t>at).sign_batch(gathered[at].items, gathered[at].count, stride)
    return 0


def sign_batch(SigningKeys keys not None, key_indexes, messages, out):
    cdef Span indexes = Span(key_indexes)
    cdef Span texts = Span(messages)
    cdef Span signatures = Span(out, True)
    cdef size_t count = count_of(indexes)
    cdef size_t stride
    cdef uint32_t suite = 0
    cdef uint8_t *copied
    cdef int reason
    check_size("out", signatures, count * SIGNATURE_SIZE)
    stride = stride_of(texts, count)
    check_apart("out", signatures, [indexes, texts])
    if count == 0:
        return
    copied = <uint8_t *>malloc(indexes.size)  # so that no index changes behind its check
    if copied == NULL:
        raise MemoryError("no room to sign a batch in")
    try:
        memcpy(copied, indexes.start, indexes.size)
        check_indexes(copied, count, keys.slots.count, keys.slots.count)
        with nogil:
            reason = sign_columns(&keys.slots, copied, texts.start, signatures.start, count, stride, &suite)
    finally:
        free(copied)
    if reason != 0:
        raise rejection(suite, reason)


def sign(suite, secret, message):
    cdef const cs_suite *which = checked_suite(suite)
    cdef Span given = Span(secret)
    cdef Span text = Span(message)
    cdef uint8_t derived[PUBLIC_KEY_SIZE_MAX]
    cdef bytes signature = PyBytes_FromStringAndSize(NULL, SIGNATURE_SIZE)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(signature)
    cdef int reason
    check_size("secret", given, SECRET_SIZE)
    with nogil:
        reason = which.derive(derived, given.start)
        if reason == 0:
            reason = which.sign(out, given.start, derived, text.start, text.size)
    if reason != 0:
        raise rejection(suite, reason)
    return signature


def public_key(suite, secret):
    cdef const cs_suite *which = checked_suite(suite)
    cdef Span given = Span(secret)
    cdef uint8_t derived[PUBLIC_KEY_SIZE_MAX]
    cdef int reason
    check_size("secret", given, SECRET_SIZE)
    reason = which.derive(derived, given.start)
    if reason != 0:
        raise rejection(suite, reason)
    return (<const char *>derived)[:which.public_key_bytes]
