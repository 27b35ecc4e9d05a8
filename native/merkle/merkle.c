/* Roots, paths and their check, after RFC 6962 section 2.1 and the verification of RFC 9162 section 2.1.3.2. */
#include "merkle/merkle.h"

#include <string.h>

#include "merkle/many.h"

/* Leaves of a subtree that is reduced level by level, in lanes; the room is for one of its levels. */
enum { CHUNK_LEAVES = 2048, CHUNK_BYTES = CHUNK_LEAVES / 2 * 32 };

/* The next level of a tree, in place or elsewhere: a last node without a right neighbour rises unchanged. */
static size_t raise_level(uint32_t suite, uint8_t *above, const uint8_t *below, size_t nodes) {
    cs_node_hash_rows(suite, above, below, nodes / 2);
    if (nodes % 2 != 0) {
        memmove(above + 32 * (nodes / 2), below + 32 * (nodes - 1), 32);
    }
    return (nodes + 1) / 2;
}

/* The root of 1 to CHUNK_LEAVES leaves. */
static void chunk_root(uint32_t suite, uint8_t out[32], const uint8_t *leaf_hashes, size_t count) {
    uint8_t level[CHUNK_BYTES];
    const uint8_t *top = leaf_hashes;
    while (count > 1) {
        count = raise_level(suite, level, top, count);
        top = level;
    }
    memcpy(out, top, 32);
}

void cs_merkle_root(uint32_t suite, uint8_t out[32], const uint8_t *leaf_hashes, uint64_t count) {
    /* Roots of the perfect trees of chunks to the left, one for each set bit of the number of chunks seen. Only the last
     * chunk is smaller than the others, and so it hangs where its leaves would. */
    uint8_t peaks[CS_MERKLE_PATH_MAX][32];
    const uint64_t chunks = (count + CHUNK_LEAVES - 1) / CHUNK_LEAVES;
    unsigned used = 0;
    if (count == 0) {
        cs_hash(suite, out, NULL, 0);
        return;
    }
    for (uint64_t i = 0; i < chunks; i++) {
        const uint64_t first = CHUNK_LEAVES * i, left = count - first;
        chunk_root(suite, peaks[used++], leaf_hashes + 32 * first, left < CHUNK_LEAVES ? (size_t)left : CHUNK_LEAVES);
        for (uint64_t seen = i; seen & 1; seen >>= 1) {
            used--;
            cs_node_hash(suite, peaks[used - 1], peaks[used - 1], peaks[used]);
        }
    }
    /* What is left over is right-leaning: the smallest subtree hangs deepest. */
    while (used > 1) {
        used--;
        cs_node_hash(suite, peaks[used - 1], peaks[used - 1], peaks[used]);
    }
    memcpy(out, peaks[0], 32);
}

static uint64_t largest_power_below(uint64_t count) {
    uint64_t power = 1;
    while (power < count - power) {
        power <<= 1;
    }
    return power;
}

size_t cs_merkle_path(uint32_t suite, uint8_t *path, const uint8_t *leaf_hashes, uint64_t count, uint64_t index) {
    struct {
        const uint8_t *first;
        uint64_t count;
    } siblings[CS_MERKLE_PATH_MAX]; /* from the root downwards; the path is the other way round */
    size_t depth = 0;
    while (count > 1) {
        uint64_t split = largest_power_below(count);
        if (index < split) {
            siblings[depth].first = leaf_hashes + 32 * split;
            siblings[depth].count = count - split;
            count = split;
        } else {
            siblings[depth].first = leaf_hashes;
            siblings[depth].count = split;
            leaf_hashes += 32 * split;
            index -= split;
            count -= split;
        }
        depth++;
    }
    for (size_t i = 0; i < depth; i++) {
        cs_merkle_root(suite, path + 32 * i, siblings[depth - 1 - i].first, siblings[depth - 1 - i].count);
    }
    return depth;
}

int cs_merkle_root_from_path(uint32_t suite, uint8_t out[32], const uint8_t leaf_hash[32], uint64_t index,
                             uint64_t count, const uint8_t *path, size_t path_count) {
    uint8_t node[32];
    uint64_t last;
    if (index >= count) {
        return CS_MERKLE_INDEX_RANGE;
    }
    memcpy(node, leaf_hash, 32);
    last = count - 1;
    for (size_t i = 0; i < path_count; i++, path += 32) {
        if (last == 0) {
            return CS_MERKLE_PATH_LENGTH;
        }
        if ((index & 1) != 0 || index == last) {
            cs_node_hash(suite, node, path, node);
            /* A last node without a right neighbour rises unchanged until it is a right child. */
            while ((index & 1) == 0 && index != 0) {
                index >>= 1;
                last >>= 1;
            }
        } else {
            cs_node_hash(suite, node, node, path);
        }
        index >>= 1;
        last >>= 1;
    }
    if (last != 0) {
        return CS_MERKLE_PATH_LENGTH;
    }
    memcpy(out, node, 32);
    return 0;
}
