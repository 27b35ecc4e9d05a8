/* Eight points of y^2 = x^3 - 3x + b, one in each lane, and the additions that know no special case: see field8.h. */
#ifndef CS_WEIERSTRASS_GROUP8_H
#define CS_WEIERSTRASS_GROUP8_H

#include "weierstrass/avx512ifma/field8.h"
#include "weierstrass/point.h"

/* An affine point each; infinity has none. */
typedef struct {
    field8 x, y;
} point8;

/* x = X/Z, y = Y/Z; infinity is 0:1:0. */
typedef struct {
    field8 x, y, z;
} projective8;

_Static_assert(sizeof(cs_weierstrass_point) == 64, "a stored point is one cache line: x and y, four words each");

/* A half of eight stored points, x or y, below p. */
LANES_INLINE field8 field8_gather(const uint64_t *const halves[8])
{
    __m512i rows[4], pairs[4], words[4];
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 2; j++) {
            const __m256i low = _mm256_loadu_si256((const void *)halves[4 * i + j]);
            const __m256i high = _mm256_loadu_si256((const void *)halves[4 * i + j + 2]);
            rows[2 * i + j] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
        }
        pairs[i] = _mm512_unpacklo_epi64(rows[2 * i], rows[2 * i + 1]);
        pairs[i + 2] = _mm512_unpackhi_epi64(rows[2 * i], rows[2 * i + 1]);
    }
    words[0] = _mm512_shuffle_i64x2(pairs[0], pairs[1], 0x88);
    words[1] = _mm512_shuffle_i64x2(pairs[2], pairs[3], 0x88);
    words[2] = _mm512_shuffle_i64x2(pairs[0], pairs[1], 0xdd);
    words[3] = _mm512_shuffle_i64x2(pairs[2], pairs[3], 0xdd);
    return field8_unpack(words);
}

LANES_INLINE field8 field8_gather_x(const cs_weierstrass_point *const points[8])
{
    const uint64_t *halves[8];
    for (int lane = 0; lane < 8; lane++) {
        halves[lane] = points[lane]->x;
    }
    return field8_gather(halves);
}

LANES_INLINE field8 field8_gather_y(const cs_weierstrass_point *const points[8])
{
    const uint64_t *halves[8];
    for (int lane = 0; lane < 8; lane++) {
        halves[lane] = points[lane]->y;
    }
    return field8_gather(halves);
}

/* Write eight points, whose coordinates are below p. */
LANES_INLINE void point8_scatter(cs_weierstrass_point *const points[8], const point8 *a)
{
    __m512i rows[8];
    field8_pack(rows, &a->x);
    field8_pack(rows + 4, &a->y);
    cs_transpose8(rows);
    for (int lane = 0; lane < 8; lane++) {
        _mm512_storeu_si512(points[lane], rows[lane]);
    }
}

/* Minus a in the lanes of negative: uncarried, for a sum or a settling to follow. */
LANES_INLINE field8 field8_negate_raw(field8 a, __mmask8 negative)
{
    const __m512i zero = _mm512_setzero_si512();
#pragma GCC unroll 5
    for (int i = 0; i < LIMBS8; i++) {
        a.limb[i] = _mm512_mask_sub_epi64(a.limb[i], negative, zero, a.limb[i]);
    }
    return a;
}

LANES_INLINE field8 field8_negate(const field8 *a, __mmask8 negative)
{
    return field8_settle(field8_negate_raw(*a, negative));
}

LANES_INLINE projective8 projective8_infinity(void)
{
    static const uint64_t zero[4] = {0};
    return (projective8){field8_broadcast(zero), field8_broadcast(FIELD8_ONE), field8_broadcast(zero)};
}

LANES_INLINE projective8 projective8_choose(__mmask8 lanes, projective8 a, const projective8 *b)
{
    a.x = field8_choose(lanes, a.x, &b->x);
    a.y = field8_choose(lanes, a.y, &b->y);
    a.z = field8_choose(lanes, a.z, &b->z);
    return a;
}

