/* Drives the C entries of the signature and hash kernels from bytes: for libFuzzer, and for a replay of the corpus.
 *
 * The input bends honest items; what it says is checked against the kernels themselves: a batch gives every item the
 * verdict of the single entry, with hints, without them and with tables; bad items get no hint; hashes in lanes are those
 * of one message. Whatever differs aborts. Inputs are copied to memory of their exact size, so that a sanitizer sees a
 * read past an end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/variant.h"
#include "ed25519/ed25519.h"
#include "p256/p256.h"
#include "sha2/sha256.h"
#include "sha2/sha256_x16.h"
#include "sha2/sha512.h"
#include "shim.h"
#include "sm2/sm2.h"
#include "sm3/sm3.h"
#include "sm3/sm3_x16.h"

enum { KEYS = 3, HONEST = 320, FEW = 48, LENGTHS = 5, MESSAGE_MAX = 200, OPERATIONS_MAX = 64, LANES = 16 };

static const size_t MESSAGE_BYTES[LENGTHS] = {0, 1, 33, 64, 192};

typedef struct {
    uint8_t public_keys[KEYS * 64];
    uint8_t signatures[HONEST * 64];
    uint8_t messages[HONEST * MESSAGE_MAX];
    uint8_t hints[HONEST * SHIM_HINT_BYTES];
    int ready;
} honest_items;

static honest_items HONEST_ITEMS[SHIM_SUITES + 1][LENGTHS];

/* Numbers at the ends of ranges, big-endian: 0, 1, the orders, the primes and their neighbours, and all ones. */
static const char *const NUMBERS[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000001",
    "fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54122",
    "fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123",
    "fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff",
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8",
    "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a9",
    "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
    "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed",
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffec",
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
};
enum { NUMBER_COUNT = sizeof NUMBERS / sizeof NUMBERS[0] };

typedef struct {
    const uint8_t *data;
    size_t left;
} reader;

static uint8_t next(reader *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->data++;
}

static void next_bytes(reader *in, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = next(in);
    }
}

static void demand(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "harness: %s\n", what);
        abort();
    }
}

/* A copy whose end is the end of its memory. */
static uint8_t *exactly(const uint8_t *bytes, size_t n)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    demand(copy != NULL, "memory");
    if (n > 0) {
        memcpy(copy, bytes, n);
    }
    return copy;
}

static void number(uint8_t out[32], unsigned which, int little)
{
    for (unsigned i = 0; i < 32; i++) {
        unsigned byte = 0;
        sscanf(NUMBERS[which % NUMBER_COUNT] + 2 * i, "%2x", &byte);
        out[little ? 31 - i : i] = (uint8_t)byte;
    }
}

/* Sign the honest items of a suite and a length of messages, once. */
static const honest_items *honest(int suite, unsigned length)
{
    honest_items *items = &HONEST_ITEMS[suite][length];
    uint32_t indexes[HONEST];
    uint8_t verdicts[HONEST], seed[SHIM_SEED_BYTES] = {1};
    const size_t bytes = MESSAGE_BYTES[length], key_bytes = shim_key_bytes(suite);
    if (items->ready) {
        return items;
    }
    for (unsigned i = 0; i < HONEST * bytes; i++) {
        items->messages[i] = (uint8_t)(i * 167 + i / 256 * 31 + length);
    }
    for (unsigned i = 0; i < HONEST; i++) {
        uint8_t secret[32];
        uint8_t *const key = items->public_keys + key_bytes * (i % KEYS), *const signature = items->signatures + 64 * i;
        const uint8_t *const message = items->messages + bytes * i;
        memset(secret, 0x11 * (int)(1 + i % KEYS), sizeof secret);
        indexes[i] = i % KEYS;
        if (suite == 1) {
            cs_ed25519_public_key(key, secret);
            cs_ed25519_sign(signature, secret, key, message, bytes);
        } else if (suite == 2) {
            cs_sm2_public_key(key, secret);
            cs_sm2_sign(signature, secret, key, message, bytes);
        } else {
            cs_p256_public_key(key, secret);
            cs_p256_sign(signature, secret, message, bytes);
        }
    }
    if (shim_batch_available(suite)) {
        demand(shim_verify_batch(suite, verdicts, items->hints, items->public_keys, KEYS, indexes, items->signatures,
                                 items->messages, NULL, HONEST, bytes, 0, seed) == 0,
               "honest items");
        for (unsigned i = 0; i < HONEST; i++) {
            demand(verdicts[i] == 1, "an honest item is bad");
        }
    }
    items->ready = 1;
    return items;
}

