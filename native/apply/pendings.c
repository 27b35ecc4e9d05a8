/* The indexes of pendings and locks. */
#include "apply/pendings.h"

#include <stdlib.h>

#include "apply/memory.h"

static int pending_before(const void *owner, uint32_t a, uint32_t b) {
    const cs_pending *items = ((const cs_pendings *)owner)->items, *one = &items[a], *other = &items[b];
    if (one->id != other->id) {
        return one->id < other->id;
    }
    return one->debit_account < other->debit_account;
}

int cs_pendings_init(cs_pendings *pendings, cs_seed seed, uint64_t bucket_ns) {
    memset(pendings, 0, sizeof *pendings);
    pendings->free_first = pendings->made_first = pendings->made_last = CS_NONE;
    pendings->seed = seed;
    pendings->bucket_ns = bucket_ns;
    cs_heap_init(&pendings->due, pending_before, pendings);
    cs_heap_init(&pendings->locks, pending_before, pendings);
    int failed = cs_table_init(&pendings->table) != 0;
    failed |= cs_table_init(&pendings->hashlocks) != 0;
    failed |= cs_buckets_init(&pendings->buckets, seed) != 0;
    failed |= cs_buckets_init(&pendings->forget, seed) != 0;
    return failed ? -1 : 0;
}

void cs_pendings_free(cs_pendings *pendings) {
    free(pendings->items);
    cs_table_free(&pendings->table);
    cs_table_free(&pendings->hashlocks);
    cs_heap_free(&pendings->due);
    cs_heap_free(&pendings->locks);
    cs_buckets_free(&pendings->buckets);
    cs_buckets_free(&pendings->forget);
    cs_chain_free(&pendings->chain);
}

int cs_pendings_reserve(cs_pendings *pendings, uint64_t more, uint64_t ending) {
    uint64_t total = pendings->count + more;
    if (total > CS_ITEMS_MAX || CS_ROOM(pendings->items, pendings->capacity, total) != 0 ||
        cs_table_reserve(&pendings->table, total) != 0 || cs_table_reserve(&pendings->hashlocks, total) != 0 ||
        cs_heap_reserve(&pendings->due, total) != 0 || cs_heap_reserve(&pendings->locks, total) != 0 ||
        cs_buckets_reserve(&pendings->buckets, more) != 0) {
        return -1;
    }
    return cs_buckets_reserve(&pendings->forget, ending);
}

static uint32_t hash_of(const cs_pendings *pendings, cs_u128 debit_account, cs_u128 id) {
    uint64_t state = cs_mix_u128(0, pendings->seed, id);
    return cs_mix_end(cs_mix_u128(state, pendings->seed, debit_account), pendings->seed);
}

static uint32_t hash_of_lock(const cs_pendings *pendings, const uint8_t hashlock[32], int function) {
    uint64_t state = cs_mix_u128((uint64_t)function, pendings->seed, cs_load_u128(hashlock));
    return cs_mix_end(cs_mix_u128(state, pendings->seed, cs_load_u128(hashlock + 16)), pendings->seed);
}

uint32_t cs_pendings_find(const cs_pendings *pendings, cs_u128 debit_account, cs_u128 id) {
    uint32_t hash = hash_of(pendings, debit_account, id), index;
    uint64_t cursor = cs_table_start(&pendings->table, hash);
    do {
        index = cs_table_next(&pendings->table, hash, &cursor);
    } while (index != CS_NONE && (pendings->items[index].id != id || pendings->items[index].debit_account != debit_account));
    return index;
}

static int function_of(const cs_pending *pending) {
    if (cs_pending_is_prepared(pending)) {
        return CS_LOCK_RUN;
    }
    return (pending->flags & CS_FLAG_SM3) != 0 ? CS_LOCK_SM3 : CS_LOCK_SHA256;
}

uint32_t cs_pendings_find_locks(const cs_pendings *pendings, const uint8_t hashlock[32], int function) {
    uint32_t hash = hash_of_lock(pendings, hashlock, function);
    uint64_t cursor = cs_table_start(&pendings->hashlocks, hash);
    for (;;) {
        uint32_t index = cs_table_next(&pendings->hashlocks, hash, &cursor);
        if (index == CS_NONE) {
            return CS_NONE;
        }
        const cs_pending *lock = &pendings->items[index];
        if (function_of(lock) == function && memcmp(lock->binding, hashlock, 32) == 0) {
            return index;
        }
    }
}

static void hashlock_link(cs_pendings *pendings, uint32_t index) {
    cs_pending *items = pendings->items, *lock = &items[index];
    uint32_t first = cs_pendings_find_locks(pendings, lock->binding, function_of(lock));
    lock->same_after = CS_NONE;
    if (first == CS_NONE) {
        lock->same_before = index;
        cs_table_insert(&pendings->hashlocks, hash_of_lock(pendings, lock->binding, function_of(lock)), index);
        return;
    }
    lock->same_before = items[first].same_before;
    items[lock->same_before].same_after = index;
    items[first].same_before = index;
}

