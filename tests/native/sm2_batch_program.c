/* Drives SM2 batches from lines of standard input, for tests of what no binding offers: digests that are chosen.
 *
 * The kernel is compiled with cs_sm3_x16 replaced by the function below: the hash of a body of 32 bytes is that body.
 * So messages are digests here, and the reference is asked from the digest on.
 *
 *     item PUBLIC SIGNATURE DIGEST HINT TABLE     one more item; HINT "-" for none, TABLE 1 for a table of its key
 *     run HINTS_OUT SEED                          verify all items as one batch; HINTS_OUT 1 to ask for hints
 *     clear                                       forget the items
 *
 * A run answers with the verdicts, one digit each, those of the reference, and the hints in hex or "-".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/variant.h"
#include "sm2/batch.h"
#include "sm3/sm3_x16.h"

enum { ITEMS_MAX = CS_SM2_BATCH_MAX, LINE_BYTES_MAX = 1024 };

typedef struct {
    uint8_t signature[64], digest[32], hint[32], public_key[64];
    int has_hint, has_table;
    cs_sm2_key *key;
    void *table;
} entry;

void fake_sm3_x16(uint8_t *const out[16], const uint8_t *const heads[16], size_t head_bytes,
                  const uint8_t *const bodies[16], size_t body_bytes);

void fake_sm3_x16(uint8_t *const out[16], const uint8_t *const heads[16], size_t head_bytes,
                  const uint8_t *const bodies[16], size_t body_bytes)
{
    if (body_bytes != 32) {
        cs_sm3_x16(out, heads, head_bytes, bodies, body_bytes);
        return;
    }
    for (int lane = 0; lane < 16; lane++) {
        memcpy(out[lane], bodies[lane], 32);
    }
}

static entry entries[ITEMS_MAX];
static size_t entry_count;

static size_t read_hex(uint8_t *out, size_t bytes_max, const char *text)
{
    size_t n = 0;
    unsigned byte;
    while (text != NULL && n < bytes_max && sscanf(text + 2 * n, "%2x", &byte) == 1) {
        out[n++] = (uint8_t)byte;
        if (text[2 * n] == '\0') {
            break;
        }
    }
    return n;
}

static void *room(size_t bytes)
{
    void *memory = aligned_alloc(CS_SM2_SCRATCH_ALIGNMENT, (bytes + 63) & ~(size_t)63);
    if (memory == NULL) {
        abort();
    }
    memset(memory, 0xa5, bytes);
    return memory;
}

/* The key and the table of the new last entry: those of an earlier one with the same public key where there is one. */
static void find_key(entry *last)
{
    last->key = NULL;
    last->table = NULL;
    for (entry *other = entries; other < last; other++) {
        if (memcmp(other->public_key, last->public_key, 64) == 0) {
            last->key = other->key;
            last->table = last->table == NULL ? other->table : last->table;
        }
    }
    if (last->key == NULL) {
        last->key = room(sizeof *last->key);
        if (cs_sm2_key_load(last->key, last->public_key) != 0) {
            abort();
        }
    }
    if (last->has_table && last->table == NULL) {
        const cs_sm2_key *key = last->key;
        last->table = room(cs_sm2_table_bytes());
        cs_sm2_tables_build(&last->table, &key, 1);
    }
}

static void clear(void)
{
    for (entry *last = entries + entry_count; last-- > entries;) {
        int key_is_shared = 0, table_is_shared = 0;
        for (entry *other = entries; other < last; other++) {
            key_is_shared |= other->key == last->key;
            table_is_shared |= other->table == last->table;
        }
        if (!key_is_shared) {
            free(last->key);
        }
        if (!table_is_shared) {
            free(last->table);
        }
    }
    entry_count = 0;
}

static void run(int wants_hints, const uint8_t seed[32])
{
    const size_t count = entry_count;
    cs_sm2_item *items = room(count * sizeof *items);
    uint8_t *verdicts = room(count), *hints = room(CS_SM2_HINT_BYTES * count);
    void *scratch = room(cs_sm2_batch_scratch_bytes(count));
    for (size_t i = 0; i < count; i++) {
        entry *from = &entries[i];
        items[i] = (cs_sm2_item){from->key, from->has_table ? from->table : NULL, from->signature, from->digest,
                                 from->has_hint ? from->hint : NULL};
    }
    cs_sm2_verify_batch(verdicts, wants_hints ? hints : NULL, scratch, items, count, 32, seed);
    for (size_t i = 0; i < count; i++) {
        printf("%d", verdicts[i]);
    }
    printf(" ");
    for (size_t i = 0; i < count; i++) {
        printf("%d", cs_sm2_verify_digest(entries[i].key, entries[i].signature, entries[i].digest));
    }
    printf(" ");
    for (size_t i = 0; wants_hints && i < CS_SM2_HINT_BYTES * count; i++) {
        printf("%02x", hints[i]);
    }
    printf(wants_hints ? "\n" : "-\n");
    free(items);
    free(verdicts);
    free(hints);
    free(scratch);
}

int main(void)
{
    static char line[LINE_BYTES_MAX];
    cs_variant_set(cs_variant_best());
    if (!cs_sm2_batch_available()) {
        printf("unavailable\n");
        return 0;
    }
    while (fgets(line, sizeof line, stdin) != NULL) {
        const char *verb = strtok(line, " \n"), *text[5];
        for (int i = 0; i < 5; i++) {
            text[i] = strtok(NULL, " \n");
        }
        if (verb != NULL && strcmp(verb, "item") == 0 && entry_count < ITEMS_MAX) {
            entry *last = &entries[entry_count];
            memset(last, 0, sizeof *last);
            read_hex(last->public_key, 64, text[0]);
            read_hex(last->signature, 64, text[1]);
            read_hex(last->digest, 32, text[2]);
            last->has_hint = strcmp(text[3], "-") != 0;
            read_hex(last->hint, 32, last->has_hint ? text[3] : NULL);
            last->has_table = strcmp(text[4], "1") == 0;
            find_key(last);
            entry_count++;
        } else if (verb != NULL && strcmp(verb, "run") == 0) {
            uint8_t seed[32] = {0};
            read_hex(seed, sizeof seed, text[1]);
            run(strcmp(text[0], "1") == 0, seed);
        } else if (verb != NULL && strcmp(verb, "clear") == 0) {
            clear();
        }
    }
    clear();
    return 0;
}
