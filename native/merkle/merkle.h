/* RFC 6962 Merkle trees over an array of leaf hashes (made with cs_leaf_hash), 32 bytes each, packed.
 *
 * A tree of n > 1 leaves splits at the largest power of two below n. The root of no leaves is the hash of nothing.
 * Levels are hashed in lanes (many.h). Nothing allocates, up to 40 KiB of stack are used; out must not alias an input.
 */
#ifndef CS_MERKLE_H
#define CS_MERKLE_H

#include <stddef.h>
#include <stdint.h>

#include "merkle/hash.h"

#define CS_MERKLE_PATH_MAX 64 /* entries: no tree of fewer than 2^64 leaves is deeper */

#define CS_MERKLE_INDEX_RANGE (-1) /* the index is not below the count */
#define CS_MERKLE_PATH_LENGTH (-2) /* the path is longer or shorter than this index and count demand */

void cs_merkle_root(uint32_t suite, uint8_t out[32], const uint8_t *leaf_hashes, uint64_t count);

/* Write the inclusion path of the leaf at index, from the leaf upwards, and return its number of 32-byte entries.
 * path has room for CS_MERKLE_PATH_MAX entries; index is below count. */
size_t cs_merkle_path(uint32_t suite, uint8_t *path, const uint8_t *leaf_hashes, uint64_t count, uint64_t index);

/* Compute the root that a path leads to: 0, or one of the negative codes above with out untouched.
 * The caller compares the root: only an equal one proves inclusion. */
int cs_merkle_root_from_path(uint32_t suite, uint8_t out[32], const uint8_t leaf_hash[32], uint64_t index,
                             uint64_t count, const uint8_t *path, size_t path_count);

#endif
