/* Like the scalar reference, this walks eight columns of 32 bits which share their doublings. Digits are odd, so that
 * every lane adds at every step: of k two bits at a time (1 and 3 times each column are kept with the key), of S six
 * (1 to 63 times each column are constants), and the two that are left of a column. */
#if defined(__x86_64__)

#include "ed25519/avx512ifma/lanes8.h"

#include "ed25519/tables.h"

enum {
    COLUMN_BITS = CS_ED25519_COLUMN_BITS,
    KEY_DIGIT_BITS = 2,  /* of k; CS_ED25519_KEY_MULTIPLES odd multiples */
    BASE_DIGIT_BITS = 6, /* of S; CS_ED25519_BASE_MULTIPLES odd multiples */
};

_Static_assert(1 << KEY_DIGIT_BITS == 2 * CS_ED25519_KEY_MULTIPLES, "a multiple for every odd digit of k");
_Static_assert(1 << BASE_DIGIT_BITS == 2 * CS_ED25519_BASE_MULTIPLES, "a multiple for every odd digit of S");

/* An odd number that is a modulo L: a or a + L. */
static inline void odd_multiple(scalar out, const scalar a)
{
    const uint64_t mask = (a[0] & 1) - 1;
    uint64_t carry = 0;
    for (int i = 0; i < 4; i++) {
        const field_wide sum = (field_wide)a[i] + (SCALAR_ORDER[i] & mask) + carry;
        out[i] = (uint64_t)sum;
        carry = (uint64_t)(sum >> 64);
    }
}

/* The digit of an odd number for its bits from `at` on, `bits` of them: odd and below 2^bits in magnitude, returned as
 * twice the index of its magnitude among the odd multiples, plus its sign. Whatever the widths, the digit is the bits
 * one place higher, doubled, plus 1, less the 2^bits that the next digit's 1 stands for; the last has no next. */
static inline uint32_t odd_digit(const scalar a, int at, int bits)
{
    const int from = at + 1;
    uint64_t window = a[from / 64] >> (from % 64);
    if (from % 64 + bits > 64 && from / 64 < 3) {
        window |= a[from / 64 + 1] << (64 - from % 64);
    }
    const int32_t value = 2 * (int32_t)(window & ((UINT64_C(1) << bits) - 1)) + 1;
    const int32_t digit = at + bits == 256 ? value : value - (1 << bits);
    const uint32_t negative = digit < 0;
    return ((uint32_t)(negative ? -digit : digit) >> 1) << 1 | negative;
}

uint32_t cs_ed25519_single_verify8(const single_item items[8], size_t count)
{
    (void)count;
    static const uint64_t zero[5] = {0};
    const field8 one8 = field8_broadcast(FIELD_ONE), zero8 = field8_broadcast(zero);
    point8 sum = {one8, one8, one8, zero8};
    scalar challenges[8], responses[8];
    const uint64_t *words[8];
    for (int lane = 0; lane < 8; lane++) {
        odd_multiple(challenges[lane], items[lane].challenge);
        odd_multiple(responses[lane], items[lane].response);
    }
    for (int at = COLUMN_BITS - KEY_DIGIT_BITS; at >= 0; at -= KEY_DIGIT_BITS) {
        point8_double(&sum, 0);
        point8_double(&sum, 1);
        for (int column = 0; column < CS_ED25519_COLUMNS; column++) {
            uint32_t negative = 0;
            for (int lane = 0; lane < 8; lane++) {
                const uint32_t digit = odd_digit(challenges[lane], COLUMN_BITS * column + at, KEY_DIGIT_BITS);
                words[lane] = items[lane].key->columns[column][digit >> 1].y_plus_x;
                negative |= ((digit & 1) ^ 1) << lane; /* -k */
            }
            const affine8 term = affine8_load(words, (__mmask8)negative);
            point8_add_affine(&sum, &term, (__mmask8)negative);
        }
        const int left = COLUMN_BITS - at, bits = left < BASE_DIGIT_BITS ? left : BASE_DIGIT_BITS;
        for (int column = 0; column < CS_ED25519_COLUMNS && at % BASE_DIGIT_BITS == 0; column++) {
            uint32_t negative = 0;
            for (int lane = 0; lane < 8; lane++) {
                const uint32_t digit = odd_digit(responses[lane], COLUMN_BITS * column + at, bits);
                words[lane] = cs_ed25519_base_columns[column][digit >> 1].y_plus_x;
                negative |= (digit & 1) << lane;
            }
            const affine8 term = affine8_load(words, (__mmask8)negative);
            point8_add_affine(&sum, &term, (__mmask8)negative);
        }
    }
    for (int lane = 0; lane < 8; lane++) {
        words[lane] = items[lane].commitment;
    }
    const affine8 commitment = affine8_load(words, 0xff);
    point8_add_affine(&sum, &commitment, 0xff);
    for (int i = 0; i < 3; i++) {
        point8_double(&sum, 0);
    }
    return point8_identity_lanes(&sum);
}

#pragma GCC pop_options

#endif

typedef int cs_ed25519_single8_is_not_empty; /* ISO C wants a declaration in every file */
