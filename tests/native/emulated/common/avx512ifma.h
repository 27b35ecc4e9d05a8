/* The instructions that signing in lanes uses, one lane after the other in plain C: stands in for the header of this
 * name under native/, so that tests follow a secret through the code of the lanes with tools that know no AVX-512.
 *
 * Nothing here branches on a value: masks are spread out to words of all ones or zeros. */
#ifndef CS_COMMON_AVX512IFMA_H
#define CS_COMMON_AVX512IFMA_H

#pragma GCC push_options

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    uint64_t word[8];
} emulated_512;
typedef struct {
    uint64_t word[4];
} emulated_256;
typedef uint8_t emulated_mask;

#define __m512i emulated_512
#define __m256i emulated_256
#define __mmask8 emulated_mask
#define EMULATED static __attribute__((noinline, unused)) /* inlined, the lanes take minutes to compile */
#define EACH_LANE for (int lane = 0; lane < 8; lane++)

EMULATED emulated_512 _mm512_setzero_si512(void) { return (emulated_512){{0}}; }

EMULATED emulated_512 _mm512_set1_epi64(long long value) {
    emulated_512 out;
    EACH_LANE { out.word[lane] = (uint64_t)value; }
    return out;
}

#define EMULATED_WORDS(name, expression)                          \
    EMULATED emulated_512 name(emulated_512 a, emulated_512 b) {  \
        emulated_512 out;                                         \
        EACH_LANE {                                               \
            const uint64_t x = a.word[lane], y = b.word[lane];    \
            out.word[lane] = (expression);                        \
        }                                                         \
        return out;                                               \
    }

EMULATED_WORDS(_mm512_add_epi64, x + y)
EMULATED_WORDS(_mm512_sub_epi64, x - y)
EMULATED_WORDS(_mm512_and_si512, x & y)
EMULATED_WORDS(_mm512_or_si512, x | y)
EMULATED_WORDS(_mm512_xor_si512, x ^ y)

#define EMULATED_SHIFT(name, expression)                          \
    EMULATED emulated_512 name(emulated_512 a, unsigned count) {  \
        EACH_LANE {                                               \
            const uint64_t x = a.word[lane];                      \
            a.word[lane] = (expression);                          \
        }                                                         \
        return a;                                                 \
    }

EMULATED_SHIFT(_mm512_slli_epi64, x << count)
EMULATED_SHIFT(_mm512_srli_epi64, x >> count)
EMULATED_SHIFT(_mm512_srai_epi64, (uint64_t)((int64_t)x >> count))
EMULATED_SHIFT(_mm512_sll_epi64, x << count)
EMULATED_SHIFT(_mm512_srl_epi64, x >> count)

EMULATED unsigned _mm_cvtsi32_si128(int count) { return (unsigned)count; }

__extension__ typedef unsigned __int128 emulated_product;

EMULATED emulated_product emulated_multiply52(uint64_t a, uint64_t b) {
    const uint64_t mask = (UINT64_C(1) << 52) - 1;
    return (emulated_product)(a & mask) * (b & mask);
}

EMULATED emulated_512 _mm512_madd52lo_epu64(emulated_512 sum, emulated_512 a, emulated_512 b) {
    EACH_LANE {
        sum.word[lane] += (uint64_t)emulated_multiply52(a.word[lane], b.word[lane]) & ((UINT64_C(1) << 52) - 1);
    }
    return sum;
}

EMULATED emulated_512 _mm512_madd52hi_epu64(emulated_512 sum, emulated_512 a, emulated_512 b) {
    EACH_LANE { sum.word[lane] += (uint64_t)(emulated_multiply52(a.word[lane], b.word[lane]) >> 52); }
    return sum;
}

/* All ones in the lanes of a mask. */
EMULATED uint64_t emulated_spread(emulated_mask mask, int lane) { return (uint64_t)0 - (mask >> lane & 1); }

EMULATED emulated_512 _mm512_mask_mov_epi64(emulated_512 out, emulated_mask mask, emulated_512 a) {
    EACH_LANE { out.word[lane] ^= (out.word[lane] ^ a.word[lane]) & emulated_spread(mask, lane); }
    return out;
}

EMULATED emulated_512 _mm512_maskz_mov_epi64(emulated_mask mask, emulated_512 a) {
    return _mm512_mask_mov_epi64(_mm512_setzero_si512(), mask, a);
}

