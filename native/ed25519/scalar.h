/* Scalars modulo the group order L = 2^252 + 27742317777372353535851937790883648493, private to this folder.
 *
 * A scalar is uint64_t[4], little-endian limbs. Everything is constant time except the recoding for public scalars,
 * whose name says variable_time. */
#ifndef CS_ED25519_SCALAR_H
#define CS_ED25519_SCALAR_H

#include "ed25519/field.h"

typedef uint64_t scalar[4];

static const scalar SCALAR_ORDER = {0x5812631a5cf5d3ed, 0x14def9dea2f79cd6, 0, 0x1000000000000000};
/* floor(2^512 / L), for Barrett's reduction. */
static const uint64_t SCALAR_RECIPROCAL[5] = {
    0xed9ce5a30a2c131b, 0x2106215d086329a7, 0xffffffffffffffeb, 0xffffffffffffffff, 0xf};

static inline void scalar_load(scalar out, const uint8_t bytes[32])
{
    for (int i = 0; i < 4; i++) {
        out[i] = field_load_word(bytes + 8 * i);
    }
}

static inline void scalar_store(uint8_t bytes[32], const scalar a)
{
    for (int i = 0; i < 4; i++) {
        field_store_word(bytes + 8 * i, a[i]);
    }
}

/* out = a - L; returns 1 when that borrows, which is when a < L. out may be a. */
static inline uint64_t scalar_subtract_order(scalar out, const scalar a)
{
    uint64_t borrow = 0;
    for (int i = 0; i < 4; i++) {
        const field_wide difference = (field_wide)a[i] - SCALAR_ORDER[i] - borrow;
        out[i] = (uint64_t)difference;
        borrow = (uint64_t)(difference >> 64) & 1;
    }
    return borrow;
}

/* Return 1 when a < L, as S of a signature must be. */
static inline int scalar_is_canonical(const scalar a)
{
    scalar unused;
    return (int)scalar_subtract_order(unused, a);
}

/* out = x mod L for any 512-bit x: Barrett's method, Handbook of Applied Cryptography 14.42 with base 2^64, k = 4.
 * The quotient estimate falls short by at most two, so two conditional subtractions finish. */
static inline void scalar_reduce(scalar out, const uint64_t x[8])
{
    uint64_t product[10] = {0}; /* floor(x / 2^192) times the reciprocal; its limbs 5 to 9 are the quotient */
    for (int i = 0; i < 5; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < 5; j++) {
            const field_wide t = (field_wide)x[3 + i] * SCALAR_RECIPROCAL[j] + product[i + j] + carry;
            product[i + j] = (uint64_t)t;
            carry = (uint64_t)(t >> 64);
        }
        product[i + 5] = carry;
    }
    const uint64_t *quotient = product + 5;
    uint64_t multiple[4] = {0}; /* quotient times L modulo 2^256: the remainder is below 3 L, and that below 2^256 */
    for (int i = 0; i < 4; i++) {
        uint64_t carry = 0;
        for (int j = 0; i + j < 4; j++) {
            const field_wide t = (field_wide)quotient[i] * SCALAR_ORDER[j] + multiple[i + j] + carry;
            multiple[i + j] = (uint64_t)t;
            carry = (uint64_t)(t >> 64);
        }
    }
    uint64_t borrow = 0;
    for (int i = 0; i < 4; i++) {
        const field_wide difference = (field_wide)x[i] - multiple[i] - borrow;
        out[i] = (uint64_t)difference;
        borrow = (uint64_t)(difference >> 64) & 1;
    }
    for (int pass = 0; pass < 2; pass++) {
        scalar less;
        const uint64_t keep = 0 - scalar_subtract_order(less, out);
        for (int i = 0; i < 4; i++) {
            out[i] = (out[i] & keep) | (less[i] & ~keep);
        }
    }
}

/* out = the 64-byte little-endian number modulo L. */
static inline void scalar_from_digest(scalar out, const uint8_t digest[64])
{
    uint64_t x[8];
    for (int i = 0; i < 8; i++) {
        x[i] = field_load_word(digest + 8 * i);
    }
    scalar_reduce(out, x);
}

/* out = a b + c modulo L, for c < L and a b < 2^511. */
static inline void scalar_multiply_add(scalar out, const scalar a, const scalar b, const scalar c)
{
    uint64_t x[8] = {c[0], c[1], c[2], c[3], 0, 0, 0, 0};
    for (int i = 0; i < 4; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < 4; j++) {
            const field_wide t = (field_wide)a[i] * b[j] + x[i + j] + carry;
            x[i + j] = (uint64_t)t;
            carry = (uint64_t)(t >> 64);
        }
        x[i + 4] = carry; /* no row before this one has written limb i + 4 */
    }
    scalar_reduce(out, x);
}

/* Write a, below 2^255, as 64 digits of -8 to 8 in radix 16 (only the last can be 8). */
static inline void scalar_to_radix_16(int8_t digits[64], const scalar a)
{
    int carry = 0;
    for (int i = 0; i < 64; i++) {
        const int digit = (int)(a[i / 16] >> (4 * (i % 16)) & 15) + carry;
        carry = i == 63 ? 0 : (digit + 8) >> 4;
        digits[i] = (int8_t)(digit - 16 * carry);
    }
}

/* Write a public scalar below 2^254 in width-w non-adjacent form: 256 digits, each zero or odd and below 2^(w - 1) in
 * magnitude, at least w - 1 zeros after each that is not. */
static inline void scalar_recode_variable_time(int8_t digits[256], const scalar a, int width)
{
    memset(digits, 0, 256);
    int carry = 0;
    for (int at = 0; at < 256;) {
        if ((int)(a[at / 64] >> (at % 64) & 1) == carry) {
            at++;
            continue;
        }
        uint64_t bits = a[at / 64] >> (at % 64);
        if (at % 64 > 64 - width && at / 64 < 3) {
            bits |= a[at / 64 + 1] << (64 - at % 64);
        }
        int digit = (int)(bits & ((UINT64_C(1) << width) - 1)) + carry;
        carry = digit >> (width - 1);
        digit -= carry << width;
        digits[at] = (int8_t)digit;
        at += width;
    }
}

#endif
