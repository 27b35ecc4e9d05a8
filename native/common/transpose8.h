/* Rows to lanes and back: an 8 x 8 matrix of 64-bit words transposed in registers.
 *
 * To be included where AVX-512 F is the target already, and immintrin.h with it. */
#ifndef CS_TRANSPOSE8_H
#define CS_TRANSPOSE8_H

/* Lane j of rows[i] becomes lane i of rows[j]. */
static inline __attribute__((always_inline)) void cs_transpose8(__m512i rows[8])
{
    __m512i pairs[8], quads[8];
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm512_unpacklo_epi64(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi64(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        for (int j = 0; j < 2; j++) {
            quads[i + j] = _mm512_shuffle_i64x2(pairs[i + j], pairs[i + j + 2], 0x88);
            quads[i + j + 2] = _mm512_shuffle_i64x2(pairs[i + j], pairs[i + j + 2], 0xdd);
        }
    }
    for (int i = 0; i < 4; i++) {
        rows[i] = _mm512_shuffle_i64x2(quads[i], quads[i + 4], 0x88);
        rows[i + 4] = _mm512_shuffle_i64x2(quads[i], quads[i + 4], 0xdd);
    }
}

#endif
