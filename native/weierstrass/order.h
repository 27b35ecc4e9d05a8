/* Numbers modulo n, the order of the group of a curve whose own order.h includes this: four limbs below n. All constant
 * time; outputs may alias inputs. Only order_multiply works on Montgomery form (times 2^256); the rest does not care.
 *
 * That header defines before: ORDER (n, above 2^255), ORDER_MINUS_2, ORDER_ENTER (2^512 mod n) and
 * ORDER_NEGATIVE_INVERSE (-1 / n mod 2^64).
 */
#ifndef CS_WEIERSTRASS_ORDER_H
#define CS_WEIERSTRASS_ORDER_H

#include "weierstrass/limbs.h"

/* Take n away once if the number of five limbs is at least n. */
static inline void order_finish(uint64_t out[4], const uint64_t t[4], uint64_t top) {
    carry_t borrow = 0;
    uint64_t s[4];
    for (unsigned i = 0; i < 4; i++) {
        s[i] = subtract_borrow(t[i], ORDER[i], &borrow);
    }
    (void)subtract_borrow(top, 0, &borrow);
    uint64_t keep = (uint64_t)0 - borrow;
    for (unsigned i = 0; i < 4; i++) {
        out[i] = s[i] ^ ((s[i] ^ t[i]) & keep);
    }
}

/* Any 256-bit number modulo n, which is above 2^255. */
static inline void order_reduce(uint64_t out[4], const uint64_t a[4]) { order_finish(out, a, 0); }

static inline void order_add(uint64_t out[4], const uint64_t a[4], const uint64_t b[4]) {
    carry_t carry = 0;
    uint64_t t[4];
    for (unsigned i = 0; i < 4; i++) {
        t[i] = add_carry(a[i], b[i], &carry);
    }
    order_finish(out, t, carry);
}

static inline void order_subtract(uint64_t out[4], const uint64_t a[4], const uint64_t b[4]) {
    carry_t borrow = 0, carry = 0;
    uint64_t t[4];
    for (unsigned i = 0; i < 4; i++) {
        t[i] = subtract_borrow(a[i], b[i], &borrow);
    }
    uint64_t below = (uint64_t)0 - borrow;
    for (unsigned i = 0; i < 4; i++) {
        out[i] = add_carry(t[i], ORDER[i] & below, &carry);
    }
}

/* a * b / 2^256 mod n. The running sum needs a sixth limb of one bit, because n is close to 2^256. */
ONE_COPY void order_multiply(uint64_t out[4], const uint64_t a[4], const uint64_t b[4]) {
    uint64_t t[6] = {0};
    for (unsigned i = 0; i < 4; i++) {
        uint128 x = 0;
        for (unsigned j = 0; j < 4; j++) {
            x = (uint128)a[i] * b[j] + t[j] + (uint64_t)(x >> 64);
            t[j] = (uint64_t)x;
        }
        x = (uint128)t[4] + (uint64_t)(x >> 64);
        t[4] = (uint64_t)x;
        t[5] = (uint64_t)(x >> 64);
        uint64_t m = t[0] * ORDER_NEGATIVE_INVERSE;
        x = (uint128)m * ORDER[0] + t[0];
        for (unsigned j = 1; j < 4; j++) {
            x = (uint128)m * ORDER[j] + t[j] + (uint64_t)(x >> 64);
            t[j - 1] = (uint64_t)x;
        }
        x = (uint128)t[4] + (uint64_t)(x >> 64);
        t[3] = (uint64_t)x;
        t[4] = t[5] + (uint64_t)(x >> 64);
    }
    order_finish(out, t, t[4]);
}

static inline void order_enter(uint64_t out[4], const uint64_t a[4]) { order_multiply(out, a, ORDER_ENTER); }

static inline void order_leave(uint64_t out[4], const uint64_t a[4]) {
    static const uint64_t plain_one[4] = {1, 0, 0, 0};
    order_multiply(out, a, plain_one);
}

/* a^(n-2), from Montgomery form to Montgomery form, four bits of the public exponent at a time. Zero gives zero. */
ONE_COPY void order_invert(uint64_t out[4], const uint64_t a[4]) {
    uint64_t powers[16][4], r[4];
    static const uint64_t plain_one[4] = {1, 0, 0, 0};
    order_enter(powers[0], plain_one);
    for (unsigned i = 1; i < 16; i++) {
        order_multiply(powers[i], powers[i - 1], a);
    }
    for (unsigned i = 0; i < 4; i++) {
        r[i] = powers[0][i];
    }
    for (unsigned digit = 64; digit-- > 0;) {
        for (unsigned i = 0; i < 4; i++) {
            order_multiply(r, r, r);
        }
        order_multiply(r, r, powers[(ORDER_MINUS_2[digit / 16] >> (4 * (digit % 16))) & 15]);
    }
    for (unsigned i = 0; i < 4; i++) {
        out[i] = r[i];
    }
}

#endif
