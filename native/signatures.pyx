# cython: embedsignature=False
"""Bindings of the signature kernels: lengths and indexes are checked here, every verdict is given in C."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from os import urandom

from native.errors import KeyRejected, ShapeError, UnknownKey, UnknownSuite
from native.kernel import choose_variant

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef extern from "ed25519/ed25519.h" nogil:
    ctypedef struct cs_ed25519_key:
        uint8_t encoded[32]
    int cs_ed25519_key_load(cs_ed25519_key *key, const uint8_t *public_key)
    const char *cs_ed25519_strerror(int reason)
    int cs_ed25519_verify(const cs_ed25519_key *key, const uint8_t *signature, const uint8_t *message, size_t n)
    void cs_ed25519_public_key(uint8_t *public_key, const uint8_t *secret)
    void cs_ed25519_sign(uint8_t *signature, const uint8_t *secret, const uint8_t *public_key,
                         const uint8_t *message, size_t n)

cdef extern from "ed25519/batch.h" nogil:
    const size_t CS_ED25519_BATCH_MAX
    const size_t CS_ED25519_SEED_BYTES
    const size_t CS_ED25519_SCRATCH_ALIGNMENT
    ctypedef struct cs_ed25519_item:
        const cs_ed25519_key *key
        const uint8_t *signature
        const uint8_t *message
    int cs_ed25519_batch_available()
    size_t cs_ed25519_batch_scratch_bytes(size_t count)
    void cs_ed25519_verify_batch(uint8_t *verdicts, void *scratch, const cs_ed25519_item *items, size_t count,
                                 size_t message_bytes, const uint8_t *seed)
    ctypedef struct cs_ed25519_signing_item:
        uint8_t *signature
        const uint8_t *secret
        const uint8_t *public_key
        const uint8_t *message
    void cs_ed25519_sign_batch(const cs_ed25519_signing_item *items, size_t count, size_t message_bytes)

cdef extern from "ed25519/wipe.h" nogil:
    void cs_wipe(void *memory, size_t n)

cdef extern from "sm2/sm2.h" nogil:
    const int CS_SM2_KEY_RANGE
    const int CS_SM2_KEY_CURVE
    const int CS_SM2_SECRET_RANGE
    ctypedef struct cs_sm2_key:
        pass
    int cs_sm2_key_load(cs_sm2_key *key, const uint8_t *public_key)
    int cs_sm2_verify(const cs_sm2_key *key, const uint8_t *signature, const uint8_t *message, size_t n)
    int cs_sm2_public_key(uint8_t *public_key, const uint8_t *secret)
    int cs_sm2_sign(uint8_t *signature, const uint8_t *secret, const uint8_t *public_key,
                    const uint8_t *message, size_t n)

__all__ = [
    "PUBLIC_KEY_BYTES",
    "SECRET_BYTES",
    "SIGNATURE_BYTES",
    "SUITE_ED25519",
    "SUITE_SM2",
    "KeyRegistry",
    "SigningKeys",
    "kernel_variant",
    "public_key",
    "sign",
    "sign_batch",
    "verify",
    "verify_batch",
]

cdef enum:
    ED25519 = 1
    SM2 = 2  # 3 is kept for P-256
    SECRET_SIZE = 32
    SIGNATURE_SIZE = 64
    PUBLIC_KEY_SIZE_MAX = 64
    INDEX_SIZE = 4
    # Slot storage: chunk c holds 64 << c slots, so 25 chunks hold 2^31 - 64 of them and no slot ever moves.
    FIRST_CHUNK_SLOTS = 64
    SIGNED_AT_ONCE = 64  # items handed to the kernel that signs in lanes; it takes sixteen at a time
    CHUNKS_MAX = 25

SUITE_ED25519 = ED25519
SUITE_SM2 = SM2
SECRET_BYTES = SECRET_SIZE
SIGNATURE_BYTES = SIGNATURE_SIZE
PUBLIC_KEY_BYTES = {SUITE_ED25519: 32, SUITE_SM2: 64}

cdef tuple BUILT_VARIANTS = ("scalar", "avx512ifma") if cs_ed25519_batch_available() else ("scalar",)
cdef str VARIANT = choose_variant(BUILT_VARIANTS)
cdef bint IN_LANES = VARIANT == "avx512ifma"


def kernel_variant():
    return VARIANT


# --- What differs between suites: this section and nothing else knows their functions. ---

cdef uint32_t checked_suite(suite) except 0:
    if suite == ED25519 or suite == SM2:
        return <uint32_t>suite
    raise UnknownSuite(suite)


cdef size_t public_key_size(uint32_t suite) noexcept nogil:
    return 32 if suite == ED25519 else 64


cdef size_t loaded_key_size(uint32_t suite) noexcept nogil:
    return sizeof(cs_ed25519_key) if suite == ED25519 else sizeof(cs_sm2_key)


cdef int load_key(uint32_t suite, void *key, const uint8_t *public_key) noexcept nogil:
    if suite == ED25519:
        return cs_ed25519_key_load(<cs_ed25519_key *>key, public_key)
    return cs_sm2_key_load(<cs_sm2_key *>key, public_key)


cdef int verify_one(uint32_t suite, const void *key, const uint8_t *signature, const uint8_t *message,
                    size_t n) noexcept nogil:
    if suite == ED25519:
        return cs_ed25519_verify(<const cs_ed25519_key *>key, signature, message, n)
    return cs_sm2_verify(<const cs_sm2_key *>key, signature, message, n)


cdef int derive_public_key(uint32_t suite, uint8_t *public_key, const uint8_t *secret) noexcept nogil:
    if suite == ED25519:
        cs_ed25519_public_key(public_key, secret)
        return 0
    return cs_sm2_public_key(public_key, secret)


cdef int sign_one(uint32_t suite, uint8_t *signature, const uint8_t *secret, const uint8_t *public_key,
                  const uint8_t *message, size_t n) noexcept nogil:
    if suite == ED25519:
        cs_ed25519_sign(signature, secret, public_key, message, n)
        return 0
    return cs_sm2_sign(signature, secret, public_key, message, n)


cdef dict SM2_REASONS = {
    CS_SM2_KEY_RANGE: "not_canonical",
    CS_SM2_KEY_CURVE: "not_on_curve",
    CS_SM2_SECRET_RANGE: "secret_out_of_range",
}


cdef object rejection(uint32_t suite, int reason):
    """Return the exception for a negative reason: the one place that maps them."""
    if suite == ED25519:
        return KeyRejected(cs_ed25519_strerror(reason).decode("ascii"), suite)
    return KeyRejected(SM2_REASONS[reason], suite)


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


cdef inline uint32_t index_at(const uint8_t *indexes, size_t at) noexcept nogil:
    cdef uint32_t index  # copied, because the buffer need not be aligned
    memcpy(&index, indexes + INDEX_SIZE * at, INDEX_SIZE)
    return index


cdef int check_indexes(Span indexes, size_t count, uint64_t bound, uint64_t registered) except -1:
    """Raise UnknownKey for the first index that is not below bound."""
    cdef size_t at
    cdef size_t bad = count
    with nogil:
        for at in range(count):
            if <uint64_t>index_at(indexes.start, at) >= bound:
                bad = at
                break
    if bad < count:
        raise UnknownKey(index_at(indexes.start, bad), registered)
    return 0


cdef struct Slots:
    # Slots are filled before count grows and never move, so a thread without the GIL reads those below the count that
    # it saw while another thread adds.
    uint64_t count
    size_t slot_size
    uint8_t *chunks[CHUNKS_MAX]


cdef void *slot_at(const Slots *slots, uint64_t index) noexcept nogil:
    cdef uint64_t chunk_slots = FIRST_CHUNK_SLOTS
    cdef int chunk = 0
    while index >= chunk_slots:
        index -= chunk_slots
        chunk_slots <<= 1
        chunk += 1
    return slots.chunks[chunk] + index * slots.slot_size


cdef void *next_slot(Slots *slots) except NULL:
    """Return the zeroed slot that count names, not counted yet."""
    cdef uint64_t index = slots.count
    cdef uint64_t chunk_slots = FIRST_CHUNK_SLOTS
    cdef int chunk = 0
    while index >= chunk_slots:
        index -= chunk_slots
        chunk_slots <<= 1
        chunk += 1
    if chunk >= CHUNKS_MAX:
        raise MemoryError("a registry holds fewer than 2^31 keys")
    if slots.chunks[chunk] == NULL:
        slots.chunks[chunk] = <uint8_t *>calloc(chunk_slots, slots.slot_size)
        if slots.chunks[chunk] == NULL:
            raise MemoryError(f"no room for {chunk_slots} more keys")
    return slots.chunks[chunk] + index * slots.slot_size


cdef void free_chunks(Slots *slots) noexcept:
    cdef int chunk
    for chunk in range(CHUNKS_MAX):
        if slots.chunks[chunk] != NULL:
            cs_wipe(slots.chunks[chunk], slots.slot_size * (<size_t>FIRST_CHUNK_SLOTS << chunk))
            free(slots.chunks[chunk])
            slots.chunks[chunk] = NULL


# --- Verification. ---

cdef struct RegisteredKey:
    void *loaded  # what load_key made of public_key
    uint32_t suite
    uint8_t public_key[PUBLIC_KEY_SIZE_MAX]


cdef class KeyRegistry:
    cdef Slots slots
    # The memory that batches in lanes work in, kept from one batch to the next because fresh pages cost a tenth of a
    # batch. A batch takes it while it runs and others make their own meanwhile; both only with the GIL.
    cdef void *scratch
    cdef size_t scratch_size

    def __cinit__(self):
        memset(&self.slots, 0, sizeof(self.slots))
        self.slots.slot_size = sizeof(RegisteredKey)
        self.scratch = NULL
        self.scratch_size = 0

    def __dealloc__(self):
        cdef uint64_t index
        free(self.scratch)
        for index in range(self.slots.count):
            free((<RegisteredKey *>slot_at(&self.slots, index)).loaded)
        free_chunks(&self.slots)

    def __len__(self):
        return self.slots.count

    def __repr__(self):
        return f"<KeyRegistry of {self.slots.count} keys>"

    def __reduce__(self):
        raise TypeError("a KeyRegistry is not pickled: register its keys again, in order")

    def register(self, suite, public_key):
        cdef uint32_t which = checked_suite(suite)
        cdef Span encoded = Span(public_key)
        cdef RegisteredKey *slot
        cdef void *loaded
        cdef int reason
        check_size("public_key", encoded, public_key_size(which))
        slot = <RegisteredKey *>next_slot(&self.slots)
        loaded = malloc(loaded_key_size(which))
        if loaded == NULL:
            raise MemoryError("no room for another key")
        # With the GIL, so that two threads never fill one slot.
        reason = load_key(which, loaded, encoded.start)
        if reason != 0:
            free(loaded)
            raise rejection(which, reason)
        slot.loaded = loaded
        slot.suite = which
        memcpy(slot.public_key, encoded.start, encoded.size)
        self.slots.count += 1
        return self.slots.count

    cdef RegisteredKey *slot(self, index) except NULL:
        if not 0 < index <= self.slots.count:
            raise UnknownKey(index, self.slots.count)
        return <RegisteredKey *>slot_at(&self.slots, <uint64_t>index - 1)

    def suite(self, index):
        return self.slot(index).suite

    def public_key(self, index):
        cdef RegisteredKey *slot = self.slot(index)
        return (<const char *>slot.public_key)[:public_key_size(slot.suite)]

    @staticmethod
    def bytes_per_key(suite):
        return loaded_key_size(checked_suite(suite)) + sizeof(RegisteredKey)


cdef struct Lanes:
    # What a batch in lanes works in: gathered items and where they came from, their verdicts, and the kernel's own.
    uint8_t *memory
    size_t memory_size
    cs_ed25519_item *items
    size_t *origins
    uint8_t *verdicts
    void *scratch


cdef inline size_t round_up(size_t size) noexcept nogil:
    return (size + CS_ED25519_SCRATCH_ALIGNMENT - 1) // CS_ED25519_SCRATCH_ALIGNMENT * CS_ED25519_SCRATCH_ALIGNMENT


cdef int take_lanes(KeyRegistry registry, Lanes *lanes, size_t count) except -1:
    """Fill lanes with room for count items, out of the registry's own memory when that suffices and is free."""
    cdef size_t items_size = round_up(count * sizeof(cs_ed25519_item))
    cdef size_t origins_size = round_up(count * sizeof(size_t))
    cdef size_t verdicts_size = round_up(count)
    cdef size_t size = items_size + origins_size + verdicts_size + cs_ed25519_batch_scratch_bytes(count)
    if registry.scratch_size >= size:
        lanes.memory = <uint8_t *>registry.scratch
        lanes.memory_size = registry.scratch_size
        registry.scratch = NULL
        registry.scratch_size = 0
    else:
        lanes.memory = <uint8_t *>aligned_alloc(CS_ED25519_SCRATCH_ALIGNMENT, round_up(size))
        lanes.memory_size = size
        if lanes.memory == NULL:
            raise MemoryError("no room to verify a batch in")
    lanes.items = <cs_ed25519_item *>lanes.memory
    lanes.origins = <size_t *>(lanes.memory + items_size)
    lanes.verdicts = lanes.memory + items_size + origins_size
    lanes.scratch = lanes.verdicts + verdicts_size
    return 0


