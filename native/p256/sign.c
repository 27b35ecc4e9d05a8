/* Public keys and signatures from secrets, in constant time: see weierstrass/sign.h. */
#include <string.h>

#include "p256/curve.h"
#include "p256/order.h"
#include "p256/p256.h"
#include "p256/tables.h"
#include "sha2/sha256.h"

#define HASH(name) cs_sha256_##name
#include "weierstrass/sign.h"

/* Load a secret; 1 when it is in [1, n-1], and that alone is learnt. */
static int load_secret(uint64_t d[4], const uint8_t secret[32]) {
    limbs_load(d, secret);
    return (int)(limbs_below(d, ORDER) & (limbs_are_zero(d) ^ 1));
}

int cs_p256_public_key(uint8_t public_key[64], const uint8_t secret[32]) {
    uint64_t d[4], x[4], y[4];
    int usable = load_secret(d, secret);
    if (usable) {
        multiply_base(x, y, CS_P256_BASE, d);
        limbs_store(public_key, x);
        limbs_store(public_key + 32, y);
    }
    cs_wipe(d, sizeof d);
    return usable ? 0 : CS_P256_SECRET_RANGE;
}

/* r, s from one nonce: 1, or 0 when this nonce will not do. */
static int sign_once(uint64_t r[4], uint64_t s[4], const uint64_t d[4], const uint64_t e[4], const uint64_t k[4]) {
    uint64_t x[4], y[4], sum[4], inverse[4];
    multiply_base(x, y, CS_P256_BASE, k);
    order_reduce(r, x);
    /* s = (e + r * d) / k; one factor of each product in Montgomery form keeps the product out of it. */
    order_enter(sum, d);
    order_multiply(sum, sum, r);
    order_add(sum, sum, e);
    order_enter(inverse, k);
    order_invert(inverse, inverse);
    order_multiply(s, sum, inverse);
    int usable = (int)((limbs_are_zero(r) | limbs_are_zero(s)) ^ 1);
    order_lower(s, s); /* -s fits the message as well */
    cs_wipe(y, sizeof y);
    cs_wipe(sum, sizeof sum);
    cs_wipe(inverse, sizeof inverse);
    return usable;
}

int cs_p256_sign(uint8_t signature[64], const uint8_t secret[32], const uint8_t *message, size_t n) {
    uint8_t digest[32];
    uint64_t d[4], e[4], k[4], r[4], s[4];
    nonce_state state;
    if (!load_secret(d, secret)) {
        cs_wipe(d, sizeof d);
        return CS_P256_SECRET_RANGE;
    }
    cs_sha256(digest, message, n);
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
