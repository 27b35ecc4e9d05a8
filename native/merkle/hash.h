/* The network's hash suite: one of two hashes, named once by the genesis and handed to every call.
 *
 * A suite other than the two below is a caller's mistake: bindings refuse it before they call. Digests are 32 bytes.
 */
#ifndef CS_MERKLE_HASH_H
#define CS_MERKLE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "sha2/sha256.h"
#include "sm3/sm3.h"

#define CS_HASH_SHA256 1
#define CS_HASH_SM3 2
#define CS_HASH_BYTES 32

typedef struct {
    uint32_t suite;
    union {
        cs_sha256_ctx sha256;
        cs_sm3_ctx sm3;
    } as;
} cs_hash_ctx;

void cs_hash_init(cs_hash_ctx *ctx, uint32_t suite);
void cs_hash_update(cs_hash_ctx *ctx, const void *data, size_t n);
void cs_hash_final(uint8_t out[32], cs_hash_ctx *ctx);
void cs_hash(uint32_t suite, uint8_t out[32], const void *data, size_t n);

/* H(0x00 || data): the hash of a leaf (RFC 6962, section 2.1). */
void cs_leaf_hash(uint32_t suite, uint8_t out[32], const void *data, size_t n);
/* H(0x01 || left || right): the hash of an inner node; out may alias left or right. */
void cs_node_hash(uint32_t suite, uint8_t out[32], const uint8_t left[32], const uint8_t right[32]);

#endif
