/* Numbers modulo n, the order of the group of P-256: see weierstrass/order.h. */
#ifndef CS_P256_ORDER_H
#define CS_P256_ORDER_H

#include "weierstrass/limbs.h"

static const uint64_t ORDER[4] = {
    UINT64_C(0xf3b9cac2fc632551), UINT64_C(0xbce6faada7179e84), UINT64_C(0xffffffffffffffff),
    UINT64_C(0xffffffff00000000),
};
static const uint64_t ORDER_MINUS_2[4] = {
    UINT64_C(0xf3b9cac2fc63254f), UINT64_C(0xbce6faada7179e84), UINT64_C(0xffffffffffffffff),
    UINT64_C(0xffffffff00000000),
};
/* (n + 1) / 2: an s from here on is a high one. */
static const uint64_t ORDER_HALF[4] = {
    UINT64_C(0x79dce5617e3192a9), UINT64_C(0xde737d56d38bcf42), UINT64_C(0x7fffffffffffffff),
    UINT64_C(0x7fffffff80000000),
};
/* 2^512 mod n: multiplying by it enters Montgomery form. */
static const uint64_t ORDER_ENTER[4] = {
    UINT64_C(0x83244c95be79eea2), UINT64_C(0x4699799c49bd6fa6), UINT64_C(0x2845b2392b6bec59),
    UINT64_C(0x66e12d94f3d95620),
};
#define ORDER_NEGATIVE_INVERSE UINT64_C(0xccd1c8aaee00bc4f) /* -1 / n mod 2^64 */

#include "weierstrass/order.h"

/* The lower of a and -a. */
static inline void order_lower(uint64_t out[4], const uint64_t a[4]) {
    static const uint64_t zero[4] = {0};
    uint64_t other[4];
    order_subtract(other, zero, a);
    uint64_t high = (uint64_t)0 - (limbs_below(a, ORDER_HALF) ^ 1);
    for (unsigned i = 0; i < 4; i++) {
        out[i] = a[i] ^ ((a[i] ^ other[i]) & high);
    }
}

#endif
