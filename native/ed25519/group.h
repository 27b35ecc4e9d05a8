/* The group of -x^2 + y^2 = 1 + d x^2 y^2, private to this folder.
 *
 * The formulas are those of Hisil, Wong, Carter and Dawson, "Twisted Edwards Curves Revisited" (2008), sections 3.1 and
 * 4.3; they are complete here (-1 is a square and d is not), so no pair of points needs a case of its own: small order
 * and identity included. Coordinates are tight field elements. Everything is constant time except decoding. */
#ifndef CS_ED25519_GROUP_H
#define CS_ED25519_GROUP_H

#include "ed25519/ed25519.h"
#include "ed25519/field.h"

/* x = X/Z, y = Y/Z, and T = XY/Z where it is needed: doubling neither reads it nor has it computed. */
typedef struct {
    field x, y, z, t;
} point;

/* What adding and doubling leave: x = X/Z, y = Y/T. Loose coordinates. */
typedef struct {
    field x, y, z, t;
} completed;

static const point POINT_IDENTITY = {{0}, {1}, {1}, {0}};

static inline void completed_to_projective(point *out, const completed *in)
{
    field_multiply(out->x, in->x, in->t);
    field_multiply(out->y, in->y, in->z);
    field_multiply(out->z, in->z, in->t);
}

static inline void completed_to_extended(point *out, const completed *in)
{
    completed_to_projective(out, in);
    field_multiply(out->t, in->x, in->y);
}

/* out = 2 in; T of in is not read. */
static inline void point_double(completed *out, const point *in)
{
    field xx, yy, zz;
    field_square(xx, in->x);
    field_square(yy, in->y);
    field_square(zz, in->z);
    field_add(out->t, in->x, in->y);
    field_square(out->x, out->t);
    field_add(zz, zz, zz);
    field_add(out->y, yy, xx);
    field_subtract(out->z, yy, xx);
    field_subtract_loose(out->x, out->x, out->y);
    field_subtract_loose(out->t, zz, out->z);
}

/* out = a + b for b in affine form. */
static inline void point_add_affine(completed *out, const point *a, const cs_ed25519_affine *b)
{
    field minus, plus, cross, twice;
    field_subtract(minus, a->y, a->x);
    field_multiply(minus, minus, b->y_minus_x);
    field_add(plus, a->y, a->x);
    field_multiply(plus, plus, b->y_plus_x);
    field_multiply(cross, a->t, b->xy2d);
    field_add(twice, a->z, a->z);
    field_subtract(out->x, plus, minus);
    field_add(out->y, plus, minus);
    field_add(out->z, twice, cross);
    field_subtract(out->t, twice, cross);
}

/* out = a - b for b in affine form: -b is (-x, y), so two of its members change places and one its sign. */
static inline void point_subtract_affine(completed *out, const point *a, const cs_ed25519_affine *b)
{
    field minus, plus, cross, twice;
    field_subtract(minus, a->y, a->x);
    field_multiply(minus, minus, b->y_plus_x);
    field_add(plus, a->y, a->x);
    field_multiply(plus, plus, b->y_minus_x);
    field_multiply(cross, a->t, b->xy2d);
    field_add(twice, a->z, a->z);
    field_subtract(out->x, plus, minus);
    field_add(out->y, plus, minus);
    field_subtract(out->z, twice, cross);
    field_add(out->t, twice, cross);
}

/* out = a + b, both extended. */
static inline void point_add(completed *out, const point *a, const point *b)
{
    field minus, plus, cross, twice, t;
    field_subtract(minus, a->y, a->x);
    field_subtract(t, b->y, b->x);
    field_multiply(minus, minus, t);
    field_add(plus, a->y, a->x);
    field_add(t, b->y, b->x);
    field_multiply(plus, plus, t);
    field_multiply(cross, a->t, FIELD_2D);
    field_multiply(cross, cross, b->t);
    field_multiply(twice, a->z, b->z);
    field_add(twice, twice, twice);
    field_subtract(out->x, plus, minus);
    field_add(out->y, plus, minus);
    field_add(out->z, twice, cross);
    field_subtract(out->t, twice, cross);
}

/* Write the affine form of (x, y), tight. */
static inline void affine_from_coordinates(cs_ed25519_affine *out, const field x, const field y)
{
    field t;
    field_add(t, y, x);
    field_canonical(out->y_plus_x, t);
    field_subtract(t, y, x);
    field_canonical(out->y_minus_x, t);
    field_multiply(t, x, y);
    field_multiply(out->xy2d, t, FIELD_2D);
}

/* Return 1 for the identity, in any representation. */
static inline int point_is_identity(const point *a) { return field_equal(a->x, FIELD_ZERO) & field_equal(a->y, a->z); }

/* in = 8 in. */
static inline void point_multiply_by_cofactor(point *in)
{
    completed doubled;
    for (int i = 0; i < 3; i++) {
        point_double(&doubled, in);
        completed_to_projective(in, &doubled);
    }
}

/* Write the canonical 32 bytes of a point; T is not read. */
static inline void point_encode(uint8_t bytes[32], const point *a)
{
    field inverse, x, y;
    field_invert(inverse, a->z);
    field_multiply(x, a->x, inverse);
    field_multiply(y, a->y, inverse);
    field_encode(bytes, y);
    bytes[31] |= (uint8_t)(field_low_bit(x) << 7);
}

/* Read a point. Returns 0, CS_ED25519_NOT_CANONICAL (y >= p, or x = 0 with its sign bit), or CS_ED25519_NOT_ON_CURVE.
 * For public bytes only: it branches on them. */
static inline int point_decode_variable_time(point *out, const uint8_t bytes[32])
{
    const int sign = bytes[31] >> 7;
    uint8_t encoded[32];
    field u, v, v3, x, check;

    field_decode(out->y, bytes);
    field_encode(encoded, out->y);
    encoded[31] |= (uint8_t)(sign << 7);
    if (memcmp(encoded, bytes, sizeof encoded) != 0) {
        return CS_ED25519_NOT_CANONICAL;
    }
    /* RFC 8032, 5.1.3: x^2 = u / v with u = y^2 - 1 and v = d y^2 + 1; the candidate root is u v^3 (u v^7)^((p-5)/8). */
    field_square(u, out->y);
    field_multiply(v, u, FIELD_D);
    field_subtract(u, u, FIELD_ONE);
    field_add(v, v, FIELD_ONE);
    field_square(v3, v);
    field_multiply(v3, v3, v);
    field_square(x, v3);
    field_multiply(x, x, v);
    field_multiply(x, x, u);
    field_power_of_root(x, x);
    field_multiply(x, x, v3);
    field_multiply(x, x, u);

    field_square(check, x);
    field_multiply(check, check, v);
    if (!field_equal(check, u)) {
        field_add(check, check, u);
        if (!field_equal(check, FIELD_ZERO)) {
            return CS_ED25519_NOT_ON_CURVE;
        }
        field_multiply(x, x, FIELD_ROOT_OF_MINUS_ONE);
    }
    if (sign && field_equal(x, FIELD_ZERO)) {
        return CS_ED25519_NOT_CANONICAL;
    }
    if (field_low_bit(x) != sign) {
        field_negate(x, x);
    }
    field_copy(out->x, x);
    field_copy(out->z, FIELD_ONE);
    field_multiply(out->t, out->x, out->y);
    return 0;
}

#endif
