/* The kernels' self-test: every vector of standard input, under every variant that this build and this CPU have.
 *
 *     key SUITE PUBLIC CODE                                    loading gives this code
 *     item SUITE PUBLIC SIGNATURE MESSAGE VERDICT              alone, and in batches of its message's length
 *     digest SUITE PUBLIC SIGNATURE E VERDICT                  from the digest on (SM2, P-256)
 *     sign SUITE SECRET PUBLIC MESSAGE SIGNATURE               alone, and in batches
 *     hash sha256|sha512|sm3 MESSAGE DIGEST                    scalar, and in lanes
 *     merkle SUITE COUNT ROOT                                  leaf i is the hash of i as eight bytes, little-endian
 *
 * A suite is its number (3: P-256); all bytes in hex, none as "-". The one argument is the size up to which batches are
 * filled with repetitions. Prints a line for each variant and ends with 0; the first answer that is wrong is printed
 * with its line's number and ends it with 1.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/variant.h"
#include "merkle/hash.h"
#include "merkle/many.h"
#include "merkle/merkle.h"
#include "merkle/tree.h"
#include "p256/p256.h"
#include "sha2/sha256.h"
#include "sha2/sha256_x16.h"
#include "sha2/sha512.h"
#include "sha2/sha512_x8.h"
#include "sm2/sm2.h"
#include "sm3/sm3.h"
#include "sm3/sm3_x16.h"
#include "suites/suites.h"

enum {
    LINES_MAX = 1 << 15,
    LINE_BYTES_MAX = 1 << 16,
    WORDS = 6,
    BATCH_MAX = 512,
    SIGNED_AT_ONCE = 64,
    LANE_BYTES_MAX = 300,
};

typedef struct {
    uint8_t *data;
    size_t bytes;
} buffer;

typedef struct {
    char verb[8], word[8]; /* word: the number of the suite, or the name of the hash */
    int suite;
    buffer operand[WORDS]; /* in the order of the line, after the suite; the number at its end is not among them */
    long number;
    size_t line;
} vector;

static vector vectors[LINES_MAX];
static size_t vector_count;
static uint64_t checks;
static size_t full_batch = BATCH_MAX;
static const char *const NAMES[] = {"scalar", "avx2", "avx512ifma"};

static void wrong(const char *what, size_t line)
{
    printf("%s: wrong answer under %s, line %zu\n", what, NAMES[cs_variant()], line);
    exit(1);
}

static void check(int right, const char *what, size_t line)
{
    checks++;
    if (!right) {
        wrong(what, line);
    }
}

/* Aligned as the kernels want it; nothing is given back before the end. */
static void *room(size_t bytes)
{
    void *memory = aligned_alloc(CS_MEMORY_ALIGNMENT, (bytes / CS_MEMORY_ALIGNMENT + 1) * CS_MEMORY_ALIGNMENT);
    if (memory == NULL) {
        printf("no memory\n");
        exit(1);
    }
    memset(memory, 0, (bytes / CS_MEMORY_ALIGNMENT + 1) * CS_MEMORY_ALIGNMENT);
    return memory;
}

static uint64_t chance_state = 1;

static uint8_t chance(void)
{
    chance_state = chance_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint8_t)(chance_state >> 56);
}

static void fill(uint8_t *out, size_t bytes)
{
    while (bytes-- > 0) {
        *out++ = chance();
    }
}

/* --- Reading --- */

