/* Signs a batch in lanes with secrets that valgrind holds for undefined, or, given an argument, prints the signatures.
 *
 * Compiled with the folder emulated/ before native/ among those of headers; HEADER, CURVE(name) and SIGN are defined to
 * be the batch.h of a curve, cs_curve_name, and its function that signs one message.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include HEADER

enum { COUNT = 17, MESSAGE_BYTES = 64 };

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
    static uint8_t known[COUNT][32], hidden[COUNT][32], public_keys[COUNT][64], signatures[COUNT][64], single[64];
    CURVE(signing_item) items[COUNT];
    (void)arguments;
    for (int i = 0; i < COUNT; i++) {
        memset(known[i], 0x40 + 3 * i, sizeof known[i]);
        if (CURVE(public_key)(public_keys[i], known[i]) != 0) {
            return 1;
        }
        hide(hidden[i], known[i], sizeof hidden[i]);
        items[i] = (CURVE(signing_item)){signatures[i], hidden[i], public_keys[i], public_keys[i]};
    }
    CURVE(sign_batch)(items, COUNT, MESSAGE_BYTES);
    for (int i = 0; count > 1 && i < COUNT; i++) {
        if (SIGN(single, known[i], public_keys[i], public_keys[i], MESSAGE_BYTES) != 0 ||
            memcmp(single, signatures[i], sizeof single) != 0) {
            printf("signature %d differs\n", i);
        }
    }
    return 0;
}
