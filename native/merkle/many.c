/* Groups of sixteen messages for the lanes. */
#include "merkle/many.h"

#include "sha2/sha256_x16.h"
#include "sm3/sm3_x16.h"

enum { LANES = 16 };

/* What is hashed: the bytes alone, or with the prefix of a leaf or of an inner node before them. */
typedef enum { PLAIN, LEAF, NODE } kind;

static void hash_one(uint32_t suite, kind what, uint8_t *out, const uint8_t *data, size_t n) {
    switch (what) {
    case LEAF:
        cs_leaf_hash(suite, out, data, n);
        break;
    case NODE:
        cs_node_hash(suite, out, data, data + CS_HASH_BYTES);
        break;
    default:
        cs_hash(suite, out, data, n);
    }
}

/* At most sixteen messages. */
static void hash_group(uint32_t suite, kind what, uint8_t *const *out, const uint8_t *const *data, size_t n, size_t count) {
    static const uint8_t leaf_prefix = 0, node_prefix = 1;
    const uint8_t *const prefix = what == LEAF ? &leaf_prefix : &node_prefix;
    const uint8_t *const heads[LANES] = {prefix, prefix, prefix, prefix, prefix, prefix, prefix, prefix,
                                         prefix, prefix, prefix, prefix, prefix, prefix, prefix, prefix};
    const size_t head_bytes = what == PLAIN ? 0 : 1;
    if (count == 1) {
        hash_one(suite, what, out[0], data[0], n);
    } else if (suite == CS_HASH_SM3) {
        cs_sm3_upto16(out, heads, head_bytes, data, n, count);
    } else {
        cs_sha256_upto16(out, heads, head_bytes, data, n, count);
    }
}

static size_t group_from(size_t first, size_t count) { return count - first < LANES ? count - first : LANES; }

static void hash_many(uint32_t suite, kind what, uint8_t *const *out, const uint8_t *const *data, size_t n, size_t count) {
    for (size_t first = 0; first < count; first += LANES) {
        hash_group(suite, what, out + first, data + first, n, group_from(first, count));
    }
}

static void hash_rows(uint32_t suite, kind what, uint8_t *out, const uint8_t *rows, size_t stride, size_t n, size_t count) {
    uint8_t *outs[LANES];
    const uint8_t *data[LANES];
    for (size_t first = 0; first < count; first += LANES) {
        const size_t some = group_from(first, count);
        for (size_t i = 0; i < some; i++) {
            outs[i] = out + CS_HASH_BYTES * (first + i);
            data[i] = rows + stride * (first + i);
        }
        hash_group(suite, what, outs, data, n, some);
    }
}

void cs_hash_rows(uint32_t suite, uint8_t *out, const void *rows, size_t stride, size_t n, size_t count) {
    hash_rows(suite, PLAIN, out, rows, stride, n, count);
}

void cs_leaf_hash_rows(uint32_t suite, uint8_t *out, const void *rows, size_t stride, size_t n, size_t count) {
    hash_rows(suite, LEAF, out, rows, stride, n, count);
}

void cs_leaf_hash_many(uint32_t suite, uint8_t *const *out, const uint8_t *const *data, size_t n, size_t count) {
    hash_many(suite, LEAF, out, data, n, count);
}

void cs_node_hash_rows(uint32_t suite, uint8_t *out, const uint8_t *pairs, size_t count) {
    hash_rows(suite, NODE, out, pairs, 2 * CS_HASH_BYTES, 2 * CS_HASH_BYTES, count);
}

void cs_node_hash_many(uint32_t suite, uint8_t *const *out, const uint8_t *const *pairs, size_t count) {
    hash_many(suite, NODE, out, pairs, 2 * CS_HASH_BYTES, count);
}
