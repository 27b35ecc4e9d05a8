/* The lanes of P-256: see weierstrass/avx512ifma/field8.h. The first header of every .c file that includes it. */
#ifndef CS_P256_CURVE8_H
#define CS_P256_CURVE8_H

#include "common/avx512ifma.h"

#include "p256/avx512ifma/base8.h"
#include "p256/curve.h"
#include "p256/order.h"

#define BASE8 CS_P256_BASE8

static const uint64_t FIELD8_ONE[4] = {
    UINT64_C(0x0000000000000010), UINT64_C(0xfffffff000000000), UINT64_C(0xffffffffffffffff),
    UINT64_C(0x0000000fffffffef),
};
static const uint64_t FIELD8_ENTER[4] = {
    UINT64_C(0x0000000000000300), UINT64_C(0xfffffbffffffff00), UINT64_C(0xfffffffffffffeff),
    UINT64_C(0x000004fffffffdff),
};
static const uint64_t FIELD8_REENTER[4] = {
    UINT64_C(0x0000000000000100), UINT64_C(0xffffff0000000000), UINT64_C(0xffffffffffffffff),
    UINT64_C(0x000000fffffffeff),
};
static const uint64_t FIELD8_INVERT[4] = {
    UINT64_C(0xffffd0000000a000), UINT64_C(0xfffedfffffff7fff), UINT64_C(0x00005fffffffcfff),
    UINT64_C(0x0001800000001000),
};
static const uint64_t FIELD8_B[4] = {
    UINT64_C(0x89cdf6229c4bddfd), UINT64_C(0xcf005cca8843090d), UINT64_C(0x5a220abf7212ed6a),
    UINT64_C(0xc30061dd48748341),
};
static const uint64_t ORDER8_ENTER[4] = {
    UINT64_C(0x0845cc0dea6dc3ba), UINT64_C(0x5571bb192a067d8a), UINT64_C(0x45b2392b6bec5961),
    UINT64_C(0xe12d9559d9561fc2),
};

/* p + 1 = 2^44 2^52 + 2^36 2^156 + (2^48 - 2^16) 2^208. */
static inline __attribute__((always_inline)) void reduce8(__m512i *t, __m512i q) {
    const __m512i first = _mm512_set1_epi64(INT64_C(1) << 44), third = _mm512_set1_epi64(INT64_C(1) << 36);
    const __m512i high = _mm512_set1_epi64((INT64_C(1) << 48) - (INT64_C(1) << 16));
    t[1] = _mm512_madd52lo_epu64(t[1], q, first);
    t[2] = _mm512_madd52hi_epu64(t[2], q, first);
    t[3] = _mm512_madd52lo_epu64(t[3], q, third);
    t[4] = _mm512_madd52hi_epu64(_mm512_madd52lo_epu64(t[4], q, high), q, third);
    t[5] = _mm512_madd52hi_epu64(t[5], q, high);
}

/* p = 2^48 2^208 - 2^16 2^208 + 2^36 2^156 + 2^44 2^52 - 1. */
static inline __attribute__((always_inline)) void fold8(__m512i limb[5], __m512i q) {
    limb[0] = _mm512_add_epi64(limb[0], q);
    limb[1] = _mm512_sub_epi64(limb[1], _mm512_slli_epi64(q, 44));
    limb[3] = _mm512_sub_epi64(limb[3], _mm512_slli_epi64(q, 36));
    limb[4] = _mm512_sub_epi64(limb[4], _mm512_sub_epi64(_mm512_slli_epi64(q, 48), _mm512_slli_epi64(q, 16)));
}

#include "weierstrass/avx512ifma/comb8.h"
#include "weierstrass/avx512ifma/field8.h"
#include "weierstrass/avx512ifma/group8.h"
#include "weierstrass/avx512ifma/order8.h"

#endif
