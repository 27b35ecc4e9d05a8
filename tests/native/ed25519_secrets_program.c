/* Signs with Ed25519 secrets that valgrind holds for undefined, alone or in lanes; with "compare", checks that the lanes,
 * here in plain C, give the bytes of signing alone; with "branch", does what must not be done.
 *
 * The lanes' SHA-512 is not followed: it is replaced by the scalar one, message after message. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ed25519/batch.h"
#include "ed25519/lanes.h"
#include "sha2/sha512.h"

enum { COUNT = 17, MESSAGE_BYTES = 64 };

void cs_sha512_x8(uint64_t out[8][8], const uint8_t prefixes[8][CS_SHA512_X8_PREFIX_BYTES_MAX], size_t prefix_bytes,
                  const uint8_t *const messages[8], size_t message_bytes) {
    for (int lane = 0; lane < 8; lane++) {
        cs_sha512_ctx ctx;
        cs_sha512_init(&ctx);
        cs_sha512_update(&ctx, prefixes[lane], prefix_bytes);
        if (message_bytes > 0) {
            cs_sha512_update(&ctx, messages[lane], message_bytes);
        }
        cs_sha512_final(&ctx, (uint8_t *)out[lane]);
    }
}

/* Bytes of true value, undefined to valgrind. */
static void hide(uint8_t *out, const uint8_t *known, size_t n) {
    volatile uint8_t *undefined = malloc(n);
    if (undefined == NULL) {
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        const uint8_t first = undefined[i], second = undefined[i];
        out[i] = (uint8_t)(known[i] + (uint8_t)(first - second));
    }
}

int main(int count, char **arguments) {
    static uint8_t messages[COUNT][MESSAGE_BYTES];
    static uint8_t known[COUNT][32], hidden[COUNT][32], public_keys[COUNT][32], signatures[COUNT][64], single[64], key[32];
    cs_ed25519_signing_item items[COUNT];
    const char *const how = count > 1 ? arguments[1] : "";
    for (int i = 0; i < COUNT; i++) {
        memset(known[i], 0x40 + 3 * i, sizeof known[i]);
        cs_ed25519_public_key(public_keys[i], known[i]);
        hide(hidden[i], known[i], sizeof hidden[i]);
        items[i] = (cs_ed25519_signing_item){signatures[i], strcmp(how, "compare") == 0 ? known[i] : hidden[i],
                                             public_keys[i], messages[i]};
    }
    if (strcmp(how, "branch") == 0) { /* what must be reported */
        if ((hidden[0][0] & 1) != 0) {
            puts("odd");
        }
        return 0;
    }
    if (strcmp(how, "alone") == 0) {
        cs_ed25519_public_key(key, hidden[0]);
        cs_ed25519_sign(signatures[0], hidden[0], public_keys[0], messages[0], MESSAGE_BYTES);
        return 0;
    }
    cs_ed25519_sign_batch_avx512ifma(items, COUNT, MESSAGE_BYTES);
    for (int i = 0; strcmp(how, "compare") == 0 && i < COUNT; i++) {
        cs_ed25519_sign(single, known[i], public_keys[i], messages[i], MESSAGE_BYTES);
        if (memcmp(single, signatures[i], sizeof single) != 0) {
            return 2;
        }
    }
    return 0;
}
