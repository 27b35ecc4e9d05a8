/* The updatable tree, level by level. A last node without a right neighbour is its own parent's value, which gives
 * the same tree as the splits of RFC 6962. */
#include "merkle/tree.h"

#include <stdlib.h>
#include <string.h>

#include "merkle/many.h"

enum { REFRESHED_AT_ONCE = 64 }; /* inner nodes; a multiple of the lanes */

void cs_tree_init(cs_tree *tree, uint32_t suite) {
    memset(tree, 0, sizeof *tree);
    tree->suite = suite;
}

void cs_tree_free(cs_tree *tree) {
    free(tree->dirty);
    free(tree->marks[0]);
    free(tree->marks[1]);
    for (unsigned level = 0; level < CS_TREE_LEVELS_MAX; level++) {
        free(tree->levels[level]);
    }
    cs_tree_init(tree, tree->suite);
}

static size_t mark_words(uint64_t leaves) { return (size_t)((leaves + 63) / 64); }

/* Grow one array; whether or not later ones succeed, what it holds stays valid. */
static int grow(void **array, uint64_t bytes) {
    void *grown = bytes > SIZE_MAX ? NULL : realloc(*array, (size_t)bytes);
    if (grown == NULL) {
        return -1;
    }
    *array = grown;
    return 0;
}

int cs_tree_reserve(cs_tree *tree, uint64_t leaves) {
    uint64_t capacity = 64;
    if (leaves <= tree->capacity) {
        return 0;
    }
    if (leaves > CS_TREE_LEAVES_MAX) {
        return -1;
    }
    while (capacity < leaves) {
        capacity <<= 1;
    }
    for (unsigned level = 0; capacity >> level != 0; level++) {
        if (grow((void **)&tree->levels[level], (capacity >> level) * 32) != 0) {
            return -1;
        }
    }
    if (grow((void **)&tree->dirty, capacity * sizeof *tree->dirty) != 0) {
        return -1;
    }
    for (unsigned i = 0; i < 2; i++) {
        size_t words = mark_words(capacity), old_words = mark_words(tree->capacity);
        if (grow((void **)&tree->marks[i], (uint64_t)words * sizeof(uint64_t)) != 0) {
            return -1;
        }
        memset(tree->marks[i] + old_words, 0, (words - old_words) * sizeof(uint64_t));
    }
    tree->capacity = capacity;
    return 0;
}

/* Set a bit and say whether it was clear. */
static inline int mark(uint64_t *marks, uint64_t index) {
    uint64_t bit = (uint64_t)1 << (index & 63);
    int fresh = (marks[index >> 6] & bit) == 0;
    marks[index >> 6] |= bit;
    return fresh;
}

static inline void unmark(uint64_t *marks, uint64_t index) { marks[index >> 6] &= ~((uint64_t)1 << (index & 63)); }

void cs_tree_set(cs_tree *tree, uint64_t index, const uint8_t leaf_hash[32]) {
    memcpy(tree->levels[0] + 32 * index, leaf_hash, 32);
    if (mark(tree->marks[0], index)) {
        tree->dirty[tree->dirty_count++] = index;
    }
}

void cs_tree_append(cs_tree *tree, const uint8_t leaf_hash[32]) { cs_tree_set(tree, tree->count++, leaf_hash); }

/* Write these parents, at most REFRESHED_AT_ONCE, anew from the level below, which has this many nodes. */
static void refresh_parents(uint32_t suite, const uint8_t *below, uint64_t nodes, uint8_t *above, const uint64_t *parents,
                            size_t count) {
    const uint8_t *pairs[REFRESHED_AT_ONCE];
    uint8_t *out[REFRESHED_AT_ONCE];
    size_t paired = 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *pair = below + 64 * parents[i];
        if (2 * parents[i] + 1 < nodes) {
            pairs[paired] = pair;
            out[paired++] = above + 32 * parents[i];
        } else {
            memcpy(above + 32 * parents[i], pair, 32);
        }
    }
    cs_node_hash_many(suite, out, pairs, paired);
}

/* Bring the inner nodes up to date. At each level the list of changed nodes becomes the list of their parents, in
 * place: a parent is written no later than its first child was read. */
static void refresh(cs_tree *tree) {
    uint64_t changed = tree->dirty_count, nodes = tree->count;
    uint64_t *list = tree->dirty, *parents = tree->marks[1];
    if (changed == 0) {
        return;
    }
    for (uint64_t i = 0; i < changed; i++) {
        unmark(tree->marks[0], list[i]);
    }
    tree->dirty_count = 0;
    for (unsigned level = 0; nodes > 1; level++, nodes = (nodes + 1) / 2) {
        const uint8_t *below = tree->levels[level];
        uint8_t *above = tree->levels[level + 1];
        uint64_t fresh = 0;
        for (uint64_t i = 0; i < changed; i++) {
            uint64_t parent = list[i] / 2;
            if (mark(parents, parent)) {
                list[fresh++] = parent;
            }
        }
        for (uint64_t first = 0; first < fresh; first += REFRESHED_AT_ONCE) {
            uint64_t left = fresh - first;
            size_t count = left < REFRESHED_AT_ONCE ? (size_t)left : REFRESHED_AT_ONCE;
            refresh_parents(tree->suite, below, nodes, above, list + first, count);
        }
        for (uint64_t i = 0; i < fresh; i++) {
            unmark(parents, list[i]);
        }
        changed = fresh;
    }
}

void cs_tree_root(cs_tree *tree, uint8_t out[32]) {
    unsigned level = 0;
    if (tree->count == 0) {
        cs_hash(tree->suite, out, NULL, 0);
        return;
    }
    refresh(tree);
    for (uint64_t nodes = tree->count; nodes > 1; nodes = (nodes + 1) / 2) {
        level++;
    }
    memcpy(out, tree->levels[level], 32);
}

size_t cs_tree_path(cs_tree *tree, uint64_t index, uint8_t *path) {
    size_t entries = 0;
    unsigned level = 0;
    refresh(tree);
    for (uint64_t nodes = tree->count; nodes > 1; nodes = (nodes + 1) / 2, level++, index /= 2) {
        uint64_t sibling = index ^ 1;
        if (sibling < nodes) {
            memcpy(path + 32 * entries++, tree->levels[level] + 32 * sibling, 32);
        }
    }
    return entries;
}

uint64_t cs_tree_count(const cs_tree *tree) { return tree->count; }
