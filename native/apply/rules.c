/* The table of rules: places, keys, leaf hashes on demand. */
#include "apply/rules.h"

#include <stdlib.h>

#include "apply/memory.h"
#include "merkle/many.h"

enum { FLUSHED_AT_ONCE = 16 };

int cs_rules_init(cs_rules *rules, uint32_t suite, cs_seed seed) {
    memset(rules, 0, sizeof *rules);
    rules->seed = seed;
    cs_tree_init(&rules->tree, suite);
    cs_heap_init(&rules->free, NULL, NULL);
    return cs_table_init(&rules->table);
}

void cs_rules_free(cs_rules *rules) {
    free(rules->items);
    free(rules->dirty);
    free(rules->marks);
    free(rules->saved);
    cs_table_free(&rules->table);
    cs_heap_free(&rules->free);
    cs_tree_free(&rules->tree);
}

int cs_rules_reserve(cs_rules *rules, uint64_t more) {
    uint64_t total = rules->count + more, marked = rules->marks_capacity;
    if (CS_ROOM(rules->items, rules->capacity, total) != 0 || CS_ROOM(rules->dirty, rules->dirty_capacity, total) != 0 ||
        CS_ROOM(rules->marks, rules->marks_capacity, total) != 0) {
        return -1;
    }
    if (rules->marks_capacity > marked) {
        memset(rules->marks + marked, 0, (size_t)(rules->marks_capacity - marked));
    }
    if (cs_table_reserve(&rules->table, total) != 0 || cs_heap_reserve(&rules->free, total) != 0) {
        return -1;
    }
    return cs_tree_reserve(&rules->tree, total);
}

static uint32_t hash_of(const cs_rules *rules, unsigned type, unsigned kind, cs_u128 subject, cs_u128 name) {
    uint64_t state = cs_mix_u128((uint64_t)type << 16 | kind, rules->seed, subject);
    return cs_mix_end(cs_mix_u128(state, rules->seed, name), rules->seed);
}

/* The kind is part of a breaker's key only. */
static unsigned key_kind(const cs_rule *rule) { return rule->type == CS_RULE_BREAKER ? rule->kind : 0; }

static uint32_t hash_of_rule(const cs_rules *rules, const cs_rule *rule) {
    return hash_of(rules, rule->type, key_kind(rule), rule->subject, rule->name);
}

uint32_t cs_rules_find(const cs_rules *rules, unsigned type, unsigned kind, cs_u128 subject, cs_u128 name) {
    uint32_t hash = hash_of(rules, type, kind, subject, name);
    uint64_t cursor = cs_table_start(&rules->table, hash);
    for (;;) {
        uint32_t index = cs_table_next(&rules->table, hash, &cursor);
        if (index == CS_NONE) {
            return CS_NONE;
        }
        const cs_rule *rule = &rules->items[index];
        if (rule->type == type && key_kind(rule) == kind && rule->subject == subject && rule->name == name) {
            return index;
        }
    }
}

static int is_own(unsigned type) { return type == CS_RULE_QUOTE || type == CS_RULE_COUNTER; }

int cs_rules_have_room(const cs_rules *rules, unsigned type) {
    uint64_t own = rules->of_type[CS_RULE_QUOTE] + rules->of_type[CS_RULE_COUNTER];
    return is_own(type) ? own < CS_RULES_OWN_MAX : rules->live - own < CS_RULES_COMMON_MAX;
}

static void mark(cs_rules *rules, uint32_t index) {
    if (!rules->marks[index]) {
        rules->marks[index] = 1;
        rules->dirty[rules->dirty_count++] = index;
    }
}

static uint32_t new_place(cs_rules *rules) {
    static const uint8_t unhashed[32];
    cs_tree_append(&rules->tree, unhashed);
    return (uint32_t)rules->count++;
}

static void stand(cs_rules *rules, uint32_t index, const cs_rule *rule) {
    rules->items[index] = *rule;
    rules->live++;
    rules->of_type[rule->type]++;
    rules->breakers[key_kind(rule)]++;
    cs_table_insert(&rules->table, hash_of_rule(rules, rule), index);
    mark(rules, index);
}

uint32_t cs_rules_add(cs_rules *rules, const cs_rule *rule) {
    uint32_t index;
    if (rules->free.count > 0) {
        index = rules->free.nodes[0].item;
        cs_heap_remove(&rules->free, index);
    } else {
        index = new_place(rules);
    }
    stand(rules, index, rule);
    return index;
}