static int nibble(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

static buffer from_hex(const char *text)
{
    buffer out = {NULL, 0};
    if (strcmp(text, "-") != 0) {
        out.bytes = strlen(text) / 2;
    }
    /* Exactly so long, so that a sanitizer or valgrind sees a read past the end. */
    out.data = malloc(out.bytes + (out.bytes == 0));
    for (size_t i = 0; out.data != NULL && i < out.bytes; i++) {
        out.data[i] = (uint8_t)(nibble(text[2 * i]) << 4 | nibble(text[2 * i + 1]));
    }
    return out;
}

static void read_vectors(void)
{
    static char line[LINE_BYTES_MAX];
    for (size_t number = 1; fgets(line, sizeof line, stdin) != NULL; number++) {
        vector *out = &vectors[vector_count];
        char *words[WORDS + 2];
        size_t count = 0;
        for (char *word = strtok(line, " \n"); word != NULL && count < WORDS + 2; word = strtok(NULL, " \n")) {
            words[count++] = word;
        }
        if (count < 4 || vector_count == LINES_MAX) {
            printf("line %zu cannot be read\n", number);
            exit(1);
        }
        snprintf(out->verb, sizeof out->verb, "%s", words[0]);
        snprintf(out->word, sizeof out->word, "%s", words[1]);
        out->suite = atoi(words[1]);
        out->line = number;
        out->number = atol(words[strcmp(words[0], "merkle") == 0 ? 2 : count - 1]);
        for (size_t i = 2; i < count; i++) {
            out->operand[i - 2] = from_hex(words[i]);
        }
        vector_count++;
    }
}

static int is(const vector *v, const char *verb) { return strcmp(v->verb, verb) == 0; }

static const cs_suite *suite_of(const vector *v)
{
    const cs_suite *found = cs_suite_of((uint32_t)v->suite);
    if (found == NULL) {
        wrong("suite", v->line);
    }
    return found;
}

/* --- Signatures alone --- */

static void test_alone(const vector *v)
{
    const cs_suite *s = suite_of(v);
    void *key = room(s->loaded_key_bytes);
    if (is(v, "sign")) {
        uint8_t signature[CS_SIGNATURE_BYTES], public_key[CS_PUBLIC_KEY_BYTES_MAX];
        check(s->derive(public_key, v->operand[0].data) == 0 &&
                  memcmp(public_key, v->operand[1].data, s->public_key_bytes) == 0,
              "public key of a secret", v->line);
        check(s->sign(signature, v->operand[0].data, public_key, v->operand[2].data, v->operand[2].bytes) == 0 &&
                  memcmp(signature, v->operand[3].data, CS_SIGNATURE_BYTES) == 0,
              "sign", v->line);
        free(key);
        return;
    }
    const int code = s->key_load(key, v->operand[0].data);
    if (is(v, "key")) {
        check(code == v->number, "key", v->line);
    } else {
        const uint8_t *signature = v->operand[1].data, *last = v->operand[2].data;
        int verdict;
        check(code == 0, "key of a signature", v->line);
        if (is(v, "item")) {
            verdict = s->verify(key, signature, last, v->operand[2].bytes);
        } else {
            verdict = v->suite == CS_SUITE_SM2 ? cs_sm2_verify_digest(key, signature, last)
                                               : cs_p256_verify_digest(key, signature, last);
        }
        check(verdict == v->number, v->verb, v->line);
    }
    free(key);
}

/* --- Signatures in batches --- */

/* All items of a suite whose messages have one length, with their keys loaded and tables built. */
typedef struct {
    cs_item items[BATCH_MAX];
    const vector *from[BATCH_MAX];
    size_t count, message_bytes;
} group;

static void verify_group(const cs_suite *s, const group *g, uint8_t *hints_out, const char *what)
{
    uint8_t *verdicts = room(g->count), seed[32];
    void *scratch = room(s->scratch_bytes(g->count));
    fill(seed, sizeof seed);
    fill(scratch, s->scratch_bytes(g->count)); /* whatever it holds */
    memset(verdicts, 0xee, g->count);
    s->verify_batch(verdicts, hints_out, scratch, g->items, g->count, g->message_bytes, seed);
    for (size_t i = 0; i < g->count; i++) {
        check(verdicts[i] == g->from[i]->number, what, g->from[i]->line);
    }
    free(scratch);
    free(verdicts);
}

static void build_tables(const cs_suite *s, group *g, size_t distinct)
{
    for (size_t from = 0; from < distinct; from += CS_TABLES_AT_ONCE) {
        void *tables[CS_TABLES_AT_ONCE];
        const void *keys[CS_TABLES_AT_ONCE];
        const size_t left = distinct - from < CS_TABLES_AT_ONCE ? distinct - from : CS_TABLES_AT_ONCE;
        for (size_t i = 0; i < left; i++) {
            keys[i] = g->items[from + i].key;
            g->items[from + i].table = tables[i] = room(s->table_bytes());
        }
        s->tables_build(tables, keys, left);
    }
}

/* The group as it is, with the hints that it gave, with hints that belong to its neighbours, and with noise for hints. */
static void verify_in_every_way(const cs_suite *s, group *g, const char *what)
{
    uint8_t *hints = room(g->count * CS_HINT_BYTES), *noise = room(g->count * CS_HINT_BYTES);
    verify_group(s, g, hints, what);
    fill(noise, g->count * CS_HINT_BYTES);
    for (size_t i = 0; i < g->count; i++) {
        g->items[i].hint = hints + i * CS_HINT_BYTES;
    }
    verify_group(s, g, NULL, "hinted batch");
    for (size_t i = 0; i < g->count; i++) {
        g->items[i].hint = hints + (i + 1) % g->count * CS_HINT_BYTES;
    }
    verify_group(s, g, NULL, "batch with a neighbour's hints");
    for (size_t i = 0; i < g->count; i++) {
        g->items[i].hint = i % 3 == 0 ? noise + i * CS_HINT_BYTES : hints + i * CS_HINT_BYTES;
    }
    verify_group(s, g, NULL, "batch with wrong hints");
    for (size_t i = 0; i < g->count; i++) {
        g->items[i].hint = NULL;
    }
    free(noise);
    free(hints);
}

/* Copies of the items until the batch is full: all of them, or the good ones alone, as a large batch mostly is. */
static void fill_up(group *out, const group *g, int good_only)
{
    size_t next = 0;
    out->count = 0;
    out->message_bytes = g->message_bytes;
    for (size_t tried = 0; out->count < full_batch && tried < full_batch * 8; tried++, next = (next + 1) % g->count) {
        if (!good_only || g->from[next]->number == 1) {
            out->items[out->count] = g->items[next];
            out->from[out->count++] = g->from[next];
        }
    }
}

static void test_group(const cs_suite *s, group *g)
{
    static group full;
    verify_in_every_way(s, g, "batch");
    fill_up(&full, g, 0);
    verify_in_every_way(s, &full, "full batch");
    fill_up(&full, g, 1);
    if (full.count > 0) {
        verify_in_every_way(s, &full, "full batch of good ones");
        /* One bad one at the end of it. */
        for (size_t i = 0; i < g->count; i++) {
            if (g->from[i]->number == 0) {
                full.items[full.count - 1] = g->items[i];
                full.from[full.count - 1] = g->from[i];
                verify_group(s, &full, NULL, "one bad one in a full batch");
                break;
            }
        }
    }
    if (s->table_bytes() > 0) {
        build_tables(s, g, g->count);
        verify_in_every_way(s, g, "batch with tables");
        fill_up(&full, g, 0);
        verify_in_every_way(s, &full, "full batch with tables");
    }
    for (size_t i = 0; i < g->count; i++) {
        free((void *)g->items[i].key);
        free((void *)g->items[i].table);
    }
}

static void test_batches(int number)
{
    static uint8_t done[LINES_MAX];
    static group g;
    const cs_suite *s = cs_suite_of((uint32_t)number);
    memset(done, 0, sizeof done);
    for (size_t first = 0; first < vector_count; first++) {
        const vector *leader = &vectors[first];
        if (leader->suite != number || !is(leader, "item") || done[first]) {
            continue;
        }
        g.count = 0;
        g.message_bytes = leader->operand[2].bytes;
        for (size_t i = first; i < vector_count && g.count < BATCH_MAX; i++) {
            const vector *v = &vectors[i];
            if (v->suite == number && is(v, "item") && !done[i] && v->operand[2].bytes == g.message_bytes) {
                void *key = room(s->loaded_key_bytes);
                check(s->key_load(key, v->operand[0].data) == 0, "key in a batch", v->line);
                g.items[g.count] = (cs_item){key, NULL, v->operand[1].data, v->operand[2].data, NULL};
                g.from[g.count++] = v;
                done[i] = 1;
            }
        }
        test_group(s, &g);
    }
}

/* Vectors to sign have many lengths: each fills a batch, with the secrets of the others beside it. */
static void test_signing_batches(int number)
{
    const cs_suite *s = cs_suite_of((uint32_t)number);
    const vector *signers[SIGNED_AT_ONCE];
    size_t signer_count = 0;
    for (size_t i = 0; i < vector_count && signer_count < SIGNED_AT_ONCE; i++) {
        if (is(&vectors[i], "sign") && vectors[i].suite == number) {
            signers[signer_count++] = &vectors[i];
        }
    }
    for (size_t chosen = 0; chosen < signer_count; chosen++) {
        const buffer *message = &signers[chosen]->operand[2];
        uint8_t made[SIGNED_AT_ONCE][CS_SIGNATURE_BYTES], expected[CS_SIGNATURE_BYTES];
        cs_signing_item items[SIGNED_AT_ONCE];
        const size_t count = 1 + chosen * 7 % SIGNED_AT_ONCE;
        for (size_t i = 0; i < count; i++) {
            const vector *v = signers[(chosen + i) % signer_count];
            items[i] = (cs_signing_item){made[i], v->operand[0].data, v->operand[1].data, message->data};
        }
        s->sign_batch(items, count, message->bytes);
        check(memcmp(made[0], signers[chosen]->operand[3].data, CS_SIGNATURE_BYTES) == 0, "sign in a batch",
              signers[chosen]->line);
        for (size_t i = 0; i < count; i++) {
            (void)s->sign(expected, items[i].secret, items[i].public_key, message->data, message->bytes);
            check(memcmp(made[i], expected, CS_SIGNATURE_BYTES) == 0, "sign in a batch as alone",
                  signers[chosen]->line);
        }
    }
}

/* --- Hashes --- */

static void test_hash(const vector *v)
{
    const buffer *message = &v->operand[0];
    uint8_t digest[64], pieces[64];
    if (strcmp(v->word, "sha512") == 0) {
        cs_sha512_ctx ctx;
        cs_sha512(digest, message->data, message->bytes);
        cs_sha512_init(&ctx);
        for (size_t i = 0; i < message->bytes; i += 7) {
            cs_sha512_update(&ctx, message->data + i, message->bytes - i < 7 ? message->bytes - i : 7);
        }
        cs_sha512_final(&ctx, pieces);
    } else {
        const uint32_t number = strcmp(v->word, "sha256") == 0 ? CS_HASH_SHA256 : CS_HASH_SM3;
        cs_hash_ctx ctx;
        cs_hash(number, digest, message->data, message->bytes);
        cs_hash_init(&ctx, number);
        for (size_t i = 0; i < message->bytes; i += 7) {
            cs_hash_update(&ctx, message->data + i, message->bytes - i < 7 ? message->bytes - i : 7);
        }
        cs_hash_final(pieces, &ctx);
    }
    check(memcmp(digest, v->operand[1].data, v->operand[1].bytes) == 0, v->word, v->line);
    check(memcmp(pieces, v->operand[1].data, v->operand[1].bytes) == 0, "hash in pieces", v->line);
}

typedef void hash_x16(uint8_t *const out[16], const uint8_t *const heads[16], size_t head_bytes,
                      const uint8_t *const bodies[16], size_t body_bytes);

/* Lanes against the scalar functions, which the vectors hold in turn. */
static void test_lanes(hash_x16 *function, uint32_t number, const char *name)
{
    static const size_t HEADS[] = {0, 1, 4, 32, 63, 64, 65, 130};
    uint8_t text[LANE_BYTES_MAX + 130], digests[16][32], expected[32];
    for (size_t h = 0; h < sizeof HEADS / sizeof HEADS[0]; h++) {
        for (size_t bytes = 0; bytes < LANE_BYTES_MAX; bytes += bytes < 140 ? 1 : 13) {
            const uint8_t *heads[16], *bodies[16];
            uint8_t *out[16];
            for (int lane = 0; lane < 16; lane++) {
                uint8_t *head = malloc(HEADS[h] + 1), *body = malloc(bytes + 1);
                if (head == NULL || body == NULL) {
                    wrong("memory", 0);
                    return;
                }
                fill(head, HEADS[h]);
                fill(body, bytes);
                heads[lane] = head;
                bodies[lane] = body;
                out[lane] = digests[lane];
            }
            function(out, HEADS[h] == 0 ? NULL : heads, HEADS[h], bodies, bytes);
            for (int lane = 0; lane < 16; lane++) {
                memcpy(text, heads[lane], HEADS[h]);
                memcpy(text + HEADS[h], bodies[lane], bytes);
                cs_hash(number, expected, text, HEADS[h] + bytes);
                check(memcmp(digests[lane], expected, 32) == 0, name, bytes);
                free((void *)heads[lane]);
                free((void *)bodies[lane]);
            }
        }
    }
}

#if defined(__x86_64__)
static void test_sha512_x8(void)
{
    uint8_t prefixes[8][CS_SHA512_X8_PREFIX_BYTES_MAX], bodies[8][LANE_BYTES_MAX], text[LANE_BYTES_MAX + 64];
    uint8_t expected[64];
    uint64_t limbs[8][8];
    const uint8_t *messages[8];
    for (size_t bytes = 0; bytes < LANE_BYTES_MAX; bytes++) {
        const size_t prefix_bytes = bytes % (CS_SHA512_X8_PREFIX_BYTES_MAX + 1);
        for (int lane = 0; lane < 8; lane++) {
            fill(prefixes[lane], sizeof prefixes[lane]);
            fill(bodies[lane], bytes);
            messages[lane] = bodies[lane];
        }
        cs_sha512_x8(limbs, (const uint8_t(*)[CS_SHA512_X8_PREFIX_BYTES_MAX])prefixes, prefix_bytes, messages, bytes);
        for (int lane = 0; lane < 8; lane++) {
            memcpy(text, prefixes[lane], prefix_bytes);
            memcpy(text + prefix_bytes, bodies[lane], bytes);
            cs_sha512(expected, text, prefix_bytes + bytes);
            check(memcmp(limbs[lane], expected, 64) == 0, "sha512 in lanes", bytes);
        }
    }
}
#endif

static void test_merkle(const vector *v)
{
    const uint64_t count = (uint64_t)v->number;
    uint8_t *rows = room(8 * count), *leaves = room(32 * count), *many = room(32 * count), root[32];
    cs_tree tree;
    for (uint64_t i = 0; i < count; i++) {
        for (int j = 0; j < 8; j++) {
            rows[8 * i + j] = (uint8_t)(i >> 8 * j);
        }
        cs_leaf_hash((uint32_t)v->suite, leaves + 32 * i, rows + 8 * i, 8);
    }
    cs_leaf_hash_rows((uint32_t)v->suite, many, rows, 8, 8, count);
    check(memcmp(many, leaves, 32 * count) == 0, "leaves in one call", v->line);
    cs_merkle_root((uint32_t)v->suite, root, leaves, count);
    check(memcmp(root, v->operand[1].data, 32) == 0, "merkle root", v->line);
    cs_tree_init(&tree, (uint32_t)v->suite);
    check(cs_tree_reserve(&tree, count) == 0, "room for a tree", v->line);
    for (uint64_t i = 0; i < count; i++) {
        cs_tree_append(&tree, leaves + 32 * i);
    }
    cs_tree_root(&tree, root);
    check(memcmp(root, v->operand[1].data, 32) == 0, "root of a tree", v->line);
    for (uint64_t i = 0; i < count; i += 1 + count / 8) {
        uint8_t path[32 * CS_MERKLE_PATH_MAX], reached[32];
        const size_t entries = cs_tree_path(&tree, i, path);
        check(cs_merkle_root_from_path((uint32_t)v->suite, reached, leaves + 32 * i, i, count, path, entries) == 0 &&
                  memcmp(reached, root, 32) == 0,
              "path", v->line);
    }
    cs_tree_free(&tree);
    free(many);
    free(leaves);
    free(rows);
}

static void test_level(int level)
{
    int batched = 0, signed_in_lanes = 0;
    checks = 0;
    cs_variant_set(level);
    for (size_t i = 0; i < vector_count; i++) {
        const vector *v = &vectors[i];
        if (is(v, "hash")) {
            test_hash(v);
        } else if (is(v, "merkle")) {
            test_merkle(v);
        } else {
            test_alone(v);
        }
    }
    test_lanes(cs_sha256_x16, CS_HASH_SHA256, "sha256 in lanes");
    test_lanes(cs_sm3_x16, CS_HASH_SM3, "sm3 in lanes");
#if defined(__x86_64__)
    if (level == CS_VARIANT_AVX512IFMA) {
        test_sha512_x8();
    }
#endif
    for (int number = 1; number < CS_SUITES_END; number++) {
        if (cs_suite_of((uint32_t)number)->batches()) {
            test_batches(number);
            batched++;
        }
        if (cs_suite_of((uint32_t)number)->signs_in_lanes()) {
            test_signing_batches(number);
            signed_in_lanes++;
        }
    }
    printf("%s: %zu vectors, %" PRIu64 " checks; suites in batches: %d, signed in lanes: %d\n", NAMES[level],
           vector_count, checks, batched, signed_in_lanes);
    fflush(stdout);
}

int main(int count, char **arguments)
{
    if (count > 1) {
        full_batch = (size_t)atol(arguments[1]);
    }
    if (full_batch < 1 || full_batch > BATCH_MAX) {
        printf("batches of 1 to %d\n", BATCH_MAX);
        return 1;
    }
    read_vectors();
    for (int level = CS_VARIANT_SCALAR; level <= cs_variant_best(); level++) {
        test_level(level);
    }
    return 0;
}
