/* Four elements modulo p = 2^255 - 19, one in each 64-bit lane, private to this folder.
 *
 * An element is ten limbs of 26 and 25 bits in turn (radix 2^25.5), because the multiplier takes 32 bits. Its limbs lie
 * below c 2^26 and c 2^25; c is its size. Tight is a size below 1.001, what multiply, square and carry return. Multiply
 * takes sizes of up to 3.3 on the right and 4.1 on the left, so sums and differences need no carry of their own.
 *
 * Results go through a pointer, which may be that of an operand: an element has more limbs than there are registers
 * to return it in. No function branches on, or indexes by, the value of an element. */
#ifndef CS_ED25519_FIELD4_H
#define CS_ED25519_FIELD4_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    __m256i limb[10];
} field4;

#define FIELD4_INLINE static inline __attribute__((always_inline))

FIELD4_INLINE __m256i field4_constant(uint64_t limb) { return _mm256_set1_epi64x((long long)limb); }

/* Sizes add up. */
FIELD4_INLINE void field4_add(field4 *out, const field4 *a, const field4 *b)
{
    for (int i = 0; i < 10; i++) {
        out->limb[i] = _mm256_add_epi64(a->limb[i], b->limb[i]);
    }
}

/* a - b + 2 p for tight b: the size of a and 2. */
FIELD4_INLINE void field4_subtract(field4 *out, const field4 *a, const field4 *b)
{
    for (int i = 0; i < 10; i++) {
        const uint64_t twice_p = i == 0 ? 2 * ((1 << 26) - 19) : i % 2 == 0 ? 2 * ((1 << 26) - 1) : 2 * ((1 << 25) - 1);
        out->limb[i] = _mm256_sub_epi64(_mm256_add_epi64(a->limb[i], field4_constant(twice_p)), b->limb[i]);
    }
}

/* Pass what limb `from` has too much to the next; what passes 2^255 comes back times 19. */
FIELD4_INLINE void field4_pass(__m256i h[10], int from)
{
    const int bits = from % 2 == 0 ? 26 : 25;
    __m256i carry = _mm256_srli_epi64(h[from], bits);
    h[from] = _mm256_and_si256(h[from], field4_constant((UINT64_C(1) << bits) - 1));
    if (from == 9) {
        const __m256i twice = _mm256_add_epi64(carry, carry);
        carry = _mm256_add_epi64(_mm256_add_epi64(carry, twice), _mm256_slli_epi64(carry, 4));
    }
    h[(from + 1) % 10] = _mm256_add_epi64(h[(from + 1) % 10], carry);
}

/* Carry limbs below 2^63 into a tight element: two chains in step. */
FIELD4_INLINE void field4_carry(field4 *out, __m256i h[10])
{
    field4_pass(h, 0);
    field4_pass(h, 4);
    field4_pass(h, 1);
    field4_pass(h, 5);
    field4_pass(h, 2);
    field4_pass(h, 6);
    field4_pass(h, 3);
    field4_pass(h, 7);
    field4_pass(h, 4);
    field4_pass(h, 8);
    field4_pass(h, 5);
    field4_pass(h, 9);
    field4_pass(h, 0);
#pragma GCC unroll 10
    for (int i = 0; i < 10; i++) { /* unrolled, lest it become a copy through memory */
        out->limb[i] = h[i];
    }
}

#define FIELD4_PRODUCT(sum, a, b) ((sum) = _mm256_add_epi64((sum), _mm256_mul_epu32((a), (b))))

/* a b. Two odd limbs meet half a bit below their place, so their product counts twice. The largest column holds less
 * than 125 products of 2^52 times both sizes. */
FIELD4_INLINE void field4_multiply(field4 *out, const field4 *a, const field4 *b)
{
    __m256i h[10], b19[10], twice[10];
    for (int i = 0; i < 10; i++) {
        h[i] = _mm256_setzero_si256();
        b19[i] = _mm256_mul_epu32(b->limb[i], field4_constant(19));
        twice[i] = _mm256_add_epi64(a->limb[i], a->limb[i]);
    }
#pragma GCC unroll 10
    for (int i = 0; i < 10; i++) {
#pragma GCC unroll 10
        for (int j = 0; j < 10; j++) {
            FIELD4_PRODUCT(h[(i + j) % 10], i % 2 == 1 && j % 2 == 1 ? twice[i] : a->limb[i],
                           i + j >= 10 ? b19[j] : b->limb[j]);
        }
    }
    field4_carry(out, h);
}

