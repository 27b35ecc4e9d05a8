/* SHA-512, FIPS 180-4 section 6.4, one message in each 64-bit lane. */
#if defined(__x86_64__)

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")

#include "sha2/sha512_x8.h"

#include <immintrin.h>
#include <string.h>

#include "common/transpose8.h"
#include "sha2/sha512.h"
#include "sha2/sha512_stage.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __m512i xor3(__m512i a, __m512i b, __m512i c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }

INLINE __m512i add3(__m512i a, __m512i b, __m512i c) { return _mm512_add_epi64(_mm512_add_epi64(a, b), c); }

INLINE __m512i swap_bytes(__m512i words)
{
    const __m512i order = _mm512_set4_epi64(0x08090a0b0c0d0e0f, 0x0001020304050607, 0x08090a0b0c0d0e0f,
                                            0x0001020304050607);
    return _mm512_shuffle_epi8(words, order);
}

#define ROTATE(x, count) _mm512_ror_epi64((x), (count))

/* One round without moving the eight variables: the caller rotates their names instead. */
#define ROUND_STEP(a, b, c, d, e, f, g, h, i)                                                                   \
    do {                                                                                                        \
        const __m512i large_1 = xor3(ROTATE(e, 14), ROTATE(e, 18), ROTATE(e, 41));                              \
        const __m512i large_0 = xor3(ROTATE(a, 28), ROTATE(a, 34), ROTATE(a, 39));                              \
        const __m512i choice = _mm512_ternarylogic_epi64(e, f, g, 0xca);                                        \
        const __m512i majority = _mm512_ternarylogic_epi64(a, b, c, 0xe8);                                      \
        const __m512i constant = _mm512_set1_epi64((long long)cs_sha512_round_constants[i]);                    \
        const __m512i t = _mm512_add_epi64(add3(h, constant, w[(i) & 15]), _mm512_add_epi64(large_1, choice));  \
        d = _mm512_add_epi64(d, t);                                                                             \
        h = _mm512_add_epi64(t, _mm512_add_epi64(large_0, majority));                                           \
    } while (0)

#define EIGHT_ROUNDS(i)                              \
    do {                                             \
        ROUND_STEP(a, b, c, d, e, f, g, h, (i) + 0); \
        ROUND_STEP(h, a, b, c, d, e, f, g, (i) + 1); \
        ROUND_STEP(g, h, a, b, c, d, e, f, (i) + 2); \
        ROUND_STEP(f, g, h, a, b, c, d, e, (i) + 3); \
        ROUND_STEP(e, f, g, h, a, b, c, d, (i) + 4); \
        ROUND_STEP(d, e, f, g, h, a, b, c, (i) + 5); \
        ROUND_STEP(c, d, e, f, g, h, a, b, (i) + 6); \
        ROUND_STEP(b, c, d, e, f, g, h, a, (i) + 7); \
    } while (0)

static void compress(__m512i state[8], const uint8_t *const blocks[8])
{
    __m512i w[16];
    for (int half = 0; half < 16; half += 8) {
        for (int lane = 0; lane < 8; lane++) {
            w[half + lane] = swap_bytes(_mm512_loadu_si512(blocks[lane] + 8 * half));
        }
        cs_transpose8(w + half);
    }
    __m512i a = state[0], b = state[1], c = state[2], d = state[3];
    __m512i e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0;; i += 16) {
        EIGHT_ROUNDS(i);
        EIGHT_ROUNDS(i + 8);
        if (i == 64) {
            break;
        }
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) {
            const __m512i far = w[(j + 1) & 15], near = w[(j + 14) & 15];
            const __m512i small_0 = xor3(ROTATE(far, 1), ROTATE(far, 8), _mm512_srli_epi64(far, 7));
            const __m512i small_1 = xor3(ROTATE(near, 19), ROTATE(near, 61), _mm512_srli_epi64(near, 6));
            w[j] = _mm512_add_epi64(add3(w[j], w[(j + 9) & 15], small_0), small_1);
        }
    }
    const __m512i worked[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++) {
        state[i] = _mm512_add_epi64(state[i], worked[i]);
    }
}

void cs_sha512_x8(uint64_t out[8][8], const uint8_t prefixes[8][CS_SHA512_X8_PREFIX_BYTES_MAX], size_t prefix_bytes,
                  const uint8_t *const messages[8], size_t message_bytes)
{
    uint8_t staged[8][CS_SHA512_BLOCK_BYTES];
    const uint8_t *blocks[8];
    __m512i state[8];
    const size_t total = prefix_bytes + message_bytes;
    for (int i = 0; i < 8; i++) {
        state[i] = _mm512_set1_epi64((long long)cs_sha512_initial[i]);
    }
    for (size_t from = 0; from < total + 17; from += CS_SHA512_BLOCK_BYTES) {
        const int inside = from >= prefix_bytes && from + CS_SHA512_BLOCK_BYTES <= total;
        for (int lane = 0; lane < 8; lane++) {
            if (inside) {
                blocks[lane] = messages[lane] + (from - prefix_bytes);
            } else {
                cs_sha512_stage(staged[lane], from, prefixes[lane], prefix_bytes, messages[lane], message_bytes);
                blocks[lane] = staged[lane];
            }
        }
        compress(state, blocks);
    }
    for (int i = 0; i < 8; i++) {
        state[i] = swap_bytes(state[i]);
    }
    cs_transpose8(state);
    for (int lane = 0; lane < 8; lane++) {
        _mm512_storeu_si512(out[lane], state[lane]);
    }
    /* A prefix may be secret; the empty assembly keeps the compiler from dropping stores that nobody reads. */
    memset(staged, 0, sizeof staged);
    __asm__ __volatile__("" : : "r"(staged) : "memory");
}

#pragma GCC pop_options

#endif

typedef int cs_sha512_x8_is_not_empty; /* ISO C wants a declaration in every file */
