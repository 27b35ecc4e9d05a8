/* The suites of signatures behind one table of functions each, so that nothing else needs to tell them apart.
 *
 * A suite has a number, which travels with its keys. Secrets are 32 bytes, signatures 64, hints 32, public keys as many
 * as the suite says; sizes and meaning of everything else stand in the suite's own header. All functions may run in
 * many threads, none allocates, and what they use of the CPU is what cs_variant allows. */
#ifndef CS_SUITES_H
#define CS_SUITES_H

#include <stddef.h>
#include <stdint.h>

enum {
    CS_SUITE_ED25519 = 1,
    CS_SUITE_SM2 = 2, /* with SM3 */
    CS_SUITE_P256 = 3, /* with SHA-256 */
    CS_SUITES_END = 4,
    CS_SECRET_BYTES = 32,
    CS_SIGNATURE_BYTES = 64,
    CS_PUBLIC_KEY_BYTES_MAX = 64,
    CS_HINT_BYTES = 32,
    CS_SEED_BYTES = 32,
    CS_BATCH_MAX = 4096,      /* items in one call of verify_batch */
    CS_MEMORY_ALIGNMENT = 64, /* of scratch memory and tables */
    CS_TABLES_AT_ONCE = 8,    /* keys in one call of tables_build */
};

/* One signature to be checked: the item type of every suite, with pointers to that suite's own types. */
typedef struct {
    const void *key;          /* what key_load made */
    const void *table;        /* NULL, or what tables_build made of this key */
    const uint8_t *signature;
    const uint8_t *message;
    const uint8_t *hint;      /* NULL, or CS_HINT_BYTES that anybody may have written; all zero is none */
} cs_item;

typedef struct {
    uint8_t *signature;
    const uint8_t *secret, *public_key, *message;
} cs_signing_item;

typedef struct {
    size_t public_key_bytes, loaded_key_bytes;
    /* 0, or a negative reason whose word reason_word gives. */
    int (*key_load)(void *key, const uint8_t *public_key);
    int (*derive)(uint8_t *public_key, const uint8_t *secret);
    int (*sign)(uint8_t *signature, const uint8_t *secret, const uint8_t *public_key, const uint8_t *message,
                size_t message_bytes);
    const char *(*reason_word)(int reason);
    int (*verify)(const void *key, const uint8_t *signature, const uint8_t *message, size_t message_bytes);

    /* Whether the level of cs_variant allows the functions below; where it does not, none of them is called. */
    int (*batches)(void);
    size_t (*scratch_bytes)(size_t count);
    void (*verify_batch)(uint8_t *verdicts, uint8_t *hints_out, void *scratch, const cs_item *items, size_t count,
                         size_t message_bytes, const uint8_t *seed);
    int (*signs_in_lanes)(void);
    void (*sign_batch)(const cs_signing_item *items, size_t count, size_t message_bytes);
    size_t (*table_bytes)(void); /* of one key; 0 where keys need no table */
    void (*tables_build)(void *const *tables, const void *const *keys, size_t count);
} cs_suite;

/* The suite of a number, NULL for a number that names none. */
const cs_suite *cs_suite_of(uint32_t number);

#endif
