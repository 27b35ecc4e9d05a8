/* The kernels behind sha256_x16.h and sha256.h. Each runs only where cs_variant allows its instructions. */
#ifndef CS_SHA256_LANES_H
#define CS_SHA256_LANES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
/* AVX-512 F and BW, sixteen lanes; arguments as those of cs_sha256_x16. */
void cs_sha256_lanes16(uint8_t *const out[16], const uint8_t *const heads[16], size_t head_bytes,
                       const uint8_t *const bodies[16], size_t body_bytes);
/* AVX2, the first eight of sixteen. */
void cs_sha256_lanes8(uint8_t *const out[8], const uint8_t *const heads[8], size_t head_bytes,
                      const uint8_t *const bodies[8], size_t body_bytes);
/* The SHA extensions, one message; arguments as those of cs_sha256_compress. */
void cs_sha256_compress_sha(uint32_t h[8], const uint8_t *blocks, size_t count);
/* The same, a whole message; arguments as those of cs_sha256. */
void cs_sha256_whole_sha(uint8_t out[32], const uint8_t *data, size_t n);
/* The SHA extensions, two by two; arguments as those of cs_sha256_upto16. */
void cs_sha256_pairs_sha(uint8_t *const *out, const uint8_t *const *heads, size_t head_bytes, const uint8_t *const *bodies,
                         size_t body_bytes, size_t count);
#endif

extern const uint32_t CS_SHA256_ROUND_CONSTANTS[64];
/* The schedule of a last block that holds no byte of its message, so that it is the same for all of this length: W_i + K_i,
 * 64 words. They are kept until this thread asks for another length, for batches go on with one. */
const uint32_t *cs_sha256_closing(size_t total);

#endif
