/* Numbers of 256 bits as four 64-bit limbs, the lowest first: what field and order share. All constant time. */
#ifndef CS_WEIERSTRASS_LIMBS_H
#define CS_WEIERSTRASS_LIMBS_H

#include <stdint.h>

__extension__ typedef unsigned __int128 uint128;

/* A number modulo the p of a curve, as its field.h keeps it. */
typedef struct {
    uint64_t limb[4]; /* the lowest first */
} fe;

/* For functions of many multiplications, of which one copy is enough: compiling them inline takes most of the time. */
#define ONE_COPY static __attribute__((noinline, unused))

/* With the 128-bit type alone, compilers rebuild each carry from a comparison; the carry instructions are twice as
 * fast for the whole signature. CS_WEIERSTRASS_PORTABLE keeps to the type, for tests. */
#if defined(__x86_64__) && !defined(CS_WEIERSTRASS_PORTABLE)
#include <immintrin.h>

typedef unsigned char carry_t;

static inline uint64_t add_carry(uint64_t a, uint64_t b, carry_t *carry) {
    unsigned long long sum;
    *carry = _addcarry_u64(*carry, a, b, &sum);
    return sum;
}

static inline uint64_t subtract_borrow(uint64_t a, uint64_t b, carry_t *borrow) {
    unsigned long long difference;
    *borrow = _subborrow_u64(*borrow, a, b, &difference);
    return difference;
}
#else
typedef uint64_t carry_t;

static inline uint64_t add_carry(uint64_t a, uint64_t b, carry_t *carry) {
    uint128 sum = (uint128)a + b + *carry;
    *carry = (uint64_t)(sum >> 64);
    return (uint64_t)sum;
}

static inline uint64_t subtract_borrow(uint64_t a, uint64_t b, carry_t *borrow) {
    uint128 difference = (uint128)a - b - *borrow;
    *borrow = (uint64_t)(difference >> 64) & 1;
    return (uint64_t)difference;
}
#endif

static inline void limbs_load(uint64_t limbs[4], const uint8_t bytes[32]) {
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *p = bytes + 24 - 8 * i;
        limbs[i] = (uint64_t)p[0] << 56 | (uint64_t)p[1] << 48 | (uint64_t)p[2] << 40 | (uint64_t)p[3] << 32 |
                   (uint64_t)p[4] << 24 | (uint64_t)p[5] << 16 | (uint64_t)p[6] << 8 | (uint64_t)p[7];
    }
}

static inline void limbs_store(uint8_t bytes[32], const uint64_t limbs[4]) {
    for (unsigned i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)(limbs[3 - i / 8] >> (56 - 8 * (i % 8)));
    }
}

/* 1 when a is below b, else 0. */
static inline uint64_t limbs_below(const uint64_t a[4], const uint64_t b[4]) {
    carry_t borrow = 0;
    for (unsigned i = 0; i < 4; i++) {
        (void)subtract_borrow(a[i], b[i], &borrow);
    }
    return borrow;
}

/* 1 when a is zero, else 0. */
static inline uint64_t limbs_are_zero(const uint64_t a[4]) {
    uint64_t any = a[0] | a[1] | a[2] | a[3];
    return ((any | ((uint64_t)0 - any)) >> 63) ^ 1;
}

#endif
