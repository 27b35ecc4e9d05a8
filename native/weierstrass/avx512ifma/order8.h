/* Eight numbers modulo n, the order of the group, one in each lane: see field8.h.
 *
 * Five limbs in radix 2^52 like an element, and always below n. order8_multiply divides by 2^260: numbers multiplied by
 * one in Montgomery form stay what they were, plain or not. No function branches on, or indexes by, the value of a
 * number, but for order8_invert_public. */
#ifndef CS_WEIERSTRASS_ORDER8_H
#define CS_WEIERSTRASS_ORDER8_H

#include "weierstrass/avx512ifma/field8.h"
#include "weierstrass/invert.h"

/* a less n where it is at least n, for a below 2 n. */
LANES_INLINE field8 order8_less_n(const field8 *a)
{
    field8 less;
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
        less.limb[i] = _mm512_sub_epi64(a->limb[i], lanes_of(limb52(ORDER, i)));
    }
    less = field8_carry(less);
    return field8_choose(_mm512_movepi64_mask(less.limb[4]), less, a);
}

/* Four words of 64 bits in each lane, any number below 2^256, modulo n. */
LANES_INLINE field8 order8_unpack(const __m512i words[4])
{
    const field8 out = field8_unpack(words);
    return order8_less_n(&out);
}

LANES_INLINE field8 order8_add(const field8 *a, const field8 *b)
{
    const field8 sum = field8_carry(field8_add_raw(a, b));
    return order8_less_n(&sum);
}

LANES_INLINE field8 order8_subtract(const field8 *a, const field8 *b)
{
    const field8 n = field8_broadcast(ORDER), raised = field8_add_raw(a, &n);
    const field8 difference = field8_carry(field8_subtract_raw(&raised, b));
    return order8_less_n(&difference);
}

/* a b / 2^260. */
LANES_INLINE field8 order8_multiply(const field8 *a, const field8 *b)
{
    const __m512i mask = limb_mask(), negative_inverse = lanes_of(ORDER_NEGATIVE_INVERSE & LIMB_MASK);
    const __m512i zero = _mm512_setzero_si512();
    __m512i c[10];
    field8 out;
    for (int k = 0; k < 10; k++) {
        c[k] = zero;
    }
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
#pragma GCC unroll 5
        for (int j = 0; j < LIMBS8; j++) {
            MADD_LOW(c[i + j], a->limb[i], b->limb[j]);
            MADD_HIGH(c[i + j + 1], a->limb[i], b->limb[j]);
        }
    }
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
        const __m512i low = _mm512_and_si512(c[i], mask);
        const __m512i quotient = _mm512_madd52lo_epu64(zero, low, negative_inverse);
#pragma GCC unroll 5
        for (int j = 0; j < LIMBS8; j++) {
            const __m512i limb = lanes_of(limb52(ORDER, j));
            MADD_LOW(c[i + j], quotient, limb);
            MADD_HIGH(c[i + j + 1], quotient, limb);
        }
        c[i + 1] = _mm512_add_epi64(c[i + 1], _mm512_srli_epi64(c[i], LIMB_BITS));
    }
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
        out.limb[i] = c[i + LIMBS8];
    }
    out = field8_carry(out);
    return order8_less_n(&out);
}

/* Into Montgomery form, and out of it. */
LANES_INLINE field8 order8_enter(const field8 *a)
{
    const field8 enter = field8_broadcast(ORDER8_ENTER);
    return order8_multiply(a, &enter);
}

LANES_INLINE field8 order8_leave(const field8 *a)
{
    static const uint64_t one[4] = {1};
    const field8 plain_one = field8_broadcast(one);
    return order8_multiply(a, &plain_one);
}

/* a^(n - 2), the inverse, from Montgomery form to Montgomery form: four bits of the public exponent at a time. */
LANES_ONE_COPY void order8_invert(field8 *out, const field8 *a)
{
    static const uint64_t one[4] = {1};
    field8 powers[16], power;
    const field8 plain_one = field8_broadcast(one);
    powers[0] = order8_enter(&plain_one);
    for (int i = 1; i < 16; i++) {
        powers[i] = order8_multiply(&powers[i - 1], a);
    }
    power = powers[ORDER_MINUS_2[3] >> 60];
    for (int digit = 62; digit >= 0; digit--) {
        for (int i = 0; i < 4; i++) {
            power = order8_multiply(&power, &power);
        }
        power = order8_multiply(&power, &powers[ORDER_MINUS_2[digit / 16] >> 4 * (digit % 16) & 15]);
    }
    *out = power;
}

/* Invert count vectors of public numbers, none of which is 0, from Montgomery form to Montgomery form; products is room
 * for as many. One inversion serves all (Montgomery's trick). */
LANES_ONE_COPY void order8_invert_public(field8 *numbers, field8 *products, size_t count)
{
    field8 turned[3], all = numbers[0];
    uint64_t words[4], limbs[8];
    __m512i packed[4];
    products[0] = all;
    for (size_t i = 1; i < count; i++) {
        all = order8_multiply(&all, &numbers[i]);
        products[i] = all;
    }
    for (int level = 0; level < 3; level++) {
        turned[level] = field8_turn(&all, 4 >> level);
        all = order8_multiply(&all, &turned[level]);
    }
    field8_pack(packed, &all);
    for (int i = 0; i < 4; i++) {
        _mm512_storeu_si512(limbs, packed[i]);
        words[i] = limbs[0];
    }
    invert_public(words, words, ORDER);
    field8 inverse = field8_broadcast(words);
    inverse = order8_enter(&inverse); /* plain now, and with the next in Montgomery form */
    inverse = order8_enter(&inverse);
    for (int level = 3; level-- > 0;) {
        inverse = order8_multiply(&inverse, &turned[level]);
    }
    for (size_t i = count; i-- > 1;) {
        const field8 own = numbers[i];
        numbers[i] = order8_multiply(&inverse, &products[i - 1]);
        inverse = order8_multiply(&inverse, &own);
    }
    numbers[0] = inverse;
}

#endif
