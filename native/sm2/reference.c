/* Loading keys and verifying, for public data: s * G + t * A with windows, and a comparison that divides nothing. */
#include <string.h>

#include "sm2/curve.h"
#include "sm2/order.h"
#include "sm2/sm2.h"
#include "sm2/tables.h"
#include "sm3/sm3.h"

enum { CHUNK_BITS = 64, CHUNK_DIGITS = CHUNK_BITS + 1, KEY_WINDOW_BITS = 5 };
_Static_assert(CS_SM2_CHUNKS * CHUNK_BITS == 256, "the chunks make up a scalar");
_Static_assert(CS_SM2_MULTIPLES == 1 << (KEY_WINDOW_BITS - 2), "one multiple for each odd digit");
_Static_assert(sizeof(cs_sm2_key) == 96 + 64 * CS_SM2_CHUNKS * CS_SM2_MULTIPLES, "a key has no padding");

/* ENTL || user id || a || b || xG || yG: what comes before the key in Z. */
static const uint8_t Z_PREFIX[2 + 16 + 4 * 32] = {
    0x00, 0x80, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36,
    0x37, 0x38, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xfc, 0x28, 0xe9, 0xfa, 0x9e, 0x9d, 0x9f, 0x5e, 0x34, 0x4d, 0x5a, 0x9e, 0x4b, 0xcf, 0x65,
    0x09, 0xa7, 0xf3, 0x97, 0x89, 0xf5, 0x15, 0xab, 0x8f, 0x92, 0xdd, 0xbc, 0xbd, 0x41, 0x4d, 0x94,
    0x0e, 0x93, 0x32, 0xc4, 0xae, 0x2c, 0x1f, 0x19, 0x81, 0x19, 0x5f, 0x99, 0x04, 0x46, 0x6a, 0x39,
    0xc9, 0x94, 0x8f, 0xe3, 0x0b, 0xbf, 0xf2, 0x66, 0x0b, 0xe1, 0x71, 0x5a, 0x45, 0x89, 0x33, 0x4c,
    0x74, 0xc7, 0xbc, 0x37, 0x36, 0xa2, 0xf4, 0xf6, 0x77, 0x9c, 0x59, 0xbd, 0xce, 0xe3, 0x6b, 0x69,
    0x21, 0x53, 0xd0, 0xa9, 0x87, 0x7c, 0xc6, 0x2a, 0x47, 0x40, 0x02, 0xdf, 0x32, 0xe5, 0x21, 0x39,
    0xf0, 0xa0,
};

void cs_sm2_z_value(uint8_t z[32], const uint8_t public_key[64]) {
    cs_sm3_ctx ctx;
    cs_sm3_init(&ctx);
    cs_sm3_update(&ctx, Z_PREFIX, sizeof Z_PREFIX);
    cs_sm3_update(&ctx, public_key, 64);
    cs_sm3_final(z, &ctx);
}

const char *cs_sm2_strerror(int code) {
    switch (code) {
    case CS_SM2_KEY_RANGE:
        return "a coordinate of the public key is not below p";
    case CS_SM2_KEY_CURVE:
        return "the public key is not a point of the curve";
    case CS_SM2_SECRET_RANGE:
        return "the secret is not in [1, n-2]";
    default:
        return "no error of this kernel";
    }
}

/* Fill the odd multiples of point, Jacobian, into row. */
static void odd_multiples(jacobian row[CS_SM2_MULTIPLES], const jacobian *point) {
    /* On a curve scaled so that twice the point has Z = 1, the additions are mixed ones; scaled back at the end.
     * The doubled point's Z is the scale: (x, y) there stands for (x / Z^2, y / Z^3) here. */
    jacobian twice;
    affine step;
    fe zz, zzz;
    jacobian_double(&twice, point);
    step.x = twice.x, step.y = twice.y;
    fe_square(&zz, &twice.z);
    fe_multiply(&zzz, &zz, &twice.z);
    fe_multiply(&row[0].x, &point->x, &zz);
    fe_multiply(&row[0].y, &point->y, &zzz);
    row[0].z = point->z;
    for (unsigned j = 1; j < CS_SM2_MULTIPLES; j++) {
        row[j] = row[j - 1];
        jacobian_add_affine(&row[j], &step);
    }
    for (unsigned j = 0; j < CS_SM2_MULTIPLES; j++) {
        fe_multiply(&row[j].z, &row[j].z, &twice.z);
    }
}

/* Make all points affine with one inversion; none is infinity, because the group's order is prime and large. */
static void all_affine(cs_sm2_point *out, const jacobian *points, unsigned count) {
    fe before[CS_SM2_CHUNKS * CS_SM2_MULTIPLES], inverse, own, square;
    affine result;
    before[0] = FE_ONE;
    for (unsigned i = 1; i < count; i++) {
        fe_multiply(&before[i], &before[i - 1], &points[i - 1].z);
    }
    fe_multiply(&inverse, &before[count - 1], &points[count - 1].z);
    fe_invert(&inverse, &inverse);
    for (unsigned i = count; i-- > 0;) {
        fe_multiply(&own, &inverse, &before[i]);
        fe_multiply(&inverse, &inverse, &points[i].z);
        fe_square(&square, &own);
        fe_multiply(&result.x, &points[i].x, &square);
        fe_multiply(&square, &square, &own);
        fe_multiply(&result.y, &points[i].y, &square);
        affine_store(&out[i], &result);
    }
}

