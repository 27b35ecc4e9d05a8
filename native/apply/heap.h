/* A binary min-heap of item numbers that can also remove an item from the middle.
 *
 * The order is by key, equal keys by the owner's `before`; without one, keys must differ.
 */
#ifndef CS_APPLY_HEAP_H
#define CS_APPLY_HEAP_H

#include "apply/layout.h"

typedef struct {
    uint64_t key;
    uint32_t item;
} cs_heap_node;

typedef int (*cs_heap_before)(const void *owner, uint32_t a, uint32_t b);

typedef struct {
    cs_heap_node *nodes;
    uint64_t count, capacity;
    uint32_t *positions; /* by item: where its node stands */
    uint64_t positions_capacity;
    cs_heap_before before;
    const void *owner;
} cs_heap;

void cs_heap_init(cs_heap *heap, cs_heap_before before, const void *owner);
void cs_heap_free(cs_heap *heap);
/* Make room for this many nodes, whose items are below this number: 0, or -1. */
int cs_heap_reserve(cs_heap *heap, uint64_t items);
void cs_heap_push(cs_heap *heap, uint64_t key, uint32_t item);
/* The item must be in the heap. */
void cs_heap_remove(cs_heap *heap, uint32_t item);

#endif
