/* Eight points of -x^2 + y^2 = 1 + d x^2 y^2, one in each lane, private to this folder.
 *
 * The formulas are those of ../group.h, complete for every pair of points. Coordinates are tight. */
#ifndef CS_ED25519_GROUP8_H
#define CS_ED25519_GROUP8_H

#include "ed25519/avx512ifma/field8.h"

#include "common/transpose8.h"
#include "ed25519/lanes.h"

/* (Y - X, Y + X, Z, T) with x = X/Z, y = Y/Z, T = XY/Z: what the next addition would compute anyway. */
typedef struct {
    field8 minus, plus, z, t;
} point8;

/* (y + x, y - x, 2dxy). */
typedef struct {
    field8 plus, minus, cross;
} affine8;

/* Gather eight affine points; those of the lanes in negative are negated but for their cross member, whose sign
 * point8_add_affine takes instead. */
FIELD8_INLINE affine8 affine8_load(const uint64_t *const words[8], __mmask8 negative)
{
    __m512i rows[16];
    affine8 out;
    for (int lane = 0; lane < 8; lane++) {
        rows[lane] = _mm512_loadu_si512(words[lane]);
        rows[lane + 8] = _mm512_maskz_loadu_epi64(0x7f, words[lane] + 8);
    }
    cs_transpose8(rows);
    cs_transpose8(rows + 8);
    for (int i = 0; i < 5; i++) {
        out.plus.limb[i] = _mm512_mask_mov_epi64(rows[i], negative, rows[5 + i]);
        out.minus.limb[i] = _mm512_mask_mov_epi64(rows[5 + i], negative, rows[i]);
        out.cross.limb[i] = rows[10 + i];
    }
    return out;
}

/* What lies between the two rounds of multiplications of an addition: X = E F, Y = G H, Z = F G, T = E H. */
typedef struct {
    field8 e, f, g, h;
} halfway8;

/* The first round of sum + b, in the lanes of negative sum - b (see affine8_load). */
FIELD8_INLINE halfway8 point8_begin_affine(const point8 *sum, const affine8 *b, __mmask8 negative)
{
    const wide8 low = field8_multiply_wide(&sum->minus, &b->minus);
    const wide8 high = field8_multiply_wide(&sum->plus, &b->plus);
    wide8 cross = field8_multiply_wide(&sum->t, &b->cross);
    const wide8 opposite = wide8_subtract(wide8_zero(), cross, 61);
    for (int i = 0; i < 5; i++) {
        cross.limb[i] = _mm512_mask_mov_epi64(cross.limb[i], negative, opposite.limb[i]);
    }
    const wide8 twice = wide8_add(wide8_of(&sum->z), wide8_of(&sum->z));
    halfway8 out;
    out.e = field8_carry(wide8_subtract(high, low, 61));
    out.h = field8_carry(wide8_add(high, low));
    out.f = field8_carry(wide8_subtract(twice, cross, 62));
    out.g = field8_carry(wide8_add(twice, cross));
    return out;
}

/* The second round; T is computed only where wanted, a constant. */
FIELD8_INLINE void point8_finish(point8 *sum, const halfway8 *half, int wanted)
{
    const wide8 x = field8_multiply_wide(&half->e, &half->f);
    const wide8 y = field8_multiply_wide(&half->g, &half->h);
    sum->minus = field8_carry(wide8_subtract(y, x, 61));
    sum->plus = field8_carry(wide8_add(y, x));
    sum->z = field8_multiply(&half->f, &half->g);
    if (wanted) {
        sum->t = field8_multiply(&half->e, &half->h);
    }
}

/* sum = sum + b, in the lanes of negative sum - b (see affine8_load). */
FIELD8_INLINE void point8_add_affine(point8 *sum, const affine8 *b, __mmask8 negative)
{
    const halfway8 half = point8_begin_affine(sum, b, negative);
    point8_finish(sum, &half, 1);
}

/* The same for two sums in step: each fills the time that the other's rounds wait for each other. */
FIELD8_INLINE void point8_add_affine_pair(point8 sums[2], const affine8 b[2], const __mmask8 negative[2])
{
    const halfway8 first = point8_begin_affine(&sums[0], &b[0], negative[0]);
    const halfway8 second = point8_begin_affine(&sums[1], &b[1], negative[1]);
    point8_finish(&sums[0], &first, 1);
    point8_finish(&sums[1], &second, 1);
}

/* sum = sum + b; cross is 2 d T of b. */
FIELD8_INLINE void point8_add_prepared(point8 *sum, const point8 *b, const field8 *cross_of_b)
{
    const wide8 low = field8_multiply_wide(&sum->minus, &b->minus);
    const wide8 high = field8_multiply_wide(&sum->plus, &b->plus);
    const wide8 cross = field8_multiply_wide(&sum->t, cross_of_b);
    wide8 twice = field8_multiply_wide(&sum->z, &b->z);
    twice = wide8_add(twice, twice);
    const halfway8 half = {
        field8_carry(wide8_subtract(high, low, 61)),
        field8_carry(wide8_subtract(twice, cross, 61)),
        field8_carry(wide8_add(twice, cross)),
        field8_carry(wide8_add(high, low)),
    };
    point8_finish(sum, &half, 1);
}

/* sum = 2 sum; T is computed only where wanted, a constant.
 * With (Y - X)^2 and (Y + X)^2 at hand, twice X^2 + Y^2 is their sum and 4 XY their difference. So all of
 * E = -2 XY, H = X^2 + Y^2, G = X^2 - Y^2 and F = 2 Z^2 + G are doubled here, which leaves the point what it is. */
FIELD8_INLINE halfway8 point8_begin_double(const point8 *sum)
{
    const wide8 low = field8_square_wide(&sum->minus);
    const wide8 high = field8_square_wide(&sum->plus);
    const wide8 product = field8_multiply_wide(&sum->minus, &sum->plus); /* Y^2 - X^2 */
    const wide8 difference = wide8_add(product, product);
    const wide8 zz = field8_square_wide(&sum->z);
    const wide8 twice_zz = wide8_add(zz, zz);
    halfway8 out;
    out.e = field8_carry(wide8_subtract(low, high, 61));
    out.h = field8_carry(wide8_add(high, low));
    out.g = field8_carry(wide8_subtract(wide8_zero(), difference, 61));
    out.f = field8_carry(wide8_subtract(wide8_add(twice_zz, twice_zz), difference, 61));
    return out;
}

FIELD8_INLINE void point8_double(point8 *sum, int wanted)
{
    const halfway8 half = point8_begin_double(sum);
    point8_finish(sum, &half, wanted);
}

FIELD8_INLINE void point8_double_pair(point8 sums[2], int wanted)
{
    const halfway8 first = point8_begin_double(&sums[0]), second = point8_begin_double(&sums[1]);
    point8_finish(&sums[0], &first, wanted);
    point8_finish(&sums[1], &second, wanted);
}

/* The lanes that hold the identity: X = 0 and Y = Z. */
FIELD8_INLINE __mmask8 point8_identity_lanes(const point8 *a)
{
    const field8 x = field8_carry(wide8_subtract(wide8_of(&a->plus), wide8_of(&a->minus), 61));
    const wide8 twice = wide8_add(wide8_of(&a->z), wide8_of(&a->z));
    const field8 y = field8_carry(wide8_subtract(wide8_add(wide8_of(&a->plus), wide8_of(&a->minus)), twice, 61));
    return field8_zero_lanes(x) & field8_zero_lanes(y);
}

#endif
