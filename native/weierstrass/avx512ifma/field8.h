/* Eight elements modulo the p of a curve, one in each 64-bit lane; and how a curve comes by its lanes.
 *
 * This folder is written once for all curves y^2 = x^3 - 3x + b with p = -1 modulo 2^52 and p, n just below 2^256, and
 * compiled for each. A .c file works on one curve: the first header that it includes is that curve's own
 * avx512ifma/curve8.h, which includes common/avx512ifma.h, the curve's scalar curve.h and order.h (FIELD, ORDER, …),
 * defines what is listed here, and then includes what it needs of:
 *
 *     field8.h    elements modulo p
 *     order8.h    numbers modulo n
 *     group8.h    points, and additions that know no special case
 *     adder8.h    many affine additions that share one inversion
 *     comb8.h     b * G + a * A for many items, from tables of G and, where there are any, of the keys
 *     sum8.h      the sum of many points times short coefficients
 *     batch8.h    the verdicts of a batch, by what its own header says
 *
 * To be defined, numbers as four limbs of 64 bits with the lowest first:
 *
 *     static inline void reduce8(__m512i *t, __m512i q)      columns t[0] to t[5] += q * (p + 1), which begins at t[1]
 *     static inline void fold8(__m512i limb[5], __m512i q)   limbs -= q * p, q signed and small, nothing carried
 *     FIELD8_ONE, FIELD8_ENTER, FIELD8_REENTER, FIELD8_INVERT   2^260, 2^520, 2^264 and 2^780 modulo p
 *     FIELD8_B, ORDER8_ENTER                                    b 2^260 modulo p, 2^520 modulo n
 *     BASE8                                                     the table of G, see comb8.h
 *
 * An element is five limbs in radix 2^52, in Montgomery form (times 2^260). All limbs are below 2^52, because the
 * multiplier reads 52 bits of each; the value may be any representative below 16 p. A product of a p and b p is below
 * (a b / 16 + 1) p: below 2 p for factors below 4 p, or 2 p and 8 p. "Settled" means below 2.01 p; what is stored or
 * returned without another word is settled or a product, and so is what enters a function without another word.
 *
 * No function branches on, or indexes by, the value of an element. */
#ifndef CS_WEIERSTRASS_FIELD8_H
#define CS_WEIERSTRASS_FIELD8_H

#include "common/avx512ifma.h"

#include "common/transpose8.h"

typedef struct {
    __m512i limb[5];
} field8;

#define LANES_INLINE static inline __attribute__((always_inline))
/* For what is large and works through memory anyway. */
#define LANES_ONE_COPY static __attribute__((noinline, unused))
#define MADD_LOW(sum, a, b) ((sum) = _mm512_madd52lo_epu64((sum), (a), (b)))
#define MADD_HIGH(sum, a, b) ((sum) = _mm512_madd52hi_epu64((sum), (a), (b)))

enum { LIMB_BITS = 52, LIMBS8 = 5 };
static const uint64_t LIMB_MASK = (UINT64_C(1) << LIMB_BITS) - 1;

LANES_INLINE __m512i lanes_of(uint64_t word) { return _mm512_set1_epi64((long long)word); }

LANES_INLINE __m512i limb_mask(void) { return lanes_of(LIMB_MASK); }

/* Limb i in radix 2^52 of a number of four limbs of 64 bits. */
LANES_INLINE uint64_t limb52(const uint64_t words[4], int i)
{
    const int bit = LIMB_BITS * i, at = bit / 64, shift = bit % 64;
    uint64_t limb = words[at] >> shift;
    if (shift > 64 - LIMB_BITS && at < 3) {
        limb |= words[at + 1] << (64 - shift);
    }
    return limb & LIMB_MASK;
}

/* The same number in every lane. */
LANES_INLINE field8 field8_broadcast(const uint64_t words[4])
{
    field8 out;
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
        out.limb[i] = lanes_of(limb52(words, i));
    }
    return out;
}

