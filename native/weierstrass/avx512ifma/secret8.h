/* Multiples of the generator for eight secret scalars at a time, by the table and the digits of weierstrass/sign.h.
 *
 * Every entry of a row of the table is read and masks keep one; additions know no special case (group8.h). */
#ifndef CS_WEIERSTRASS_SECRET8_H
#define CS_WEIERSTRASS_SECRET8_H

#include "weierstrass/avx512ifma/group8.h"

/* Entry size - 1 of the row in each lane, negated in the lanes of negative; any point where the size is 0. */
LANES_INLINE point8 secret8_select(const cs_base_row row, __m512i sizes, __mmask8 negative) {
    const field8 reenter = field8_broadcast(FIELD8_REENTER);
    __m512i words[8];
    point8 out;
    for (int i = 0; i < 4; i++) {
        words[i] = lanes_of(row[0].x[i]);
        words[4 + i] = lanes_of(row[0].y[i]);
    }
    for (int j = 1; j < CS_BASE_WINDOW_POINTS; j++) {
        const __mmask8 same = _mm512_cmpeq_epi64_mask(sizes, lanes_of((uint64_t)j + 1));
        for (int i = 0; i < 4; i++) {
            words[i] = _mm512_mask_mov_epi64(words[i], same, lanes_of(row[j].x[i]));
            words[4 + i] = _mm512_mask_mov_epi64(words[4 + i], same, lanes_of(row[j].y[i]));
        }
    }
    out.x = field8_unpack(words);
    out.y = field8_unpack(words + 4);
    out.x = field8_multiply(&out.x, &reenter);
    out.y = field8_multiply(&out.y, &reenter);
    out.y = field8_negate(&out.y, negative);
    return out;
}

/* sum = k * G in each lane; words[i] holds word i of the k, from the lowest. */
static __attribute__((noinline)) void secret8_multiply(projective8 *sum, const cs_base_row base[CS_BASE_WINDOWS],
                                                       const __m512i words[4]) {
    const __m512i digit_mask = lanes_of((1 << CS_BASE_WINDOW_BITS) - 1), whole = lanes_of(1 << CS_BASE_WINDOW_BITS);
    __m512i carry = _mm512_setzero_si512();
    *sum = projective8_infinity();
    for (int i = 0; i < CS_BASE_WINDOWS; i++) {
        const int bit = CS_BASE_WINDOW_BITS * i, at = bit / 64, shift = bit % 64;
        __m512i bits = _mm512_srl_epi64(words[at], _mm_cvtsi32_si128(shift));
        if (shift > 64 - CS_BASE_WINDOW_BITS && at < 3) {
            bits = _mm512_or_si512(bits, _mm512_sll_epi64(words[at + 1], _mm_cvtsi32_si128(64 - shift)));
        }
        /* A digit above 16 becomes digit - 32 and a carry. */
        const __m512i digit = _mm512_add_epi64(_mm512_and_si512(bits, digit_mask), carry);
        const __mmask8 negative = _mm512_cmpgt_epu64_mask(digit, lanes_of(CS_BASE_WINDOW_POINTS));
        const __m512i size = _mm512_mask_sub_epi64(digit, negative, whole, digit);
        carry = _mm512_maskz_mov_epi64(negative, lanes_of(1));
        const point8 term = secret8_select(base[i], size, negative);
        projective8 next;
        projective8_add_affine(&next, sum, &term);
        *sum = projective8_choose(_mm512_test_epi64_mask(size, size), *sum, &next);
    }
}

/* out = 1 / a modulo p in each lane for secret a, by a power: bits of the exponent are public. Zero gives zero. */
static __attribute__((noinline)) void secret8_invert(field8 *out, const field8 *a) {
    static const uint64_t two[4] = {2};
    uint64_t exponent[4];
    carry_t borrow = 0;
    field8 powers[16];
    powers[0] = field8_broadcast(FIELD8_ONE);
    for (int i = 1; i < 16; i++) {
        powers[i] = field8_multiply(&powers[i - 1], a);
    }
    for (int i = 0; i < 4; i++) {
        exponent[i] = subtract_borrow(FIELD[i], two[i], &borrow);
    }
    field8 power = powers[0];
    for (int digit = 64; digit-- > 0;) {
        for (int i = 0; i < 4; i++) {
            power = field8_square(&power);
        }
        power = field8_multiply(&power, &powers[exponent[digit / 16] >> (4 * (digit % 16)) & 15]);
    }
    *out = power;
}

#endif
