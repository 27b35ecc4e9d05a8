/* Nonces of RFC 6979, section 3.2, for sixteen signatures at once: the generator of weierstrass/sign.h in lanes.
 *
 * A template like field8.h: HASH_X16 names the function that hashes sixteen messages (sm3/sm3_x16.h and the like) to 32
 * bytes, with blocks of 64. No branch and no address depends on a secret. */
#ifndef CS_WEIERSTRASS_NONCE16_H
#define CS_WEIERSTRASS_NONCE16_H

#include <stdint.h>
#include <string.h>

enum { HASHED_AT_ONCE = 16, HASH_BYTES = 32, PAD_BYTES = 64, SEED_BYTES = 2 * HASH_BYTES };

typedef struct {
    uint8_t key[HASHED_AT_ONCE][HASH_BYTES];
    uint8_t value[HASHED_AT_ONCE][HASH_BYTES]; /* the nonce, big-endian, when all is done */
    uint8_t pads[HASHED_AT_ONCE][PAD_BYTES];
    uint8_t inner[HASHED_AT_ONCE][HASH_BYTES];
    uint8_t data[HASHED_AT_ONCE][HASH_BYTES + 1 + SEED_BYTES];
} nonces16;

/* out = HMAC of data under the keys; out may be the keys or the data. */
static void nonces16_hmac(nonces16 *work, uint8_t (*out)[HASH_BYTES], const uint8_t *data, size_t stride,
                          size_t bytes) {
    const uint8_t *pads[HASHED_AT_ONCE], *bodies[HASHED_AT_ONCE], *inner[HASHED_AT_ONCE];
    uint8_t *inner_out[HASHED_AT_ONCE], *outer_out[HASHED_AT_ONCE];
    for (int lane = 0; lane < HASHED_AT_ONCE; lane++) {
        memset(work->pads[lane], 0x36, PAD_BYTES);
        for (int i = 0; i < HASH_BYTES; i++) {
            work->pads[lane][i] ^= work->key[lane][i];
        }
        pads[lane] = work->pads[lane];
        bodies[lane] = data + stride * (size_t)lane;
        inner[lane] = inner_out[lane] = work->inner[lane];
        outer_out[lane] = out[lane];
    }
    HASH_X16(inner_out, pads, PAD_BYTES, bodies, bytes);
    for (int lane = 0; lane < HASHED_AT_ONCE; lane++) {
        for (int i = 0; i < PAD_BYTES; i++) {
            work->pads[lane][i] ^= 0x36 ^ 0x5c;
        }
    }
    HASH_X16(outer_out, pads, PAD_BYTES, inner, HASH_BYTES);
}

/* key = HMAC(key, value || step || seed), value = HMAC(key, value); the seed stands in data already. */
static void nonces16_stir(nonces16 *work, uint8_t step) {
    for (int lane = 0; lane < HASHED_AT_ONCE; lane++) {
        memcpy(work->data[lane], work->value[lane], HASH_BYTES);
        work->data[lane][HASH_BYTES] = step;
    }
    nonces16_hmac(work, work->key, work->data[0], sizeof work->data[0], sizeof work->data[0]);
    nonces16_hmac(work, work->value, work->value[0], HASH_BYTES, HASH_BYTES);
}

/* Leave the first candidates in work->value, of any size; secrets[lane] is 32 bytes, and so is each reduced digest. */
static void nonces16_first(nonces16 *work, const uint8_t *const secrets[HASHED_AT_ONCE],
                           const uint8_t digests[HASHED_AT_ONCE][HASH_BYTES]) {
    for (int lane = 0; lane < HASHED_AT_ONCE; lane++) {
        memset(work->key[lane], 0, HASH_BYTES);
        memset(work->value[lane], 1, HASH_BYTES);
        memcpy(work->data[lane] + HASH_BYTES + 1, secrets[lane], HASH_BYTES);
        memcpy(work->data[lane] + HASH_BYTES + 1 + HASH_BYTES, digests[lane], HASH_BYTES);
    }
    nonces16_stir(work, 0);
    nonces16_stir(work, 1);
    nonces16_hmac(work, work->value, work->value[0], HASH_BYTES, HASH_BYTES);
}

#endif
