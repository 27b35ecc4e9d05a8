/* Numbers modulo p = 2^256 - 2^224 - 2^96 + 2^64 - 1, the field of sm2p256v1: see weierstrass/field.h. */
#ifndef CS_SM2_FIELD_H
#define CS_SM2_FIELD_H

#include "weierstrass/limbs.h"

static const uint64_t FIELD[4] = {
    UINT64_C(0xffffffffffffffff), UINT64_C(0xffffffff00000000), UINT64_C(0xffffffffffffffff),
    UINT64_C(0xfffffffeffffffff),
};
/* 2^512 mod p: multiplying by it enters Montgomery form. */
static const fe FE_ENTER = {{
    UINT64_C(0x0000000200000003), UINT64_C(0x00000002ffffffff), UINT64_C(0x0000000100000001),
    UINT64_C(0x0000000400000002),
}};
/* 2^256 mod p: one, in Montgomery form. */
static const fe FE_ONE = {{1, UINT64_C(0x00000000ffffffff), 0, UINT64_C(0x0000000100000000)}};

/* One step of Montgomery reduction on five limbs: add m * p, with m the lowest limb because p = -1 mod 2^64, and
 * drop that limb, which becomes zero. m * p = (m - (m << 32)) * 2^64 - (m << 32) * 2^192 + m * 2^256 - m needs no
 * multiplication. On entry the number is below 2^320; on exit t4 is 0 or 1. */
#define FE_REDUCE(t0, t1, t2, t3, t4)                                                                               \
    do {                                                                                                            \
        uint64_t m_ = (t0), low_ = m_ << 32, high_ = m_ >> 32;                                                      \
        carry_t c_ = 0;                                                                                             \
        uint64_t d0_ = subtract_borrow(m_, low_, &c_);                                                              \
        uint64_t d1_ = subtract_borrow(0, high_, &c_);                                                              \
        uint64_t d2_ = subtract_borrow(0, low_, &c_);                                                               \
        uint64_t d3_ = subtract_borrow(m_, high_, &c_);                                                             \
        c_ = 0;                                                                                                     \
        (t0) = add_carry(t1, d0_, &c_);                                                                             \
        (t1) = add_carry(t2, d1_, &c_);                                                                             \
        (t2) = add_carry(t3, d2_, &c_);                                                                             \
        (t3) = add_carry(t4, d3_, &c_);                                                                             \
        (t4) = c_;                                                                                                  \
    } while (0)

#include "weierstrass/field.h"

/* a^(p-2) by a chain that follows the bits of p - 2: 31 ones, 0, 128 ones, 32 zeros, 62 ones, 0, 1. Zero gives zero. */
ONE_COPY void fe_invert(fe *out, const fe *a) {
    fe one = *a, ones2, ones3, ones6, ones12, ones15, ones30, ones31, ones32, r;
    fe_square(&ones2, &one), fe_multiply(&ones2, &ones2, &one);
    fe_square(&ones3, &ones2), fe_multiply(&ones3, &ones3, &one);
    fe_square_times(&ones6, &ones3, 3), fe_multiply(&ones6, &ones6, &ones3);
    fe_square_times(&ones12, &ones6, 6), fe_multiply(&ones12, &ones12, &ones6);
    fe_square_times(&ones15, &ones12, 3), fe_multiply(&ones15, &ones15, &ones3);
    fe_square_times(&ones30, &ones15, 15), fe_multiply(&ones30, &ones30, &ones15);
    fe_square(&ones31, &ones30), fe_multiply(&ones31, &ones31, &one);
    fe_square(&ones32, &ones31), fe_multiply(&ones32, &ones32, &one);
    fe_square_times(&r, &ones31, 33), fe_multiply(&r, &r, &ones32);
    fe_square_times(&r, &r, 32), fe_multiply(&r, &r, &ones32);
    fe_square_times(&r, &r, 32), fe_multiply(&r, &r, &ones32);
    fe_square_times(&r, &r, 32), fe_multiply(&r, &r, &ones32);
    fe_square_times(&r, &r, 64), fe_multiply(&r, &r, &ones32);
    fe_square_times(&r, &r, 30), fe_multiply(&r, &r, &ones30);
    fe_square_times(&r, &r, 2), fe_multiply(out, &r, &one);
}

#endif
