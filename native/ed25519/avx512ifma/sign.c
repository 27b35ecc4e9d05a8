/* Signing sixteen messages at a time, RFC 8032 5.1.6, by the table and the digits of the scalar reference. */
#if defined(__x86_64__)

#include "ed25519/avx512ifma/lanes8.h"

#include "common/wipe.h"
#include "ed25519/avx512ifma/power8.h"
#include "ed25519/scalar.h"
#include "ed25519/tables.h"
#include "sha2/sha512_x8.h"

enum { AT_ONCE = 16, DIGITS = 64 };

typedef struct {
    scalar secret[AT_ONCE], nonce[AT_ONCE];
    uint8_t prefixes[8][CS_SHA512_X8_PREFIX_BYTES_MAX];
    uint64_t digests[8][8];
    int8_t digits[AT_ONCE][DIGITS];
    uint64_t lanes[8];
    point8 sums[2];
} signing;

/* Choose [digit 256^row]B in each lane for secret digits of -8 to 8: every entry of the row is read, masks pick one. */
FIELD8_INLINE affine8 choose_multiple8(int row, __m512i digits, __mmask8 *negative)
{
    const __m512i magnitude = _mm512_abs_epi64(digits), zero = _mm512_setzero_si512();
    __m512i words[15];
    affine8 out;
    *negative = _mm512_movepi64_mask(digits);
    for (int i = 0; i < 15; i++) {
        words[i] = i == 0 || i == 5 ? field8_constant(1) : zero; /* the identity, for digit 0 */
    }
    for (int entry = 0; entry < CS_ED25519_SIGN_MULTIPLES; entry++) {
        const uint64_t *limbs = cs_ed25519_sign_rows[row][entry].y_plus_x;
        const __mmask8 same = _mm512_cmpeq_epi64_mask(magnitude, field8_constant((uint64_t)entry + 1));
        for (int i = 0; i < 15; i++) {
            words[i] = _mm512_mask_mov_epi64(words[i], same, field8_constant(limbs[i]));
        }
    }
    for (int i = 0; i < 5; i++) {
        out.plus.limb[i] = _mm512_mask_mov_epi64(words[i], *negative, words[5 + i]);
        out.minus.limb[i] = _mm512_mask_mov_epi64(words[5 + i], *negative, words[i]);
        out.cross.limb[i] = words[10 + i];
    }
    return out;
}

/* sum += the multiples of B for every second digit from first on. */
static __attribute__((noinline)) void add_multiples(point8 *sum, signing *work, int half, int first)
{
    for (int i = first; i < DIGITS; i += 2) {
        __mmask8 negative;
        for (int lane = 0; lane < 8; lane++) {
            work->lanes[lane] = (uint64_t)(int64_t)work->digits[8 * half + lane][i];
        }
        const affine8 multiple = choose_multiple8(i / 2, _mm512_loadu_si512(work->lanes), &negative);
        point8_add_affine(sum, &multiple, negative);
    }
}

/* Write the encodings of [nonce]B: the odd digits first, then times 16, then the even ones. */
static void write_commitments(const cs_ed25519_signing_item *const items[AT_ONCE], signing *work)
{
    static const uint64_t zero[5] = {0};
    const field8 one8 = field8_broadcast(FIELD_ONE), zero8 = field8_broadcast(zero);
    field8 inverse[2];
    for (int i = 0; i < AT_ONCE; i++) {
        scalar_to_radix_16(work->digits[i], work->nonce[i]);
    }
    for (int half = 0; half < 2; half++) {
        point8 *const sum = &work->sums[half];
        *sum = (point8){one8, one8, one8, zero8};
        add_multiples(sum, work, half, 1);
        for (int i = 0; i < 3; i++) {
            point8_double(sum, 0);
        }
        point8_double(sum, 1);
        add_multiples(sum, work, half, 0);
        inverse[half] = field8_carry(wide8_add(wide8_of(&sum->z), wide8_of(&sum->z)));
    }
    field8_invert_pair(inverse);
    for (int half = 0; half < 2; half++) {
        const point8 *const sum = &work->sums[half];
        const field8 twice_x = field8_carry(wide8_subtract(wide8_of(&sum->plus), wide8_of(&sum->minus), 52));
        const field8 twice_y = field8_carry(wide8_add(wide8_of(&sum->plus), wide8_of(&sum->minus)));
        const field8 x = field8_canonical(field8_multiply(&twice_x, &inverse[half]));
        const field8 y = field8_canonical(field8_multiply(&twice_y, &inverse[half]));
        __m512i words[8];
        field8_words(words, &y);
        words[3] = _mm512_or_si512(words[3], _mm512_slli_epi64(x.limb[0], 63));
        for (int i = 4; i < 8; i++) {
            words[i] = _mm512_setzero_si512();
        }
        cs_transpose8(words);
        for (int lane = 0; lane < 8; lane++) {
            _mm256_storeu_si256((__m256i *)(void *)items[8 * half + lane]->signature,
                                _mm512_castsi512_si256(words[lane]));
        }
    }
}

