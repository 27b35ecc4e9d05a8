/* The functions of lanes.h in plain C, one item after another, to be included by the file that compiles them for its
 * instruction set. */
#ifndef CS_ED25519_LANES1_H
#define CS_ED25519_LANES1_H

#include "ed25519/lanes.h"

/* The includer says how many roots it takes in step, and how: a = a^((p - 5) / 8) for each, tight in and out. */
typedef struct {
    field at[ROOTS_AT_ONCE];
} fields;

static void fields_power_of_root(fields *a);

/* Read 32 bytes; returns 1 when they are a number below p but for the sign, which is taken off. */
static int read_number(field out, uint32_t *sign, const uint8_t bytes[32])
{
    uint8_t encoded[32];
    field_decode(out, bytes);
    field_encode(encoded, out);
    *sign = bytes[31] >> 7;
    encoded[31] |= (uint8_t)(*sign << 7);
    return memcmp(encoded, bytes, sizeof encoded) == 0;
}

/* RFC 8032, 5.1.3: x^2 = u / v with u = y^2 - 1 and v = d y^2 + 1; u is loose. */
static void fraction(field u, field v, const field y)
{
    field yy, product;
    field_square(yy, y);
    field_subtract(u, yy, FIELD_ONE);
    field_multiply(product, yy, FIELD_D);
    field_add(v, product, FIELD_ONE);
}

static void store_affine(uint64_t out[STORED_WORDS], const field x, const field y)
{
    cs_ed25519_affine affine;
    affine_from_coordinates(&affine, x, y);
    memcpy(out, &affine, sizeof affine);
    out[STORED_AFFINE_WORDS] = 0;
}

/* As point_decode_variable_time, from the power of the root on. */
static int finish_root(field x, const field power, const field u, const field v, const field v3, uint32_t sign)
{
    field check;
    field_multiply(x, power, v3);
    field_multiply(x, x, u);
    field_square(check, x);
    field_multiply(check, check, v);
    if (!field_equal(check, u)) {
        field_add(check, check, u);
        if (!field_equal(check, FIELD_ZERO)) {
            return 0;
        }
        field_multiply(x, x, FIELD_ROOT_OF_MINUS_ONE);
    }
    field_canonical(x, x);
    if (sign != 0 && memcmp(x, FIELD_ZERO, sizeof(field)) == 0) {
        return 0;
    }
    if ((x[0] & 1) != sign) {
        field_negate(x, x);
    }
    return 1;
}

static uint32_t decode16(uint64_t *const out[16], uint8_t *const *hints_out, const uint8_t *const encoded[16],
                         size_t count)
{
    uint32_t good = 0;
    for (size_t from = 0; from < count; from += ROOTS_AT_ONCE) {
        field y[ROOTS_AT_ONCE], u[ROOTS_AT_ONCE], v[ROOTS_AT_ONCE], v3[ROOTS_AT_ONCE], x;
        uint32_t sign[ROOTS_AT_ONCE], canonical[ROOTS_AT_ONCE];
        fields power;
        for (size_t i = 0; i < ROOTS_AT_ONCE; i++) {
            canonical[i] = (uint32_t)read_number(y[i], &sign[i], encoded[from + i]);
            fraction(u[i], v[i], y[i]);
            field_square(v3[i], v[i]);
            field_multiply(v3[i], v3[i], v[i]);
            field_square(power.at[i], v3[i]);
            field_multiply(power.at[i], power.at[i], v[i]);
            field_multiply(power.at[i], power.at[i], u[i]);
        }
        fields_power_of_root(&power);
        for (size_t i = 0; i < ROOTS_AT_ONCE && from + i < count; i++) {
            if (finish_root(x, power.at[i], u[i], v[i], v3[i], sign[i]) && canonical[i]) {
                good |= UINT32_C(1) << (from + i);
                store_affine(out[from + i], x, y[i]);
                if (hints_out != NULL) {
                    field_encode(hints_out[from + i], x);
                }
            }
        }
    }
    return good;
}

/* v x^2 = u, x is below p and its lowest bit is the sign. So it is the root that decode16 takes, because v is never 0
 * and only x = 0 has no other. */
static uint32_t check16(uint64_t *const out[16], const uint8_t *const encoded[16], const uint8_t *const hints[16],
                        size_t count)
{
    uint32_t good = 0;
    for (size_t i = 0; i < count; i++) {
        field x, y, u, v, check;
        uint32_t sign, top;
        if (!read_number(y, &sign, encoded[i]) || !read_number(x, &top, hints[i]) || top != 0 || (x[0] & 1) != sign) {
            continue;
        }
        fraction(u, v, y);
        field_square(check, x);
        field_multiply(check, check, v);
        if (field_equal(check, u)) {
            good |= UINT32_C(1) << i;
            store_affine(out[i], x, y);
        }
    }
    return good;
}

static uint32_t verify8(const single_item items[8], size_t count)
{
    uint32_t good = 0;
    for (size_t i = 0; i < count; i++) {
        good |= (uint32_t)cs_ed25519_equation_holds(&items[i]) << i;
    }
    return good;
}

static void weigh8(point out[8], const sum_work *work, size_t digit_count, size_t first_place)
{
    for (size_t place = first_place; place < first_place + 8; place++) {
        point running = POINT_IDENTITY, total = POINT_IDENTITY;
        completed next;
        int any = 0;
        for (size_t digit = digit_count; digit-- > 0;) {
            const size_t bucket = digit * work->lanes + place;
            if (work->counts[bucket] != 0) {
                point filled;
                memcpy(&filled, work->buckets[bucket], sizeof filled);
                point_add(&next, &running, &filled);
                completed_to_extended(&running, &next);
                any = 1;
            }
            if (any) {
                point_add(&next, &total, &running);
                completed_to_extended(&total, &next);
            }
        }
        out[place - first_place] = total;
    }
}

#endif
