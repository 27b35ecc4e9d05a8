/* What signing is made of on each curve of this family, in constant time: complete additions, every table entry read,
 * masks in place of branches. What a loop's length may tell is public: that a nonce was refused, about once in 2^32 or
 * more rarely. Included by the curve's sign.c after its curve.h and order.h, and after HASH(name), which gives the
 * functions of a hash of 32 bytes and blocks of 64.
 */
#ifndef CS_WEIERSTRASS_SIGN_H
#define CS_WEIERSTRASS_SIGN_H

#include "common/wipe.h"
#include "weierstrass/curve.h"
#include "weierstrass/order.h"

enum { NUMBER_BYTES = 32, HMAC_BLOCK_BYTES = 64 };

/* The state of the nonce generator of RFC 6979, section 3.2. */
typedef struct {
    uint8_t key[NUMBER_BYTES], value[NUMBER_BYTES];
} nonce_state;

/* All ones where a and b are equal, else zero; both below 2^32. */
static inline uint64_t mask_equal(uint32_t a, uint32_t b) {
    return (uint64_t)0 - ((((uint64_t)(a ^ b)) - 1) >> 63);
}

/* out = row[size - 1], reading the whole row; zeros for size 0. */
static inline void select_point(affine *out, const cs_weierstrass_point row[CS_BASE_WINDOW_POINTS], uint32_t size) {
    memset(out, 0, sizeof *out);
    for (uint32_t j = 0; j < CS_BASE_WINDOW_POINTS; j++) {
        uint64_t take = mask_equal(size, j + 1);
        for (unsigned i = 0; i < 4; i++) {
            out->x.limb[i] |= row[j].x[i] & take;
            out->y.limb[i] |= row[j].y[i] & take;
        }
    }
}

/* x, y = k * G for a secret k in [1, n-1], out of Montgomery form. */
static void multiply_base(uint64_t x[4], uint64_t y[4], const cs_base_row base[CS_BASE_WINDOWS], const uint64_t k[4]) {
    projective sum = {FE_ZERO, FE_ONE, FE_ZERO}, next;
    affine term;
    fe negated, inverse;
    uint32_t carry = 0;
    for (unsigned i = 0; i < CS_BASE_WINDOWS; i++) {
        unsigned bit = CS_BASE_WINDOW_BITS * i, limb = bit / 64, shift = bit % 64;
        uint64_t bits = k[limb] >> shift;
        if (shift > 64 - CS_BASE_WINDOW_BITS && limb < 3) {
            bits |= k[limb + 1] << (64 - shift);
        }
        /* A digit above 16 becomes digit - 32 and a carry. */
        uint32_t digit = (uint32_t)(bits & 31) + carry;
        carry = (CS_BASE_WINDOW_POINTS - digit) >> 31;
        uint32_t size = digit ^ ((digit ^ (32 - digit)) & (0 - carry));
        select_point(&term, base[i], size);
        fe_negate(&negated, &term.y);
        fe_select(&term.y, &negated, (uint64_t)0 - carry);
        projective_add_affine(&next, &sum, &term);
        uint64_t take = ~mask_equal(size, 0);
        fe_select(&sum.x, &next.x, take);
        fe_select(&sum.y, &next.y, take);
        fe_select(&sum.z, &next.z, take);
    }
    fe_invert(&inverse, &sum.z);
    fe_multiply(&sum.x, &sum.x, &inverse);
    fe_multiply(&sum.y, &sum.y, &inverse);
    fe_to_limbs(x, &sum.x);
    fe_to_limbs(y, &sum.y);
    cs_wipe(&sum, sizeof sum);
    cs_wipe(&next, sizeof next);
    cs_wipe(&term, sizeof term);
    cs_wipe(&negated, sizeof negated);
    cs_wipe(&inverse, sizeof inverse);
}

/* out = HMAC(key, data); out may alias key or data. */
static void hmac(uint8_t out[32], const uint8_t key[NUMBER_BYTES], const uint8_t *data, size_t n) {
    uint8_t pad[HMAC_BLOCK_BYTES], inner[32];
    HASH(ctx) ctx;
    memset(pad, 0x36, sizeof pad);
    for (unsigned i = 0; i < NUMBER_BYTES; i++) {
        pad[i] ^= key[i];
    }
    HASH(init)(&ctx);
    HASH(update)(&ctx, pad, sizeof pad);
    HASH(update)(&ctx, data, n);
    HASH(final)(inner, &ctx);
    for (unsigned i = 0; i < sizeof pad; i++) {
        pad[i] ^= 0x36 ^ 0x5c;
    }
    HASH(init)(&ctx);
    HASH(update)(&ctx, pad, sizeof pad);
    HASH(update)(&ctx, inner, sizeof inner);
    HASH(final)(out, &ctx);
    cs_wipe(pad, sizeof pad);
    cs_wipe(inner, sizeof inner);
    cs_wipe(&ctx, sizeof ctx);
}

/* key = HMAC(key, value || step || seed), value = HMAC(key, value). */
static void nonce_stir(nonce_state *state, uint8_t step, const uint8_t *seed, size_t seed_bytes) {
    uint8_t data[NUMBER_BYTES + 1 + 2 * NUMBER_BYTES];
    memcpy(data, state->value, NUMBER_BYTES);
    data[NUMBER_BYTES] = step;
    if (seed_bytes > 0) {
        memcpy(data + NUMBER_BYTES + 1, seed, seed_bytes);
    }
    hmac(state->key, state->key, data, NUMBER_BYTES + 1 + seed_bytes);
    hmac(state->value, state->key, state->value, NUMBER_BYTES);
    cs_wipe(data, sizeof data);
}

static void nonce_start(nonce_state *state, const uint8_t secret[32], const uint64_t e[4]) {
    uint8_t seed[2 * NUMBER_BYTES];
    memcpy(seed, secret, NUMBER_BYTES);
    limbs_store(seed + NUMBER_BYTES, e);
    memset(state->key, 0, NUMBER_BYTES);
    memset(state->value, 1, NUMBER_BYTES);
    nonce_stir(state, 0, seed, sizeof seed);
    nonce_stir(state, 1, seed, sizeof seed);
    cs_wipe(seed, sizeof seed);
}

/* The next candidate in [1, n-1]; whoever refuses it stirs and asks again. */
static void nonce_next(uint64_t k[4], nonce_state *state) {
    for (;;) {
        hmac(state->value, state->key, state->value, NUMBER_BYTES);
        limbs_load(k, state->value);
        if (limbs_below(k, ORDER) & (limbs_are_zero(k) ^ 1)) {
            return;
        }
        nonce_stir(state, 0, NULL, 0);
    }
}

#endif
