/* SM2 of many items at once: verdicts are those of cs_sm2_verify and signatures those of cs_sm2_sign, on every input.
 *
 * Without a hint an item is decided for itself, in lanes: s * G + t * A is a sum of points out of tables, made affine
 * with inversions that many items share. A hint is the y of the point R that a good signature makes (its x is r - e):
 * items that have one are checked as one random linear combination, the sum of z (s * G + t * A - R) over them, which
 * is infinity when every item is good and otherwise with a chance of 2^-128. What does not pass is halved and at last
 * decided without the hint: a wrong hint, which anybody may have written, costs time and changes no verdict. */
#ifndef CS_SM2_BATCH_H
#define CS_SM2_BATCH_H

#include "sm2/sm2.h"

enum {
    CS_SM2_BATCH_MAX = 4096, /* items in one call */
    CS_SM2_SEED_BYTES = 32,
    CS_SM2_SCRATCH_ALIGNMENT = 64,
    CS_SM2_HINT_BYTES = 32,
    CS_SM2_TABLES_AT_ONCE = 8,
};

typedef struct {
    const cs_sm2_key *key;
    const void *table;        /* NULL, or what cs_sm2_tables_build made of this key: the same verdict, sooner */
    const uint8_t *signature; /* 64 bytes */
    const uint8_t *message;
    const uint8_t *hint; /* NULL, or CS_SM2_HINT_BYTES: y of R, big-endian; all zero is none */
} cs_sm2_item;

typedef struct {
    uint8_t *signature; /* 64 bytes, written */
    const uint8_t *secret, *public_key, *message;
} cs_sm2_signing_item;

/* Return 1 when this build and this CPU can run the functions below: AVX-512 F, BW, DQ, VL and IFMA, and BMI2. */
int cs_sm2_batch_available(void);

/* The bytes of the table of one key: a multiple of 64, on memory aligned to 64. */
size_t cs_sm2_table_bytes(void);

/* Fill the tables of count keys, at most CS_SM2_TABLES_AT_ONCE, which are made in lanes. */
void cs_sm2_tables_build(void *const *tables, const cs_sm2_key *const *keys, size_t count);

/* The bytes that cs_sm2_verify_batch needs to work in, for count items (at most CS_SM2_BATCH_MAX). */
size_t cs_sm2_batch_scratch_bytes(size_t count);

/* Set verdicts[i] to 1 or 0 for each of count items, at most CS_SM2_BATCH_MAX, whose messages have one length.
 * hints_out: NULL, or count times CS_SM2_HINT_BYTES, written whole: the hint of each good item, zeros for bad ones, for
 * those that no hint can express (x of R in [n, p)) and for those on whose way two equal points met.
 * scratch: cs_sm2_batch_scratch_bytes(count) bytes aligned to CS_SM2_SCRATCH_ALIGNMENT, whatever they hold.
 * seed: fresh from the system's randomness for each call; whoever can foretell it can have bad signatures accepted. */
void cs_sm2_verify_batch(uint8_t *verdicts, uint8_t *hints_out, void *scratch, const cs_sm2_item *items, size_t count,
                         size_t message_bytes, const uint8_t seed[CS_SM2_SEED_BYTES]);

/* Sign count items whose messages have one length: the same bytes as cs_sm2_sign, and on the same terms. No branch and
 * no memory index depends on a secret, and the memory that this lays secrets out in is wiped. A secret that cs_sm2_sign
 * would refuse gives a signature of zeros. */
void cs_sm2_sign_batch(const cs_sm2_signing_item *items, size_t count, size_t message_bytes);

#endif
