/* Arithmetic modulo p = 2^255 - 19 in five limbs of 51 bits (radix 2^51), private to this folder.
 *
 * An element is uint64_t[5], little-endian limbs, value = sum limb[i] * 2^(51 i). Two bounds matter:
 *   tight: each limb below 2^51 + 2^15, what multiply and square return;
 *   loose: each limb below 2^54, what multiply and square accept.
 * One add or one subtract of tight elements is loose; each function states what it needs. Results may alias inputs.
 * No function branches on, or indexes by, the value of an element, except those whose name says variable_time. */
#ifndef CS_ED25519_FIELD_H
#define CS_ED25519_FIELD_H

#include <stdint.h>
#include <string.h>

typedef uint64_t field[5];
__extension__ typedef unsigned __int128 field_wide;

#define FIELD_LIMB_MASK ((UINT64_C(1) << 51) - 1)

static const field FIELD_ZERO = {0, 0, 0, 0, 0};
static const field FIELD_ONE = {1, 0, 0, 0, 0};
/* d = -121665/121666, 2d, and the even square root of -1 (RFC 8032, 5.1). */
static const field FIELD_D = {0x34dca135978a3, 0x1a8283b156ebd, 0x5e7a26001c029, 0x739c663a03cbb, 0x52036cee2b6ff};
static const field FIELD_2D = {0x69b9426b2f159, 0x35050762add7a, 0x3cf44c0038052, 0x6738cc7407977, 0x2406d9dc56dff};
static const field FIELD_ROOT_OF_MINUS_ONE = {
    0x61b274a0ea0b0, 0x0d5a5fc8f189d, 0x7ef5e9cbd0c60, 0x78595a6804c9e, 0x2b8324804fc1d};

static inline void field_copy(field out, const field a) { memcpy(out, a, sizeof(field)); }

/* out = a + b: bounds add up. */
static inline void field_add(field out, const field a, const field b)
{
    for (int i = 0; i < 5; i++) {
        out[i] = a[i] + b[i];
    }
}

/* out = a - b for tight b: 2p is added, so that no limb falls below zero; out exceeds a by less than 2^52 a limb. */
static inline void field_subtract(field out, const field a, const field b)
{
    out[0] = a[0] + 0xfffffffffffda - b[0];
    for (int i = 1; i < 5; i++) {
        out[i] = a[i] + 0xffffffffffffe - b[i];
    }
}

/* out = a - b for b below 2^52 + 2^51 + 2^18 a limb: 4p is added; out exceeds a by less than 2^53 a limb. */
static inline void field_subtract_loose(field out, const field a, const field b)
{
    out[0] = a[0] + 0x1fffffffffffb4 - b[0];
    for (int i = 1; i < 5; i++) {
        out[i] = a[i] + 0x1ffffffffffffc - b[i];
    }
}

/* Carry five wide columns into a tight element. Each column must stay below 2^115, the highest below 2^111. */
static inline void field_carry_wide(field out, field_wide c0, field_wide c1, field_wide c2, field_wide c3,
                                    field_wide c4)
{
    c1 += (uint64_t)(c0 >> 51);
    c2 += (uint64_t)(c1 >> 51);
    c3 += (uint64_t)(c2 >> 51);
    c4 += (uint64_t)(c3 >> 51);
    const uint64_t low = ((uint64_t)c0 & FIELD_LIMB_MASK) + 19 * (uint64_t)(c4 >> 51);
    out[0] = low & FIELD_LIMB_MASK;
    out[1] = ((uint64_t)c1 & FIELD_LIMB_MASK) + (low >> 51);
    out[2] = (uint64_t)c2 & FIELD_LIMB_MASK;
    out[3] = (uint64_t)c3 & FIELD_LIMB_MASK;
    out[4] = (uint64_t)c4 & FIELD_LIMB_MASK;
}

