/* Growth, insertion and removal of the index. */
#include "apply/table.h"

#include <stdlib.h>

enum { SLOTS_MIN = 32 };

int cs_table_init(cs_table *table) {
    table->slots = calloc(SLOTS_MIN, sizeof *table->slots);
    table->mask = SLOTS_MIN - 1;
    table->count = 0;
    return table->slots == NULL ? -1 : 0;
}

void cs_table_free(cs_table *table) {
    free(table->slots);
    table->slots = NULL;
}

static void put(uint64_t *slots, uint64_t mask, uint64_t slot) {
    uint64_t at = (slot >> 32) & mask;
    while (slots[at] != 0) {
        at = (at + 1) & mask;
    }
    slots[at] = slot;
}

int cs_table_reserve(cs_table *table, uint64_t items) {
    uint64_t count = table->mask + 1;
    if (items > CS_ITEMS_MAX) {
        return -1;
    }
    while (count < 2 * items) {
        count *= 2;
    }
    if (count == table->mask + 1) {
        return 0;
    }
    uint64_t *slots = calloc((size_t)count, sizeof *slots);
    if (slots == NULL) {
        return -1;
    }
    for (uint64_t i = 0; i <= table->mask; i++) {
        if (table->slots[i] != 0) {
            put(slots, count - 1, table->slots[i]);
        }
    }
    free(table->slots);
    table->slots = slots;
    table->mask = count - 1;
    return 0;
}

void cs_table_insert(cs_table *table, uint32_t hash, uint32_t item) {
    put(table->slots, table->mask, (uint64_t)hash << 32 | ((uint64_t)item + 1));
    table->count++;
}

static uint64_t place(const cs_table *table, uint32_t hash, uint32_t item) {
    uint64_t slot = (uint64_t)hash << 32 | ((uint64_t)item + 1);
    uint64_t at = hash & table->mask;
    while (table->slots[at] != slot) {
        at = (at + 1) & table->mask;
    }
    return at;
}

void cs_table_replace(cs_table *table, uint32_t hash, uint32_t item, uint32_t other) {
    table->slots[place(table, hash, item)] = (uint64_t)hash << 32 | ((uint64_t)other + 1);
}

/* Close the hole: whatever stands behind it and may stand in it moves up (Knuth, volume 3, 6.4, algorithm R). */
void cs_table_remove(cs_table *table, uint32_t hash, uint32_t item) {
    uint64_t *slots = table->slots, mask = table->mask;
    uint64_t hole = place(table, hash, item);
    for (uint64_t at = (hole + 1) & mask; slots[at] != 0; at = (at + 1) & mask) {
        uint64_t home = (slots[at] >> 32) & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            slots[hole] = slots[at];
            hole = at;
        }
    }
    slots[hole] = 0;
    table->count--;
}
