/* Eight elements modulo p = 2^255 - 19, one in each 64-bit lane, private to this folder.
 *
 * An element is five limbs in radix 2^51, as in ../field.h, and always tight: each limb below 2^51 + 2^17. The
 * multiplier reads the low 52 bits of a limb and gives the low or the high 52 bits of a product, so no sum may be
 * multiplied before it is carried.
 *
 * A wide8 holds sums of products folded below 2^255 and not carried: each limb below 2^60. Sums and differences of
 * products are taken there, so that one carry serves where two would be needed.
 *
 * No function branches on, or indexes by, the value of an element. */
#ifndef CS_ED25519_FIELD8_H
#define CS_ED25519_FIELD8_H

#include "common/avx512ifma.h"

typedef struct {
    __m512i limb[5];
} field8;

typedef struct {
    __m512i limb[5];
} wide8;

#define FIELD8_INLINE static inline __attribute__((always_inline))

FIELD8_INLINE __m512i field8_constant(uint64_t limb) { return _mm512_set1_epi64((long long)limb); }

FIELD8_INLINE field8 field8_broadcast(const uint64_t limbs[5])
{
    field8 out;
    for (int i = 0; i < 5; i++) {
        out.limb[i] = field8_constant(limbs[i]);
    }
    return out;
}

#define MADD_LOW(sum, a, b) ((sum) = _mm512_madd52lo_epu64((sum), (a), (b)))
#define MADD_HIGH(sum, a, b) ((sum) = _mm512_madd52hi_epu64((sum), (a), (b)))

/* Carry limbs below 2^63 into a tight element: all at once, because what a limb passes on is below 2^12. */
FIELD8_INLINE field8 field8_carry(wide8 in)
{
    const __m512i mask = field8_constant((UINT64_C(1) << 51) - 1);
    field8 out;
    __m512i carries[5];
    for (int i = 0; i < 5; i++) {
        carries[i] = _mm512_srli_epi64(in.limb[i], 51);
        out.limb[i] = _mm512_and_si512(in.limb[i], mask);
    }
    MADD_LOW(out.limb[0], carries[4], field8_constant(19));
    for (int i = 1; i < 5; i++) {
        out.limb[i] = _mm512_add_epi64(out.limb[i], carries[i - 1]);
    }
    return out;
}

/* Fold ten columns, each below 2^56, into five: 2^255 is 19. */
FIELD8_INLINE wide8 field8_fold(const __m512i c[10])
{
    wide8 out;
    for (int k = 0; k < 5; k++) {
        out.limb[k] = _mm512_add_epi64(c[k], _mm512_mullo_epi64(c[k + 5], field8_constant(19)));
    }
    return out;
}

/* a b. The high half of a product starts at bit 52 and a limb at 51: so each column is its high halves, doubled, and
 * then its low halves. */
FIELD8_INLINE wide8 field8_multiply_wide(const field8 *a, const field8 *b)
{
    __m512i c[10];
    for (int k = 0; k < 10; k++) {
        c[k] = _mm512_setzero_si512();
    }
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) {
#pragma GCC unroll 5
        for (int j = 0; j < 5; j++) {
            MADD_HIGH(c[i + j + 1], a->limb[i], b->limb[j]);
        }
    }
    for (int k = 1; k < 10; k++) {
        c[k] = _mm512_add_epi64(c[k], c[k]);
    }
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) {
#pragma GCC unroll 5
        for (int j = 0; j < 5; j++) {
            MADD_LOW(c[i + j], a->limb[i], b->limb[j]);
        }
    }
    return field8_fold(c);
}

/* a^2. Products of two different limbs count twice: 2 (2 high mixed + high square + low mixed) + low square. */
FIELD8_INLINE wide8 field8_square_wide(const field8 *a)
{
    __m512i c[10];
    for (int k = 0; k < 10; k++) {
        c[k] = _mm512_setzero_si512();
    }
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) {
#pragma GCC unroll 5
        for (int j = i + 1; j < 5; j++) {
            MADD_HIGH(c[i + j + 1], a->limb[i], a->limb[j]);
        }
    }
    for (int k = 2; k < 9; k++) {
        c[k] = _mm512_add_epi64(c[k], c[k]);
    }
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) {
        MADD_HIGH(c[2 * i + 1], a->limb[i], a->limb[i]);
#pragma GCC unroll 5
        for (int j = i + 1; j < 5; j++) {
            MADD_LOW(c[i + j], a->limb[i], a->limb[j]);
        }
    }
    for (int k = 1; k < 10; k++) {
        c[k] = _mm512_add_epi64(c[k], c[k]);
    }
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) {
        MADD_LOW(c[2 * i], a->limb[i], a->limb[i]);
    }
    return field8_fold(c);
}

FIELD8_INLINE field8 field8_multiply(const field8 *a, const field8 *b)
{
    return field8_carry(field8_multiply_wide(a, b));
}

FIELD8_INLINE field8 field8_square(const field8 *a) { return field8_carry(field8_square_wide(a)); }

FIELD8_INLINE wide8 wide8_of(const field8 *a)
{
    wide8 out;
    for (int i = 0; i < 5; i++) {
        out.limb[i] = a->limb[i];
    }
    return out;
}

