/* Entries in and out of the id window. */
#include "apply/window.h"

#include <stdlib.h>

#include "apply/memory.h"

int cs_window_init(cs_window *window, cs_seed seed) {
    memset(window, 0, sizeof *window);
    window->free_first = CS_NONE;
    window->seed = seed;
    return cs_table_init(&window->table) != 0 || cs_buckets_init(&window->buckets, seed) != 0 ? -1 : 0;
}

void cs_window_free(cs_window *window) {
    free(window->items);
    cs_table_free(&window->table);
    cs_buckets_free(&window->buckets);
    cs_chain_free(&window->chain);
}

int cs_window_reserve(cs_window *window, uint64_t entries, uint64_t buckets) {
    if (entries > CS_ITEMS_MAX || CS_ROOM(window->items, window->capacity, entries) != 0 ||
        cs_table_reserve(&window->table, entries) != 0) {
        return -1;
    }
    return cs_buckets_reserve(&window->buckets, buckets);
}

static uint32_t hash_of(const cs_window *window, const cs_entry *entry) {
    return cs_window_hash(window, entry->authoriser, entry->record.debit_account, entry->record.id);
}

uint32_t cs_window_find(const cs_window *window, cs_u128 authoriser, cs_u128 debit_account, cs_u128 id) {
    uint32_t hash = cs_window_hash(window, authoriser, debit_account, id);
    uint64_t cursor = cs_table_start(&window->table, hash);
    for (;;) {
        uint32_t index = cs_table_next(&window->table, hash, &cursor);
        if (index == CS_NONE) {
            return CS_NONE;
        }
        const cs_entry *entry = &window->items[index];
        if (entry->record.id == id && entry->record.debit_account == debit_account && entry->authoriser == authoriser) {
            return index;
        }
    }
}

cs_window_place cs_window_restore(cs_window *window, const cs_entry *entry, uint64_t bucket_number) {
    cs_window_place place = {.entry = window->free_first};
    if (place.entry == CS_NONE) {
        place.entry = window->used++;
    } else {
        window->free_first = window->items[place.entry].next;
    }
    cs_entry *added = &window->items[place.entry];
    *added = *entry;
    added->next = CS_NONE;
    place.bucket = cs_buckets_obtain(&window->buckets, bucket_number);
    cs_bucket *bucket = &window->buckets.items[place.bucket];
    place.before = bucket->last;
    if (bucket->last == CS_NONE) {
        bucket->first = place.entry;
    } else {
        window->items[bucket->last].next = place.entry;
    }
    bucket->last = place.entry;
    bucket->count++;
    window->count++;
    cs_table_insert(&window->table, hash_of(window, added), place.entry);
    return place;
}

cs_window_place cs_window_add(cs_window *window, const cs_entry *entry, uint64_t bucket_number) {
    cs_window_place place = cs_window_restore(window, entry, bucket_number);
    uint8_t *item = cs_chain_append(&window->chain, &window->buckets, place.bucket);
    memcpy(item, &entry->authoriser, 16);
    memcpy(item + 16, &entry->record.debit_account, 16);
    memcpy(item + 32, &entry->record.id, 16);
    memcpy(item + 48, entry->digest, 32);
    memcpy(item + 80, &entry->time, 8);
    memcpy(item + 88, &entry->code, 2);
    memset(item + 90, 0, 6);
    return place;
}

static void release(cs_window *window, uint32_t index) {
    cs_entry *entry = &window->items[index];
    cs_table_remove(&window->table, hash_of(window, entry), index);
    entry->next = window->free_first;
    window->free_first = index;
    window->count--;
}

void cs_window_undo(cs_window *window, cs_window_place place) {
    cs_bucket *bucket = &window->buckets.items[place.bucket];
    bucket->last = place.before;
    if (place.before == CS_NONE) {
        bucket->first = CS_NONE;
    } else {
        window->items[place.before].next = CS_NONE;
    }
    bucket->count--;
    release(window, place.entry);
    if (bucket->count == 0) {
        cs_buckets_remove(&window->buckets, place.bucket);
    }
}

void cs_window_drop(cs_window *window, uint64_t bucket_number) {
    for (;;) {
        uint32_t lowest = cs_buckets_lowest(&window->buckets);
        if (lowest == CS_NONE || window->buckets.items[lowest].number >= bucket_number) {
            return;
        }
        for (uint32_t index = window->buckets.items[lowest].first; index != CS_NONE;) {
            uint32_t next = window->items[index].next;
            release(window, index);
            index = next;
        }
        cs_buckets_remove(&window->buckets, lowest);
    }
}

uint64_t cs_window_bytes(const cs_window *window) {
    return window->capacity * sizeof *window->items + (window->table.mask + 1) * 8 + cs_buckets_bytes(&window->buckets) +
           window->chain.capacity * sizeof *window->chain.items;
}