/* Bend one item; returns which. Its neighbour's bytes may have been bent before. */
static unsigned change(reader *in, int suite, unsigned count, size_t bytes, uint32_t *indexes, uint8_t *signatures,
                       uint8_t *messages, uint8_t *hints)
{
    const unsigned item = next(in) % count, kind = next(in) % 9;
    uint8_t *const signature = signatures + 64 * item, *const hint = hints + 32 * item;
    const unsigned other = next(in) % count, at = next(in);
    switch (kind) {
    case 0:
        signature[at % 64] ^= next(in);
        break;
    case 1:
        if (bytes > 0) {
            messages[bytes * item + at % bytes] ^= next(in);
        }
        break;
    case 2:
        hint[at % 32] ^= next(in);
        break;
    case 3:
        memcpy(signature + at % 2 * 32, signatures + 64 * other + at % 2 * 32, 32);
        break;
    case 4:
        memcpy(hint, hints + 32 * other, 32);
        break;
    case 5:
        next_bytes(in, signature + at % 2 * 32, 32);
        break;
    case 6:
        next_bytes(in, hint, 32);
        break;
    case 7:
        indexes[item] = at % KEYS;
        break;
    default:
        number(at % 3 == 2 ? hint : signature + at % 3 * 32, other, suite == 1);
        break;
    }
    return item;
}

/* The verdicts of a batch are those that its items get alone. */
static void check_batch(int suite, const uint8_t *alone, const uint8_t *keys, const uint32_t *indexes,
                        const uint8_t *signatures, const uint8_t *messages, const uint8_t *hints, unsigned count,
                        size_t bytes, int tables, const uint8_t *seed)
{
    uint8_t *const verdicts = malloc(count), *const made = malloc(32 * (size_t)count);
    demand(verdicts != NULL && made != NULL, "memory");
    memset(verdicts, 0xee, count);
    memset(made, 0xee, 32 * (size_t)count);
    demand(shim_verify_batch(suite, verdicts, made, keys, KEYS, indexes, signatures, messages, hints, count, bytes,
                             tables, seed) == 0,
           "the batch entry failed");
    for (unsigned i = 0; i < count; i++) {
        uint8_t any = 0;
        demand(verdicts[i] == alone[i], "a batch and a single verdict differ");
        for (unsigned j = 0; j < 32; j++) {
            any |= made[32 * i + j];
        }
        demand(alone[i] == 1 || any == 0, "a bad item has a hint");
    }
    free(verdicts);
    free(made);
}

static void fuzz_batch(reader *in, int suite)
{
    const unsigned length = next(in) % LENGTHS, flags = next(in), many = (flags & 4) != 0;
    /* A sum over hinted items of SM2 and P-256 takes more than 256 of them. */
    const unsigned count = (many ? 1 + HONEST - FEW : 1) + next(in) % FEW;
    const size_t bytes = MESSAGE_BYTES[length];
    const honest_items *const items = honest(suite, length);
    uint32_t indexes[HONEST];
    uint8_t seed[SHIM_SEED_BYTES], alone[HONEST];
    if (!shim_batch_available(suite)) {
        return;
    }
    uint8_t *const signatures = exactly(items->signatures, 64 * (size_t)count);
    uint8_t *const messages = exactly(items->messages, bytes * count);
    uint8_t *const hints = exactly(items->hints, 32 * (size_t)count);
    uint8_t *const keys = exactly(items->public_keys, KEYS * shim_key_bytes(suite));
    next_bytes(in, seed, sizeof seed);
    for (unsigned i = 0; i < count; i++) {
        indexes[i] = i % KEYS;
    }
    memset(alone, 1, sizeof alone); /* the honest items, which were verified when they were made */
    for (unsigned i = 0; i < OPERATIONS_MAX && in->left > 0; i++) {
        alone[change(in, suite, count, bytes, indexes, signatures, messages, hints)] = 0xff;
    }
    for (unsigned i = 0; i < count; i++) {
        if (alone[i] == 0xff) {
            alone[i] = (uint8_t)shim_verify(suite, keys + shim_key_bytes(suite) * indexes[i], signatures + 64 * i,
                                            messages + bytes * i, bytes);
        }
    }
    check_batch(suite, alone, keys, indexes, signatures, messages, NULL, count, bytes, flags & 1, seed);
    check_batch(suite, alone, keys, indexes, signatures, messages, hints, count, bytes, flags >> 1 & 1, seed);
    free(signatures);
    free(messages);
    free(hints);
    free(keys);
}

