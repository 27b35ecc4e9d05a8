/* What verifying is made of on each curve of this family, for public data: keys, their multiples and those of the
 * generator, and a comparison that divides nothing. Included by the curve's reference.c after its curve.h and order.h.
 */
#ifndef CS_WEIERSTRASS_VERIFY_H
#define CS_WEIERSTRASS_VERIFY_H

#include "weierstrass/curve.h"
#include "weierstrass/order.h"

enum { CHUNK_BITS = 64, CHUNK_DIGITS = CHUNK_BITS + 1, KEY_WINDOW_BITS = 5 };
_Static_assert(CS_KEY_CHUNKS * CHUNK_BITS == 256, "the chunks make up a scalar");
_Static_assert((int)CS_KEY_MULTIPLES == 1 << (KEY_WINDOW_BITS - 2), "one multiple for each odd digit");

typedef enum { LOAD_GOOD, LOAD_RANGE, LOAD_CURVE } load_result;

/* Fill the odd multiples of point, Jacobian, into row. */
static void odd_multiples(jacobian row[CS_KEY_MULTIPLES], const jacobian *point) {
    /* On a curve scaled so that twice the point has Z = 1, the additions are mixed ones; scaled back at the end.
     * The doubled point's Z is the scale: (x, y) there stands for (x / Z^2, y / Z^3) here. */
    jacobian twice;
    affine step;
    fe zz, zzz;
    jacobian_double(&twice, point);
    step.x = twice.x, step.y = twice.y;
    fe_square(&zz, &twice.z);
    fe_multiply(&zzz, &zz, &twice.z);
    fe_multiply(&row[0].x, &point->x, &zz);
    fe_multiply(&row[0].y, &point->y, &zzz);
    row[0].z = point->z;
    for (unsigned j = 1; j < CS_KEY_MULTIPLES; j++) {
        row[j] = row[j - 1];
        jacobian_add_affine(&row[j], &step);
    }
    for (unsigned j = 0; j < CS_KEY_MULTIPLES; j++) {
        fe_multiply(&row[j].z, &row[j].z, &twice.z);
    }
}

/* Make all points affine with one inversion; none is infinity, because the group's order is prime and large. */
static void all_affine(cs_weierstrass_point *out, const jacobian *points, unsigned count) {
    fe before[CS_KEY_CHUNKS * CS_KEY_MULTIPLES], inverse, own, square;
    affine result;
    before[0] = FE_ONE;
    for (unsigned i = 1; i < count; i++) {
        fe_multiply(&before[i], &before[i - 1], &points[i - 1].z);
    }
    fe_multiply(&inverse, &before[count - 1], &points[count - 1].z);
    fe_invert(&inverse, &inverse);
    for (unsigned i = count; i-- > 0;) {
        fe_multiply(&own, &inverse, &before[i]);
        fe_multiply(&inverse, &inverse, &points[i].z);
        fe_square(&square, &own);
        fe_multiply(&result.x, &points[i].x, &square);
        fe_multiply(&square, &square, &own);
        fe_multiply(&result.y, &points[i].y, &square);
        affine_store(&out[i], &result);
    }
}

/* Check a public key, x || y, and fill its multiples: LOAD_GOOD, or why it is none. */
static load_result multiples_load(cs_weierstrass_point multiples[CS_KEY_CHUNKS][CS_KEY_MULTIPLES],
                                  const uint8_t public_key[64]) {
    uint64_t x[4], y[4];
    affine point;
    jacobian chunk, points[CS_KEY_CHUNKS][CS_KEY_MULTIPLES];
    limbs_load(x, public_key);
    limbs_load(y, public_key + 32);
    if (!limbs_below(x, FIELD) || !limbs_below(y, FIELD)) {
        return LOAD_RANGE;
    }
    fe_from_limbs(&point.x, x);
    fe_from_limbs(&point.y, y);
    if (!affine_on_curve(&point)) {
        return LOAD_CURVE;
    }
    chunk.x = point.x, chunk.y = point.y, chunk.z = FE_ONE;
    for (unsigned i = 0; i < CS_KEY_CHUNKS; i++) {
        odd_multiples(points[i], &chunk);
        for (unsigned bit = 0; bit < CHUNK_BITS && i + 1 < CS_KEY_CHUNKS; bit++) {
            jacobian_double(&chunk, &chunk);
        }
    }
    all_affine(&multiples[0][0], &points[0][0], CS_KEY_CHUNKS * CS_KEY_MULTIPLES);
    return LOAD_GOOD;
}

