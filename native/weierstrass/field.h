/* Numbers modulo the p of a curve's own field.h, which includes this, in Montgomery form (times 2^256).
 *
 * That header defines before: FIELD (p, above 2^255 and -1 modulo 2^64), FE_ENTER (2^512 mod p), FE_ONE (2^256 mod p)
 * and FE_REDUCE, one step of Montgomery reduction; and after: fe_invert.
 *
 * Every value is kept below p, so equal values have equal limbs. Outputs may alias inputs. All but fe_equal and
 * fe_is_zero run in a time that does not depend on the values.
 */
#ifndef CS_WEIERSTRASS_FIELD_H
#define CS_WEIERSTRASS_FIELD_H

#include "weierstrass/limbs.h"

static const fe FE_ZERO = {{0, 0, 0, 0}};

/* Take p away once if the number of five limbs is at least p. */
static inline void fe_finish(fe *out, uint64_t t0, uint64_t t1, uint64_t t2, uint64_t t3, uint64_t t4) {
    carry_t borrow = 0;
    uint64_t s0 = subtract_borrow(t0, FIELD[0], &borrow);
    uint64_t s1 = subtract_borrow(t1, FIELD[1], &borrow);
    uint64_t s2 = subtract_borrow(t2, FIELD[2], &borrow);
    uint64_t s3 = subtract_borrow(t3, FIELD[3], &borrow);
    (void)subtract_borrow(t4, 0, &borrow);
    uint64_t keep = (uint64_t)0 - borrow;
    out->limb[0] = s0 ^ ((s0 ^ t0) & keep);
    out->limb[1] = s1 ^ ((s1 ^ t1) & keep);
    out->limb[2] = s2 ^ ((s2 ^ t2) & keep);
    out->limb[3] = s3 ^ ((s3 ^ t3) & keep);
}

static inline void fe_add(fe *out, const fe *a, const fe *b) {
    carry_t carry = 0;
    uint64_t t0 = add_carry(a->limb[0], b->limb[0], &carry);
    uint64_t t1 = add_carry(a->limb[1], b->limb[1], &carry);
    uint64_t t2 = add_carry(a->limb[2], b->limb[2], &carry);
    uint64_t t3 = add_carry(a->limb[3], b->limb[3], &carry);
    fe_finish(out, t0, t1, t2, t3, carry);
}

static inline void fe_subtract(fe *out, const fe *a, const fe *b) {
    carry_t borrow = 0, carry = 0;
    uint64_t t0 = subtract_borrow(a->limb[0], b->limb[0], &borrow);
    uint64_t t1 = subtract_borrow(a->limb[1], b->limb[1], &borrow);
    uint64_t t2 = subtract_borrow(a->limb[2], b->limb[2], &borrow);
    uint64_t t3 = subtract_borrow(a->limb[3], b->limb[3], &borrow);
    uint64_t below = (uint64_t)0 - borrow; /* all ones when p must be added back */
    out->limb[0] = add_carry(t0, FIELD[0] & below, &carry);
    out->limb[1] = add_carry(t1, FIELD[1] & below, &carry);
    out->limb[2] = add_carry(t2, FIELD[2] & below, &carry);
    out->limb[3] = add_carry(t3, FIELD[3] & below, &carry);
}

static inline void fe_negate(fe *out, const fe *a) { fe_subtract(out, &FE_ZERO, a); }

/* Add a's limb times b, then reduce. The sum fits five limbs: (2^64 - 1) * (p - 1) + 2p < 2^320. */
#define FE_MULTIPLY_ROW(limb_)                                                                                      \
    do {                                                                                                            \
        uint128 x_ = (uint128)(limb_) * b0 + t0;                                                                    \
        t0 = (uint64_t)x_;                                                                                          \
        x_ = (uint128)(limb_) * b1 + t1 + (uint64_t)(x_ >> 64);                                                     \
        t1 = (uint64_t)x_;                                                                                          \
        x_ = (uint128)(limb_) * b2 + t2 + (uint64_t)(x_ >> 64);                                                     \
        t2 = (uint64_t)x_;                                                                                          \
        x_ = (uint128)(limb_) * b3 + t3 + (uint64_t)(x_ >> 64);                                                     \
        t3 = (uint64_t)x_;                                                                                          \
        t4 += (uint64_t)(x_ >> 64);                                                                                 \
        FE_REDUCE(t0, t1, t2, t3, t4);                                                                              \
    } while (0)

