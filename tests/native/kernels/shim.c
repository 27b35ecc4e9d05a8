/* See shim.h. */
#include "shim.h"

#include <stdlib.h>
#include <string.h>

#include "common/variant.h"
#include "ed25519/batch.h"
#include "p256/batch.h"
#include "sm2/batch.h"

enum { GUARD_BYTES = 256, GUARD = 0xa5 };


size_t shim_key_bytes(int suite) { return suite == 1 ? 32 : 64; }

void shim_set_variant(int level) { cs_variant_set(level); }

int shim_batch_available(int suite)
{
    switch (suite) {
    case 1:
        return cs_ed25519_batch_available();
    case 2:
        return cs_sm2_batch_available();
    default:
        return cs_p256_batch_available();
    }
}

int shim_verify(int suite, const uint8_t *public_key, const uint8_t *signature, const uint8_t *message, size_t n)
{
    union {
        cs_ed25519_key ed25519;
        cs_sm2_key sm2;
        cs_p256_key p256;
    } key;
    int fault;
    switch (suite) {
    case 1:
        fault = cs_ed25519_key_load(&key.ed25519, public_key);
        return fault != 0 ? fault : cs_ed25519_verify(&key.ed25519, signature, message, n);
    case 2:
        fault = cs_sm2_key_load(&key.sm2, public_key);
        return fault != 0 ? fault : cs_sm2_verify(&key.sm2, signature, message, n);
    default:
        fault = cs_p256_key_load(&key.p256, public_key);
        return fault != 0 ? fault : cs_p256_verify(&key.p256, signature, message, n);
    }
}

int shim_verify_digest(int suite, const uint8_t *public_key, const uint8_t *signature, const uint8_t *digest)
{
    union {
        cs_sm2_key sm2;
        cs_p256_key p256;
    } key;
    int fault;
    if (suite == 2) {
        fault = cs_sm2_key_load(&key.sm2, public_key);
        return fault != 0 ? fault : cs_sm2_verify_digest(&key.sm2, signature, digest);
    }
    fault = cs_p256_key_load(&key.p256, public_key);
    return fault != 0 ? fault : cs_p256_verify_digest(&key.p256, signature, digest);
}

static void *aligned(size_t bytes)
{
    const size_t size = (bytes + GUARD_BYTES + 63) & ~(size_t)63;
    uint8_t *memory = aligned_alloc(64, size);
    if (memory != NULL) {
        memset(memory, GUARD, size);
    }
    return memory;
}

static int guard_broken(const uint8_t *memory, size_t bytes)
{
    for (size_t i = 0; i < GUARD_BYTES; i++) {
        if (memory[bytes + i] != GUARD) {
            return 1;
        }
    }
    return 0;
}

static int verify_ed25519(uint8_t *verdicts, uint8_t *hints_out, const uint8_t *public_keys, size_t key_count,
                          const uint32_t *key_indexes, const uint8_t *signatures, const uint8_t *messages,
                          const uint8_t *hints, size_t count, size_t message_bytes, int with_tables, const uint8_t *seed)
{
    const size_t scratch_bytes = cs_ed25519_batch_scratch_bytes(count);
    cs_ed25519_key *keys = calloc(key_count + 1, sizeof *keys);
    cs_ed25519_item *items = calloc(count + 1, sizeof *items);
    uint8_t *scratch = aligned(scratch_bytes);
    int code = keys == NULL || items == NULL || scratch == NULL ? -100 : 0;
    (void)with_tables;
    for (size_t i = 0; i < key_count && code == 0; i++) {
        code = cs_ed25519_key_load(&keys[i], public_keys + 32 * i);
    }
    if (code == 0) {
        for (size_t i = 0; i < count; i++) {
            items[i].key = &keys[key_indexes[i]];
            items[i].signature = signatures + 64 * i;
            items[i].message = messages + message_bytes * i;
            items[i].hint = hints == NULL ? NULL : hints + 32 * i;
        }
        cs_ed25519_verify_batch(verdicts, hints_out, scratch, items, count, message_bytes, seed);
        code = guard_broken(scratch, scratch_bytes) ? -101 : 0;
    }
    free(scratch);
    free(items);
    free(keys);
    return code;
}

