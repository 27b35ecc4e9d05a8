"""What the bindings see of the headers in native/suites and native/common."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "common/variant.h" nogil:
    int cs_variant_best()
    void cs_variant_set(int level)

cdef extern from "common/wipe.h" nogil:
    void cs_wipe(void *memory, size_t n)

cdef extern from "suites/features.h" nogil:
    const char *cs_cpu_feature(int at)
    int cs_levels_built()

cdef extern from "suites/suites.h" nogil:
    const int CS_SUITE_ED25519
    const int CS_SUITE_SM2
    const int CS_SUITE_P256
    const size_t CS_SECRET_BYTES
    const size_t CS_SIGNATURE_BYTES
    const size_t CS_HINT_BYTES
    const size_t CS_SEED_BYTES
    const size_t CS_MEMORY_ALIGNMENT
    const size_t CS_TABLES_AT_ONCE
    ctypedef struct cs_signing_item:
        uint8_t *signature
        const uint8_t *secret
        const uint8_t *public_key
        const uint8_t *message
    ctypedef struct cs_suite:
        size_t public_key_bytes
        size_t loaded_key_bytes
        int (*key_load)(void *key, const uint8_t *public_key) noexcept nogil
        int (*derive)(uint8_t *public_key, const uint8_t *secret) noexcept nogil
        int (*sign)(uint8_t *signature, const uint8_t *secret, const uint8_t *public_key, const uint8_t *message,
                    size_t message_bytes) noexcept nogil
        const char *(*reason_word)(int reason) noexcept nogil
        int (*verify)(const void *key, const uint8_t *signature, const uint8_t *message,
                      size_t message_bytes) noexcept nogil
        int (*batches)() noexcept nogil
        int (*signs_in_lanes)() noexcept nogil
        void (*sign_batch)(const cs_signing_item *items, size_t count, size_t message_bytes) noexcept nogil
        size_t (*table_bytes)() noexcept nogil
        void (*tables_build)(void **tables, const void **keys, size_t count) noexcept nogil
    const cs_suite *cs_suite_of(uint32_t number)

cdef extern from "suites/keys.h" nogil:
    ctypedef struct cs_key:
        void *loaded
        uint32_t suite
        uint8_t *public_key
        uint8_t revoked
        uint8_t built
        uint32_t uses
        uint32_t pins
        uint64_t batch
        void *table
        cs_key *newer
        cs_key *older
    ctypedef struct cs_slots:
        uint64_t count
        size_t slot_bytes
        uint8_t **chunks
    int cs_chunk_of(uint64_t *index, uint64_t *chunk_slots)
    void *cs_slot_at(const cs_slots *slots, uint64_t index)

cdef extern from "suites/verify.h" nogil:
    const size_t CS_THREADS_MAX
    ctypedef struct cs_columns:
        const cs_slots *keys
        const uint8_t *indexes
        const uint8_t *signatures
        const uint8_t *messages
        const uint8_t *hints
        uint8_t *verdicts
        uint8_t *hints_out
        size_t count
        size_t stride
        const void **tables
        size_t *suite_counts
        size_t part_count
        size_t seeds_per_part
        size_t work_bytes
    uint32_t cs_index_at(const uint8_t *indexes, size_t at)
    cs_key *cs_key_of(const cs_columns *columns, size_t at)
    bint cs_has_hint(const cs_columns *columns, size_t at)
    size_t cs_first_unknown(const uint8_t *indexes, size_t count, uint64_t bound)
    void cs_survey(cs_columns *columns)
    size_t cs_plan(cs_columns *columns, size_t threads)
    size_t cs_verify_columns(const cs_columns *columns, void **work, size_t thread_count, const uint8_t *seeds)