static inline void fe_multiply(fe *out, const fe *a, const fe *b) {
    uint64_t b0 = b->limb[0], b1 = b->limb[1], b2 = b->limb[2], b3 = b->limb[3];
    uint64_t t0 = 0, t1 = 0, t2 = 0, t3 = 0, t4 = 0;
    FE_MULTIPLY_ROW(a->limb[0]);
    FE_MULTIPLY_ROW(a->limb[1]);
    FE_MULTIPLY_ROW(a->limb[2]);
    FE_MULTIPLY_ROW(a->limb[3]);
    fe_finish(out, t0, t1, t2, t3, t4);
}

static inline void fe_square(fe *out, const fe *a) {
    uint64_t a0 = a->limb[0], a1 = a->limb[1], a2 = a->limb[2], a3 = a->limb[3];
    uint64_t r0, r1, r2, r3, r4, r5, r6, r7, t4 = 0;
    carry_t c = 0;
    uint128 x = (uint128)a0 * a1;
    r1 = (uint64_t)x;
    x = (uint128)a0 * a2 + (uint64_t)(x >> 64);
    r2 = (uint64_t)x;
    x = (uint128)a0 * a3 + (uint64_t)(x >> 64);
    r3 = (uint64_t)x;
    r4 = (uint64_t)(x >> 64);
    x = (uint128)a1 * a2 + r3;
    r3 = (uint64_t)x;
    x = (uint128)a1 * a3 + r4 + (uint64_t)(x >> 64);
    r4 = (uint64_t)x;
    r5 = (uint64_t)(x >> 64);
    x = (uint128)a2 * a3 + r5;
    r5 = (uint64_t)x;
    r6 = (uint64_t)(x >> 64);
    /* Each product of two different limbs counts twice; then the squares. */
    r7 = r6 >> 63;
    r6 = r6 << 1 | r5 >> 63;
    r5 = r5 << 1 | r4 >> 63;
    r4 = r4 << 1 | r3 >> 63;
    r3 = r3 << 1 | r2 >> 63;
    r2 = r2 << 1 | r1 >> 63;
    r1 = r1 << 1;
    x = (uint128)a0 * a0;
    r0 = (uint64_t)x;
    r1 = add_carry(r1, (uint64_t)(x >> 64), &c);
    x = (uint128)a1 * a1;
    r2 = add_carry(r2, (uint64_t)x, &c);
    r3 = add_carry(r3, (uint64_t)(x >> 64), &c);
    x = (uint128)a2 * a2;
    r4 = add_carry(r4, (uint64_t)x, &c);
    r5 = add_carry(r5, (uint64_t)(x >> 64), &c);
    x = (uint128)a3 * a3;
    r6 = add_carry(r6, (uint64_t)x, &c);
    r7 = add_carry(r7, (uint64_t)(x >> 64), &c);
    /* Reduce the lower half by itself, then add the upper one. */
    FE_REDUCE(r0, r1, r2, r3, t4);
    FE_REDUCE(r0, r1, r2, r3, t4);
    FE_REDUCE(r0, r1, r2, r3, t4);
    FE_REDUCE(r0, r1, r2, r3, t4);
    c = 0;
    r0 = add_carry(r0, r4, &c);
    r1 = add_carry(r1, r5, &c);
    r2 = add_carry(r2, r6, &c);
    r3 = add_carry(r3, r7, &c);
    fe_finish(out, r0, r1, r2, r3, t4 + c);
}

ONE_COPY void fe_square_times(fe *out, const fe *a, unsigned times) {
    fe_square(out, a);
    while (--times > 0) {
        fe_square(out, out);
    }
}

/* out = a where take is all ones, unchanged where it is zero. */
static inline void fe_select(fe *out, const fe *a, uint64_t take) {
    for (unsigned i = 0; i < 4; i++) {
        out->limb[i] ^= (out->limb[i] ^ a->limb[i]) & take;
    }
}

static inline int fe_equal(const fe *a, const fe *b) {
    return ((a->limb[0] ^ b->limb[0]) | (a->limb[1] ^ b->limb[1]) | (a->limb[2] ^ b->limb[2]) |
            (a->limb[3] ^ b->limb[3])) == 0;
}

static inline int fe_is_zero(const fe *a) { return fe_equal(a, &FE_ZERO); }

/* Enter Montgomery form from four limbs below p. */
static inline void fe_from_limbs(fe *out, const uint64_t limbs[4]) {
    fe plain = {{limbs[0], limbs[1], limbs[2], limbs[3]}};
    fe_multiply(out, &plain, &FE_ENTER);
}

/* Leave Montgomery form. */
static inline void fe_to_limbs(uint64_t limbs[4], const fe *a) {
    static const fe plain_one = {{1, 0, 0, 0}};
    fe plain;
    fe_multiply(&plain, a, &plain_one);
    for (unsigned i = 0; i < 4; i++) {
        limbs[i] = plain.limb[i];
    }
}

#endif
