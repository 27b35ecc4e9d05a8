/* The kernels behind sm3_x16.h. Each runs only where cs_variant allows its instructions. */
#ifndef CS_SM3_LANES_H
#define CS_SM3_LANES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
/* AVX-512 F and BW, sixteen lanes; arguments as those of cs_sm3_x16. */
void cs_sm3_lanes16(uint8_t *const out[16], const uint8_t *const heads[16], size_t head_bytes,
                    const uint8_t *const bodies[16], size_t body_bytes);
/* AVX2, the first eight of sixteen. */
void cs_sm3_lanes8(uint8_t *const out[8], const uint8_t *const heads[8], size_t head_bytes,
                   const uint8_t *const bodies[8], size_t body_bytes);
#endif

/* T_j of the standard, each rotated left by j mod 32 as its round needs it. */
extern const uint32_t CS_SM3_ROUND_CONSTANTS[64];
/* The expanded words of one block, W_j and W'_j. */
typedef struct {
    uint32_t words[68], mixed[64];
} cs_sm3_words;
/* Those of a last block that holds no byte of its message, so that it is the same for all of this length. They are kept
 * until this thread asks for another length, for batches go on with one. */
const cs_sm3_words *cs_sm3_closing(size_t total);

#endif
