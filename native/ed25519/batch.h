/* Ed25519 of many items at once: verdicts are those of cs_ed25519_verify and signatures those of cs_ed25519_sign, on
 * every input.
 *
 * Items are checked as one random linear combination: with secret random z, the sum of z ([8]([S]B - [k]A - R)) over
 * all items is the identity when every item is good, and otherwise with a chance below 2^-126. So a batch that passes
 * is accepted whole; one that fails is halved until the bad items are known, and small or mostly bad parts are decided
 * singly.
 *
 * A hint is x of R, which anybody may have written: where it fits, R is checked to be a point and no square root is
 * taken; a wrong one costs time and changes no verdict. */
#ifndef CS_ED25519_BATCH_H
#define CS_ED25519_BATCH_H

#include "ed25519/ed25519.h"

enum {
    CS_ED25519_BATCH_MAX = 4096, /* items in one call */
    CS_ED25519_SEED_BYTES = 32,
    CS_ED25519_SCRATCH_ALIGNMENT = 64,
    CS_ED25519_HINT_BYTES = 32,
};

typedef struct {
    const cs_ed25519_key *key;
    const void *table;        /* not read: items of all suites have one shape */
    const uint8_t *signature; /* 64 bytes */
    const uint8_t *message;
    const uint8_t *hint; /* NULL, or CS_ED25519_HINT_BYTES: x of R, little-endian and below p; all zero is none */
} cs_ed25519_item;

typedef struct {
    uint8_t *signature; /* 64 bytes, written */
    const uint8_t *secret, *public_key, *message;
} cs_ed25519_signing_item;

/* Return 1: every variant can run the functions below, which use what cs_variant allows. */
int cs_ed25519_batch_available(void);

/* The bytes that cs_ed25519_verify_batch needs to work in, for count items (at most CS_ED25519_BATCH_MAX). */
size_t cs_ed25519_batch_scratch_bytes(size_t count);

/* Set verdicts[i] to 1 or 0 for each of count items, at most CS_ED25519_BATCH_MAX, whose messages have one length.
 * hints_out: NULL, or count times CS_ED25519_HINT_BYTES, written whole: the hint of each good item, zeros for bad ones.
 * scratch: cs_ed25519_batch_scratch_bytes(count) bytes aligned to CS_ED25519_SCRATCH_ALIGNMENT, whatever they hold.
 * seed: fresh from the system's randomness for each call; whoever can foretell it can have bad signatures accepted. */
void cs_ed25519_verify_batch(uint8_t *verdicts, uint8_t *hints_out, void *scratch, const cs_ed25519_item *items,
                             size_t count, size_t message_bytes, const uint8_t seed[CS_ED25519_SEED_BYTES]);

/* Sign count items whose messages have one length: the same bytes as cs_ed25519_sign, and on the same terms. No branch
 * and no memory index depends on a secret, and the memory that this lays secrets out in is wiped. */
void cs_ed25519_sign_batch(const cs_ed25519_signing_item *items, size_t count, size_t message_bytes);

#endif
