/* The rounds of SM3, GB/T 32905-2016 section 5.3, on registers that hold one word of several messages.
 *
 * The includer defines VECTOR and, of VECTORs: ADD, XOR, XOR3, CHOOSE, MAJORITY, ROTATE_LEFT(x, bits) and SPREAD(word).
 * It opens the instruction set before it includes this file.
 */
#ifndef CS_SM3_ROUNDS_H
#define CS_SM3_ROUNDS_H

#include "sm3/sm3.h"
#include "sm3/sm3_lanes.h"

#define P0(x) XOR3(x, ROTATE_LEFT(x, 9), ROTATE_LEFT(x, 17))
#define P1(x) XOR3(x, ROTATE_LEFT(x, 15), ROTATE_LEFT(x, 23))

/* One round; the names rotate by one place from round to round, so that no word is moved. */
#define ROUND(a, b, c, d, e, f, g, h, ff, gg, constant, word, mixed)                                                \
    do {                                                                                                            \
        const VECTOR a12 = ROTATE_LEFT(a, 12);                                                                      \
        const VECTOR ss1 = ROTATE_LEFT(ADD(a12, ADD(e, SPREAD(constant))), 7);                                      \
        const VECTOR tt1 = ADD(ADD(ff(a, b, c), ADD(d, mixed)), XOR(ss1, a12));                                     \
        const VECTOR tt2 = ADD(ADD(gg(e, f, g), ADD(h, word)), ss1);                                                \
        b = ROTATE_LEFT(b, 9);                                                                                      \
        d = tt1;                                                                                                    \
        f = ROTATE_LEFT(f, 19);                                                                                     \
        h = P0(tt2);                                                                                                \
    } while (0)

/* Four rounds from round j on; word(i) is W_i, mixed(i) W'_i. */
#define FOUR_ROUNDS(j, ff, gg, word, mixed)                                                                         \
    do {                                                                                                            \
        const uint32_t *const t = CS_SM3_ROUND_CONSTANTS + (j);                                                     \
        ROUND(a, b, c, d, e, f, g, h, ff, gg, t[0], word((j) + 0), mixed((j) + 0));                                 \
        ROUND(d, a, b, c, h, e, f, g, ff, gg, t[1], word((j) + 1), mixed((j) + 1));                                 \
        ROUND(c, d, a, b, g, h, e, f, ff, gg, t[2], word((j) + 2), mixed((j) + 2));                                 \
        ROUND(b, c, d, a, f, g, h, e, ff, gg, t[3], word((j) + 3), mixed((j) + 3));                                 \
    } while (0)

#define SIXTEEN_ROUNDS(j, ff, gg, word, mixed)          \
    do {                                                \
        FOUR_ROUNDS(j, ff, gg, word, mixed);            \
        FOUR_ROUNDS((j) + 4, ff, gg, word, mixed);      \
        FOUR_ROUNDS((j) + 8, ff, gg, word, mixed);      \
        FOUR_ROUNDS((j) + 12, ff, gg, word, mixed);     \
    } while (0)

#define LANE_WORD(i) w[(i) & 15]
#define LANE_MIXED(i) XOR(w[(i) & 15], w[((i) + 4) & 15])
#define SAME_WORD(i) SPREAD(closing->words[i])
#define SAME_MIXED(i) SPREAD(closing->mixed[i])

/* W_(j+4) takes the place of W_(j-12) just before round j; the first sixteen words stand there from the beginning. */
#define EXPAND(j)                                                                                                   \
    (w[(j) & 15] = XOR3(P1(XOR3(w[(j) & 15], w[((j) + 7) & 15], ROTATE_LEFT(w[((j) + 13) & 15], 15))),              \
                        ROTATE_LEFT(w[((j) + 3) & 15], 7), w[((j) + 10) & 15]))
#define EXPANDED_MIXED(i) XOR(w[(i) & 15], EXPAND((i) + 4))

#define TAKE_STATE                                                     \
    VECTOR a = state[0], b = state[1], c = state[2], d = state[3];     \
    VECTOR e = state[4], f = state[5], g = state[6], h = state[7]

#define GIVE_STATE                                                     \
    do {                                                               \
        state[0] = XOR(state[0], a), state[1] = XOR(state[1], b);      \
        state[2] = XOR(state[2], c), state[3] = XOR(state[3], d);      \
        state[4] = XOR(state[4], e), state[5] = XOR(state[5], f);      \
        state[6] = XOR(state[6], g), state[7] = XOR(state[7], h);      \
    } while (0)

/* One block of each message; the words are expanded in place. */
static inline __attribute__((always_inline)) void compress_lanes(VECTOR state[8], VECTOR w[16])
{
    TAKE_STATE;
    FOUR_ROUNDS(0, XOR3, XOR3, LANE_WORD, LANE_MIXED);
    FOUR_ROUNDS(4, XOR3, XOR3, LANE_WORD, LANE_MIXED);
    FOUR_ROUNDS(8, XOR3, XOR3, LANE_WORD, LANE_MIXED);
    FOUR_ROUNDS(12, XOR3, XOR3, LANE_WORD, EXPANDED_MIXED);
    for (int j = 16; j < 64; j += 16) {
        SIXTEEN_ROUNDS(j, MAJORITY, CHOOSE, LANE_WORD, EXPANDED_MIXED);
    }
    GIVE_STATE;
}

/* One block that is the same in all messages. */
static inline __attribute__((always_inline)) void compress_closing(VECTOR state[8], const cs_sm3_words *closing)
{
    TAKE_STATE;
    SIXTEEN_ROUNDS(0, XOR3, XOR3, SAME_WORD, SAME_MIXED);
    for (int j = 16; j < 64; j += 16) {
        SIXTEEN_ROUNDS(j, MAJORITY, CHOOSE, SAME_WORD, SAME_MIXED);
    }
    GIVE_STATE;
}

#endif
