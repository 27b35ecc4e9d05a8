/* The hashes of hash.h for many messages of one length: in lanes where there are enough of them, and the same bytes.
 *
 * Messages are hashed in ascending order, each read before anything is written for it or for a later one, sixteen at a
 * time at most: an output may alias its own message or an earlier one. data and out point to `count` pointers; rows
 * are `stride` bytes apart, of which the first n are hashed, and give packed hashes. Nothing allocates.
 */
#ifndef CS_MERKLE_MANY_H
#define CS_MERKLE_MANY_H

#include "merkle/hash.h"

void cs_hash_rows(uint32_t suite, uint8_t *out, const void *rows, size_t stride, size_t n, size_t count);
void cs_leaf_hash_rows(uint32_t suite, uint8_t *out, const void *rows, size_t stride, size_t n, size_t count);
void cs_leaf_hash_many(uint32_t suite, uint8_t *const *out, const uint8_t *const *data, size_t n, size_t count);
/* Inner nodes over pairs of hashes, left and right packed in 64 bytes; out may be where the pairs begin. */
void cs_node_hash_rows(uint32_t suite, uint8_t *out, const uint8_t *pairs, size_t count);
void cs_node_hash_many(uint32_t suite, uint8_t *const *out, const uint8_t *const *pairs, size_t count);

#endif