int cs_sm2_key_load(cs_sm2_key *key, const uint8_t public_key[64]) {
    uint64_t x[4], y[4];
    affine point;
    jacobian chunk, points[CS_SM2_CHUNKS][CS_SM2_MULTIPLES];
    limbs_load(x, public_key);
    limbs_load(y, public_key + 32);
    if (!limbs_below(x, FIELD) || !limbs_below(y, FIELD)) {
        return CS_SM2_KEY_RANGE;
    }
    fe_from_limbs(&point.x, x);
    fe_from_limbs(&point.y, y);
    if (!affine_on_curve(&point)) {
        return CS_SM2_KEY_CURVE;
    }
    memcpy(key->public_key, public_key, 64);
    cs_sm2_z_value(key->z, public_key);
    chunk.x = point.x, chunk.y = point.y, chunk.z = FE_ONE;
    for (unsigned i = 0; i < CS_SM2_CHUNKS; i++) {
        odd_multiples(points[i], &chunk);
        for (unsigned bit = 0; bit < CHUNK_BITS && i + 1 < CS_SM2_CHUNKS; bit++) {
            jacobian_double(&chunk, &chunk);
        }
    }
    all_affine(&key->multiples[0][0], &points[0][0], CS_SM2_CHUNKS * CS_SM2_MULTIPLES);
    return 0;
}

/* Write a chunk as a sum of digits[i] * 2^i, each 0 or odd and below 16 in size, at most one of five in a row not 0. */
static void recode_chunk(int8_t digits[CHUNK_DIGITS], uint64_t chunk) {
    uint128 rest = chunk; /* a negative digit may carry into bit 64 */
    for (unsigned i = 0; i < CHUNK_DIGITS; i++, rest >>= 1) {
        int digit = 0;
        if (rest & 1) {
            digit = (int)(rest & 31);
            if (digit >= 16) {
                digit -= 32;
                rest += (unsigned)-digit;
            } else {
                rest -= (unsigned)digit;
            }
        }
        digits[i] = (int8_t)digit;
    }
}

static void add_signed(jacobian *sum, const cs_sm2_point *point, int negative) {
    affine term;
    affine_load(&term, point);
    if (negative) {
        fe_negate(&term.y, &term.y);
    }
    jacobian_add_affine(sum, &term);
}

/* sum = t * key: the four chunks share their 64 doublings. */
static void multiply_key(jacobian *sum, const cs_sm2_key *key, const uint64_t t[4]) {
    int8_t digits[CS_SM2_CHUNKS][CHUNK_DIGITS];
    for (unsigned i = 0; i < CS_SM2_CHUNKS; i++) {
        recode_chunk(digits[i], t[i]);
    }
    sum->x = FE_ONE, sum->y = FE_ONE, sum->z = FE_ZERO;
    for (unsigned bit = CHUNK_DIGITS; bit-- > 0;) {
        jacobian_double(sum, sum);
        for (unsigned i = 0; i < CS_SM2_CHUNKS; i++) {
            int digit = digits[i][bit];
            if (digit != 0) {
                add_signed(sum, &key->multiples[i][(digit < 0 ? -digit : digit) / 2], digit < 0);
            }
        }
    }
}

/* sum += s * G: one addition from each window, no doubling. */
static void add_base(jacobian *sum, const uint64_t s[4]) {
    int carry = 0;
    for (unsigned i = 0; i < CS_SM2_WINDOWS; i++) {
        unsigned bit = CS_SM2_WINDOW_BITS * i, limb = bit / 64, shift = bit % 64;
        uint64_t bits = s[limb] >> shift;
        if (shift > 64 - CS_SM2_WINDOW_BITS && limb < 3) {
            bits |= s[limb + 1] << (64 - shift);
        }
        int digit = (int)(bits & 31) + carry;
        carry = digit > CS_SM2_WINDOW_POINTS;
        digit -= carry << CS_SM2_WINDOW_BITS;
        if (digit != 0) {
            add_signed(sum, &CS_SM2_BASE[i][(digit < 0 ? -digit : digit) - 1], digit < 0);
        }
    }
}

/* Whether the affine x of a finite point is this number below p: X = x * Z^2 spares the inversion. */
static int has_x(const jacobian *point, const uint64_t x[4]) {
    fe expected, zz;
    fe_from_limbs(&expected, x);
    fe_square(&zz, &point->z);
    fe_multiply(&expected, &expected, &zz);
    return fe_equal(&expected, &point->x);
}

int cs_sm2_verify_digest(const cs_sm2_key *key, const uint8_t signature[64], const uint8_t digest[32]) {
    uint64_t r[4], s[4], t[4], e[4], x[4];
    jacobian point;
    carry_t carry = 0;
    limbs_load(r, signature);
    limbs_load(s, signature + 32);
    if (limbs_are_zero(r) || limbs_are_zero(s) || !limbs_below(r, ORDER) || !limbs_below(s, ORDER)) {
        return 0;
    }
    order_add(t, r, s);
    if (limbs_are_zero(t)) {
        return 0;
    }
    multiply_key(&point, key, t);
    add_base(&point, s);
    if (jacobian_is_infinity(&point)) {
        return 0;
    }
    limbs_load(e, digest);
    order_reduce(e, e);
    order_subtract(x, r, e);
    if (has_x(&point, x)) {
        return 1;
    }
    /* n is below p, so that x + n may be a coordinate too, for about one x in 2^128. */
    for (unsigned i = 0; i < 4; i++) {
        x[i] = add_carry(x[i], ORDER[i], &carry);
    }
    return carry == 0 && limbs_below(x, FIELD) && has_x(&point, x);
}

int cs_sm2_verify(const cs_sm2_key *key, const uint8_t signature[64], const uint8_t *message, size_t n) {
    uint8_t e[32];
    cs_sm3_ctx ctx;
    cs_sm3_init(&ctx);
    cs_sm3_update(&ctx, key->z, sizeof key->z);
    cs_sm3_update(&ctx, message, n);
    cs_sm3_final(e, &ctx);
    return cs_sm2_verify_digest(key, signature, e);
}
