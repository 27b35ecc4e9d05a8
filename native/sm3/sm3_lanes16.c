/* SM3, sixteen messages in the lanes of AVX-512. */
#if defined(__x86_64__)

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw")

#include "sm3/sm3_lanes.h"

#include <immintrin.h>

#include "common/lanes16.h"

#define VECTOR __m512i
#define ADD(x, y) _mm512_add_epi32(x, y)
#define XOR(x, y) _mm512_xor_si512(x, y)
#define XOR3(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0x96)
#define CHOOSE(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xca)
#define MAJORITY(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xe8)
#define ROTATE_LEFT(x, bits) _mm512_rol_epi32(x, bits)
#define SPREAD(word) _mm512_set1_epi32((int)(word))

#include "sm3/sm3_rounds.h"

void cs_sm3_lanes16(uint8_t *const out[16], const uint8_t *const heads[16], size_t head_bytes,
                    const uint8_t *const bodies[16], size_t body_bytes)
{
    const cs_lanes16 lanes = {heads, head_bytes, bodies, body_bytes};
    const size_t total = head_bytes + body_bytes;
    __m512i state[8];
    for (int i = 0; i < 8; i++) {
        state[i] = SPREAD(CS_SM3_START[i]);
    }
    for (size_t from = 0; from < total + CS_PADDING_BYTES_MIN; from += CS_PADDED_BLOCK_BYTES) {
        if (cs_lanes16_is_padding(&lanes, from)) {
            compress_closing(state, cs_sm3_closing(total));
        } else {
            __m512i words[16];
            cs_lanes16_load(words, &lanes, from);
            compress_lanes(state, words);
        }
    }
    cs_lanes16_store(out, state);
}

#pragma GCC pop_options

#endif

typedef int cs_sm3_lanes16_is_not_empty; /* ISO C wants a declaration in every file */