/* Limbs from four words of 64 bits in each lane. */
LANES_INLINE field8 field8_unpack(const __m512i words[4])
{
    const __m512i mask = limb_mask();
    field8 out;
    out.limb[0] = _mm512_and_si512(words[0], mask);
    out.limb[1] = _mm512_and_si512(
        _mm512_or_si512(_mm512_srli_epi64(words[0], 52), _mm512_slli_epi64(words[1], 12)), mask);
    out.limb[2] = _mm512_and_si512(
        _mm512_or_si512(_mm512_srli_epi64(words[1], 40), _mm512_slli_epi64(words[2], 24)), mask);
    out.limb[3] = _mm512_and_si512(
        _mm512_or_si512(_mm512_srli_epi64(words[2], 28), _mm512_slli_epi64(words[3], 36)), mask);
    out.limb[4] = _mm512_srli_epi64(words[3], 16);
    return out;
}

/* Four words of 64 bits from limbs of a number below 2^256. */
LANES_INLINE void field8_pack(__m512i words[4], const field8 *a)
{
    words[0] = _mm512_or_si512(a->limb[0], _mm512_slli_epi64(a->limb[1], 52));
    words[1] = _mm512_or_si512(_mm512_srli_epi64(a->limb[1], 12), _mm512_slli_epi64(a->limb[2], 40));
    words[2] = _mm512_or_si512(_mm512_srli_epi64(a->limb[2], 24), _mm512_slli_epi64(a->limb[3], 28));
    words[3] = _mm512_or_si512(_mm512_srli_epi64(a->limb[3], 36), _mm512_slli_epi64(a->limb[4], 16));
}

/* Carry signed limbs of a number that is not negative: all but the last come out in [0, 2^52). */
LANES_INLINE field8 field8_carry(field8 a)
{
    const __m512i mask = limb_mask();
#pragma GCC unroll 4
    for (int i = 0; i < LIMBS8 - 1; i++) {
        a.limb[i + 1] = _mm512_add_epi64(a.limb[i + 1], _mm512_srai_epi64(a.limb[i], LIMB_BITS));
        a.limb[i] = _mm512_and_si512(a.limb[i], mask);
    }
    return a;
}

/* Settle uncarried signed limbs of any number between -200 p and 200 p: what comes out is between 0.99 p and 2.01 p. */
LANES_INLINE field8 field8_settle(field8 a)
{
    /* One p less than the quotient by 2^256, which is near p, makes up for what that is off. */
    const __m512i quotient =
        _mm512_srai_epi64(_mm512_sub_epi64(a.limb[4], lanes_of(UINT64_C(1) << 48)), 48);
    fold8(a.limb, quotient);
    return field8_carry(a);
}

/* a + b, uncarried; and a - b. */
LANES_INLINE field8 field8_add_raw(const field8 *a, const field8 *b)
{
    field8 out;
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
        out.limb[i] = _mm512_add_epi64(a->limb[i], b->limb[i]);
    }
    return out;
}

LANES_INLINE field8 field8_subtract_raw(const field8 *a, const field8 *b)
{
    field8 out;
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
        out.limb[i] = _mm512_sub_epi64(a->limb[i], b->limb[i]);
    }
    return out;
}

LANES_INLINE field8 field8_add(const field8 *a, const field8 *b) { return field8_settle(field8_add_raw(a, b)); }

LANES_INLINE field8 field8_subtract(const field8 *a, const field8 *b)
{
    return field8_settle(field8_subtract_raw(a, b));
}

/* a - b + times p, not settled, for a b that is below times p. */
LANES_INLINE field8 field8_subtract_from(const field8 *a, const field8 *b, uint64_t times)
{
    field8 out;
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
        out.limb[i] = _mm512_add_epi64(lanes_of(times * limb52(FIELD, i)),
                                       _mm512_sub_epi64(a->limb[i], b->limb[i]));
    }
    return field8_carry(out);
}

/* Montgomery reduction of ten columns, each below 2^60: p is -1 modulo 2^52, so a column is its own quotient. */
LANES_INLINE field8 field8_reduce(__m512i columns[10])
{
    const __m512i mask = limb_mask();
    field8 out;
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
        const __m512i quotient = _mm512_and_si512(columns[i], mask);
        columns[i + 1] = _mm512_add_epi64(columns[i + 1], _mm512_srai_epi64(columns[i], LIMB_BITS));
        reduce8(columns + i, quotient);
    }
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
        out.limb[i] = columns[i + LIMBS8];
    }
    return field8_carry(out);
}