/* a^2 for sizes of up to 1.6. */
FIELD4_INLINE void field4_square(field4 *out, const field4 *a)
{
    __m256i h[10], a19[10], twice[10], product;
    for (int i = 0; i < 10; i++) {
        h[i] = _mm256_setzero_si256();
        a19[i] = _mm256_mul_epu32(a->limb[i], field4_constant(i % 2 == 1 ? 38 : 19)); /* odd ones are needed doubled */
        twice[i] = _mm256_add_epi64(a->limb[i], a->limb[i]);
    }
#pragma GCC unroll 10
    for (int i = 0; i < 10; i++) {
#pragma GCC unroll 10
        for (int j = i; j < 10; j++) {
            /* Times 2 when the limbs are two, times 2 when both are odd, times 19 behind the last place. An even and an
             * odd limb that wrap have the 19 on the even one. */
            const int both_odd = i % 2 == 1 && j % 2 == 1, wraps = i + j >= 10;
            if (wraps && both_odd) {
                product = _mm256_mul_epu32(i == j ? a->limb[i] : twice[i], a19[j]);
            } else if (wraps) {
                const int even = i % 2 == 0 ? i : j, other = i % 2 == 0 ? j : i;
                product = _mm256_mul_epu32(i == j ? a->limb[other] : twice[other], a19[even]);
            } else if (both_odd) {
                product = _mm256_mul_epu32(twice[i], i == j ? a->limb[j] : twice[j]);
            } else {
                product = _mm256_mul_epu32(i == j ? a->limb[i] : twice[i], a->limb[j]);
            }
            h[(i + j) % 10] = _mm256_add_epi64(h[(i + j) % 10], product);
        }
    }
    field4_carry(out, h);
}

/* a in the lanes where the mask is zeros, b where it is ones. */
FIELD4_INLINE void field4_choose(field4 *out, __m256i mask, const field4 *a, const field4 *b)
{
    for (int i = 0; i < 10; i++) {
        out->limb[i] = _mm256_blendv_epi8(a->limb[i], b->limb[i], mask);
    }
}

/* Lane j of rows[i] becomes lane i of rows[j]. */
FIELD4_INLINE void transpose4(__m256i rows[4])
{
    const __m256i low0 = _mm256_unpacklo_epi64(rows[0], rows[1]), high0 = _mm256_unpackhi_epi64(rows[0], rows[1]);
    const __m256i low1 = _mm256_unpacklo_epi64(rows[2], rows[3]), high1 = _mm256_unpackhi_epi64(rows[2], rows[3]);
    rows[0] = _mm256_permute2x128_si256(low0, low1, 0x20);
    rows[1] = _mm256_permute2x128_si256(high0, high1, 0x20);
    rows[2] = _mm256_permute2x128_si256(low0, low1, 0x31);
    rows[3] = _mm256_permute2x128_si256(high0, high1, 0x31);
}

/* The element whose limbs in radix 2^51, below 2^51, are five vectors; tight. */
FIELD4_INLINE void field4_of_limbs51(field4 *out, const __m256i limbs[5])
{
    for (int i = 0; i < 5; i++) {
        out->limb[2 * i] = _mm256_and_si256(limbs[i], field4_constant((1 << 26) - 1));
        out->limb[2 * i + 1] = _mm256_srli_epi64(limbs[i], 26);
    }
}

/* The limbs in radix 2^51 of a tight element, below 2^51 + 2^42. */
FIELD4_INLINE void field4_limbs51(__m256i limbs[5], const field4 *a)
{
    for (int i = 0; i < 5; i++) {
        limbs[i] = _mm256_add_epi64(a->limb[2 * i], _mm256_slli_epi64(a->limb[2 * i + 1], 26));
    }
}

#endif