cdef void give_lanes(KeyRegistry registry, Lanes *lanes) noexcept:
    """Hand memory to the registry, or free it when the registry holds more already."""
    if lanes.memory_size > registry.scratch_size:
        free(registry.scratch)
        registry.scratch = lanes.memory
        registry.scratch_size = lanes.memory_size
    else:
        free(lanes.memory)


cdef struct Columns:
    # The columns of a batch, checked.
    const uint8_t *indexes
    const uint8_t *signatures
    const uint8_t *messages
    uint8_t *verdicts
    size_t count
    size_t stride


cdef inline const RegisteredKey *key_at(const Slots *slots, const Columns *columns, size_t at) noexcept nogil:
    """Return the key of an item, NULL for "no key"."""
    cdef uint32_t index = index_at(columns.indexes, at)
    if index == 0:
        return NULL
    return <const RegisteredKey *>slot_at(slots, index - 1)


cdef void verify_singly(const Slots *slots, const Columns *columns, size_t at) noexcept nogil:
    cdef const RegisteredKey *key = key_at(slots, columns, at)
    columns.verdicts[at] = key != NULL and verify_one(key.suite, key.loaded, columns.signatures + SIGNATURE_SIZE * at,
                                                      columns.messages + columns.stride * at, columns.stride) == 1


