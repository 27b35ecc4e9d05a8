/* Registration, growth, and leaf hashes on demand. */
#include "apply/accounts.h"

#include <stdlib.h>

#include "apply/memory.h"
#include "merkle/many.h"

enum { FLUSHED_AT_ONCE = 64 };

int cs_accounts_init(cs_accounts *accounts, uint32_t suite, cs_seed seed) {
    memset(accounts, 0, sizeof *accounts);
    accounts->seed = seed;
    cs_tree_init(&accounts->tree, suite);
    return cs_table_init(&accounts->table);
}

void cs_accounts_free(cs_accounts *accounts) {
    free(accounts->items);
    free(accounts->dirty);
    free(accounts->marks);
    cs_table_free(&accounts->table);
    cs_tree_free(&accounts->tree);
}

int cs_accounts_reserve(cs_accounts *accounts, uint64_t more) {
    uint64_t total = accounts->count + more, marked = accounts->marks_capacity;
    if (total > CS_ITEMS_MAX || CS_ROOM(accounts->items, accounts->capacity, total) != 0 ||
        CS_ROOM(accounts->dirty, accounts->dirty_capacity, total) != 0 ||
        CS_ROOM(accounts->marks, accounts->marks_capacity, (total + 63) / 64) != 0) {
        return -1;
    }
    if (accounts->marks_capacity > marked) {
        memset(accounts->marks + marked, 0, (size_t)(accounts->marks_capacity - marked) * sizeof *accounts->marks);
    }
    if (cs_table_reserve(&accounts->table, total) != 0) {
        return -1;
    }
    return cs_tree_reserve(&accounts->tree, total);
}

uint32_t cs_accounts_append(cs_accounts *accounts, const cs_account *account) {
    static const uint8_t unhashed[32];
    uint32_t index = (uint32_t)accounts->count++;
    accounts->items[index] = *account;
    cs_table_insert(&accounts->table, cs_accounts_hash(accounts, account->id), index);
    cs_tree_append(&accounts->tree, unhashed);
    cs_accounts_touch(accounts, index);
    return index;
}

void cs_accounts_flush(cs_accounts *accounts) {
    uint8_t hashes[FLUSHED_AT_ONCE][32], *out[FLUSHED_AT_ONCE];
    for (uint64_t first = 0; first < accounts->dirty_count; first += FLUSHED_AT_ONCE) {
        const uint32_t *indexes = accounts->dirty + first;
        const uint8_t *leaves[FLUSHED_AT_ONCE];
        const uint64_t left = accounts->dirty_count - first;
        const size_t count = left < FLUSHED_AT_ONCE ? (size_t)left : FLUSHED_AT_ONCE;
        for (size_t i = 0; i < count; i++) {
            leaves[i] = (const uint8_t *)&accounts->items[indexes[i]];
            out[i] = hashes[i];
        }
        cs_leaf_hash_many(accounts->tree.suite, out, leaves, CS_ACCOUNT_BYTES, count);
        for (size_t i = 0; i < count; i++) {
            cs_tree_set(&accounts->tree, indexes[i], hashes[i]);
            accounts->marks[indexes[i] >> 6] &= ~((uint64_t)1 << (indexes[i] & 63));
        }
    }
    accounts->dirty_count = 0;
}

uint64_t cs_accounts_bytes(const cs_accounts *accounts) {
    return accounts->capacity * sizeof *accounts->items + (accounts->table.mask + 1) * 8 +
           accounts->dirty_capacity * 4 + accounts->marks_capacity * 8 + accounts->tree.capacity * 73;
}
