/* Sifting, with the position of every item kept up to date. */
#include "apply/heap.h"

#include <stdlib.h>

#include "apply/memory.h"

void cs_heap_init(cs_heap *heap, cs_heap_before before, const void *owner) {
    memset(heap, 0, sizeof *heap);
    heap->before = before;
    heap->owner = owner;
}

void cs_heap_free(cs_heap *heap) {
    free(heap->nodes);
    free(heap->positions);
}

int cs_heap_reserve(cs_heap *heap, uint64_t items) {
    if (CS_ROOM(heap->nodes, heap->capacity, items) != 0) {
        return -1;
    }
    return CS_ROOM(heap->positions, heap->positions_capacity, items);
}

static int less(const cs_heap *heap, cs_heap_node a, cs_heap_node b) {
    if (a.key != b.key) {
        return a.key < b.key;
    }
    return heap->before != NULL && heap->before(heap->owner, a.item, b.item);
}

static void put(cs_heap *heap, uint64_t at, cs_heap_node node) {
    heap->nodes[at] = node;
    heap->positions[node.item] = (uint32_t)at;
}

static void rise(cs_heap *heap, uint64_t at, cs_heap_node node) {
    while (at > 0 && less(heap, node, heap->nodes[(at - 1) / 2])) {
        put(heap, at, heap->nodes[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(heap, at, node);
}

static void sink(cs_heap *heap, uint64_t at, cs_heap_node node) {
    for (;;) {
        uint64_t child = 2 * at + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count && less(heap, heap->nodes[child + 1], heap->nodes[child])) {
            child++;
        }
        if (!less(heap, heap->nodes[child], node)) {
            break;
        }
        put(heap, at, heap->nodes[child]);
        at = child;
    }
    put(heap, at, node);
}

void cs_heap_push(cs_heap *heap, uint64_t key, uint32_t item) {
    cs_heap_node node = {.key = key, .item = item};
    rise(heap, heap->count++, node);
}

void cs_heap_remove(cs_heap *heap, uint32_t item) {
    uint64_t at = heap->positions[item];
    cs_heap_node last = heap->nodes[--heap->count];
    if (at == heap->count) {
        return;
    }
    if (at > 0 && less(heap, last, heap->nodes[(at - 1) / 2])) {
        rise(heap, at, last);
    } else {
        sink(heap, at, last);
    }
}