/* out = a b: loose in, tight out. What passes 2^255 folds back times 19. */
static inline void field_multiply(field out, const field a, const field b)
{
    const uint64_t a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3], a4 = a[4];
    const uint64_t b0 = b[0], b1 = b[1], b2 = b[2], b3 = b[3], b4 = b[4];
    const uint64_t f1 = 19 * b1, f2 = 19 * b2, f3 = 19 * b3, f4 = 19 * b4;
    const field_wide c0 = (field_wide)a0 * b0 + (field_wide)a1 * f4 + (field_wide)a2 * f3 + (field_wide)a3 * f2 +
                          (field_wide)a4 * f1;
    const field_wide c1 = (field_wide)a0 * b1 + (field_wide)a1 * b0 + (field_wide)a2 * f4 + (field_wide)a3 * f3 +
                          (field_wide)a4 * f2;
    const field_wide c2 = (field_wide)a0 * b2 + (field_wide)a1 * b1 + (field_wide)a2 * b0 + (field_wide)a3 * f4 +
                          (field_wide)a4 * f3;
    const field_wide c3 = (field_wide)a0 * b3 + (field_wide)a1 * b2 + (field_wide)a2 * b1 + (field_wide)a3 * b0 +
                          (field_wide)a4 * f4;
    const field_wide c4 = (field_wide)a0 * b4 + (field_wide)a1 * b3 + (field_wide)a2 * b2 + (field_wide)a3 * b1 +
                          (field_wide)a4 * b0;
    field_carry_wide(out, c0, c1, c2, c3, c4);
}

/* out = a^2: loose in, tight out. */
static inline void field_square(field out, const field a)
{
    const uint64_t a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3], a4 = a[4];
    const uint64_t twice0 = 2 * a0, twice1 = 2 * a1, f3 = 19 * a3, f4 = 19 * a4;
    const field_wide c0 = (field_wide)a0 * a0 + (field_wide)twice1 * f4 + (field_wide)(2 * a2) * f3;
    const field_wide c1 = (field_wide)twice0 * a1 + (field_wide)(2 * a2) * f4 + (field_wide)a3 * f3;
    const field_wide c2 = (field_wide)twice0 * a2 + (field_wide)a1 * a1 + (field_wide)(2 * a3) * f4;
    const field_wide c3 = (field_wide)twice0 * a3 + (field_wide)twice1 * a2 + (field_wide)a4 * f4;
    const field_wide c4 = (field_wide)twice0 * a4 + (field_wide)twice1 * a3 + (field_wide)a2 * a2;
    field_carry_wide(out, c0, c1, c2, c3, c4);
}

static inline void field_square_times(field out, const field a, int count)
{
    field_square(out, a);
    for (int i = 1; i < count; i++) {
        field_square(out, out);
    }
}

/* Write a^(2^250 - 1) and a^11, which both exponents below share. */
static inline void field_power_shared(field power_250, field power_11, const field a)
{
    field t, u, v;
    field_square(t, a);                 /* 2 */
    field_square_times(u, t, 2);        /* 8 */
    field_multiply(u, u, a);            /* 9 */
    field_multiply(power_11, u, t);     /* 11 */
    field_square(t, power_11);          /* 22 */
    field_multiply(t, t, u);            /* 2^5 - 1 */
    field_square_times(u, t, 5);
    field_multiply(t, u, t);            /* 2^10 - 1 */
    field_square_times(u, t, 10);
    field_multiply(u, u, t);            /* 2^20 - 1 */
    field_square_times(v, u, 20);
    field_multiply(u, v, u);            /* 2^40 - 1 */
    field_square_times(u, u, 10);
    field_multiply(t, u, t);            /* 2^50 - 1 */
    field_square_times(u, t, 50);
    field_multiply(u, u, t);            /* 2^100 - 1 */
    field_square_times(v, u, 100);
    field_multiply(u, v, u);            /* 2^200 - 1 */
    field_square_times(u, u, 50);
    field_multiply(power_250, u, t);
}

/* out = a^(p - 2), the inverse of a, and 0 for 0. */
static inline void field_invert(field out, const field a)
{
    field power, power_11;
    field_power_shared(power, power_11, a);
    field_square_times(power, power, 5);
    field_multiply(out, power, power_11);
}