FIELD8_INLINE wide8 wide8_zero(void)
{
    wide8 out;
    for (int i = 0; i < 5; i++) {
        out.limb[i] = _mm512_setzero_si512();
    }
    return out;
}

FIELD8_INLINE wide8 wide8_add(wide8 a, wide8 b)
{
    for (int i = 0; i < 5; i++) {
        a.limb[i] = _mm512_add_epi64(a.limb[i], b.limb[i]);
    }
    return a;
}

/* a - b + 2^(bias_bits - 51) p, for limbs of b below 2^bias_bits - 2^(bias_bits - 46); bias_bits is constant. */
FIELD8_INLINE wide8 wide8_subtract(wide8 a, wide8 b, int bias_bits)
{
    const __m512i first = field8_constant(((UINT64_C(1) << 51) - 19) << (bias_bits - 51));
    const __m512i other = field8_constant(((UINT64_C(1) << 51) - 1) << (bias_bits - 51));
    for (int i = 0; i < 5; i++) {
        a.limb[i] = _mm512_sub_epi64(_mm512_add_epi64(a.limb[i], i == 0 ? first : other), b.limb[i]);
    }
    return a;
}

/* The one representative below p; each limb below 2^51. */
FIELD8_INLINE field8 field8_canonical(field8 a)
{
    const __m512i mask = field8_constant((UINT64_C(1) << 51) - 1);
    /* a < 2^255 + 2^222 < 2 p. Adding 19 overflows 2^255 just when a >= p. */
    __m512i carry = _mm512_srli_epi64(_mm512_add_epi64(a.limb[0], field8_constant(19)), 51);
    for (int i = 1; i < 5; i++) {
        carry = _mm512_srli_epi64(_mm512_add_epi64(a.limb[i], carry), 51);
    }
    MADD_LOW(a.limb[0], carry, field8_constant(19));
    for (int i = 0; i < 4; i++) {
        a.limb[i + 1] = _mm512_add_epi64(a.limb[i + 1], _mm512_srli_epi64(a.limb[i], 51));
        a.limb[i] = _mm512_and_si512(a.limb[i], mask);
    }
    a.limb[4] = _mm512_and_si512(a.limb[4], mask);
    return a;
}

/* The limbs of four words, below 2^255. */
FIELD8_INLINE field8 field8_of_words(const __m512i w[4])
{
    const __m512i mask = field8_constant((UINT64_C(1) << 51) - 1);
    field8 out;
    out.limb[0] = _mm512_and_si512(w[0], mask);
    out.limb[1] = _mm512_and_si512(_mm512_or_si512(_mm512_srli_epi64(w[0], 51), _mm512_slli_epi64(w[1], 13)), mask);
    out.limb[2] = _mm512_and_si512(_mm512_or_si512(_mm512_srli_epi64(w[1], 38), _mm512_slli_epi64(w[2], 26)), mask);
    out.limb[3] = _mm512_and_si512(_mm512_or_si512(_mm512_srli_epi64(w[2], 25), _mm512_slli_epi64(w[3], 39)), mask);
    out.limb[4] = _mm512_srli_epi64(w[3], 12);
    return out;
}

/* The four words of a canonical element. */
FIELD8_INLINE void field8_words(__m512i w[4], const field8 *a)
{
    const __m512i *const limb = a->limb;
    w[0] = _mm512_or_si512(limb[0], _mm512_slli_epi64(limb[1], 51));
    w[1] = _mm512_or_si512(_mm512_srli_epi64(limb[1], 13), _mm512_slli_epi64(limb[2], 38));
    w[2] = _mm512_or_si512(_mm512_srli_epi64(limb[2], 26), _mm512_slli_epi64(limb[3], 25));
    w[3] = _mm512_or_si512(_mm512_srli_epi64(limb[3], 39), _mm512_slli_epi64(limb[4], 12));
}

/* The lanes in which four words, the last below 2^63, are a number below p. */
FIELD8_INLINE __mmask8 field8_canonical_lanes(const __m512i w[4])
{
    const __m512i ones = field8_constant(UINT64_MAX), top = field8_constant(UINT64_MAX >> 1);
    return (__mmask8)~(_mm512_cmpge_epu64_mask(w[0], field8_constant(UINT64_MAX - 18)) &
                       _mm512_cmpeq_epi64_mask(w[1], ones) & _mm512_cmpeq_epi64_mask(w[2], ones) &
                       _mm512_cmpeq_epi64_mask(w[3], top));
}

/* The lanes in which an element is 0 modulo p. */
FIELD8_INLINE __mmask8 field8_zero_lanes(field8 a)
{
    a = field8_canonical(a);
    const __m512i any = _mm512_or_si512(_mm512_or_si512(_mm512_or_si512(a.limb[0], a.limb[1]), a.limb[2]),
                                        _mm512_or_si512(a.limb[3], a.limb[4]));
    return _mm512_testn_epi64_mask(any, any);
}

FIELD8_INLINE field8 field8_choose(__mmask8 lanes, field8 a, const field8 *b)
{
    for (int i = 0; i < 5; i++) {
        a.limb[i] = _mm512_mask_mov_epi64(a.limb[i], lanes, b->limb[i]);
    }
    return a;
}

#endif
