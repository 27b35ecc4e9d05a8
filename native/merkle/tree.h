/* A Merkle tree whose leaves are appended and updated in place; its root equals cs_merkle_root of its leaf hashes.
 *
 * All inner nodes are kept (about 73 bytes for each reserved leaf). A root after k changed leaves costs at most
 * k * log2(n) node hashes, level by level and in lanes, each inner node at most once, and nothing else is read.
 * cs_tree_reserve alone allocates, so that applying a batch cannot fail halfway.
 */
#ifndef CS_MERKLE_TREE_H
#define CS_MERKLE_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "merkle/merkle.h"

#define CS_TREE_LEAVES_MAX ((uint64_t)1 << 40) /* keeps every byte count below 2^64; far above what memory holds */
#define CS_TREE_LEVELS_MAX 41

typedef struct cs_tree {
    uint32_t suite;
    uint64_t count;                      /* leaves */
    uint64_t capacity;                   /* leaves reserved: 0 or a power of two */
    uint64_t dirty_count;                /* leaves changed since the inner nodes were last brought up to date */
    uint64_t *dirty;                     /* their indexes, each once */
    uint64_t *marks[2];                  /* one bit a leaf: it is in dirty; one bit a parent: scratch, zero between calls */
    uint8_t *levels[CS_TREE_LEVELS_MAX]; /* level 0: leaf hashes; level i: ceil(count / 2^i) nodes of 32 bytes */
} cs_tree;

void cs_tree_init(cs_tree *tree, uint32_t suite);
void cs_tree_free(cs_tree *tree);

/* Make room for this many leaves in all: 0, or -1 when memory is short, and then the tree is as before. */
int cs_tree_reserve(cs_tree *tree, uint64_t leaves);

/* Room must have been reserved (append) and index be below the count (set). */
void cs_tree_append(cs_tree *tree, const uint8_t leaf_hash[32]);
void cs_tree_set(cs_tree *tree, uint64_t index, const uint8_t leaf_hash[32]);

void cs_tree_root(cs_tree *tree, uint8_t out[32]);
/* As cs_merkle_path: at most CS_MERKLE_PATH_MAX entries; index is below the count. */
size_t cs_tree_path(cs_tree *tree, uint64_t index, uint8_t *path);
uint64_t cs_tree_count(const cs_tree *tree);

#endif