static void hashlock_unlink(cs_pendings *pendings, uint32_t index) {
    cs_pending *items = pendings->items, *lock = &items[index];
    uint32_t hash = hash_of_lock(pendings, lock->binding, function_of(lock));
    uint32_t first = cs_pendings_find_locks(pendings, lock->binding, function_of(lock));
    if (first == index) {
        if (lock->same_after == CS_NONE) {
            cs_table_remove(&pendings->hashlocks, hash, index);
            return;
        }
        cs_table_replace(&pendings->hashlocks, hash, index, lock->same_after);
        items[lock->same_after].same_before = lock->same_before;
        return;
    }
    items[lock->same_before].same_after = lock->same_after;
    items[lock->same_after == CS_NONE ? first : lock->same_after].same_before = lock->same_before;
}

/* Put an open one where time or a preimage will find it, and take it out again. */
static void open_link(cs_pendings *pendings, uint32_t index) {
    cs_pending *pending = &pendings->items[index];
    pendings->open_count++;
    if (cs_pending_waits(pending)) {
        pendings->open_lock_count++;
        cs_heap_push(&pendings->locks, pending->due, index);
        hashlock_link(pendings, index);
    } else if (pending->due != 0) {
        cs_heap_push(&pendings->due, pending->due, index);
    }
}

static void open_unlink(cs_pendings *pendings, uint32_t index) {
    cs_pending *pending = &pendings->items[index];
    pendings->open_count--;
    if (cs_pending_waits(pending)) {
        pendings->open_lock_count--;
        cs_heap_remove(&pendings->locks, index);
        hashlock_unlink(pendings, index);
    } else if (pending->due != 0) {
        cs_heap_remove(&pendings->due, index);
    }
}

static void enter_bucket(cs_pendings *pendings, cs_pending *pending) {
    uint64_t number = pending->due == 0 ? UINT64_MAX : pending->due / pendings->bucket_ns;
    pending->bucket = cs_buckets_obtain(&pendings->buckets, number);
    pendings->buckets.items[pending->bucket].count++;
}

/* At the end of the list of all, and out of it. */
static void made_link(cs_pendings *pendings, uint32_t index) {
    cs_pending *pending = &pendings->items[index];
    pending->made_before = pendings->made_last;
    pending->made_after = CS_NONE;
    if (pendings->made_last == CS_NONE) {
        pendings->made_first = index;
    } else {
        pendings->items[pendings->made_last].made_after = index;
    }
    pendings->made_last = index;
}

static void made_unlink(cs_pendings *pendings, uint32_t index) {
    cs_pending *items = pendings->items, *pending = &items[index];
    if (pending->made_before == CS_NONE) {
        pendings->made_first = pending->made_after;
    } else {
        items[pending->made_before].made_after = pending->made_after;
    }
    if (pending->made_after == CS_NONE) {
        pendings->made_last = pending->made_before;
    } else {
        items[pending->made_after].made_before = pending->made_before;
    }
}

uint32_t cs_pendings_insert(cs_pendings *pendings, const cs_pending *pending) {
    uint32_t index = pendings->free_first;
    if (index == CS_NONE) {
        index = pendings->used++;
    } else {
        pendings->free_first = pendings->items[index].made_after;
    }
    cs_pending *made = &pendings->items[index];
    *made = *pending;
    made->forget_before = made->forget_after = CS_NONE;
    made->same_before = made->same_after = CS_NONE;
    made_link(pendings, index);
    pendings->count++;
    cs_table_insert(&pendings->table, hash_of(pendings, made->debit_account, made->id), index);
    enter_bucket(pendings, made);
    if (cs_pending_is_open(made)) {
        open_link(pendings, index);
    }
    return index;
}

/* Remove one that is in no open index and no forget bucket. */
static void drop(cs_pendings *pendings, uint32_t index) {
    cs_pending *pending = &pendings->items[index];
    cs_table_remove(&pendings->table, hash_of(pendings, pending->debit_account, pending->id), index);
    made_unlink(pendings, index);
    pendings->buckets.items[pending->bucket].count--;
    pendings->count--;
    pending->made_after = pendings->free_first;
    pendings->free_first = index;
}

void cs_pendings_undo_insert(cs_pendings *pendings, uint32_t index) {
    uint32_t bucket_index = pendings->items[index].bucket;
    const cs_bucket *bucket = &pendings->buckets.items[bucket_index];
    open_unlink(pendings, index);
    drop(pendings, index);
    /* With events of this log record left, the end of the record removes it. */
    if (bucket->count == 0 && bucket->fresh == 0) {
        cs_buckets_remove(&pendings->buckets, bucket_index);
    }
}