EMULATED emulated_512 _mm512_mask_sub_epi64(emulated_512 out, emulated_mask mask, emulated_512 a, emulated_512 b) {
    return _mm512_mask_mov_epi64(out, mask, _mm512_sub_epi64(a, b));
}

EMULATED emulated_512 _mm512_mask_xor_epi64(emulated_512 out, emulated_mask mask, emulated_512 a, emulated_512 b) {
    return _mm512_mask_mov_epi64(out, mask, _mm512_xor_si512(a, b));
}

/* A mask with a bit for each lane: the highest of a word. */
#define EMULATED_MASK(name, expression)                                          \
    EMULATED emulated_mask name(emulated_512 a, emulated_512 b) {                \
        emulated_mask mask = 0;                                                  \
        EACH_LANE {                                                              \
            const uint64_t x = a.word[lane], y = b.word[lane];                   \
            mask |= (emulated_mask)(((uint64_t)(expression) >> 63) << lane);     \
        }                                                                        \
        return mask;                                                             \
    }

EMULATED_MASK(_mm512_cmpeq_epi64_mask, ~((x ^ y) | (0 - (x ^ y))))
EMULATED_MASK(_mm512_cmpgt_epu64_mask, (~y & x) | (~(y ^ x) & (y - x))) /* the borrow of y - x */
EMULATED_MASK(_mm512_cmplt_epu64_mask, (~x & y) | (~(x ^ y) & (x - y)))
EMULATED_MASK(_mm512_test_epi64_mask, (x & y) | (0 - (x & y)))
EMULATED_MASK(_mm512_testn_epi64_mask, ~((x & y) | (0 - (x & y))))

EMULATED emulated_mask _mm512_movepi64_mask(emulated_512 a) {
    emulated_mask mask = 0;
    EACH_LANE { mask |= (emulated_mask)((a.word[lane] >> 63) << lane); }
    return mask;
}

EMULATED emulated_256 _mm256_loadu_si256(const void *from) {
    emulated_256 out;
    memcpy(&out, from, sizeof out);
    return out;
}

EMULATED void _mm256_storeu_si256(void *to, emulated_256 a) { memcpy(to, &a, sizeof a); }

EMULATED emulated_512 _mm512_loadu_si512(const void *from) {
    emulated_512 out;
    memcpy(&out, from, sizeof out);
    return out;
}

EMULATED void _mm512_storeu_si512(void *to, emulated_512 a) { memcpy(to, &a, sizeof a); }

EMULATED emulated_512 _mm512_castsi256_si512(emulated_256 a) {
    emulated_512 out = {{0}};
    memcpy(&out, &a, sizeof a);
    return out;
}

EMULATED emulated_256 _mm512_castsi512_si256(emulated_512 a) {
    emulated_256 out;
    memcpy(&out, &a, sizeof out);
    return out;
}

EMULATED emulated_512 _mm512_inserti64x4(emulated_512 a, emulated_256 b, int half) {
    memcpy(a.word + 4 * half, &b, sizeof b);
    return a;
}

EMULATED emulated_512 emulated_unpack(emulated_512 a, emulated_512 b, int odd) {
    emulated_512 out;
    for (int pair = 0; pair < 8; pair += 2) {
        out.word[pair] = a.word[pair + odd];
        out.word[pair + 1] = b.word[pair + odd];
    }
    return out;
}

EMULATED emulated_512 _mm512_unpacklo_epi64(emulated_512 a, emulated_512 b) { return emulated_unpack(a, b, 0); }

EMULATED emulated_512 _mm512_unpackhi_epi64(emulated_512 a, emulated_512 b) { return emulated_unpack(a, b, 1); }

EMULATED emulated_512 _mm512_shuffle_i64x2(emulated_512 a, emulated_512 b, int order) {
    emulated_512 out;
    for (int quarter = 0; quarter < 4; quarter++) {
        memcpy(out.word + 2 * quarter, (quarter < 2 ? a : b).word + 2 * (order >> (2 * quarter) & 3), 16);
    }
    return out;
}

EMULATED emulated_512 _mm512_permutex_epi64(emulated_512 a, int order) {
    emulated_512 out;
    EACH_LANE { out.word[lane] = a.word[(lane & 4) + (order >> (2 * (lane & 3)) & 3)]; }
    return out;
}

#undef EMULATED_WORDS
#undef EMULATED_SHIFT
#undef EMULATED_MASK

#endif