/* Bytes as a key and a signature of one item: the single entry and a batch of one agree, on the fault as on the verdict. */
static void fuzz_bytes(reader *in)
{
    const int suite = 1 + next(in) % SHIM_SUITES;
    const uint32_t index = 0;
    uint8_t key[64], signature[64], verdict = 0xee, made[32], hint[32], seed[SHIM_SEED_BYTES] = {2};
    next_bytes(in, key, shim_key_bytes(suite));
    next_bytes(in, signature, sizeof signature);
    next_bytes(in, hint, sizeof hint);
    uint8_t *const exact_key = exactly(key, shim_key_bytes(suite)), *const exact_signature = exactly(signature, 64);
    uint8_t *const message = exactly(in->data, in->left), *const exact_hint = exactly(hint, sizeof hint);
    const int alone = shim_verify(suite, exact_key, exact_signature, message, in->left);
    if (shim_batch_available(suite)) {
        const int code = shim_verify_batch(suite, &verdict, made, exact_key, 1, &index, exact_signature, message,
                                           exact_hint, 1, in->left, 1, seed);
        demand(alone < 0 ? code == alone : code == 0 && verdict == alone, "a batch of one differs");
    }
    if (suite != 1 && in->left >= 32) {
        (void)shim_verify_digest(suite, exact_key, exact_signature, message);
    }
    free(exact_key);
    free(exact_signature);
    free(exact_hint);
    free(message);
}

static void fuzz_hashes(reader *in)
{
    const size_t head_bytes = next(in) % 80, body_bytes = next(in) * 2 + next(in) % 3, shift = next(in) % 8;
    const int shared = next(in) % 2;
    uint8_t *heads[LANES], *bodies[LANES], *one;
    const uint8_t *const_heads[LANES], *const_bodies[LANES];
    uint8_t digests[LANES][32], expected[32];
    uint8_t *out[LANES];
    const size_t given = in->left;
    for (unsigned lane = 0; lane < LANES; lane++) {
        heads[lane] = malloc(head_bytes + shift + 1);
        bodies[lane] = malloc(body_bytes + shift + 1);
        demand(heads[lane] != NULL && bodies[lane] != NULL, "memory");
        for (size_t i = 0; i < head_bytes; i++) {
            heads[lane][shift + 1 + i] = given > 0 ? in->data[(i * 3 + lane) % given] : (uint8_t)(i + lane);
        }
        for (size_t i = 0; i < body_bytes; i++) {
            bodies[lane][shift + 1 + i] = given > 0 ? in->data[(i * 7 + lane * 5) % given] : (uint8_t)(i * lane);
        }
        out[lane] = digests[lane];
        const_heads[lane] = heads[shared ? 0 : lane] + shift + 1;
        const_bodies[lane] = bodies[lane] + shift + 1;
    }
    one = malloc(head_bytes + body_bytes + 1);
    demand(one != NULL, "memory");
    for (int sm3 = 0; sm3 < 2; sm3++) {
        (sm3 ? cs_sm3_x16 : cs_sha256_x16)(out, head_bytes > 0 ? const_heads : NULL, head_bytes, const_bodies, body_bytes);
        for (unsigned lane = 0; lane < LANES; lane++) {
            memcpy(one, const_heads[lane], head_bytes);
            memcpy(one + head_bytes, const_bodies[lane], body_bytes);
            (sm3 ? cs_sm3 : cs_sha256)(expected, one, head_bytes + body_bytes);
            demand(memcmp(expected, digests[lane], 32) == 0, "a hash in lanes differs");
        }
    }
    for (unsigned lane = 0; lane < LANES; lane++) {
        free(heads[lane]);
        free(bodies[lane]);
    }
    free(one);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    reader in = {data, n};
    const unsigned mode = next(&in) % 5, level = next(&in) % 3;
    shim_set_variant((int)(2 - level));
    if (mode < SHIM_SUITES) {
        fuzz_batch(&in, 1 + (int)mode);
    } else if (mode == SHIM_SUITES) {
        fuzz_bytes(&in);
    } else {
        fuzz_hashes(&in);
    }
    return 0;
}
