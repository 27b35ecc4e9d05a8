/* The rounds of SHA-256, FIPS 180-4 section 6.2.2, on registers that hold one word of several messages.
 *
 * The includer defines VECTOR and, of VECTORs: ADD, XOR3, CHOOSE, MAJORITY, ROTATE_RIGHT(x, bits), SHIFT_RIGHT(x, bits)
 * and SPREAD(word). It opens the instruction set before it includes this file.
 */
#ifndef CS_SHA256_ROUNDS_H
#define CS_SHA256_ROUNDS_H

#include "sha2/sha256.h"

#define ROUND(a, b, c, d, e, f, g, h, word)                                                                         \
    do {                                                                                                            \
        const VECTOR large_1 = XOR3(ROTATE_RIGHT(e, 6), ROTATE_RIGHT(e, 11), ROTATE_RIGHT(e, 25));                  \
        const VECTOR large_0 = XOR3(ROTATE_RIGHT(a, 2), ROTATE_RIGHT(a, 13), ROTATE_RIGHT(a, 22));                  \
        const VECTOR t = ADD(ADD(ADD(h, word), CHOOSE(e, f, g)), large_1);                                          \
        d = ADD(d, t);                                                                                              \
        h = ADD(t, ADD(large_0, MAJORITY(a, b, c)));                                                                \
    } while (0)

/* Eight rounds from round i on; word(i) is W_i + K_i. */
#define EIGHT_ROUNDS(word, i)                         \
    do {                                              \
        ROUND(a, b, c, d, e, f, g, h, word((i) + 0)); \
        ROUND(h, a, b, c, d, e, f, g, word((i) + 1)); \
        ROUND(g, h, a, b, c, d, e, f, word((i) + 2)); \
        ROUND(f, g, h, a, b, c, d, e, word((i) + 3)); \
        ROUND(e, f, g, h, a, b, c, d, word((i) + 4)); \
        ROUND(d, e, f, g, h, a, b, c, word((i) + 5)); \
        ROUND(c, d, e, f, g, h, a, b, word((i) + 6)); \
        ROUND(b, c, d, e, f, g, h, a, word((i) + 7)); \
    } while (0)

#define LANE_WORD(i) ADD(w[(i) & 15], SPREAD(CS_SHA256_ROUND_CONSTANTS[i]))
#define SAME_WORD(i) SPREAD(closing[i])

#define SMALL_0(x) XOR3(ROTATE_RIGHT(x, 7), ROTATE_RIGHT(x, 18), SHIFT_RIGHT(x, 3))
#define SMALL_1(x) XOR3(ROTATE_RIGHT(x, 17), ROTATE_RIGHT(x, 19), SHIFT_RIGHT(x, 10))

#define TAKE_STATE                                                     \
    VECTOR a = state[0], b = state[1], c = state[2], d = state[3];     \
    VECTOR e = state[4], f = state[5], g = state[6], h = state[7]

#define GIVE_STATE                                                     \
    do {                                                               \
        state[0] = ADD(state[0], a), state[1] = ADD(state[1], b);      \
        state[2] = ADD(state[2], c), state[3] = ADD(state[3], d);      \
        state[4] = ADD(state[4], e), state[5] = ADD(state[5], f);      \
        state[6] = ADD(state[6], g), state[7] = ADD(state[7], h);      \
    } while (0)

/* One block of each message; the schedule is worked out in place. */
static inline __attribute__((always_inline)) void compress_lanes(VECTOR state[8], VECTOR w[16])
{
    TAKE_STATE;
    for (int i = 0;; i += 16) {
        EIGHT_ROUNDS(LANE_WORD, i);
        EIGHT_ROUNDS(LANE_WORD, i + 8);
        if (i == 48) {
            break;
        }
#pragma GCC unroll 16
        for (int j = 0; j < 16; j++) {
            w[j] = ADD(ADD(w[j], w[(j + 9) & 15]), ADD(SMALL_0(w[(j + 1) & 15]), SMALL_1(w[(j + 14) & 15])));
        }
    }
    GIVE_STATE;
}

/* One block that is the same in all messages: closing[i] is W_i + K_i. */
static inline __attribute__((always_inline)) void compress_closing(VECTOR state[8], const uint32_t closing[64])
{
    TAKE_STATE;
    for (int i = 0; i < 64; i += 16) {
        EIGHT_ROUNDS(SAME_WORD, i);
        EIGHT_ROUNDS(SAME_WORD, i + 8);
    }
    GIVE_STATE;
}

#endif