/* SM2 and P-256 have one shape of batch under two names. */
#define DEFINE_VERIFY(suite)                                                                                           \
    static int verify_##suite(uint8_t *verdicts, uint8_t *hints_out, const uint8_t *public_keys, size_t key_count,     \
                              const uint32_t *key_indexes, const uint8_t *signatures, const uint8_t *messages,         \
                              const uint8_t *hints, size_t count, size_t message_bytes, int with_tables,               \
                              const uint8_t *seed)                                                                     \
    {                                                                                                                  \
        const size_t scratch_bytes = cs_##suite##_batch_scratch_bytes(count);                                          \
        const size_t table_bytes = cs_##suite##_table_bytes();                                                         \
        cs_##suite##_key *keys = calloc(key_count + 1, sizeof *keys);                                                  \
        cs_##suite##_item *items = calloc(count + 1, sizeof *items);                                                   \
        uint8_t *scratch = aligned(scratch_bytes);                                                                     \
        uint8_t *tables = aligned(with_tables ? key_count * table_bytes : 0);                                          \
        int code = keys == NULL || items == NULL || scratch == NULL || tables == NULL ? -100 : 0;                      \
        for (size_t i = 0; i < key_count && code == 0; i++) {                                                          \
            code = cs_##suite##_key_load(&keys[i], public_keys + 64 * i);                                              \
        }                                                                                                              \
        for (size_t i = 0; with_tables && i < key_count && code == 0; i += 8) {                                        \
            const size_t left = key_count - i < 8 ? key_count - i : 8;                                                 \
            void *made[8] = {NULL};                                                                                    \
            const cs_##suite##_key *loaded[8] = {NULL};                                                                \
            for (size_t j = 0; j < left; j++) {                                                                        \
                made[j] = tables + table_bytes * (i + j);                                                              \
                loaded[j] = &keys[i + j];                                                                              \
            }                                                                                                          \
            cs_##suite##_tables_build(made, loaded, left);                                                             \
        }                                                                                                              \
        if (code == 0) {                                                                                               \
            for (size_t i = 0; i < count; i++) {                                                                       \
                items[i].key = &keys[key_indexes[i]];                                                                  \
                items[i].table = with_tables ? tables + table_bytes * key_indexes[i] : NULL;                           \
                items[i].signature = signatures + 64 * i;                                                              \
                items[i].message = messages + message_bytes * i;                                                       \
                items[i].hint = hints == NULL ? NULL : hints + 32 * i;                                                 \
            }                                                                                                          \
            cs_##suite##_verify_batch(verdicts, hints_out, scratch, items, count, message_bytes, seed);                \
            code = guard_broken(scratch, scratch_bytes) ||                                                             \
                           guard_broken(tables, with_tables ? key_count * table_bytes : 0)                             \
                       ? -101                                                                                          \
                       : 0;                                                                                            \
        }                                                                                                              \
        free(tables);                                                                                                  \
        free(scratch);                                                                                                 \
        free(items);                                                                                                   \
        free(keys);                                                                                                    \
        return code;                                                                                                   \
    }

DEFINE_VERIFY(sm2)
DEFINE_VERIFY(p256)

int shim_verify_batch(int suite, uint8_t *verdicts, uint8_t *hints_out, const uint8_t *public_keys, size_t key_count,
                      const uint32_t *key_indexes, const uint8_t *signatures, const uint8_t *messages,
                      const uint8_t *hints, size_t count, size_t message_bytes, int with_tables,
                      const uint8_t seed[SHIM_SEED_BYTES])
{
    int (*const verify[SHIM_SUITES])(uint8_t *, uint8_t *, const uint8_t *, size_t, const uint32_t *, const uint8_t *,
                                     const uint8_t *, const uint8_t *, size_t, size_t, int,
                                     const uint8_t *) = {verify_ed25519, verify_sm2, verify_p256};
    return verify[suite - 1](verdicts, hints_out, public_keys, key_count, key_indexes, signatures, messages, hints,
                             count, message_bytes, with_tables, seed);
}
