/* Points and multiples of points as keys and tables hold them, alike for every curve of this family: y^2 = x^3 - 3x + b
 * over a prime field of 256 bits, of prime order. */
#ifndef CS_WEIERSTRASS_POINT_H
#define CS_WEIERSTRASS_POINT_H

#include <stdint.h>

enum {
    CS_KEY_CHUNKS = 4,    /* a scalar is taken in four chunks of 64 bits */
    CS_KEY_MULTIPLES = 8, /* 1, 3, …, 15 times the key, for signed windows of 5 bits */
    CS_BASE_WINDOW_BITS = 5,
    CS_BASE_WINDOWS = 52, /* 260 bits: 256 and the carry of the signed digits */
    CS_BASE_WINDOW_POINTS = 16,
};

/* An affine point; coordinates in Montgomery form, limbs from the lowest. */
typedef struct {
    uint64_t x[4], y[4];
} cs_weierstrass_point;

/* A row of a table of the generator: 1, 2, …, 16 times the point of its window. */
typedef cs_weierstrass_point cs_base_row[CS_BASE_WINDOW_POINTS];

#endif
