/* The tables of suites.h. What stands between them and the suites only turns pointers into pointers to a suite's own
 * types, which the assertions hold to one shape. */
#include "suites/suites.h"

#include "common/variant.h"
#include "ed25519/batch.h"
#include "p256/batch.h"
#include "sm2/batch.h"

#define SAME_SHAPE(item_type, signing_type)                                                                        \
    _Static_assert(sizeof(item_type) == sizeof(cs_item) && offsetof(item_type, key) == offsetof(cs_item, key) &&   \
                       offsetof(item_type, table) == offsetof(cs_item, table) &&                                   \
                       offsetof(item_type, signature) == offsetof(cs_item, signature) &&                           \
                       offsetof(item_type, message) == offsetof(cs_item, message) &&                               \
                       offsetof(item_type, hint) == offsetof(cs_item, hint),                                       \
                   "items of all suites have one shape");                                                          \
    _Static_assert(sizeof(signing_type) == sizeof(cs_signing_item) &&                                              \
                       offsetof(signing_type, secret) == offsetof(cs_signing_item, secret) &&                      \
                       offsetof(signing_type, public_key) == offsetof(cs_signing_item, public_key) &&              \
                       offsetof(signing_type, message) == offsetof(cs_signing_item, message),                      \
                   "and so have those to be signed")

#define SAME_LIMITS(PREFIX)                                                                                        \
    _Static_assert((int)PREFIX##_BATCH_MAX == (int)CS_BATCH_MAX &&                                                 \
                       (int)PREFIX##_SEED_BYTES == (int)CS_SEED_BYTES &&                                           \
                       (int)PREFIX##_HINT_BYTES == (int)CS_HINT_BYTES &&                                           \
                       (int)PREFIX##_SCRATCH_ALIGNMENT == (int)CS_MEMORY_ALIGNMENT,                                \
                   "all suites have the same limits")

SAME_SHAPE(cs_ed25519_item, cs_ed25519_signing_item);
SAME_SHAPE(cs_sm2_item, cs_sm2_signing_item);
SAME_SHAPE(cs_p256_item, cs_p256_signing_item);
SAME_LIMITS(CS_ED25519);
SAME_LIMITS(CS_SM2);
SAME_LIMITS(CS_P256);
_Static_assert((int)CS_SM2_TABLES_AT_ONCE == (int)CS_TABLES_AT_ONCE, "tables are built so many at a time");
_Static_assert((int)CS_P256_TABLES_AT_ONCE == (int)CS_TABLES_AT_ONCE, "tables are built so many at a time");

/* The functions of a suite whose names begin with prefix; they differ in nothing but the types of keys and items. */
#define SUITE_FUNCTIONS(prefix)                                                                                    \
    static int prefix##_load(void *key, const uint8_t *public_key)                                                 \
    {                                                                                                              \
        return cs_##prefix##_key_load((cs_##prefix##_key *)key, public_key);                                       \
    }                                                                                                              \
    static int prefix##_verify(const void *key, const uint8_t *signature, const uint8_t *message, size_t n)        \
    {                                                                                                              \
        return cs_##prefix##_verify((const cs_##prefix##_key *)key, signature, message, n);                        \
    }                                                                                                              \
    static void prefix##_verify_batch(uint8_t *verdicts, uint8_t *hints_out, void *scratch, const cs_item *items,  \
                                      size_t count, size_t message_bytes, const uint8_t *seed)                     \
    {                                                                                                              \
        cs_##prefix##_verify_batch(verdicts, hints_out, scratch, (const cs_##prefix##_item *)(const void *)items,  \
                                   count, message_bytes, seed);                                                    \
    }                                                                                                              \
    static void prefix##_sign_batch(const cs_signing_item *items, size_t count, size_t message_bytes)              \
    {                                                                                                              \
        cs_##prefix##_sign_batch((const cs_##prefix##_signing_item *)(const void *)items, count, message_bytes);   \
    }

SUITE_FUNCTIONS(ed25519)
SUITE_FUNCTIONS(sm2)
SUITE_FUNCTIONS(p256)

static int ed25519_derive(uint8_t *public_key, const uint8_t *secret)
{
    cs_ed25519_public_key(public_key, secret);
    return 0;
}