void cs_pendings_queue_forget(cs_pendings *pendings, uint32_t index, uint64_t forget_bucket) {
    cs_pending *pending = &pendings->items[index];
    cs_bucket *bucket = &pendings->forget.items[cs_buckets_obtain(&pendings->forget, forget_bucket)];
    pending->forget_before = bucket->last;
    pending->forget_after = CS_NONE;
    if (bucket->last == CS_NONE) {
        bucket->first = index;
    } else {
        pendings->items[bucket->last].forget_after = index;
    }
    bucket->last = index;
    bucket->count++;
}

void cs_pendings_end(cs_pendings *pendings, uint32_t index, uint8_t state, cs_u128 posted, uint64_t now,
                     uint64_t forget_bucket) {
    cs_pending *pending = &pendings->items[index];
    open_unlink(pendings, index);
    pending->state = state;
    pending->posted = posted;
    pending->ended_at = now;
    cs_pendings_queue_forget(pendings, index, forget_bucket);
}

void cs_pendings_open(cs_pendings *pendings, uint32_t index, uint16_t event, uint64_t due, uint64_t now) {
    cs_pending *pending = &pendings->items[index];
    open_unlink(pendings, index);
    cs_pendings_event(pendings, index, event, 0, now);
    pendings->buckets.items[pending->bucket].count--;
    pending->state = CS_STATE_OPEN;
    pending->due = due;
    pending->ended_at = 0;
    if (event == CS_STATE_RELEASED) {
        /* Locks of one hashlock are listed in the order in which they opened, and a checkpoint keeps that order. */
        made_unlink(pendings, index);
        made_link(pendings, index);
    }
    enter_bucket(pendings, pending);
    open_link(pendings, index);
    cs_pendings_event(pendings, index, CS_STATE_OPEN, 0, now);
}

void cs_pendings_undo_end(cs_pendings *pendings, uint32_t index, uint64_t forget_bucket) {
    cs_pending *pending = &pendings->items[index];
    uint32_t bucket_index = cs_buckets_find(&pendings->forget, forget_bucket);
    cs_bucket *bucket = &pendings->forget.items[bucket_index];
    bucket->last = pending->forget_before;
    if (bucket->last != CS_NONE) {
        pendings->items[bucket->last].forget_after = CS_NONE;
    }
    if (--bucket->count == 0) {
        cs_buckets_remove(&pendings->forget, bucket_index);
    }
    pending->forget_before = CS_NONE;
    pending->state = CS_STATE_OPEN;
    pending->posted = 0;
    pending->ended_at = 0;
    open_link(pendings, index);
}

uint64_t cs_pendings_forgettable(const cs_pendings *pendings, uint64_t bucket_number) {
    const cs_heap *heap = &pendings->forget.heap;
    uint64_t count = 0;
    if (heap->count == 0 || heap->nodes[0].key >= bucket_number) {
        return 0;
    }
    for (uint64_t i = 0; i < heap->count; i++) {
        count += heap->nodes[i].key < bucket_number ? pendings->forget.items[heap->nodes[i].item].count : 0;
    }
    return count;
}

void cs_pendings_forget(cs_pendings *pendings, uint64_t bucket_number, uint64_t now) {
    for (;;) {
        uint32_t lowest = cs_buckets_lowest(&pendings->forget);
        if (lowest == CS_NONE || pendings->forget.items[lowest].number >= bucket_number) {
            return;
        }
        for (uint32_t index = pendings->forget.items[lowest].first; index != CS_NONE;) {
            uint32_t next = pendings->items[index].forget_after;
            cs_pendings_event(pendings, index, CS_STATE_FORGOTTEN, 0, now);
            drop(pendings, index);
            index = next;
        }
        cs_buckets_remove(&pendings->forget, lowest);
    }
}

void cs_pendings_event(cs_pendings *pendings, uint32_t index, uint16_t event, cs_u128 posted, uint64_t now) {
    const cs_pending *pending = &pendings->items[index];
    uint8_t *item = cs_chain_append(&pendings->chain, &pendings->buckets, pending->bucket);
    memcpy(item, &pending->debit_account, 16);
    memcpy(item + 16, &pending->id, 16);
    memcpy(item + 32, pending->digest, 32);
    memcpy(item + 64, &posted, 16);
    memcpy(item + 80, &now, 8);
    memcpy(item + 88, &event, 2);
    memset(item + 90, 0, 6);
}

uint64_t cs_pendings_bytes(const cs_pendings *pendings) {
    const cs_heap *heaps[2] = {&pendings->due, &pendings->locks};
    uint64_t bytes = pendings->capacity * sizeof *pendings->items + (pendings->table.mask + 1) * 8 +
                     (pendings->hashlocks.mask + 1) * 8 + cs_buckets_bytes(&pendings->buckets) +
                     cs_buckets_bytes(&pendings->forget) + pendings->chain.capacity * sizeof *pendings->chain.items;
    for (unsigned i = 0; i < 2; i++) {
        bytes += heaps[i]->capacity * sizeof *heaps[i]->nodes + heaps[i]->positions_capacity * 4;
    }
    return bytes;
}
