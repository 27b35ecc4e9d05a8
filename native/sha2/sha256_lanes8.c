/* SHA-256, eight messages in the lanes of AVX2. */
#if defined(__x86_64__)

#pragma GCC push_options
#pragma GCC target("avx2")

#include "sha2/sha256_lanes.h"

#include <immintrin.h>

#include "common/lanes8.h"

#define VECTOR __m256i
#define ADD(x, y) _mm256_add_epi32(x, y)
#define XOR(x, y) _mm256_xor_si256(x, y)
#define AND(x, y) _mm256_and_si256(x, y)
#define XOR3(x, y, z) XOR(XOR(x, y), z)
#define CHOOSE(x, y, z) XOR(AND(XOR(y, z), x), z)
#define MAJORITY(x, y, z) XOR(AND(XOR(x, y), XOR(y, z)), y)
#define ROTATE_RIGHT(x, bits) _mm256_or_si256(_mm256_srli_epi32(x, bits), _mm256_slli_epi32(x, 32 - (bits)))
#define SHIFT_RIGHT(x, bits) _mm256_srli_epi32(x, bits)
#define SPREAD(word) _mm256_set1_epi32((int)(word))

#include "sha2/sha256_rounds.h"

void cs_sha256_lanes8(uint8_t *const out[8], const uint8_t *const heads[8], size_t head_bytes,
                      const uint8_t *const bodies[8], size_t body_bytes)
{
    const cs_lanes8 lanes = {heads, head_bytes, bodies, body_bytes};
    const size_t total = head_bytes + body_bytes;
    __m256i state[8];
    for (int i = 0; i < 8; i++) {
        state[i] = SPREAD(CS_SHA256_START[i]);
    }
    for (size_t from = 0; from < total + CS_PADDING_BYTES_MIN; from += CS_PADDED_BLOCK_BYTES) {
        if (cs_lanes8_is_padding(&lanes, from)) {
            compress_closing(state, cs_sha256_closing(total));
        } else {
            __m256i words[16];
            cs_lanes8_load(words, &lanes, from);
            compress_lanes(state, words);
        }
    }
    cs_lanes8_store(out, state);
}

#pragma GCC pop_options

#endif

typedef int cs_sha256_lanes8_is_not_empty; /* ISO C wants a declaration in every file */
