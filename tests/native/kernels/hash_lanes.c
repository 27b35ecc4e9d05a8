/* Sixteen hashes at once against the hash of one message, for every level that this CPU has.
 *
 * Each input ends where a page ends or begins where one begins, and its neighbours cannot be read. Prints the name of
 * each level, its hash entries and the digest over all digests, which must not depend on the level; ends with 1 at the
 * first difference.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/variant.h"
#include "merkle/many.h"
#include "merkle/merkle.h"
#include "sha2/sha256_lanes.h"
#include "sha2/sha256_x16.h"
#include "sha2/sha512.h"
#include "sha2/sha512_x4.h"
#include "sha2/sha512_x8.h"
#include "sm3/sm3_x16.h"

enum { LANES = 16, BODY_MAX = 300, HEAD_MAX = 130, COUNT_MAX = 40 };

typedef struct {
    uint8_t *first, *end; /* of the readable bytes */
} region;

static region new_region(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *const mapped = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED || mprotect(mapped + page, page, PROT_READ | PROT_WRITE) != 0) {
        exit(2);
    }
    for (size_t i = 0; i < page; i++) {
        mapped[page + i] = (uint8_t)(rand() >> 7);
    }
    return (region){mapped + page, mapped + 2 * page};
}

static void fail(const char *what, uint32_t suite, size_t head, size_t body, size_t lane)
{
    printf("%s differs: level %d, suite %u, head %zu, body %zu, lane %zu\n", what, cs_variant(), suite, head, body, lane);
    exit(1);
}

static void single(uint32_t suite, uint8_t out[32], const uint8_t *head, size_t head_bytes, const uint8_t *body, size_t n)
{
    cs_hash_ctx ctx;
    cs_hash_init(&ctx, suite);
    cs_hash_update(&ctx, head, head_bytes);
    cs_hash_update(&ctx, body, n);
    cs_hash_final(out, &ctx);
}

typedef void sixteen(uint8_t *const out[LANES], const uint8_t *const heads[LANES], size_t head_bytes,
                     const uint8_t *const bodies[LANES], size_t body_bytes);

#if defined(__x86_64__)
/* What only a CPU without the SHA extensions takes. */
static void without_sha(uint8_t *const out[LANES], const uint8_t *const heads[LANES], size_t head_bytes,
                        const uint8_t *const bodies[LANES], size_t body_bytes)
{
    cs_sha256_lanes8(out, heads, head_bytes, bodies, body_bytes);
    cs_sha256_lanes8(out + 8, heads == NULL ? NULL : heads + 8, head_bytes, bodies + 8, body_bytes);
}
#endif

/* Lane i reads a body that ends at its region's end, or one that begins at its start, by turns; two lanes share one. */
static void check_x16(sixteen *hash, uint32_t suite, const region *regions, size_t head_bytes, size_t body_bytes, cs_hash_ctx *all)
{
    const uint8_t *heads[LANES], *bodies[LANES];
    uint8_t digests[LANES][32 + 1], *out[LANES], expected[32];
    for (size_t i = 0; i < LANES; i++) {
        const region at = regions[i == 9 ? 3 : i];
        bodies[i] = i % 2 != 0 ? at.first : at.end - body_bytes;
        heads[i] = i % 3 != 0 ? regions[(i + 1) % LANES].end - head_bytes : regions[(i + 1) % LANES].first;
        out[i] = digests[i] + i % 2;
    }
    memset(digests, 0xee, sizeof digests);
    hash(out, head_bytes == 0 ? NULL : heads, head_bytes, bodies, body_bytes);
    for (size_t i = 0; i < LANES; i++) {
        single(suite, expected, heads[i], head_bytes, bodies[i], body_bytes);
        if (memcmp(out[i], expected, 32) != 0 || digests[i][i % 2 != 0 ? 0 : 32] != 0xee) {
            fail("x16", suite, head_bytes, body_bytes, i);
        }
        cs_hash_update(all, out[i], 32);
    }
}

/* Rows and scattered messages, with and without prefixes, of every count around the number of lanes. */
static void check_many(uint32_t suite, region at, size_t count, size_t n, size_t gap, cs_hash_ctx *all)
{
    static uint8_t packed[COUNT_MAX][32], leaves[COUNT_MAX][32], scattered[COUNT_MAX][32];
    const size_t stride = n + gap;
    const uint8_t *const rows = at.end - (count == 0 ? 0 : stride * (count - 1) + n), *data[COUNT_MAX];
    uint8_t *out[COUNT_MAX], expected[32];
    for (size_t i = 0; i < count; i++) {
        data[i] = rows + stride * (count - 1 - i);
        out[i] = scattered[i];
    }
    cs_hash_rows(suite, packed[0], rows, stride, n, count);
    cs_leaf_hash_rows(suite, leaves[0], rows, stride, n, count);
    cs_leaf_hash_many(suite, out, data, n, count);
    for (size_t i = 0; i < count; i++) {
        single(suite, expected, NULL, 0, rows + stride * i, n);
        if (memcmp(packed[i], expected, 32) != 0) {
            fail("rows", suite, 0, n, i);
        }
        single(suite, expected, (const uint8_t *)"\0", 1, rows + stride * i, n);
        if (memcmp(leaves[i], expected, 32) != 0 || memcmp(scattered[count - 1 - i], expected, 32) != 0) {
            fail("leaves", suite, 1, n, i);
        }
    }
    cs_hash_update(all, packed, 32 * count);
    cs_hash_update(all, leaves, 32 * count);
}

