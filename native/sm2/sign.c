/* Public keys and signatures from secrets, in constant time: complete additions, every table entry read, masks in
 * place of branches. What a loop's length may tell is public: that a nonce was refused, about once in 2^128. */
#include <string.h>

#include "sm2/curve.h"
#include "sm2/order.h"
#include "sm2/sm2.h"
#include "sm2/tables.h"
#include "sm3/sm3.h"

enum { NUMBER_BYTES = 32, HMAC_BLOCK_BYTES = 64 };

/* The state of the nonce generator of RFC 6979, section 3.2. */
typedef struct {
    uint8_t key[NUMBER_BYTES], value[NUMBER_BYTES];
} nonce_state;

/* Zero memory that held secrets, where a plain memset of a dying variable might be left out. */
static void wipe(void *memory, size_t n) {
    volatile uint8_t *byte = memory;
    while (n-- > 0) {
        *byte++ = 0;
    }
}

/* All ones where a and b are equal, else zero; both below 2^32. */
static inline uint64_t mask_equal(uint32_t a, uint32_t b) {
    return (uint64_t)0 - ((((uint64_t)(a ^ b)) - 1) >> 63);
}

/* out = row[size - 1], reading the whole row; zeros for size 0. */
static inline void select_point(affine *out, const cs_sm2_point row[CS_SM2_WINDOW_POINTS], uint32_t size) {
    memset(out, 0, sizeof *out);
    for (uint32_t j = 0; j < CS_SM2_WINDOW_POINTS; j++) {
        uint64_t take = mask_equal(size, j + 1);
        for (unsigned i = 0; i < 4; i++) {
            out->x.limb[i] |= row[j].x[i] & take;
            out->y.limb[i] |= row[j].y[i] & take;
        }
    }
}

