/* P-256 of many items at once: verdicts are those of cs_p256_verify and signatures those of cs_p256_sign, on every
 * input.
 *
 * A hint is the y of the point R that a good signature makes (its x is r): 32 bytes, big-endian, all zero for none.
 * Anybody may have written it: a wrong one costs time and changes no verdict. */
#ifndef CS_P256_BATCH_H
#define CS_P256_BATCH_H

#include "p256/p256.h"

enum {
    CS_P256_BATCH_MAX = 4096, /* items in one call */
    CS_P256_SEED_BYTES = 32,
    CS_P256_SCRATCH_ALIGNMENT = 64,
    CS_P256_HINT_BYTES = 32,
    CS_P256_TABLES_AT_ONCE = 8,
};

typedef struct {
    const cs_p256_key *key;
    const void *table;        /* NULL, or what cs_p256_tables_build made of this key */
    const uint8_t *signature; /* 64 bytes */
    const uint8_t *message;
    const uint8_t *hint; /* NULL, or CS_P256_HINT_BYTES that anybody may have written */
} cs_p256_item;

typedef struct {
    uint8_t *signature; /* 64 bytes, written */
    const uint8_t *secret, *public_key, *message; /* the public key is not read: items of all suites have one shape */
} cs_p256_signing_item;

/* Return 1 when this build and this CPU can run the functions below: AVX-512 F, BW, DQ, VL and IFMA, and BMI2. */
int cs_p256_batch_available(void);

/* The bytes of the table of one key: a multiple of 64, on memory aligned to 64. */
size_t cs_p256_table_bytes(void);

/* Fill the tables of count keys, at most CS_P256_TABLES_AT_ONCE, which are made in lanes. */
void cs_p256_tables_build(void *const *tables, const cs_p256_key *const *keys, size_t count);

/* The bytes that cs_p256_verify_batch needs to work in, for count items (at most CS_P256_BATCH_MAX). */
size_t cs_p256_batch_scratch_bytes(size_t count);

/* Set verdicts[i] to 1 or 0 for each of count items, at most CS_P256_BATCH_MAX, whose messages have one length.
 * hints_out: NULL, or count times CS_P256_HINT_BYTES, written whole: the hint of each good item, zeros for bad ones and
 * for those that no hint can express (x of R in [n, p)).
 * scratch: cs_p256_batch_scratch_bytes(count) bytes aligned to CS_P256_SCRATCH_ALIGNMENT, whatever they hold.
 * seed: fresh from the system's randomness for each call; whoever can foretell it can have bad signatures accepted. */
void cs_p256_verify_batch(uint8_t *verdicts, uint8_t *hints_out, void *scratch, const cs_p256_item *items, size_t count,
                          size_t message_bytes, const uint8_t seed[CS_P256_SEED_BYTES]);

/* Sign count items whose messages have one length: the same bytes as cs_p256_sign. No branch and no memory index
 * depends on a secret, and the memory that this lays secrets out in is wiped. A secret that cs_p256_sign would refuse
 * gives a signature of zeros. */
void cs_p256_sign_batch(const cs_p256_signing_item *items, size_t count, size_t message_bytes);

#endif