/* Pairs of nodes, in place and scattered. */
static void check_nodes(uint32_t suite, region at, size_t count, cs_hash_ctx *all)
{
    static uint8_t level[COUNT_MAX][64], scattered[COUNT_MAX][32];
    const uint8_t *pairs[COUNT_MAX];
    uint8_t *out[COUNT_MAX], expected[32];
    memcpy(level, at.first, sizeof level);
    for (size_t i = 0; i < count; i++) {
        pairs[i] = at.first + 64 * i;
        out[i] = scattered[i];
    }
    cs_node_hash_rows(suite, level[0], level[0], count);
    cs_node_hash_many(suite, out, pairs, count);
    for (size_t i = 0; i < count; i++) {
        single(suite, expected, (const uint8_t *)"\1", 1, at.first + 64 * i, 64);
        if (memcmp(level[0] + 32 * i, expected, 32) != 0 || memcmp(scattered[i], expected, 32) != 0) {
            fail("nodes", suite, 1, 64, i);
        }
    }
    cs_hash_update(all, level, 32 * count);
}

/* SHA-512 with a prefix of whole words, four or eight at once; there is nothing to check at the lowest level. */
static void check_sha512(const region regions[LANES], size_t prefix_bytes, size_t n)
{
    uint64_t out[8][8], expected[8];
    uint8_t prefixes[8][CS_SHA512_X8_PREFIX_BYTES_MAX];
    const uint8_t *messages[8];
    const size_t lanes = cs_variant() == CS_VARIANT_AVX2 ? 4 : cs_variant() > CS_VARIANT_AVX2 ? 8 : 0;
    for (size_t i = 0; i < 8; i++) {
        memcpy(prefixes[i], regions[8 + i].first, sizeof prefixes[i]);
        messages[i] = i % 2 != 0 ? regions[i].first : regions[i].end - n;
    }
#if defined(__x86_64__)
    if (lanes == 4) {
        cs_sha512_x4(out, (const uint8_t(*)[CS_SHA512_X8_PREFIX_BYTES_MAX])prefixes, prefix_bytes, messages, n);
    } else if (lanes == 8) {
        cs_sha512_x8(out, (const uint8_t(*)[CS_SHA512_X8_PREFIX_BYTES_MAX])prefixes, prefix_bytes, messages, n);
    }
#endif
    for (size_t i = 0; i < lanes; i++) {
        cs_sha512_ctx ctx;
        cs_sha512_init(&ctx);
        cs_sha512_update(&ctx, prefixes[i], prefix_bytes);
        cs_sha512_update(&ctx, messages[i], n);
        cs_sha512_final(&ctx, (uint8_t *)expected);
        if (memcmp(out[i], expected, sizeof expected) != 0) {
            fail("sha512", 0, prefix_bytes, n, i);
        }
    }
}

static void check_level(const region regions[LANES])
{
    static const size_t head_sizes[] = {0, 1, 2, 31, 32, 63, 64, 65, HEAD_MAX}, row_sizes[] = {0, 1, 48, 54, 55, 63, 64, 65};
    static const char *const names[] = {"scalar", "avx2", "avx512ifma"};
    cs_hash_ctx all;
    uint8_t digest[32];
    cs_hash_init(&all, CS_HASH_SHA256);
    for (uint32_t suite = CS_HASH_SHA256; suite <= CS_HASH_SM3; suite++) {
        for (size_t i = 0; i < sizeof head_sizes / sizeof *head_sizes; i++) {
            const size_t step = head_sizes[i] <= 1 ? 1 : 11;
            for (size_t body = 0; body <= BODY_MAX; body += step) {
                check_x16(suite == CS_HASH_SM3 ? cs_sm3_x16 : cs_sha256_x16, suite, regions, head_sizes[i], body, &all);
#if defined(__x86_64__)
                if (cs_variant() == CS_VARIANT_AVX2 && suite == CS_HASH_SHA256) {
                    cs_hash_ctx apart;
                    cs_hash_init(&apart, suite);
                    check_x16(without_sha, suite, regions, head_sizes[i], body, &apart);
                }
#endif
            }
        }
        for (size_t count = 0; count <= COUNT_MAX; count++) {
            for (size_t i = 0; i < sizeof row_sizes / sizeof *row_sizes; i++) {
                check_many(suite, regions[i], count, row_sizes[i], i % 3, &all);
            }
            check_nodes(suite, regions[0], count, &all);
        }
    }
    for (size_t prefix = 0; prefix <= CS_SHA512_X8_PREFIX_BYTES_MAX; prefix += 32) {
        for (size_t n = 0; n <= BODY_MAX; n++) {
            check_sha512(regions, prefix, n);
        }
    }
    cs_hash_final(digest, &all);
    printf("%s %s ", names[cs_variant()], cs_hash_x16_available() ? "lanes" : "single");
    for (unsigned i = 0; i < sizeof digest; i++) {
        printf("%02x", digest[i]);
    }
    printf("\n");
}

int main(void)
{
    region regions[LANES];
    for (size_t i = 0; i < LANES; i++) {
        regions[i] = new_region();
    }
    for (int level = CS_VARIANT_SCALAR; level <= cs_variant_best(); level++) {
        cs_variant_set(level);
        check_level(regions);
    }
    return 0;
}