cdef void verify_in_lanes(const Slots *slots, const Columns *columns, Lanes *lanes,
                          const uint8_t *seeds) noexcept nogil:
    """Decide Ed25519 items in parts of at most CS_ED25519_BATCH_MAX, each with a seed of its own, and others singly."""
    cdef size_t at, i
    cdef size_t gathered = 0
    cdef const RegisteredKey *key
    for at in range(columns.count):
        key = key_at(slots, columns, at)
        if key == NULL or key.suite != ED25519:
            verify_singly(slots, columns, at)
        else:
            lanes.items[gathered].key = <const cs_ed25519_key *>key.loaded
            lanes.items[gathered].signature = columns.signatures + SIGNATURE_SIZE * at
            lanes.items[gathered].message = columns.messages + columns.stride * at
            lanes.origins[gathered] = at
            gathered += 1
        if gathered == CS_ED25519_BATCH_MAX or (at + 1 == columns.count and gathered > 0):
            cs_ed25519_verify_batch(lanes.verdicts, lanes.scratch, lanes.items, gathered, columns.stride, seeds)
            for i in range(gathered):
                columns.verdicts[lanes.origins[i]] = lanes.verdicts[i]
            gathered = 0
            seeds += CS_ED25519_SEED_BYTES


def verify_batch(KeyRegistry registry not None, key_indexes, signatures, messages, out):
    cdef Span indexes = Span(key_indexes)
    cdef Span given = Span(signatures)
    cdef Span texts = Span(messages)
    cdef Span verdicts = Span(out, True)
    cdef Columns columns
    cdef Lanes lanes
    cdef bytes seeds
    cdef const uint8_t *seed
    cdef size_t failed = 0
    cdef size_t at
    columns.count = count_of(indexes)
    columns.stride = stride_of(texts, columns.count)
    columns.indexes = indexes.start
    columns.signatures = given.start
    columns.messages = texts.start
    columns.verdicts = verdicts.start
    check_size("signatures", given, columns.count * SIGNATURE_SIZE)
    check_size("out", verdicts, columns.count)
    check_indexes(indexes, columns.count, registry.slots.count + 1, registry.slots.count)
    if IN_LANES and columns.count > 1:
        # Fresh for every batch: a signer who could foretell it could have bad signatures pass.
        seeds = urandom((columns.count // CS_ED25519_BATCH_MAX + 1) * CS_ED25519_SEED_BYTES)
        seed = <const uint8_t *>PyBytes_AS_STRING(seeds)
        take_lanes(registry, &lanes, min(columns.count, CS_ED25519_BATCH_MAX))
        with nogil:
            verify_in_lanes(&registry.slots, &columns, &lanes, seed)
        give_lanes(registry, &lanes)
    else:
        with nogil:
            for at in range(columns.count):
                verify_singly(&registry.slots, &columns, at)
    with nogil:
        for at in range(columns.count):
            failed += 1 - columns.verdicts[at]
    return failed


def verify(suite, public_key, signature, message):
    cdef uint32_t which = checked_suite(suite)
    cdef Span encoded = Span(public_key)
    cdef Span given = Span(signature)
    cdef Span text = Span(message)
    cdef void *loaded
    cdef bint good
    check_size("public_key", encoded, public_key_size(which))
    check_size("signature", given, SIGNATURE_SIZE)
    loaded = malloc(loaded_key_size(which))
    if loaded == NULL:
        raise MemoryError("no room for a key")
    with nogil:
        good = (load_key(which, loaded, encoded.start) == 0
                and verify_one(which, loaded, given.start, text.start, text.size) == 1)
    free(loaded)
    return good


# --- Signing. ---

cdef struct SigningKey:
    uint32_t suite
    uint8_t secret[SECRET_SIZE]
    uint8_t public_key[PUBLIC_KEY_SIZE_MAX]


cdef class SigningKeys:
    cdef Slots slots

    def __cinit__(self):
        memset(&self.slots, 0, sizeof(self.slots))
        self.slots.slot_size = sizeof(SigningKey)

    def __dealloc__(self):
        free_chunks(&self.slots)  # wipes them

    def __len__(self):
        return self.slots.count

    def __repr__(self):
        return f"<SigningKeys of {self.slots.count} secrets>"

    def __reduce__(self):
        raise TypeError("SigningKeys are not pickled: secrets stay in this process")

    def register(self, suite, secret):
        cdef uint32_t which = checked_suite(suite)
        cdef Span given = Span(secret)
        cdef SigningKey *slot
        cdef int reason
        check_size("secret", given, SECRET_SIZE)
        slot = <SigningKey *>next_slot(&self.slots)
        reason = derive_public_key(which, slot.public_key, given.start)
        if reason != 0:
            raise rejection(which, reason)
        slot.suite = which
        memcpy(slot.secret, given.start, SECRET_SIZE)
        self.slots.count += 1
        return self.slots.count - 1

    cdef SigningKey *slot(self, index) except NULL:
        if not 0 <= index < self.slots.count:
            raise UnknownKey(index, self.slots.count)
        return <SigningKey *>slot_at(&self.slots, index)

    def suite(self, index):
        return self.slot(index).suite

    def public_key(self, index):
        cdef SigningKey *slot = self.slot(index)
        return (<const char *>slot.public_key)[:public_key_size(slot.suite)]


def sign_batch(SigningKeys keys not None, key_indexes, messages, out):
    cdef Span indexes = Span(key_indexes)
    cdef Span texts = Span(messages)
    cdef Span signatures = Span(out, True)
    cdef size_t count = count_of(indexes)
    cdef size_t stride = stride_of(texts, count)
    cdef size_t at
    cdef size_t gathered = 0
    cdef int reason = 0
    cdef SigningKey *key = NULL
    cdef uint8_t *signature
    cdef const uint8_t *message
    cdef cs_ed25519_signing_item items[SIGNED_AT_ONCE]
    check_size("out", signatures, count * SIGNATURE_SIZE)
    check_indexes(indexes, count, keys.slots.count, keys.slots.count)
    with nogil:
        for at in range(count):
            key = <SigningKey *>slot_at(&keys.slots, index_at(indexes.start, at))
            signature = signatures.start + SIGNATURE_SIZE * at
            message = texts.start + stride * at
            if IN_LANES and key.suite == ED25519 and count > 1:
                items[gathered].signature = signature
                items[gathered].secret = key.secret
                items[gathered].public_key = key.public_key
                items[gathered].message = message
                gathered += 1
                if gathered == SIGNED_AT_ONCE:
                    cs_ed25519_sign_batch(items, gathered, stride)
                    gathered = 0
                continue
            reason = sign_one(key.suite, signature, key.secret, key.public_key, message, stride)
            if reason != 0:
                break
        if gathered > 0:
            cs_ed25519_sign_batch(items, gathered, stride)
    if reason != 0:
        raise rejection(key.suite, reason)


def sign(suite, secret, message):
    cdef uint32_t which = checked_suite(suite)
    cdef Span given = Span(secret)
    cdef Span text = Span(message)
    cdef uint8_t derived[PUBLIC_KEY_SIZE_MAX]
    cdef bytes signature = PyBytes_FromStringAndSize(NULL, SIGNATURE_SIZE)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(signature)
    cdef int reason
    check_size("secret", given, SECRET_SIZE)
    with nogil:
        reason = derive_public_key(which, derived, given.start)
        if reason == 0:
            reason = sign_one(which, out, given.start, derived, text.start, text.size)
    if reason != 0:
        raise rejection(which, reason)
    return signature


def public_key(suite, secret):
    cdef uint32_t which = checked_suite(suite)
    cdef Span given = Span(secret)
    cdef uint8_t derived[PUBLIC_KEY_SIZE_MAX]
    cdef int reason
    check_size("secret", given, SECRET_SIZE)
    reason = derive_public_key(which, derived, given.start)
    if reason != 0:
        raise rejection(which, reason)
    return (<const char *>derived)[:public_key_size(which)]
