/* Which kernel hashes sixteen messages at once. */
#include "sha2/sha256_x16.h"

#include "common/variant.h"
#include "sha2/sha256.h"
#include "sha2/sha256_lanes.h"

enum { LANES = 16 };

static void one_by_one(uint8_t *const *out, const uint8_t *const *heads, size_t head_bytes, const uint8_t *const *bodies,
                       size_t body_bytes, size_t count)
{
    for (size_t lane = 0; lane < count; lane++) {
        cs_sha256_ctx ctx;
        cs_sha256_init(&ctx);
        if (head_bytes > 0) {
            cs_sha256_update(&ctx, heads[lane], head_bytes);
        }
        cs_sha256_update(&ctx, bodies[lane], body_bytes);
        cs_sha256_final(out[lane], &ctx);
    }
}

#if defined(__x86_64__)

static void in_lanes(uint8_t *const out[LANES], const uint8_t *const *heads, size_t head_bytes,
                     const uint8_t *const bodies[LANES], size_t body_bytes)
{
    if (cs_variant() >= CS_VARIANT_AVX512IFMA) {
        cs_sha256_lanes16(out, heads, head_bytes, bodies, body_bytes);
    } else {
        cs_sha256_lanes8(out, heads, head_bytes, bodies, body_bytes);
        cs_sha256_lanes8(out + 8, head_bytes == 0 ? NULL : heads + 8, head_bytes, bodies + 8, body_bytes);
    }
}

/* Idle lanes hash the first message once more, to where nobody looks. */
static void in_some_lanes(uint8_t *const *out, const uint8_t *const *heads, size_t head_bytes,
                          const uint8_t *const *bodies, size_t body_bytes, size_t count)
{
    uint8_t *outs[LANES], idle[32];
    const uint8_t *some_heads[LANES], *some_bodies[LANES];
    for (size_t lane = 0; lane < LANES; lane++) {
        const size_t from = lane < count ? lane : 0;
        outs[lane] = lane < count ? out[lane] : idle;
        some_heads[lane] = head_bytes == 0 ? NULL : heads[from];
        some_bodies[lane] = bodies[from];
    }
    in_lanes(outs, some_heads, head_bytes, some_bodies, body_bytes);
}

#endif

void cs_sha256_upto16(uint8_t *const *out, const uint8_t *const *heads, size_t head_bytes, const uint8_t *const *bodies,
                      size_t body_bytes, size_t count)
{
#if defined(__x86_64__)
    /* From how many messages on the lanes beat what is there without them, measured. */
    const int wide = cs_variant() >= CS_VARIANT_AVX512IFMA;
    const size_t worth = cs_variant_sha() ? (wide ? 8 : LANES + 1) : (wide ? 2 : 5);
    if (cs_variant() >= CS_VARIANT_AVX2 && count >= worth) {
        if (count == LANES) {
            in_lanes(out, heads, head_bytes, bodies, body_bytes);
        } else {
            in_some_lanes(out, heads, head_bytes, bodies, body_bytes, count);
        }
        return;
    }
    if (cs_variant_sha()) {
        cs_sha256_pairs_sha(out, heads, head_bytes, bodies, body_bytes, count);
        return;
    }
#endif
    one_by_one(out, heads, head_bytes, bodies, body_bytes, count);
}

void cs_sha256_x16(uint8_t *const out[16], const uint8_t *const heads[16], size_t head_bytes,
                   const uint8_t *const bodies[16], size_t body_bytes)
{
    cs_sha256_upto16(out, heads, head_bytes, bodies, body_bytes, LANES);
}
