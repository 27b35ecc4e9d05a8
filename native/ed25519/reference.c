/* Ed25519, the scalar reference: the rule of ed25519.h in portable C.
 *
 * Verification computes [S]B - [k]A with both scalars cut into eight columns of 32 bits, because the multiples
 * [2^(32 i)] of A are kept with the key and those of B are constants: 32 doublings serve all, where 253 would be needed
 * without them. Signing walks B's multiples in radix 16, four doublings in all. */
#include "ed25519/ed25519.h"

#include "common/wipe.h"
#include "ed25519/field.h"
#include "ed25519/group.h"
#include "ed25519/lanes.h"
#include "ed25519/scalar.h"
#include "ed25519/tables.h"
#include "sha2/sha512.h"

/* sum += [digit]P for a digit of the recoding and the odd multiples of P. */
static inline void add_digit(completed *sum, point *running, int digit, const cs_ed25519_affine *odd_multiples)
{
    completed_to_extended(running, sum);
    if (digit > 0) {
        point_add_affine(sum, running, &odd_multiples[digit >> 1]);
    } else {
        point_subtract_affine(sum, running, &odd_multiples[-digit >> 1]);
    }
}

/* out = [s]B - [k]A, extended. Public scalars only. */
static void combine_variable_time(point *out, const scalar s, const scalar k, const cs_ed25519_key *key)
{
    int8_t s_digits[256], k_digits[256];
    completed sum = {{0}, {1}, {1}, {1}};
    scalar_recode_variable_time(s_digits, s, CS_ED25519_BASE_WIDTH);
    scalar_recode_variable_time(k_digits, k, 3);
    for (int at = CS_ED25519_COLUMN_BITS - 1; at >= 0; at--) {
        completed_to_projective(out, &sum);
        point_double(&sum, out);
        for (int column = 0; column < CS_ED25519_COLUMNS; column++) {
            const int s_digit = s_digits[CS_ED25519_COLUMN_BITS * column + at];
            const int k_digit = k_digits[CS_ED25519_COLUMN_BITS * column + at];
            if (s_digit != 0) {
                add_digit(&sum, out, s_digit, cs_ed25519_base_columns[column]);
            }
            if (k_digit != 0) {
                add_digit(&sum, out, -k_digit, key->columns[column]);
            }
        }
    }
    completed_to_extended(out, &sum);
}

/* Write the affine forms of points with one inversion for all (Montgomery's trick). */
static void normalise(cs_ed25519_affine *out, const point *points, int count)
{
    field products[CS_ED25519_COLUMNS * CS_ED25519_KEY_MULTIPLES], inverse, one_inverse, x, y;
    field_copy(products[0], points[0].z);
    for (int i = 1; i < count; i++) {
        field_multiply(products[i], products[i - 1], points[i].z);
    }
    field_invert(inverse, products[count - 1]);
    for (int i = count - 1; i >= 0; i--) {
        if (i > 0) {
            field_multiply(one_inverse, inverse, products[i - 1]);
            field_multiply(inverse, inverse, points[i].z);
        } else {
            field_copy(one_inverse, inverse);
        }
        field_multiply(x, points[i].x, one_inverse);
        field_multiply(y, points[i].y, one_inverse);
        affine_from_coordinates(&out[i], x, y);
    }
}

/* Fill the columns of a key from its point. */
static void fill_columns(cs_ed25519_key *key, const point *a)
{
    point multiples[CS_ED25519_COLUMNS * CS_ED25519_KEY_MULTIPLES], power = *a, twice;
    completed sum;
    for (int column = 0; column < CS_ED25519_COLUMNS; column++) {
        point *pair = &multiples[CS_ED25519_KEY_MULTIPLES * column];
        pair[0] = power;
        point_double(&sum, &power);
        completed_to_extended(&twice, &sum);
        point_add(&sum, &twice, &power);
        completed_to_extended(&pair[1], &sum);
        power = twice;
        for (int i = 1; i < CS_ED25519_COLUMN_BITS; i++) {
            point_double(&sum, &power);
            completed_to_extended(&power, &sum);
        }
    }
    normalise(&key->columns[0][0], multiples, CS_ED25519_COLUMNS * CS_ED25519_KEY_MULTIPLES);
}