static int ed25519_sign(uint8_t *signature, const uint8_t *secret, const uint8_t *public_key, const uint8_t *message,
                        size_t message_bytes)
{
    cs_ed25519_sign(signature, secret, public_key, message, message_bytes);
    return 0;
}

static int p256_sign(uint8_t *signature, const uint8_t *secret, const uint8_t *public_key, const uint8_t *message,
                     size_t message_bytes)
{
    (void)public_key;
    return cs_p256_sign(signature, secret, message, message_bytes);
}

static const char *sm2_reason(int reason)
{
    return reason == CS_SM2_KEY_RANGE ? "not_canonical" : reason == CS_SM2_KEY_CURVE ? "not_on_curve"
                                                                                     : "secret_out_of_range";
}

static const char *p256_reason(int reason)
{
    return reason == CS_P256_KEY_RANGE ? "not_canonical" : reason == CS_P256_KEY_CURVE ? "not_on_curve"
                                                                                       : "secret_out_of_range";
}

static int in_lanes(void) { return cs_variant() >= CS_VARIANT_AVX512IFMA; }

static size_t no_table(void) { return 0; }

#define TABLES_BUILD(prefix)                                                                                       \
    static void prefix##_tables_build(void *const *tables, const void *const *keys, size_t count)                  \
    {                                                                                                              \
        const cs_##prefix##_key *these[CS_TABLES_AT_ONCE];                                                         \
        for (size_t i = 0; i < count; i++) {                                                                       \
            these[i] = (const cs_##prefix##_key *)keys[i];                                                         \
        }                                                                                                          \
        cs_##prefix##_tables_build(tables, these, count);                                                          \
    }

TABLES_BUILD(sm2)
TABLES_BUILD(p256)

static int sm2_batches(void) { return in_lanes() && cs_sm2_batch_available(); }

static int p256_batches(void) { return in_lanes() && cs_p256_batch_available(); }

static const cs_suite SUITES[CS_SUITES_END] = {
    [CS_SUITE_ED25519] =
        {
            .public_key_bytes = 32,
            .loaded_key_bytes = sizeof(cs_ed25519_key),
            .key_load = ed25519_load,
            .derive = ed25519_derive,
            .sign = ed25519_sign,
            .reason_word = cs_ed25519_strerror,
            .verify = ed25519_verify,
            .batches = cs_ed25519_batch_available,
            .scratch_bytes = cs_ed25519_batch_scratch_bytes,
            .verify_batch = ed25519_verify_batch,
            .signs_in_lanes = in_lanes,
            .sign_batch = ed25519_sign_batch,
            .table_bytes = no_table,
        },
    [CS_SUITE_SM2] =
        {
            .public_key_bytes = 64,
            .loaded_key_bytes = sizeof(cs_sm2_key),
            .key_load = sm2_load,
            .derive = cs_sm2_public_key,
            .sign = cs_sm2_sign,
            .reason_word = sm2_reason,
            .verify = sm2_verify,
            .batches = sm2_batches,
            .scratch_bytes = cs_sm2_batch_scratch_bytes,
            .verify_batch = sm2_verify_batch,
            .signs_in_lanes = sm2_batches,
            .sign_batch = sm2_sign_batch,
            .table_bytes = cs_sm2_table_bytes,
            .tables_build = sm2_tables_build,
        },
    [CS_SUITE_P256] =
        {
            .public_key_bytes = 64,
            .loaded_key_bytes = sizeof(cs_p256_key),
            .key_load = p256_load,
            .derive = cs_p256_public_key,
            .sign = p256_sign,
            .reason_word = p256_reason,
            .verify = p256_verify,
            .batches = p256_batches,
            .scratch_bytes = cs_p256_batch_scratch_bytes,
            .verify_batch = p256_verify_batch,
            .signs_in_lanes = p256_batches,
            .sign_batch = p256_sign_batch,
            .table_bytes = cs_p256_table_bytes,
            .tables_build = p256_tables_build,
        },
};

const cs_suite *cs_suite_of(uint32_t number)
{
    return number > 0 && number < CS_SUITES_END ? &SUITES[number] : NULL;
}