/* x, y = k * G for a secret k in [1, n-1], out of Montgomery form. */
static void multiply_base(uint64_t x[4], uint64_t y[4], const uint64_t k[4]) {
    projective sum = {FE_ZERO, FE_ONE, FE_ZERO}, next;
    affine term;
    fe negated, inverse;
    uint32_t carry = 0;
    for (unsigned i = 0; i < CS_SM2_WINDOWS; i++) {
        unsigned bit = CS_SM2_WINDOW_BITS * i, limb = bit / 64, shift = bit % 64;
        uint64_t bits = k[limb] >> shift;
        if (shift > 64 - CS_SM2_WINDOW_BITS && limb < 3) {
            bits |= k[limb + 1] << (64 - shift);
        }
        /* A digit above 16 becomes digit - 32 and a carry. */
        uint32_t digit = (uint32_t)(bits & 31) + carry;
        carry = (CS_SM2_WINDOW_POINTS - digit) >> 31;
        uint32_t size = digit ^ ((digit ^ (32 - digit)) & (0 - carry));
        select_point(&term, CS_SM2_BASE[i], size);
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
    wipe(&sum, sizeof sum);
    wipe(&next, sizeof next);
    wipe(&term, sizeof term);
    wipe(&negated, sizeof negated);
    wipe(&inverse, sizeof inverse);
}

/* Load a secret; 1 when it is in [1, n-2], and that alone is learnt. */
static int load_secret(uint64_t d[4], const uint8_t secret[32]) {
    limbs_load(d, secret);
    return (int)(limbs_below(d, ORDER_MINUS_1) & (limbs_are_zero(d) ^ 1));
}

int cs_sm2_public_key(uint8_t public_key[64], const uint8_t secret[32]) {
    uint64_t d[4], x[4], y[4];
    int usable = load_secret(d, secret);
    if (usable) {
        multiply_base(x, y, d);
        limbs_store(public_key, x);
        limbs_store(public_key + 32, y);
    }
    wipe(d, sizeof d);
    return usable ? 0 : CS_SM2_SECRET_RANGE;
}

/* out = HMAC-SM3(key, data); out may alias key or data. */
static void hmac_sm3(uint8_t out[32], const uint8_t key[NUMBER_BYTES], const uint8_t *data, size_t n) {
    uint8_t pad[HMAC_BLOCK_BYTES], inner[32];
    cs_sm3_ctx ctx;
    memset(pad, 0x36, sizeof pad);
    for (unsigned i = 0; i < NUMBER_BYTES; i++) {
        pad[i] ^= key[i];
    }
    cs_sm3_init(&ctx);
    cs_sm3_update(&ctx, pad, sizeof pad);
    cs_sm3_update(&ctx, data, n);
    cs_sm3_final(inner, &ctx);
    for (unsigned i = 0; i < sizeof pad; i++) {
        pad[i] ^= 0x36 ^ 0x5c;
    }
    cs_sm3_init(&ctx);
    cs_sm3_update(&ctx, pad, sizeof pad);
    cs_sm3_update(&ctx, inner, sizeof inner);
    cs_sm3_final(out, &ctx);
    wipe(pad, sizeof pad);
    wipe(inner, sizeof inner);
    wipe(&ctx, sizeof ctx);
}

/* key = HMAC(key, value || step || seed), value = HMAC(key, value). */
static void nonce_stir(nonce_state *state, uint8_t step, const uint8_t *seed, size_t seed_bytes) {
    uint8_t data[NUMBER_BYTES + 1 + 2 * NUMBER_BYTES];
    memcpy(data, state->value, NUMBER_BYTES);
    data[NUMBER_BYTES] = step;
    if (seed_bytes > 0) {
        memcpy(data + NUMBER_BYTES + 1, seed, seed_bytes);
    }
    hmac_sm3(state->key, state->key, data, NUMBER_BYTES + 1 + seed_bytes);
    hmac_sm3(state->value, state->key, state->value, NUMBER_BYTES);
    wipe(data, sizeof data);
}

static void nonce_start(nonce_state *state, const uint8_t secret[32], const uint64_t e[4]) {
    uint8_t seed[2 * NUMBER_BYTES];
    memcpy(seed, secret, NUMBER_BYTES);
    limbs_store(seed + NUMBER_BYTES, e);
    memset(state->key, 0, NUMBER_BYTES);
    memset(state->value, 1, NUMBER_BYTES);
    nonce_stir(state, 0, seed, sizeof seed);
    nonce_stir(state, 1, seed, sizeof seed);
    wipe(seed, sizeof seed);
}

/* The next candidate in [1, n-1]; whoever refuses it stirs and asks again. */
static void nonce_next(uint64_t k[4], nonce_state *state) {
    for (;;) {
        hmac_sm3(state->value, state->key, state->value, NUMBER_BYTES);
        limbs_load(k, state->value);
        if (limbs_below(k, ORDER) & (limbs_are_zero(k) ^ 1)) {
            return;
        }
        nonce_stir(state, 0, NULL, 0);
    }
}

/* r, s from one nonce: 1, or 0 when this nonce will not do. */
static int sign_once(uint64_t r[4], uint64_t s[4], const uint64_t d[4], const uint64_t e[4], const uint64_t k[4]) {
    static const uint64_t one[4] = {1, 0, 0, 0};
    uint64_t x[4], y[4], sum[4], own[4], inverse[4];
    multiply_base(x, y, k);
    order_reduce(x, x);
    order_add(r, e, x);
    order_add(sum, r, k);
    int usable = (int)((limbs_are_zero(r) | limbs_are_zero(sum)) ^ 1);
    /* s = (k - r * d) / (1 + d); one factor of each product in Montgomery form keeps the product out of it. */
    order_enter(own, d);
    order_multiply(own, own, r);
    order_subtract(own, k, own);
    order_add(inverse, d, one);
    order_enter(inverse, inverse);
    order_invert(inverse, inverse);
    order_multiply(s, own, inverse);
    wipe(own, sizeof own);
    wipe(inverse, sizeof inverse);
    return usable & (int)(limbs_are_zero(s) ^ 1);
}

int cs_sm2_sign(uint8_t signature[64], const uint8_t secret[32], const uint8_t public_key[64],
                const uint8_t *message, size_t n) {
    uint8_t digest[32];
    uint64_t d[4], e[4], k[4], r[4], s[4];
    nonce_state state;
    cs_sm3_ctx ctx;
    if (!load_secret(d, secret)) {
        wipe(d, sizeof d);
        return CS_SM2_SECRET_RANGE;
    }
    cs_sm2_z_value(digest, public_key);
    cs_sm3_init(&ctx);
    cs_sm3_update(&ctx, digest, sizeof digest);
    cs_sm3_update(&ctx, message, n);
    cs_sm3_final(digest, &ctx);
    limbs_load(e, digest);
    order_reduce(e, e);
    nonce_start(&state, secret, e);
    nonce_next(k, &state);
    while (!sign_once(r, s, d, e, k)) {
        nonce_stir(&state, 0, NULL, 0);
        nonce_next(k, &state);
    }
    limbs_store(signature, r);
    limbs_store(signature + 32, s);
    wipe(d, sizeof d);
    wipe(k, sizeof k);
    wipe(&state, sizeof state);
    return 0;
}
