/* SM3 of sixteen messages of one length at once.
 *
 * Lane i hashes heads[i] || bodies[i]; heads may be a null pointer where head_bytes is 0. Any length, any alignment;
 * lanes may share their inputs, and an output may alias the inputs of its own lane or of an earlier one. Where the
 * level allows no lanes the messages are hashed one by one, so that callers never ask.
 */
#ifndef CS_SM3_X16_H
#define CS_SM3_X16_H

#include <stddef.h>
#include <stdint.h>

void cs_sm3_x16(uint8_t *const out[16], const uint8_t *const heads[16], size_t head_bytes,
                const uint8_t *const bodies[16], size_t body_bytes);

/* The first `count` of them, at most sixteen; the pointers of the others are not looked at. */
void cs_sm3_upto16(uint8_t *const *out, const uint8_t *const *heads, size_t head_bytes, const uint8_t *const *bodies,
                   size_t body_bytes, size_t count);

#endif
