/* Drives the SM2 kernel, or with -DCURVE_P256 the P-256 one, from lines of standard input, for tests of what no binding
 * offers: one answer for a line.
 *
 *     load PUBLIC            verify PUBLIC SIGNATURE MESSAGE     digest PUBLIC SIGNATURE E
 *     public SECRET          sign SECRET PUBLIC MESSAGE
 *
 *     field multiply A B     order multiply A B                  also square, add, subtract, invert (one operand twice)
 *
 * All operands in hex, an empty message as "-". Answers a number, or the bytes in hex.
 */
#include <stdio.h>
#include <string.h>

#ifdef CURVE_P256
#include "p256/field.h"
#include "p256/order.h"
#include "p256/p256.h"
#define CURVE(name) cs_p256_##name
#define SIGN(signature, secret, public_key, message, n) cs_p256_sign(signature, secret, message, n)
#else
#include "sm2/field.h"
#include "sm2/order.h"
#include "sm2/sm2.h"
#define CURVE(name) cs_sm2_##name
#define SIGN cs_sm2_sign
#endif

enum { MESSAGE_BYTES_MAX = 4096, LINE_BYTES_MAX = 2 * MESSAGE_BYTES_MAX + 512 };

static size_t read_hex(uint8_t *out, size_t bytes_max, const char *text) {
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

static void print_hex(const uint8_t *bytes, size_t n) {
    while (n-- > 0) {
        printf("%02x", *bytes++);
    }
    printf("\n");
}

static void verify(const char *public_text, const char *signature_text, const char *last_text, int of_digest) {
    static uint8_t last[MESSAGE_BYTES_MAX];
    uint8_t public_key[64] = {0}, signature[64] = {0};
    CURVE(key) key;
    read_hex(public_key, sizeof public_key, public_text);
    read_hex(signature, sizeof signature, signature_text);
    size_t n = read_hex(last, sizeof last, last_text);
    int code = CURVE(key_load)(&key, public_key);
    if (code == 0) {
        code = of_digest ? CURVE(verify_digest)(&key, signature, last) : CURVE(verify)(&key, signature, last, n);
    }
    printf("%d\n", code);
}

static void sign(const char *secret_text, const char *public_text, const char *message_text) {
    static uint8_t message[MESSAGE_BYTES_MAX];
    uint8_t secret[32] = {0}, public_key[64] = {0}, signature[64];
    read_hex(secret, sizeof secret, secret_text);
    read_hex(public_key, sizeof public_key, public_text);
    size_t n = read_hex(message, sizeof message, message_text);
    int code = SIGN(signature, secret, public_key, message, n);
    if (code != 0) {
        printf("%d\n", code);
    } else {
        print_hex(signature, sizeof signature);
    }
}

/* Arithmetic on plain numbers: in and out of Montgomery form around each step. */
static void field(const char *verb, const uint64_t in[2][4]) {
    fe a, b, out;
    uint64_t plain[4];
    uint8_t bytes[32];
    fe_from_limbs(&a, in[0]);
    fe_from_limbs(&b, in[1]);
    if (strcmp(verb, "multiply") == 0) {
        fe_multiply(&out, &a, &b);
    } else if (strcmp(verb, "square") == 0) {
        fe_square(&out, &a);
    } else if (strcmp(verb, "add") == 0) {
        fe_add(&out, &a, &b);
    } else if (strcmp(verb, "subtract") == 0) {
        fe_subtract(&out, &a, &b);
    } else {
        fe_invert(&out, &a);
    }
    fe_to_limbs(plain, &out);
    limbs_store(bytes, plain);
    print_hex(bytes, sizeof bytes);
}

static void order(const char *verb, const uint64_t in[2][4]) {
    uint64_t a[4], b[4], out[4];
    uint8_t bytes[32];
    order_enter(a, in[0]);
    order_enter(b, in[1]);
    if (strcmp(verb, "multiply") == 0) {
        order_multiply(out, a, b);
    } else if (strcmp(verb, "square") == 0) {
        order_multiply(out, a, a);
    } else if (strcmp(verb, "add") == 0) {
        order_add(out, a, b);
    } else if (strcmp(verb, "subtract") == 0) {
        order_subtract(out, a, b);
    } else {
        order_invert(out, a);
    }
    order_leave(out, out);
    limbs_store(bytes, out);
    print_hex(bytes, sizeof bytes);
}

static void arithmetic(const char *group, const char *verb, const char *first, const char *second) {
    uint8_t bytes[2][32] = {{0}};
    uint64_t limbs[2][4];
    read_hex(bytes[0], 32, first);
    read_hex(bytes[1], 32, second);
    limbs_load(limbs[0], bytes[0]);
    limbs_load(limbs[1], bytes[1]);
    (strcmp(group, "field") == 0 ? field : order)(verb, (const uint64_t(*)[4])limbs);
}

int main(void) {
    static char line[LINE_BYTES_MAX];
    while (fgets(line, sizeof line, stdin) != NULL) {
        const char *verb = strtok(line, " \n"), *first = strtok(NULL, " \n"), *second = strtok(NULL, " \n"),
                   *third = strtok(NULL, " \n");
        uint8_t in[64] = {0}, out[64];
        CURVE(key) key;
        if (verb == NULL) {
            continue;
        }
        if (strcmp(verb, "field") == 0 || strcmp(verb, "order") == 0) {
            arithmetic(verb, first, second, third);
        } else if (strcmp(verb, "load") == 0) {
            read_hex(in, sizeof in, first);
            printf("%d\n", CURVE(key_load)(&key, in));
        } else if (strcmp(verb, "public") == 0) {
            read_hex(in, 32, first);
            int code = CURVE(public_key)(out, in);
            if (code != 0) {
                printf("%d\n", code);
            } else {
                print_hex(out, sizeof out);
            }
        } else if (strcmp(verb, "sign") == 0) {
            sign(first, second, third);
        } else {
            verify(first, second, third, strcmp(verb, "digest") == 0);
        }
    }
    return 0;
}