/* What both additions end with: from x1 x2, y1 y2, z1 z2, x1 y2 + x2 y1, y1 z2 + y2 z1, x1 z2 + x2 z1. */
LANES_INLINE void projective8_finish(projective8 *out, const field8 *xx, const field8 *yy, const field8 *zz,
                                     const field8 *xy, const field8 *yz, const field8 *xz)
{
    const field8 b = field8_broadcast(FIELD8_B);
    const field8 bzz = field8_multiply(&b, zz), bxz = field8_multiply(&b, xz);
    /* u = 3 (xz - b zz), v = 3 (b xz - 3 zz - xx), w = 3 (xx - zz). */
    field8 u, v, w, sum, difference;
    for (int i = 0; i < LIMBS8; i++) {
        const __m512i part = _mm512_sub_epi64(xz->limb[i], bzz.limb[i]);
        const __m512i zz2 = _mm512_add_epi64(zz->limb[i], zz->limb[i]), zz3 = _mm512_add_epi64(zz2, zz->limb[i]);
        const __m512i other = _mm512_sub_epi64(_mm512_sub_epi64(bxz.limb[i], zz3), xx->limb[i]);
        const __m512i last = _mm512_sub_epi64(xx->limb[i], zz->limb[i]);
        u.limb[i] = _mm512_add_epi64(_mm512_add_epi64(part, part), part);
        v.limb[i] = _mm512_add_epi64(_mm512_add_epi64(other, other), other);
        w.limb[i] = _mm512_add_epi64(_mm512_add_epi64(last, last), last);
    }
    sum = field8_settle(field8_add_raw(yy, &u));
    difference = field8_settle(field8_subtract_raw(yy, &u));
    v = field8_settle(v);
    w = field8_settle(w);
    /* X = xy sum - yz v, Y = difference sum + w v, Z = yz difference + xy w. */
    const field8 x1 = field8_multiply(xy, &sum), x2 = field8_multiply(yz, &v);
    const field8 y1 = field8_multiply(&difference, &sum), y2 = field8_multiply(&w, &v);
    const field8 z1 = field8_multiply(yz, &difference), z2 = field8_multiply(xy, &w);
    out->x = field8_subtract(&x1, &x2);
    out->y = field8_add(&y1, &y2);
    out->z = field8_add(&z1, &z2);
}

/* (a0 + a1) (b0 + b1) - a0 b0 - a1 b1. */
LANES_INLINE field8 field8_cross(const field8 *a0, const field8 *a1, const field8 *b0, const field8 *b1,
                                 const field8 *product0, const field8 *product1)
{
    const field8 a = field8_carry(field8_add_raw(a0, a1)), b = field8_carry(field8_add_raw(b0, b1));
    const field8 all = field8_multiply(&a, &b), rest = field8_subtract_raw(&all, product0);
    return field8_settle(field8_subtract_raw(&rest, product1));
}

/* out = a + b for all a and b (Renes, Costello, Batina 2015, algorithm 4); out may be a or b. */
LANES_ONE_COPY void projective8_add(projective8 *out, const projective8 *a, const projective8 *b)
{
    const field8 xx = field8_multiply(&a->x, &b->x), yy = field8_multiply(&a->y, &b->y);
    const field8 zz = field8_multiply(&a->z, &b->z);
    const field8 xy = field8_cross(&a->x, &a->y, &b->x, &b->y, &xx, &yy);
    const field8 yz = field8_cross(&a->y, &a->z, &b->y, &b->z, &yy, &zz);
    const field8 xz = field8_cross(&a->x, &a->z, &b->x, &b->z, &xx, &zz);
    projective8_finish(out, &xx, &yy, &zz, &xy, &yz, &xz);
}

/* out = a + b for all a and affine b (algorithm 5); out may be a. */
LANES_ONE_COPY void projective8_add_affine(projective8 *out, const projective8 *a, const point8 *b)
{
    const field8 xx = field8_multiply(&a->x, &b->x), yy = field8_multiply(&a->y, &b->y);
    const field8 xy = field8_cross(&a->x, &a->y, &b->x, &b->y, &xx, &yy);
    const field8 y2z = field8_multiply(&b->y, &a->z), x2z = field8_multiply(&b->x, &a->z);
    const field8 yz = field8_add(&a->y, &y2z), xz = field8_add(&a->x, &x2z);
    projective8_finish(out, &xx, &yy, &a->z, &xy, &yz, &xz);
}

#endif