int cs_ed25519_key_load(cs_ed25519_key *key, const uint8_t public_key[32])
{
    static const scalar zero = {0, 0, 0, 0};
    point a, multiple;
    const int reason = point_decode_variable_time(&a, public_key);
    if (reason != 0) {
        return reason;
    }
    multiple = a;
    point_multiply_by_cofactor(&multiple);
    if (point_is_identity(&multiple)) {
        return CS_ED25519_SMALL_ORDER;
    }
    fill_columns(key, &a);
    combine_variable_time(&multiple, zero, SCALAR_ORDER, key); /* [-L]A */
    if (!point_is_identity(&multiple)) {
        return CS_ED25519_MIXED_ORDER;
    }
    memcpy(key->encoded, public_key, sizeof key->encoded);
    return 0;
}

const char *cs_ed25519_strerror(int reason)
{
    switch (reason) {
    case CS_ED25519_NOT_CANONICAL:
        return "not_canonical";
    case CS_ED25519_NOT_ON_CURVE:
        return "not_on_curve";
    case CS_ED25519_SMALL_ORDER:
        return "small_order";
    case CS_ED25519_MIXED_ORDER:
        return "mixed_order";
    default:
        return "unknown";
    }
}

int cs_ed25519_equation_holds(const single_item *item)
{
    point sum;
    completed difference;
    cs_ed25519_affine commitment;
    memcpy(&commitment, item->commitment, sizeof commitment);
    combine_variable_time(&sum, item->response, item->challenge, item->key);
    point_subtract_affine(&difference, &sum, &commitment);
    completed_to_projective(&sum, &difference);
    point_multiply_by_cofactor(&sum);
    return point_is_identity(&sum);
}

/* out = SHA-512(a || b || message) modulo L, for two 32-byte prefixes; b may be NULL. */
static void hash_to_scalar(scalar out, const uint8_t a[32], const uint8_t *b, const uint8_t *message,
                           size_t message_bytes)
{
    cs_sha512_ctx ctx;
    uint8_t digest[CS_SHA512_BYTES];
    cs_sha512_init(&ctx);
    cs_sha512_update(&ctx, a, 32);
    if (b != NULL) {
        cs_sha512_update(&ctx, b, 32);
    }
    cs_sha512_update(&ctx, message, message_bytes);
    cs_sha512_final(&ctx, digest);
    scalar_from_digest(out, digest);
    cs_wipe(&ctx, sizeof ctx);
    cs_wipe(digest, sizeof digest);
}

int cs_ed25519_verify(const cs_ed25519_key *key, const uint8_t signature[64], const uint8_t *message,
                      size_t message_bytes)
{
    scalar s, k;
    point sum, commitment;
    cs_ed25519_affine affine;
    completed difference;
    uint8_t encoded[32];

    scalar_load(s, signature + 32);
    if (!scalar_is_canonical(s)) {
        return 0;
    }
    hash_to_scalar(k, signature, key->encoded, message, message_bytes);
    combine_variable_time(&sum, s, k, key);
    /* Equality without the cofactor implies equality with it, and bytes that encode a point are canonical: accept
     * without decoding R. Whatever differs here is decided by the rule itself below. */
    point_encode(encoded, &sum);
    if (memcmp(encoded, signature, sizeof encoded) == 0) {
        return 1;
    }
    if (point_decode_variable_time(&commitment, signature) != 0) {
        return 0;
    }
    affine_from_coordinates(&affine, commitment.x, commitment.y);
    point_subtract_affine(&difference, &sum, &affine);
    completed_to_projective(&sum, &difference);
    point_multiply_by_cofactor(&sum);
    return point_is_identity(&sum);
}

