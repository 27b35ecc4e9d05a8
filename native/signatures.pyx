# cython: embedsignature=False
"""Bindings of the signature kernels: lengths and indexes are checked here, every verdict is given in C."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from native.errors import KeyRejected, ShapeError, UnknownKey, UnknownSuite
from native.kernel import choose_variant

cdef extern from "ed25519/ed25519.h" nogil:
    ctypedef struct cs_ed25519_key:
        uint8_t encoded[32]
    int cs_ed25519_key_load(cs_ed25519_key *key, const uint8_t *public_key)
    const char *cs_ed25519_strerror(int reason)
    int cs_ed25519_verify(const cs_ed25519_key *key, const uint8_t *signature, const uint8_t *message, size_t n)
    void cs_ed25519_public_key(uint8_t *public_key, const uint8_t *secret)
    void cs_ed25519_sign(uint8_t *signature, const uint8_t *secret, const uint8_t *public_key,
                         const uint8_t *message, size_t n)

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
    CHUNKS_MAX = 25

SUITE_ED25519 = ED25519
SUITE_SM2 = SM2
SECRET_BYTES = SECRET_SIZE
SIGNATURE_BYTES = SIGNATURE_SIZE
PUBLIC_KEY_BYTES = {SUITE_ED25519: 32, SUITE_SM2: 64}

cdef tuple BUILT_VARIANTS = ("scalar",)
cdef str VARIANT = choose_variant(BUILT_VARIANTS)


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

    def __cinit__(self):
        memset(&self.slots, 0, sizeof(self.slots))
        self.slots.slot_size = sizeof(RegisteredKey)

    def __dealloc__(self):
        cdef uint64_t index
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


def verify_batch(KeyRegistry registry not None, key_indexes, signatures, messages, out):
    cdef Span indexes = Span(key_indexes)
    cdef Span given = Span(signatures)
    cdef Span texts = Span(messages)
    cdef Span verdicts = Span(out, True)
    cdef size_t count = count_of(indexes)
    cdef size_t stride = stride_of(texts, count)
    cdef size_t failed = 0
    cdef size_t at
    cdef uint32_t index
    cdef uint8_t verdict
    cdef const RegisteredKey *key
    check_size("signatures", given, count * SIGNATURE_SIZE)
    check_size("out", verdicts, count)
    check_indexes(indexes, count, registry.slots.count + 1, registry.slots.count)
    with nogil:
        for at in range(count):
            index = index_at(indexes.start, at)
            verdict = 0
            if index != 0:
                key = <const RegisteredKey *>slot_at(&registry.slots, index - 1)
                verdict = verify_one(key.suite, key.loaded, given.start + SIGNATURE_SIZE * at,
                                     texts.start + stride * at, stride) == 1
            verdicts.start[at] = verdict
            failed += 1 - verdict
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
    cdef int reason = 0
    cdef const SigningKey *key = NULL
    check_size("out", signatures, count * SIGNATURE_SIZE)
    check_indexes(indexes, count, keys.slots.count, keys.slots.count)
    with nogil:
        for at in range(count):
            key = <const SigningKey *>slot_at(&keys.slots, index_at(indexes.start, at))
            reason = sign_one(key.suite, signatures.start + SIGNATURE_SIZE * at, key.secret, key.public_key,
                              texts.start + stride * at, stride)
            if reason != 0:
                break
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