/* Hash eight secrets into their clamped scalars, and their messages behind the rest of that hash into nonces. */
static void derive_nonces(const cs_ed25519_signing_item *const items[8], signing *work, int half, size_t message_bytes)
{
    const uint8_t *messages[8];
    for (int lane = 0; lane < 8; lane++) {
        memcpy(work->prefixes[lane], items[lane]->secret, 32);
        messages[lane] = items[lane]->message;
    }
    cs_sha512_x8(work->digests, (const uint8_t(*)[CS_SHA512_X8_PREFIX_BYTES_MAX])work->prefixes, 32, messages, 0);
    for (int lane = 0; lane < 8; lane++) {
        uint64_t *const a = work->secret[8 * half + lane];
        memcpy(a, work->digests[lane], sizeof(scalar));
        a[0] &= ~UINT64_C(7);
        a[3] = (a[3] & UINT64_MAX >> 1) | UINT64_C(1) << 62;
        memcpy(work->prefixes[lane], work->digests[lane] + 4, 32);
    }
    cs_sha512_x8(work->digests, (const uint8_t(*)[CS_SHA512_X8_PREFIX_BYTES_MAX])work->prefixes, 32, messages,
                 message_bytes);
    for (int lane = 0; lane < 8; lane++) {
        scalar_reduce(work->nonce[8 * half + lane], work->digests[lane]);
    }
}

/* Write S = k a + nonce behind R. */
static void write_responses(const cs_ed25519_signing_item *const items[8], signing *work, int half,
                            size_t message_bytes)
{
    const uint8_t *messages[8];
    for (int lane = 0; lane < 8; lane++) {
        memcpy(work->prefixes[lane], items[lane]->signature, 32);
        memcpy(work->prefixes[lane] + 32, items[lane]->public_key, 32);
        messages[lane] = items[lane]->message;
    }
    cs_sha512_x8(work->digests, (const uint8_t(*)[CS_SHA512_X8_PREFIX_BYTES_MAX])work->prefixes, 64, messages,
                 message_bytes);
    for (int lane = 0; lane < 8; lane++) {
        scalar k, s;
        scalar_reduce(k, work->digests[lane]);
        scalar_multiply_add(s, k, work->secret[8 * half + lane], work->nonce[8 * half + lane]);
        scalar_store(items[lane]->signature + 32, s);
    }
}

void cs_ed25519_sign_batch_avx512ifma(const cs_ed25519_signing_item *items, size_t count, size_t message_bytes)
{
    signing work;
    for (size_t from = 0; from < count; from += AT_ONCE) {
        const cs_ed25519_signing_item *these[AT_ONCE]; /* the last vectors are filled with the first of their items */
        for (size_t lane = 0; lane < AT_ONCE; lane++) {
            these[lane] = &items[from + lane < count ? from + lane : from];
        }
        derive_nonces(these, &work, 0, message_bytes);
        derive_nonces(these + 8, &work, 1, message_bytes);
        write_commitments(these, &work);
        write_responses(these, &work, 0, message_bytes);
        write_responses(these + 8, &work, 1, message_bytes);
    }
    cs_wipe(&work, sizeof work);
}

#pragma GCC pop_options

#endif

typedef int cs_ed25519_sign8_is_not_empty; /* ISO C wants a declaration in every file */