/* Choose [digit 256^row]B for a secret digit of -8 to 8: every entry of the row is read, masks pick one. */
static void choose_multiple(cs_ed25519_affine *out, int row, int8_t digit)
{
    const uint64_t negative = (uint64_t)((uint8_t)digit >> 7);
    const uint64_t magnitude = ((uint64_t)(int64_t)digit ^ (0 - negative)) + negative;
    field negated;
    memset(out, 0, sizeof *out);
    out->y_plus_x[0] = 1; /* the identity, for digit 0 */
    out->y_minus_x[0] = 1;
    for (uint64_t i = 0; i < CS_ED25519_SIGN_MULTIPLES; i++) {
        const cs_ed25519_affine *entry = &cs_ed25519_sign_rows[row][i];
        const uint64_t same = (((i + 1) ^ magnitude) - 1) >> 63;
        field_choose(out->y_plus_x, entry->y_plus_x, same);
        field_choose(out->y_minus_x, entry->y_minus_x, same);
        field_choose(out->xy2d, entry->xy2d, same);
    }
    /* -P swaps y + x with y - x and negates 2dxy. */
    for (int i = 0; i < 5; i++) {
        const uint64_t swap = (out->y_plus_x[i] ^ out->y_minus_x[i]) & (0 - negative);
        out->y_plus_x[i] ^= swap;
        out->y_minus_x[i] ^= swap;
    }
    field_subtract(negated, FIELD_ZERO, out->xy2d);
    field_choose(out->xy2d, negated, negative);
}

/* bytes = the encoding of [a]B for a secret a below 2^255: the odd digits first, then times 16, then the even ones. */
static void multiply_base(uint8_t bytes[32], const scalar a)
{
    int8_t digits[64];
    point sum = POINT_IDENTITY;
    completed next;
    cs_ed25519_affine multiple;
    scalar_to_radix_16(digits, a);
    for (int i = 1; i < 64; i += 2) {
        choose_multiple(&multiple, i / 2, digits[i]);
        point_add_affine(&next, &sum, &multiple);
        completed_to_extended(&sum, &next);
    }
    for (int i = 0; i < 4; i++) {
        point_double(&next, &sum);
        completed_to_extended(&sum, &next);
    }
    for (int i = 0; i < 64; i += 2) {
        choose_multiple(&multiple, i / 2, digits[i]);
        point_add_affine(&next, &sum, &multiple);
        completed_to_extended(&sum, &next);
    }
    point_encode(bytes, &sum);
    cs_wipe(digits, sizeof digits);
    cs_wipe(&sum, sizeof sum);
    cs_wipe(&next, sizeof next);
    cs_wipe(&multiple, sizeof multiple);
}

/* Hash a secret into its clamped scalar and its 32-byte nonce prefix. */
static void expand_secret(scalar a, uint8_t prefix[32], const uint8_t secret[32])
{
    uint8_t digest[CS_SHA512_BYTES];
    cs_sha512(digest, secret, 32);
    digest[0] &= 248;
    digest[31] &= 127;
    digest[31] |= 64;
    scalar_load(a, digest);
    memcpy(prefix, digest + 32, 32);
    cs_wipe(digest, sizeof digest);
}

void cs_ed25519_public_key(uint8_t public_key[32], const uint8_t secret[32])
{
    scalar a;
    uint8_t prefix[32];
    expand_secret(a, prefix, secret);
    multiply_base(public_key, a);
    cs_wipe(a, sizeof a);
    cs_wipe(prefix, sizeof prefix);
}

void cs_ed25519_sign(uint8_t signature[64], const uint8_t secret[32], const uint8_t public_key[32],
                     const uint8_t *message, size_t message_bytes)
{
    scalar a, nonce, k, s;
    uint8_t prefix[32];
    expand_secret(a, prefix, secret);
    hash_to_scalar(nonce, prefix, NULL, message, message_bytes);
    multiply_base(signature, nonce);
    hash_to_scalar(k, signature, public_key, message, message_bytes);
    scalar_multiply_add(s, k, a, nonce);
    scalar_store(signature + 32, s);
    cs_wipe(a, sizeof a);
    cs_wipe(nonce, sizeof nonce);
    cs_wipe(s, sizeof s);
    cs_wipe(prefix, sizeof prefix);
}
