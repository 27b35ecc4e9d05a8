/* Loading keys and verifying, for public data: s * G + t * A. */
#include <string.h>

#include "sm2/curve.h"
#include "sm2/order.h"
#include "sm2/sm2.h"
#include "sm2/tables.h"
#include "sm3/sm3.h"
#include "weierstrass/verify.h"

_Static_assert(sizeof(cs_sm2_key) == 96 + 64 * CS_KEY_CHUNKS * CS_KEY_MULTIPLES, "a key has no padding");

const uint8_t CS_SM2_Z_PREFIX[CS_SM2_Z_PREFIX_BYTES] = {
    0x00, 0x80, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36,
    0x37, 0x38, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xfc, 0x28, 0xe9, 0xfa, 0x9e, 0x9d, 0x9f, 0x5e, 0x34, 0x4d, 0x5a, 0x9e, 0x4b, 0xcf, 0x65,
    0x09, 0xa7, 0xf3, 0x97, 0x89, 0xf5, 0x15, 0xab, 0x8f, 0x92, 0xdd, 0xbc, 0xbd, 0x41, 0x4d, 0x94,
    0x0e, 0x93, 0x32, 0xc4, 0xae, 0x2c, 0x1f, 0x19, 0x81, 0x19, 0x5f, 0x99, 0x04, 0x46, 0x6a, 0x39,
    0xc9, 0x94, 0x8f, 0xe3, 0x0b, 0xbf, 0xf2, 0x66, 0x0b, 0xe1, 0x71, 0x5a, 0x45, 0x89, 0x33, 0x4c,
    0x74, 0xc7, 0xbc, 0x37, 0x36, 0xa2, 0xf4, 0xf6, 0x77, 0x9c, 0x59, 0xbd, 0xce, 0xe3, 0x6b, 0x69,
    0x21, 0x53, 0xd0, 0xa9, 0x87, 0x7c, 0xc6, 0x2a, 0x47, 0x40, 0x02, 0xdf, 0x32, 0xe5, 0x21, 0x39,
    0xf0, 0xa0,
};

void cs_sm2_z_value(uint8_t z[32], const uint8_t public_key[64]) {
    cs_sm3_ctx ctx;
    cs_sm3_init(&ctx);
    cs_sm3_update(&ctx, CS_SM2_Z_PREFIX, sizeof CS_SM2_Z_PREFIX);
    cs_sm3_update(&ctx, public_key, 64);
    cs_sm3_final(z, &ctx);
}

const char *cs_sm2_strerror(int code) {
    switch (code) {
    case CS_SM2_KEY_RANGE:
        return "a coordinate of the public key is not below p";
    case CS_SM2_KEY_CURVE:
        return "the public key is not a point of the curve";
    case CS_SM2_SECRET_RANGE:
        return "the secret is not in [1, n-2]";
    default:
        return "no error of this kernel";
    }
}

int cs_sm2_key_load(cs_sm2_key *key, const uint8_t public_key[64]) {
    switch (multiples_load(key->multiples, public_key)) {
    case LOAD_RANGE:
        return CS_SM2_KEY_RANGE;
    case LOAD_CURVE:
        return CS_SM2_KEY_CURVE;
    default:
        memcpy(key->public_key, public_key, 64);
        cs_sm2_z_value(key->z, public_key);
        return 0;
    }
}

int cs_sm2_verify_digest(const cs_sm2_key *key, const uint8_t signature[64], const uint8_t digest[32]) {
    uint64_t r[4], s[4], t[4], e[4], x[4];
    jacobian point;
    limbs_load(r, signature);
    limbs_load(s, signature + 32);
    if (!in_order(r) || !in_order(s)) {
        return 0;
    }
    order_add(t, r, s);
    if (limbs_are_zero(t)) {
        return 0;
    }
    multiply_key(&point, key->multiples, t);
    add_base(&point, CS_SM2_BASE, s);
    if (jacobian_is_infinity(&point)) {
        return 0;
    }
    limbs_load(e, digest);
    order_reduce(e, e);
    order_subtract(x, r, e);
    return has_x_modulo_order(&point, x);
}

int cs_sm2_verify(const cs_sm2_key *key, const uint8_t signature[64], const uint8_t *message, size_t n) {
    uint8_t e[32];
    cs_sm3_ctx ctx;
    cs_sm3_init(&ctx);
    cs_sm3_update(&ctx, key->z, sizeof key->z);
    cs_sm3_update(&ctx, message, n);
    cs_sm3_final(e, &ctx);
    return cs_sm2_verify_digest(key, signature, e);
}
