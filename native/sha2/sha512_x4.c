/* SHA-512, FIPS 180-4 section 6.4, one message in each 64-bit lane of AVX2. */
#if defined(__x86_64__)

#pragma GCC push_options
#pragma GCC target("avx2")

#include "sha2/sha512_x4.h"

#include <immintrin.h>
#include <string.h>

#include "sha2/sha512.h"
#include "sha2/sha512_stage.h"

#define INLINE static inline __attribute__((always_inline))

#define ADD(x, y) _mm256_add_epi64(x, y)
#define XOR(x, y) _mm256_xor_si256(x, y)
#define AND(x, y) _mm256_and_si256(x, y)
#define ROTATE(x, count) _mm256_or_si256(_mm256_srli_epi64(x, count), _mm256_slli_epi64(x, 64 - (count)))

INLINE __m256i xor3(__m256i a, __m256i b, __m256i c) { return XOR(XOR(a, b), c); }

INLINE __m256i swap_bytes(__m256i words)
{
    const __m256i order = _mm256_set_epi64x(0x08090a0b0c0d0e0f, 0x0001020304050607, 0x08090a0b0c0d0e0f,
                                            0x0001020304050607);
    return _mm256_shuffle_epi8(words, order);
}

/* A 4 x 4 matrix of words, transposed. */
INLINE void transpose(__m256i rows[4])
{
    const __m256i a = _mm256_unpacklo_epi64(rows[0], rows[1]), b = _mm256_unpackhi_epi64(rows[0], rows[1]);
    const __m256i c = _mm256_unpacklo_epi64(rows[2], rows[3]), d = _mm256_unpackhi_epi64(rows[2], rows[3]);
    rows[0] = _mm256_permute2x128_si256(a, c, 0x20);
    rows[1] = _mm256_permute2x128_si256(b, d, 0x20);
    rows[2] = _mm256_permute2x128_si256(a, c, 0x31);
    rows[3] = _mm256_permute2x128_si256(b, d, 0x31);
}

/* One round without moving the eight variables: the caller rotates their names instead. */
#define ROUND_STEP(a, b, c, d, e, f, g, h, i)                                                                   \
    do {                                                                                                        \
        const __m256i large_1 = xor3(ROTATE(e, 14), ROTATE(e, 18), ROTATE(e, 41));                              \
        const __m256i large_0 = xor3(ROTATE(a, 28), ROTATE(a, 34), ROTATE(a, 39));                              \
        const __m256i choice = XOR(AND(XOR(f, g), e), g);                                                       \
        const __m256i majority = XOR(AND(XOR(a, b), XOR(b, c)), b);                                             \
        const __m256i constant = _mm256_set1_epi64x((long long)cs_sha512_round_constants[i]);                   \
        const __m256i t = ADD(ADD(ADD(h, constant), w[(i) & 15]), ADD(large_1, choice));                        \
        d = ADD(d, t);                                                                                          \
        h = ADD(t, ADD(large_0, majority));                                                                     \
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

static void compress(__m256i state[8], const uint8_t *const blocks[4])
{
    __m256i w[16];
    for (int part = 0; part < 16; part += 4) {
        for (int lane = 0; lane < 4; lane++) {
            w[part + lane] = swap_bytes(_mm256_loadu_si256((const __m256i *)(const void *)(blocks[lane] + 8 * part)));
        }
        transpose(w + part);
    }
    __m256i a = state[0], b = state[1], c = state[2], d = state[3];
    __m256i e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0;; i += 16) {
        EIGHT_ROUNDS(i);
        EIGHT_ROUNDS(i + 8);
        if (i == 64) {
            break;
        }
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) {
            const __m256i far = w[(j + 1) & 15], near = w[(j + 14) & 15];
            const __m256i small_0 = xor3(ROTATE(far, 1), ROTATE(far, 8), _mm256_srli_epi64(far, 7));
            const __m256i small_1 = xor3(ROTATE(near, 19), ROTATE(near, 61), _mm256_srli_epi64(near, 6));
            w[j] = ADD(ADD(w[j], w[(j + 9) & 15]), ADD(small_0, small_1));
        }
    }
    const __m256i worked[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++) {
        state[i] = ADD(state[i], worked[i]);
    }
}

void cs_sha512_x4(uint64_t out[4][8], const uint8_t prefixes[4][CS_SHA512_X8_PREFIX_BYTES_MAX], size_t prefix_bytes,
                  const uint8_t *const messages[4], size_t message_bytes)
{
    uint8_t staged[4][CS_SHA512_BLOCK_BYTES];
    const uint8_t *blocks[4];
    __m256i state[8];
    const size_t total = prefix_bytes + message_bytes;
    for (int i = 0; i < 8; i++) {
        state[i] = _mm256_set1_epi64x((long long)cs_sha512_initial[i]);
    }
    for (size_t from = 0; from < total + 17; from += CS_SHA512_BLOCK_BYTES) {
        const int inside = from >= prefix_bytes && from + CS_SHA512_BLOCK_BYTES <= total;
        for (int lane = 0; lane < 4; lane++) {
            if (inside) {
                blocks[lane] = messages[lane] + (from - prefix_bytes);
            } else {
                cs_sha512_stage(staged[lane], from, prefixes[lane], prefix_bytes, messages[lane], message_bytes);
                blocks[lane] = staged[lane];
            }
        }
        compress(state, blocks);
    }
    for (int part = 0; part < 8; part += 4) {
        for (int i = 0; i < 4; i++) {
            state[part + i] = swap_bytes(state[part + i]);
        }
        transpose(state + part);
        for (int lane = 0; lane < 4; lane++) {
            _mm256_storeu_si256((__m256i *)(void *)(out[lane] + part), state[part + lane]);
        }
    }
    /* A prefix may be secret; the empty assembly keeps the compiler from dropping stores that nobody reads. */
    memset(staged, 0, sizeof staged);
    __asm__ __volatile__("" : : "r"(staged) : "memory");
}

#pragma GCC pop_options

#endif

typedef int cs_sha512_x4_is_not_empty; /* ISO C wants a declaration in every file */
