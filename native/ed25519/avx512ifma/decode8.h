/* Decoding of points, sixteen at a time, private to this folder. */
#ifndef CS_ED25519_DECODE8_H
#define CS_ED25519_DECODE8_H

#include "ed25519/avx512ifma/group8.h"
#include "ed25519/avx512ifma/power8.h"

/* Read sixteen encodings and write each point in stored affine form; returns a bit for each that is canonical and on
 * the curve (what is written for another means nothing). */
static inline uint32_t decode16(uint64_t *const out[16], const uint8_t *const encoded[16])
{
    const __m512i mask51 = field8_constant((UINT64_C(1) << 51) - 1);
    const __m512i ones = field8_constant(UINT64_MAX), top = field8_constant(UINT64_MAX >> 1);
    const field8 one = field8_broadcast(FIELD_ONE), d = field8_broadcast(FIELD_D), twice_d = field8_broadcast(FIELD_2D);
    const field8 root_of_minus_one = field8_broadcast(FIELD_ROOT_OF_MINUS_ONE);
    field8 y[2], u[2], v[2], v3[2], x[2];
    __mmask8 negative[2], good[2];

    for (int half = 0; half < 2; half++) {
        __m512i w[8];
        for (int lane = 0; lane < 8; lane++) {
            w[lane] = _mm512_maskz_loadu_epi64(0x0f, encoded[8 * half + lane]);
        }
        cs_transpose8(w);
        negative[half] = _mm512_movepi64_mask(w[3]);
        w[3] = _mm512_and_si512(w[3], top);
        good[half] = (__mmask8)~(_mm512_cmpge_epu64_mask(w[0], field8_constant(UINT64_MAX - 18)) &
                                 _mm512_cmpeq_epi64_mask(w[1], ones) & _mm512_cmpeq_epi64_mask(w[2], ones) &
                                 _mm512_cmpeq_epi64_mask(w[3], top)); /* y < p */
        field8 *const limbs = &y[half];
        limbs->limb[0] = _mm512_and_si512(w[0], mask51);
        limbs->limb[1] = _mm512_and_si512(_mm512_or_si512(_mm512_srli_epi64(w[0], 51), _mm512_slli_epi64(w[1], 13)),
                                          mask51);
        limbs->limb[2] = _mm512_and_si512(_mm512_or_si512(_mm512_srli_epi64(w[1], 38), _mm512_slli_epi64(w[2], 26)),
                                          mask51);
        limbs->limb[3] = _mm512_and_si512(_mm512_or_si512(_mm512_srli_epi64(w[2], 25), _mm512_slli_epi64(w[3], 39)),
                                          mask51);
        limbs->limb[4] = _mm512_srli_epi64(w[3], 12);

        /* RFC 8032, 5.1.3: x^2 = u / v with u = y^2 - 1 and v = d y^2 + 1; the root is u v^3 (u v^7)^((p - 5) / 8). */
        const field8 yy = field8_square(limbs);
        u[half] = field8_carry(wide8_subtract(wide8_of(&yy), wide8_of(&one), 52));
        v[half] = field8_carry(wide8_add(field8_multiply_wide(&yy, &d), wide8_of(&one)));
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

        const field8 plus = field8_canonical(field8_carry(wide8_add(wide8_of(&y[half]), wide8_of(&chosen))));
        const field8 minus = field8_canonical(field8_carry(wide8_subtract(wide8_of(&y[half]), wide8_of(&chosen), 52)));
        const field8 xy = field8_multiply(&chosen, &y[half]);
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
            _mm512_storeu_si512(out[8 * half + lane], rows[lane]);
            _mm512_storeu_si512(out[8 * half + lane] + 8, rows[8 + lane]);
        }
    }
    return (uint32_t)good[0] | (uint32_t)good[1] << 8;
}

#endif
