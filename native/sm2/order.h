/* Numbers modulo n, the order of the group of sm2p256v1: see weierstrass/order.h. */
#ifndef CS_SM2_ORDER_H
#define CS_SM2_ORDER_H

#include "weierstrass/limbs.h"

static const uint64_t ORDER[4] = {
    UINT64_C(0x53bbf40939d54123), UINT64_C(0x7203df6b21c6052b), UINT64_C(0xffffffffffffffff),
    UINT64_C(0xfffffffeffffffff),
};
static const uint64_t ORDER_MINUS_1[4] = {
    UINT64_C(0x53bbf40939d54122), UINT64_C(0x7203df6b21c6052b), UINT64_C(0xffffffffffffffff),
    UINT64_C(0xfffffffeffffffff),
};
static const uint64_t ORDER_MINUS_2[4] = {
    UINT64_C(0x53bbf40939d54121), UINT64_C(0x7203df6b21c6052b), UINT64_C(0xffffffffffffffff),
    UINT64_C(0xfffffffeffffffff),
};
/* 2^512 mod n: multiplying by it enters Montgomery form. */
static const uint64_t ORDER_ENTER[4] = {
    UINT64_C(0x901192af7c114f20), UINT64_C(0x3464504ade6fa2fa), UINT64_C(0x620fc84c3affe0d4),
    UINT64_C(0x1eb5e412a22b3d3b),
};
#define ORDER_NEGATIVE_INVERSE UINT64_C(0x327f9e8872350975) /* -1 / n mod 2^64 */

#include "weierstrass/order.h"

#endif
