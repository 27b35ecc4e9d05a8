/* Points of a curve y^2 = x^3 - 3x + b of prime order, in two kinds of coordinates. The curve's own curve.h includes
 * this, having defined CURVE_B and its field.
 *
 * Jacobian (x = X/Z^2, y = Y/Z^3, infinity has Z = 0): the fastest, with cases, for public data only.
 * Projective (x = X/Z, y = Y/Z, infinity is 0:1:0): complete formulas without cases, for secrets.
 */
#ifndef CS_WEIERSTRASS_CURVE_H
#define CS_WEIERSTRASS_CURVE_H

#include <string.h>

#include "weierstrass/point.h"

typedef struct {
    fe x, y, z;
} jacobian;

typedef struct {
    fe x, y, z;
} projective;

typedef struct {
    fe x, y;
} affine;

_Static_assert(sizeof(affine) == sizeof(cs_weierstrass_point), "an affine point is what the header says");

static inline void affine_load(affine *out, const cs_weierstrass_point *in) { memcpy(out, in, sizeof *out); }

static inline void affine_store(cs_weierstrass_point *out, const affine *in) { memcpy(out, in, sizeof *out); }

static inline int affine_on_curve(const affine *a) {
    fe left, right, three;
    fe_square(&left, &a->y);
    fe_add(&three, &FE_ONE, &FE_ONE), fe_add(&three, &three, &FE_ONE);
    fe_square(&right, &a->x);
    fe_subtract(&right, &right, &three);
    fe_multiply(&right, &right, &a->x);
    fe_add(&right, &right, &CURVE_B);
    return fe_equal(&left, &right);
}

static inline int jacobian_is_infinity(const jacobian *a) { return fe_is_zero(&a->z); }

/* Doubling for a = -3 (EFD dbl-2001-b). Infinity stays infinity; no point has order two. */
ONE_COPY void jacobian_double(jacobian *out, const jacobian *a) {
    fe delta, gamma, beta, alpha, t;
    fe_square(&delta, &a->z);
    fe_square(&gamma, &a->y);
    fe_multiply(&beta, &a->x, &gamma);
    fe_subtract(&t, &a->x, &delta);
    fe_add(&alpha, &a->x, &delta);
    fe_multiply(&t, &t, &alpha);
    fe_add(&alpha, &t, &t), fe_add(&alpha, &alpha, &t);
    fe_multiply(&out->z, &a->y, &a->z);
    fe_add(&out->z, &out->z, &out->z);
    fe_add(&beta, &beta, &beta), fe_add(&beta, &beta, &beta);
    fe_square(&out->x, &alpha);
    fe_subtract(&out->x, &out->x, &beta), fe_subtract(&out->x, &out->x, &beta);
    fe_add(&gamma, &gamma, &gamma);
    fe_square(&gamma, &gamma);
    fe_add(&gamma, &gamma, &gamma);
    fe_subtract(&beta, &beta, &out->x);
    fe_multiply(&out->y, &alpha, &beta);
    fe_subtract(&out->y, &out->y, &gamma);
}

/* a + b, every case included. */
ONE_COPY void jacobian_add_affine(jacobian *a, const affine *b) {
    fe zz, u, s, h, r, hh, hhh, v;
    if (jacobian_is_infinity(a)) {
        a->x = b->x, a->y = b->y, a->z = FE_ONE;
        return;
    }
    fe_square(&zz, &a->z);
    fe_multiply(&u, &b->x, &zz);
    fe_multiply(&s, &a->z, &zz), fe_multiply(&s, &s, &b->y);
    fe_subtract(&h, &u, &a->x);
    fe_subtract(&r, &s, &a->y);
    if (fe_is_zero(&h)) {
        if (fe_is_zero(&r)) {
            jacobian_double(a, a);
        } else {
            a->z = FE_ZERO;
        }
        return;
    }
    fe_square(&hh, &h);
    fe_multiply(&hhh, &hh, &h);
    fe_multiply(&v, &a->x, &hh);
    fe_multiply(&a->z, &a->z, &h);
    fe_square(&a->x, &r);
    fe_subtract(&a->x, &a->x, &hhh);
    fe_subtract(&a->x, &a->x, &v), fe_subtract(&a->x, &a->x, &v);
    fe_subtract(&v, &v, &a->x);
    fe_multiply(&v, &v, &r);
    fe_multiply(&hhh, &hhh, &a->y);
    fe_subtract(&a->y, &v, &hhh);
}

/* out = a + b for all a and every affine b (Renes, Costello, Batina 2015, algorithm 5). */
ONE_COPY void projective_add_affine(projective *out, const projective *a, const affine *b) {
    fe t0, t1, t2, t3, t4, x, y, z;
    fe_multiply(&t0, &a->x, &b->x);
    fe_multiply(&t1, &a->y, &b->y);
    fe_add(&t3, &b->x, &b->y);
    fe_add(&t4, &a->x, &a->y);
    fe_multiply(&t3, &t3, &t4);
    fe_add(&t4, &t0, &t1);
    fe_subtract(&t3, &t3, &t4);
    fe_multiply(&t4, &b->y, &a->z);
    fe_add(&t4, &t4, &a->y);
    fe_multiply(&y, &b->x, &a->z);
    fe_add(&y, &y, &a->x);
    fe_multiply(&z, &CURVE_B, &a->z);
    fe_subtract(&x, &y, &z);
    fe_add(&z, &x, &x);
    fe_add(&x, &x, &z);
    fe_subtract(&z, &t1, &x);
    fe_add(&x, &t1, &x);
    fe_multiply(&y, &CURVE_B, &y);
    fe_add(&t1, &a->z, &a->z);
    fe_add(&t2, &t1, &a->z);
    fe_subtract(&y, &y, &t2);
    fe_subtract(&y, &y, &t0);
    fe_add(&t1, &y, &y);
    fe_add(&y, &t1, &y);
    fe_add(&t1, &t0, &t0);
    fe_add(&t0, &t1, &t0);
    fe_subtract(&t0, &t0, &t2);
    fe_multiply(&t1, &t4, &y);
    fe_multiply(&t2, &t0, &y);
    fe_multiply(&y, &x, &z);
    fe_add(&out->y, &y, &t2);
    fe_multiply(&x, &t3, &x);
    fe_subtract(&out->x, &x, &t1);
    fe_multiply(&z, &t4, &z);
    fe_multiply(&t1, &t3, &t0);
    fe_add(&out->z, &z, &t1);
}

#endif
