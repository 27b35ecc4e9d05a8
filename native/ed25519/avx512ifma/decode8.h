/* Points from their bytes, sixteen at a time, private to this folder. */
#ifndef CS_ED25519_DECODE8_H
#define CS_ED25519_DECODE8_H

#include "ed25519/avx512ifma/group8.h"
#include "ed25519/avx512ifma/power8.h"

/* Read eight numbers of 255 bits; returns the lanes in which they are below p. top: the lanes with the last bit set. */
FIELD8_INLINE __mmask8 load_numbers8(field8 *out, __mmask8 *top, const uint8_t *const bytes[8])
{
    __m512i w[8];
    for (int lane = 0; lane < 8; lane++) {
        w[lane] = _mm512_maskz_loadu_epi64(0x0f, bytes[lane]);
    }
    cs_transpose8(w);
    *top = _mm512_movepi64_mask(w[3]);
    w[3] = _mm512_and_si512(w[3], field8_constant(UINT64_MAX >> 1));
    *out = field8_of_words(w);
    return field8_canonical_lanes(w);
}

/* RFC 8032, 5.1.3: x^2 = u / v with u = y^2 - 1 and v = d y^2 + 1. */
FIELD8_INLINE void fraction8(field8 *u, field8 *v, const field8 *y)
{
    const field8 one = field8_broadcast(FIELD_ONE), d = field8_broadcast(FIELD_D);
    const field8 yy = field8_square(y);
    *u = field8_carry(wide8_subtract(wide8_of(&yy), wide8_of(&one), 52));
    *v = field8_carry(wide8_add(field8_multiply_wide(&yy, &d), wide8_of(&one)));
}

/* Write eight points in stored affine form. */
FIELD8_INLINE void store_affine8(uint64_t *const out[8], const field8 *x, const field8 *y)
{
    const field8 twice_d = field8_broadcast(FIELD_2D);
    const field8 plus = field8_canonical(field8_carry(wide8_add(wide8_of(y), wide8_of(x))));
    const field8 minus = field8_canonical(field8_carry(wide8_subtract(wide8_of(y), wide8_of(x), 52)));
    const field8 xy = field8_multiply(x, y);
    const field8 cross = field8_canonical(field8_multiply(&xy, &twice_d));
    __m512i rows[16];
    for (int i = 0; i < 5; i++) {
        rows[i] = plus.limb[i];
        rows[5 + i] = minus.limb[i];
        rows[10 + i] = cross.limb[i];
    }
    rows[15] = _mm512_setzero_si512();
    cs_transpose8(rows);
    cs_transpose8(rows + 8);
    for (int lane = 0; lane < 8; lane++) {
        _mm512_storeu_si512(out[lane], rows[lane]);
        _mm512_storeu_si512(out[lane] + 8, rows[8 + lane]);
    }
}

/* Write eight canonical numbers. */
FIELD8_INLINE void store_numbers8(uint8_t *const out[8], const field8 *a)
{
    __m512i words[8];
    field8_words(words, a);
    for (int i = 4; i < 8; i++) {
        words[i] = _mm512_setzero_si512();
    }
    cs_transpose8(words);
    for (int lane = 0; lane < 8; lane++) {
        _mm256_storeu_si256((__m256i *)(void *)out[lane], _mm512_castsi512_si256(words[lane]));
    }
}

/* decode16 of ../lanes.h: the root is u v^3 (u v^7)^((p - 5) / 8), or that times the root of -1. */
static inline uint32_t decode16(uint64_t *const out[16], uint8_t *const *hints_out, const uint8_t *const encoded[16],
                                size_t count)
{
    const field8 root_of_minus_one = field8_broadcast(FIELD_ROOT_OF_MINUS_ONE);
    field8 y[2], u[2], v[2], v3[2], x[2];
    __mmask8 negative[2], good[2];
    (void)count;
    for (int half = 0; half < 2; half++) {
        good[half] = load_numbers8(&y[half], &negative[half], encoded + 8 * half);
        fraction8(&u[half], &v[half], &y[half]);
        const field8 vv = field8_square(&v[half]);
        v3[half] = field8_multiply(&vv, &v[half]);
        const field8 v6 = field8_square(&v3[half]);
        const field8 v7 = field8_multiply(&v6, &v[half]);
        x[half] = field8_multiply(&v7, &u[half]);
    }
    field8_power_of_root_pair(x);
    for (int half = 0; half < 2; half++) {
        const field8 uv3 = field8_multiply(&v3[half], &u[half]);
        x[half] = field8_multiply(&x[half], &uv3);
        const field8 xx = field8_square(&x[half]);
        const wide8 check = field8_multiply_wide(&xx, &v[half]);
        const __mmask8 direct = field8_zero_lanes(field8_carry(wide8_subtract(check, wide8_of(&u[half]), 52)));
        const __mmask8 turned = field8_zero_lanes(field8_carry(wide8_add(check, wide8_of(&u[half]))));
        const field8 other = field8_multiply(&x[half], &root_of_minus_one);
        const field8 root = field8_canonical(field8_choose((__mmask8)~direct, x[half], &other));
        good[half] &= direct | turned;
        /* x = 0 has no sign. */
        const __mmask8 zero = field8_zero_lanes(root);
        good[half] &= (__mmask8)~(zero & negative[half]);
        const __mmask8 odd = _mm512_test_epi64_mask(root.limb[0], field8_constant(1));
        const field8 opposite = field8_carry(wide8_subtract(wide8_zero(), wide8_of(&root), 52));
        const field8 chosen = field8_choose(odd ^ negative[half], root, &opposite);
        store_affine8(out + 8 * half, &chosen, &y[half]);
        if (hints_out != NULL) {
            const field8 hint = field8_canonical(chosen);
            store_numbers8(hints_out + 8 * half, &hint);
        }
    }
    return (uint32_t)good[0] | (uint32_t)good[1] << 8;
}

/* check16 of ../lanes.h: v x^2 = u, x is below p and its lowest bit is the sign. So it is the root that decode16 takes,
 * because v is never 0 and only x = 0 has no other. */
static inline uint32_t check16(uint64_t *const out[16], const uint8_t *const encoded[16],
                               const uint8_t *const hints[16], size_t count)
{
    uint32_t good[2];
    (void)count;
    for (int half = 0; half < 2; half++) {
        field8 x, y, u, v;
        __mmask8 negative, top;
        const __mmask8 below = load_numbers8(&y, &negative, encoded + 8 * half) &
                               load_numbers8(&x, &top, hints + 8 * half) & (__mmask8)~top;
        fraction8(&u, &v, &y);
        const field8 xx = field8_square(&x);
        const wide8 check = wide8_subtract(field8_multiply_wide(&xx, &v), wide8_of(&u), 52);
        const __mmask8 odd = _mm512_test_epi64_mask(x.limb[0], field8_constant(1));
        good[half] = below & field8_zero_lanes(field8_carry(check)) & (__mmask8)~(odd ^ negative);
        store_affine8(out + 8 * half, &x, &y);
    }
    return good[0] | good[1] << 8;
}

#endif
