/* The lanes of sm2p256v1: see weierstrass/avx512ifma/field8.h. The first header of every .c file that includes it. */
#ifndef CS_SM2_CURVE8_H
#define CS_SM2_CURVE8_H

#include "common/avx512ifma.h"

#include "sm2/avx512ifma/base8.h"
#include "sm2/curve.h"
#include "sm2/order.h"

#define BASE8 CS_SM2_BASE8

static const uint64_t FIELD8_ONE[4] = {
    UINT64_C(0x0000000000000010), UINT64_C(0x0000000ffffffff0), UINT64_C(0x0000000000000000),
    UINT64_C(0x0000001000000000),
};
static const uint64_t FIELD8_ENTER[4] = {
    UINT64_C(0x0000020000000300), UINT64_C(0x000002ffffffff00), UINT64_C(0x0000010000000100),
    UINT64_C(0x0000040000000200),
};
static const uint64_t FIELD8_REENTER[4] = {
    UINT64_C(0x0000000000000100), UINT64_C(0x000000ffffffff00), UINT64_C(0x0000000000000000),
    UINT64_C(0x0000010000000000),
};
static const uint64_t FIELD8_INVERT[4] = {
    UINT64_C(0x0001200000016000), UINT64_C(0x0000efffffff8000), UINT64_C(0x0000a0000000c000),
    UINT64_C(0x0001b00000009000),
};
static const uint64_t FIELD8_B[4] = {
    UINT64_C(0x0d230632bc0dd422), UINT64_C(0x1cf379b09b537ab7), UINT64_C(0x27981505ea51c3c7),
    UINT64_C(0x40fe188da20e2c85),
};
static const uint64_t ORDER8_ENTER[4] = {
    UINT64_C(0x418c16674a517de6), UINT64_C(0x07dc1c507a6e5f7c), UINT64_C(0x0fc84c3affe0d445),
    UINT64_C(0xb5e412c02b3d3b62),
};

/* p + 1 = (2^52 - 2^44 + 2^12) 2^52 - 2^104 + (2^48 - 2^16) 2^208. */
static inline __attribute__((always_inline)) void reduce8(__m512i *t, __m512i q)
{
    const __m512i low = _mm512_set1_epi64((INT64_C(1) << 52) - (INT64_C(1) << 44) + (INT64_C(1) << 12));
    const __m512i high = _mm512_set1_epi64((INT64_C(1) << 48) - (INT64_C(1) << 16));
    t[1] = _mm512_madd52lo_epu64(t[1], q, low);
    t[2] = _mm512_madd52hi_epu64(_mm512_sub_epi64(t[2], q), q, low);
    t[4] = _mm512_madd52lo_epu64(t[4], q, high);
    t[5] = _mm512_madd52hi_epu64(t[5], q, high);
}

/* p = 2^48 2^208 - 2^16 2^208 - (2^44 - 2^12) 2^52 - 1. */
static inline __attribute__((always_inline)) void fold8(__m512i limb[5], __m512i q)
{
    limb[0] = _mm512_add_epi64(limb[0], q);
    limb[1] = _mm512_add_epi64(limb[1], _mm512_sub_epi64(_mm512_slli_epi64(q, 44), _mm512_slli_epi64(q, 12)));
    limb[4] = _mm512_sub_epi64(limb[4], _mm512_sub_epi64(_mm512_slli_epi64(q, 48), _mm512_slli_epi64(q, 16)));
}

#include "weierstrass/avx512ifma/comb8.h"
#include "weierstrass/avx512ifma/field8.h"
#include "weierstrass/avx512ifma/group8.h"

#endif