void cs_rules_restore(cs_rules *rules, const cs_rule *rule) {
    uint32_t index = new_place(rules);
    if (rule->type != 0) {
        stand(rules, index, rule);
        return;
    }
    rules->items[index] = *rule;
    cs_heap_push(&rules->free, index, index);
    mark(rules, index);
}

void cs_rules_remove(cs_rules *rules, uint32_t index) {
    cs_rule *rule = &rules->items[index];
    cs_table_remove(&rules->table, hash_of_rule(rules, rule), index);
    rules->live--;
    rules->of_type[rule->type]--;
    rules->breakers[key_kind(rule)]--;
    memset(rule, 0, sizeof *rule);
    cs_heap_push(&rules->free, index, index);
    mark(rules, index);
}

cs_rule *cs_rules_touch(cs_rules *rules, uint32_t index) {
    mark(rules, index);
    return &rules->items[index];
}

void cs_rules_flush(cs_rules *rules) {
    uint8_t hashes[FLUSHED_AT_ONCE][32], *out[FLUSHED_AT_ONCE];
    for (uint64_t first = 0; first < rules->dirty_count; first += FLUSHED_AT_ONCE) {
        const uint32_t *places = rules->dirty + first;
        const uint8_t *leaves[FLUSHED_AT_ONCE];
        const uint64_t left = rules->dirty_count - first;
        const size_t count = left < FLUSHED_AT_ONCE ? (size_t)left : FLUSHED_AT_ONCE;
        for (size_t i = 0; i < count; i++) {
            leaves[i] = (const uint8_t *)&rules->items[places[i]];
            out[i] = hashes[i];
        }
        cs_leaf_hash_many(rules->tree.suite, out, leaves, CS_RULE_BYTES, count);
        for (size_t i = 0; i < count; i++) {
            cs_tree_set(&rules->tree, places[i], hashes[i]);
            rules->marks[places[i]] = 0;
        }
    }
    rules->dirty_count = 0;
}

uint64_t cs_rules_bytes(const cs_rules *rules) {
    return rules->capacity * sizeof *rules->items + (rules->table.mask + 1) * 8 + rules->dirty_capacity * 4 +
           rules->marks_capacity + rules->saved_capacity * sizeof *rules->saved + rules->tree.capacity * 73 +
           rules->free.capacity * sizeof *rules->free.nodes + rules->free.positions_capacity * 4;
}

int cs_rule_is_sound(const cs_rule *rule) {
    static const cs_rule none;
    int named = rule->name != 0, counts = rule->period != 0 || rule->count != 0;
    switch (rule->type) {
    case 0:
        return memcmp(rule, &none, sizeof none) == 0;
    case CS_RULE_QUOTE:
        return named && rule->used <= rule->limit_a && rule->limit_b == 0 && !counts && rule->kind == 0 && rule->action == 0;
    case CS_RULE_LEDGER:
        return !named && rule->used == 0 && rule->limit_b == 0 && !counts && rule->until < (uint64_t)1 << 62 &&
               rule->kind == 0 && rule->action == 0;
    case CS_RULE_BREAKER:
        return !named && rule->used == 0 && rule->limit_b == 0 && rule->kind > 0 && rule->kind < CS_BREAKER_KINDS &&
               rule->action >= CS_GRADE_SLOW && rule->action <= CS_GRADE_STOP &&
               (rule->action == CS_GRADE_SLOW ? rule->count <= rule->limit_a : rule->limit_a == 0 && !counts);
    case CS_RULE_TIER:
        return !named && rule->used == 0 && !counts && rule->kind > 0 &&
               (rule->action == CS_TIER_REFUSES || rule->action == CS_TIER_HOLDS);
    case CS_RULE_COUNTER:
        return !named && rule->limit_a == 0 && rule->limit_b == 0 && rule->kind == 0 && rule->action == 0;
    default:
        return 0;
    }
}

int cs_rules_are_sound(const cs_rules *rules) {
    uint64_t live = 0, own = 0;
    for (uint64_t i = 0; i < rules->count; i++) {
        const cs_rule *rule = &rules->items[i];
        if (!cs_rule_is_sound(rule)) {
            return 0;
        }
        if (rule->type != 0) {
            live++;
            own += (uint64_t)is_own(rule->type);
            if (cs_rules_find(rules, rule->type, key_kind(rule), rule->subject, rule->name) != i) {
                return 0;
            }
        }
    }
    return live == rules->live && live == rules->table.count && live + rules->free.count == rules->count &&
           own <= CS_RULES_OWN_MAX && live - own <= CS_RULES_COMMON_MAX;
}
