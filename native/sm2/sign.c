/* Public keys and signatures from secrets, in constant time: see weierstrass/sign.h. */
#include <string.h>

#include "sm2/curve.h"
#include "sm2/order.h"
#include "sm2/sm2.h"
#include "sm2/tables.h"
#include "sm3/sm3.h"

#define HASH(name) cs_sm3_##name
#include "weierstrass/sign.h"

/* Load a secret; 1 when it is in [1, n-2], and that alone is learnt. */
static int load_secret(uint64_t d[4], const uint8_t secret[32]) {
    limbs_load(d, secret);
    return (int)(limbs_below(d, ORDER_MINUS_1) & (limbs_are_zero(d) ^ 1));
}

int cs_sm2_public_key(uint8_t public_key[64], const uint8_t secret[32]) {
    uint64_t d[4], x[4], y[4];
    int usable = load_secret(d, secret);
    if (usable) {
        multiply_base(x, y, CS_SM2_BASE, d);
        limbs_store(public_key, x);
        limbs_store(public_key + 32, y);
    }
    cs_wipe(d, sizeof d);
    return usable ? 0 : CS_SM2_SECRET_RANGE;
}

/* r, s from one nonce: 1, or 0 when this nonce will not do. */
static int sign_once(uint64_t r[4], uint64_t s[4], const uint64_t d[4], const uint64_t e[4], const uint64_t k[4]) {
    static const uint64_t one[4] = {1, 0, 0, 0};
    uint64_t x[4], y[4], sum[4], own[4], inverse[4];
    multiply_base(x, y, CS_SM2_BASE, k);
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
    cs_wipe(own, sizeof own);
    cs_wipe(inverse, sizeof inverse);
    return usable & (int)(limbs_are_zero(s) ^ 1);
}

int cs_sm2_sign(uint8_t signature[64], const uint8_t secret[32], const uint8_t public_key[64],
                const uint8_t *message, size_t n) {
    uint8_t digest[32];
    uint64_t d[4], e[4], k[4], r[4], s[4];
    nonce_state state;
    cs_sm3_ctx ctx;
    if (!load_secret(d, secret)) {
        cs_wipe(d, sizeof d);
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
    cs_wipe(d, sizeof d);
    cs_wipe(k, sizeof k);
    cs_wipe(&state, sizeof state);
    return 0;
}