/* Write a chunk as a sum of digits[i] * 2^i, each 0 or odd and below 16 in size, at most one of five in a row not 0. */
static void recode_chunk(int8_t digits[CHUNK_DIGITS], uint64_t chunk) {
    uint128 rest = chunk; /* a negative digit may carry into bit 64 */
    for (unsigned i = 0; i < CHUNK_DIGITS; i++, rest >>= 1) {
        int digit = 0;
        if (rest & 1) {
            digit = (int)(rest & 31);
            if (digit >= 16) {
                digit -= 32;
                rest += (unsigned)-digit;
            } else {
                rest -= (unsigned)digit;
            }
        }
        digits[i] = (int8_t)digit;
    }
}

static void add_signed(jacobian *sum, const cs_weierstrass_point *point, int negative) {
    affine term;
    affine_load(&term, point);
    if (negative) {
        fe_negate(&term.y, &term.y);
    }
    jacobian_add_affine(sum, &term);
}

/* sum = t * key: the four chunks share their 64 doublings. */
static void multiply_key(jacobian *sum, const cs_weierstrass_point key[CS_KEY_CHUNKS][CS_KEY_MULTIPLES],
                         const uint64_t t[4]) {
    int8_t digits[CS_KEY_CHUNKS][CHUNK_DIGITS];
    for (unsigned i = 0; i < CS_KEY_CHUNKS; i++) {
        recode_chunk(digits[i], t[i]);
    }
    sum->x = FE_ONE, sum->y = FE_ONE, sum->z = FE_ZERO;
    for (unsigned bit = CHUNK_DIGITS; bit-- > 0;) {
        jacobian_double(sum, sum);
        for (unsigned i = 0; i < CS_KEY_CHUNKS; i++) {
            int digit = digits[i][bit];
            if (digit != 0) {
                add_signed(sum, &key[i][(digit < 0 ? -digit : digit) / 2], digit < 0);
            }
        }
    }
}

/* sum += s * G: one addition from each window of G's table, no doubling. */
static void add_base(jacobian *sum, const cs_base_row base[CS_BASE_WINDOWS], const uint64_t s[4]) {
    int carry = 0;
    for (unsigned i = 0; i < CS_BASE_WINDOWS; i++) {
        unsigned bit = CS_BASE_WINDOW_BITS * i, limb = bit / 64, shift = bit % 64;
        uint64_t bits = s[limb] >> shift;
        if (shift > 64 - CS_BASE_WINDOW_BITS && limb < 3) {
            bits |= s[limb + 1] << (64 - shift);
        }
        int digit = (int)(bits & 31) + carry;
        carry = digit > CS_BASE_WINDOW_POINTS;
        digit -= carry << CS_BASE_WINDOW_BITS;
        if (digit != 0) {
            add_signed(sum, &base[i][(digit < 0 ? -digit : digit) - 1], digit < 0);
        }
    }
}

/* Whether the affine x of a finite point is this number below p: X = x * Z^2 spares the inversion. */
static int has_x(const jacobian *point, const uint64_t x[4]) {
    fe expected, zz;
    fe_from_limbs(&expected, x);
    fe_square(&zz, &point->z);
    fe_multiply(&expected, &expected, &zz);
    return fe_equal(&expected, &point->x);
}

/* Whether the x of a finite point is this number modulo n. */
static int has_x_modulo_order(const jacobian *point, const uint64_t x[4]) {
    uint64_t above[4];
    carry_t carry = 0;
    if (has_x(point, x)) {
        return 1;
    }
    /* n is below p, so that x + n may be a coordinate too, for about one x in 2^128. */
    for (unsigned i = 0; i < 4; i++) {
        above[i] = add_carry(x[i], ORDER[i], &carry);
    }
    return carry == 0 && limbs_below(above, FIELD) && has_x(point, above);
}

/* Whether a number is one that a signature may hold: in [1, n-1]. */
static int in_order(const uint64_t a[4]) { return !limbs_are_zero(a) && limbs_below(a, ORDER); }

#endif
