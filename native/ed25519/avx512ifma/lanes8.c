#if defined(__x86_64__)

#include "ed25519/avx512ifma/lanes8.h"

#include "ed25519/avx512ifma/decode8.h"

static void hash8(uint64_t out[8][8], const uint8_t prefixes[8][CS_SHA512_X8_PREFIX_BYTES_MAX], size_t prefix_bytes,
                  const uint8_t *const messages[8], size_t message_bytes, size_t count)
{
    (void)count;
    cs_sha512_x8(out, prefixes, prefix_bytes, messages, message_bytes);
}

const cs_ed25519_lanes cs_ed25519_lanes_avx512ifma = {
    .decode16 = decode16,
    .check16 = check16,
    .hash8 = hash8,
    .verify8 = cs_ed25519_single_verify8,
    .fill16 = cs_ed25519_fill16,
    .weigh8 = cs_ed25519_weigh8,
    .width_terms = {100, 300, 900, 1500, 6000, 6000, UINT32_MAX},
    .sum_cost = 96,
    .leaf_items = 32,
    .singly_items_max = 20,
    .budget_factor = 4,
};

#pragma GCC pop_options

#endif

typedef int cs_ed25519_lanes8_is_not_empty; /* ISO C wants a declaration in every file */
