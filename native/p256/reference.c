/* Loading keys and verifying, for public data: u1 * G + u2 * Q with u1 = e / s and u2 = r / s. */
#include <string.h>

#include "p256/curve.h"
#include "p256/order.h"
#include "p256/p256.h"
#include "p256/tables.h"
#include "sha2/sha256.h"
#include "weierstrass/invert.h"
#include "weierstrass/verify.h"

_Static_assert(sizeof(cs_p256_key) == 64 + 64 * CS_KEY_CHUNKS * CS_KEY_MULTIPLES, "a key has no padding");

const char *cs_p256_strerror(int code) {
    switch (code) {
    case CS_P256_KEY_RANGE:
        return "a coordinate of the public key is not below p";
    case CS_P256_KEY_CURVE:
        return "the public key is not a point of the curve";
    case CS_P256_SECRET_RANGE:
        return "the secret is not in [1, n-1]";
    default:
        return "no error of this kernel";
    }
}

int cs_p256_key_load(cs_p256_key *key, const uint8_t public_key[64]) {
    switch (multiples_load(key->multiples, public_key)) {
    case LOAD_RANGE:
        return CS_P256_KEY_RANGE;
    case LOAD_CURVE:
        return CS_P256_KEY_CURVE;
    default:
        memcpy(key->public_key, public_key, 64);
        return 0;
    }
}

int cs_p256_verify_digest(const cs_p256_key *key, const uint8_t signature[64], const uint8_t digest[32]) {
    uint64_t r[4], s[4], e[4], inverse[4], u1[4], u2[4];
    jacobian point;
    limbs_load(r, signature);
    limbs_load(s, signature + 32);
    if (!in_order(r) || !in_order(s) || !limbs_below(s, ORDER_HALF)) {
        return 0;
    }
    limbs_load(e, digest);
    order_reduce(e, e);
    invert_public(inverse, s, ORDER);
    order_enter(inverse, inverse); /* one factor of each product alone, which keeps the product plain */
    order_multiply(u1, e, inverse);
    order_multiply(u2, r, inverse);
    multiply_key(&point, key->multiples, u2);
    add_base(&point, CS_P256_BASE, u1);
    return !jacobian_is_infinity(&point) && has_x_modulo_order(&point, r);
}

int cs_p256_verify(const cs_p256_key *key, const uint8_t signature[64], const uint8_t *message, size_t n) {
    uint8_t e[32];
    cs_sha256(e, message, n);
    return cs_p256_verify_digest(key, signature, e);
}