/* out = a^((p - 5) / 8), the heart of the square root (RFC 8032, 5.1.3). */
static inline void field_power_of_root(field out, const field a)
{
    field power, power_11;
    field_power_shared(power, power_11, a);
    field_square_times(power, power, 2);
    field_multiply(out, power, a);
}

/* Reduce a loose element fully: the one representative below p. */
static inline void field_canonical(field out, const field a)
{
    field t;
    field_copy(t, a);
    for (int pass = 0; pass < 2; pass++) { /* after two passes every limb but the lowest is below 2^51 */
        for (int i = 0; i < 4; i++) {
            t[i + 1] += t[i] >> 51;
            t[i] &= FIELD_LIMB_MASK;
        }
        t[0] += 19 * (t[4] >> 51);
        t[4] &= FIELD_LIMB_MASK;
    }
    /* Now t < 2^255 + 19. Adding 19 overflows 2^255 just when t >= p; that carry subtracts p. */
    uint64_t carry = (t[0] + 19) >> 51;
    for (int i = 1; i < 5; i++) {
        carry = (t[i] + carry) >> 51;
    }
    t[0] += 19 * carry;
    for (int i = 0; i < 4; i++) {
        t[i + 1] += t[i] >> 51;
        t[i] &= FIELD_LIMB_MASK;
    }
    t[4] &= FIELD_LIMB_MASK;
    field_copy(out, t);
}

/* out = -a for tight a, tight again. */
static inline void field_negate(field out, const field a)
{
    field_subtract(out, FIELD_ZERO, a);
    field_canonical(out, out);
}

static inline uint64_t field_load_word(const uint8_t bytes[8])
{
    uint64_t word = 0;
    for (int i = 7; i >= 0; i--) {
        word = word << 8 | bytes[i];
    }
    return word;
}

static inline void field_store_word(uint8_t bytes[8], uint64_t word)
{
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(word >> (8 * i));
    }
}

/* Read the low 255 bits of 32 little-endian bytes, without reducing them; tight. */
static inline void field_decode(field out, const uint8_t bytes[32])
{
    const uint64_t w0 = field_load_word(bytes), w1 = field_load_word(bytes + 8);
    const uint64_t w2 = field_load_word(bytes + 16), w3 = field_load_word(bytes + 24);
    out[0] = w0 & FIELD_LIMB_MASK;
    out[1] = (w0 >> 51 | w1 << 13) & FIELD_LIMB_MASK;
    out[2] = (w1 >> 38 | w2 << 26) & FIELD_LIMB_MASK;
    out[3] = (w2 >> 25 | w3 << 39) & FIELD_LIMB_MASK;
    out[4] = w3 >> 12 & FIELD_LIMB_MASK;
}

/* Write a loose element as 32 canonical little-endian bytes; the top bit is 0. */
static inline void field_encode(uint8_t bytes[32], const field a)
{
    field t;
    field_canonical(t, a);
    field_store_word(bytes, t[0] | t[1] << 51);
    field_store_word(bytes + 8, t[1] >> 13 | t[2] << 38);
    field_store_word(bytes + 16, t[2] >> 26 | t[3] << 25);
    field_store_word(bytes + 24, t[3] >> 39 | t[4] << 12);
}

/* Return 1 when two loose elements are equal modulo p, else 0. */
static inline int field_equal(const field a, const field b)
{
    field t, u;
    field_canonical(t, a);
    field_canonical(u, b);
    uint64_t difference = 0;
    for (int i = 0; i < 5; i++) {
        difference |= t[i] ^ u[i];
    }
    return difference == 0;
}

/* Return the lowest bit of the canonical value: the sign of x in an encoded point. */
static inline int field_low_bit(const field a)
{
    field t;
    field_canonical(t, a);
    return (int)(t[0] & 1);
}

/* out = a when choose is 1, unchanged when it is 0. */
static inline void field_choose(field out, const field a, uint64_t choose)
{
    const uint64_t mask = 0 - choose;
    for (int i = 0; i < 5; i++) {
        out[i] ^= mask & (out[i] ^ a[i]);
    }
}

#endif
