/* An open-addressing index from a 32-bit hash to item numbers; the items, and so the keys, lie elsewhere.
 *
 * Linear probing, at most half full, removal by shifting back, so that probes never meet dead slots. Nothing that
 * anybody can see depends on the order of its slots, so the hash may be seeded differently in every process.
 */
#ifndef CS_APPLY_TABLE_H
#define CS_APPLY_TABLE_H

#include "apply/layout.h"

#define CS_ITEMS_MAX ((uint64_t)1 << 31) /* item numbers and hashes share one 64-bit slot */

typedef struct {
    uint64_t *slots; /* hash << 32 | item + 1; 0 is free */
    uint64_t mask;   /* number of slots - 1 */
    uint64_t count;
} cs_table;

typedef struct {
    uint64_t a, b;
} cs_seed;

int cs_table_init(cs_table *table);
void cs_table_free(cs_table *table);
/* Make room for this many items in all: 0, or -1 with the table as before. */
int cs_table_reserve(cs_table *table, uint64_t items);
void cs_table_insert(cs_table *table, uint32_t hash, uint32_t item);
/* The pair must be in the table. */
void cs_table_remove(cs_table *table, uint32_t hash, uint32_t item);
/* Let another item stand where this one stood (the key is the same). */
void cs_table_replace(cs_table *table, uint32_t hash, uint32_t item, uint32_t other);

static inline uint64_t cs_table_start(const cs_table *table, uint32_t hash) { return hash & table->mask; }

/* The next item whose hash is this one, or CS_NONE; *cursor starts at cs_table_start. */
static inline uint32_t cs_table_next(const cs_table *table, uint32_t hash, uint64_t *cursor) {
    for (;;) {
        uint64_t slot = table->slots[*cursor];
        if (slot == 0) {
            return CS_NONE;
        }
        *cursor = (*cursor + 1) & table->mask;
        if ((uint32_t)(slot >> 32) == hash) {
            return (uint32_t)slot - 1;
        }
    }
}

static inline void cs_table_prefetch(const cs_table *table, uint32_t hash) {
    __builtin_prefetch(&table->slots[hash & table->mask]);
}

/* Multiply and fold: every bit of either factor reaches the result. */
static inline uint64_t cs_fold(uint64_t a, uint64_t b) {
    cs_u128 product = (cs_u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t cs_mix_u128(uint64_t state, cs_seed seed, cs_u128 value) {
    return cs_fold((uint64_t)value ^ seed.a ^ state, (uint64_t)(value >> 64) ^ seed.b);
}

static inline uint32_t cs_mix_end(uint64_t state, cs_seed seed) {
    uint64_t mixed = cs_fold(state ^ seed.b, 0x9E3779B97F4A7C15u ^ seed.a);
    return (uint32_t)(mixed ^ (mixed >> 32));
}

#endif