LANES_INLINE field8 field8_multiply(const field8 *a, const field8 *b)
{
    __m512i c[10];
    for (int k = 0; k < 10; k++) {
        c[k] = _mm512_setzero_si512();
    }
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
#pragma GCC unroll 5
        for (int j = 0; j < LIMBS8; j++) {
            MADD_LOW(c[i + j], a->limb[i], b->limb[j]);
            MADD_HIGH(c[i + j + 1], a->limb[i], b->limb[j]);
        }
    }
    return field8_reduce(c);
}

LANES_INLINE field8 field8_square(const field8 *a)
{
    __m512i c[10];
    for (int k = 0; k < 10; k++) {
        c[k] = _mm512_setzero_si512();
    }
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
#pragma GCC unroll 5
        for (int j = i + 1; j < LIMBS8; j++) {
            MADD_LOW(c[i + j], a->limb[i], a->limb[j]);
            MADD_HIGH(c[i + j + 1], a->limb[i], a->limb[j]);
        }
    }
    for (int k = 1; k < 9; k++) {
        c[k] = _mm512_add_epi64(c[k], c[k]);
    }
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
        MADD_LOW(c[2 * i], a->limb[i], a->limb[i]);
        MADD_HIGH(c[2 * i + 1], a->limb[i], a->limb[i]);
    }
    return field8_reduce(c);
}

/* The lanes of a turned by four, two or one places, each its own way back. */
LANES_INLINE field8 field8_turn(const field8 *a, int places)
{
    field8 out;
    for (int i = 0; i < LIMBS8; i++) {
        out.limb[i] = places == 4   ? _mm512_shuffle_i64x2(a->limb[i], a->limb[i], 0x4e)
                      : places == 2 ? _mm512_permutex_epi64(a->limb[i], 0x4e)
                                    : _mm512_permutex_epi64(a->limb[i], 0xb1);
    }
    return out;
}

LANES_INLINE field8 field8_choose(__mmask8 lanes, field8 a, const field8 *b)
{
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
        a.limb[i] = _mm512_mask_mov_epi64(a.limb[i], lanes, b->limb[i]);
    }
    return a;
}

/* a less p where it is at least p. */
LANES_INLINE field8 field8_less_p(const field8 *a)
{
    field8 less;
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
        less.limb[i] = _mm512_sub_epi64(a->limb[i], lanes_of(limb52(FIELD, i)));
    }
    less = field8_carry(less);
    return field8_choose(_mm512_movepi64_mask(less.limb[4]), less, a);
}

/* The one representative below p of a number below 3 p. */
LANES_INLINE field8 field8_canonical(field8 a)
{
    a = field8_less_p(&a);
    return field8_less_p(&a);
}

/* Into Montgomery form, from any number below 2^256; and out of it, to the one below p. */
LANES_INLINE field8 field8_enter(const field8 *a)
{
    const field8 enter = field8_broadcast(FIELD8_ENTER);
    return field8_multiply(a, &enter);
}

LANES_INLINE field8 field8_leave(const field8 *a)
{
    static const uint64_t one[4] = {1};
    const field8 plain_one = field8_broadcast(one);
    const field8 out = field8_multiply(a, &plain_one);
    return field8_less_p(&out); /* below p, or p itself */
}

LANES_INLINE __mmask8 field8_no_limb_lanes(const field8 *a)
{
    const __m512i any = _mm512_or_si512(_mm512_or_si512(_mm512_or_si512(a->limb[0], a->limb[1]), a->limb[2]),
                                        _mm512_or_si512(a->limb[3], a->limb[4]));
    return _mm512_testn_epi64_mask(any, any);
}

/* The lanes in which a number below 16 p is 0 modulo p. */
LANES_INLINE __mmask8 field8_zero_lanes(const field8 *a)
{
    const field8 plain = field8_leave(a);
    return field8_no_limb_lanes(&plain);
}

/* The lanes in which two numbers are equal modulo p. */
LANES_INLINE __mmask8 field8_equal_lanes(const field8 *a, const field8 *b)
{
    const field8 difference = field8_subtract(a, b);
    return field8_zero_lanes(&difference);
}

#endif
