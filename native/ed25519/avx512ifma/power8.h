/* Powers of two vectors of elements in step, which hide each other's latency; private to this folder. Exponents are
 * constants and so is time. */
#ifndef CS_ED25519_POWER8_H
#define CS_ED25519_POWER8_H

#include "ed25519/avx512ifma/field8.h"

FIELD8_INLINE void field8_square_pair(field8 a[2])
{
    a[0] = field8_square(&a[0]);
    a[1] = field8_square(&a[1]);
}

FIELD8_INLINE void field8_multiply_pair(field8 a[2], const field8 b[2])
{
    a[0] = field8_multiply(&a[0], &b[0]);
    a[1] = field8_multiply(&a[1], &b[1]);
}

/* a = a^(2^count) b. */
static __attribute__((noinline)) void field8_raise_pair(field8 a[2], int count, const field8 b[2])
{
    field8 power[2] = {a[0], a[1]};
    for (int i = 0; i < count; i++) {
        field8_square_pair(power);
    }
    field8_multiply_pair(power, b);
    a[0] = power[0];
    a[1] = power[1];
}

/* power_250 = a^(2^250 - 1) and power_11 = a^11, which both exponents below share. */
static inline void field8_power_shared_pair(field8 power_250[2], field8 power_11[2], const field8 a[2])
{
    field8 t[2] = {a[0], a[1]}, u[2], v[2];
    field8_square_pair(t);                       /* 2 */
    memcpy(u, t, sizeof u);
    field8_raise_pair(u, 2, a);                  /* 9 */
    field8_multiply_pair(t, u);                  /* 11 */
    memcpy(power_11, t, sizeof t);
    field8_raise_pair(t, 1, u);                  /* 31 = 2^5 - 1 */
    memcpy(u, t, sizeof u);
    field8_raise_pair(t, 5, u);                  /* 2^10 - 1 */
    memcpy(u, t, sizeof u);
    field8_raise_pair(u, 10, t);                 /* 2^20 - 1 */
    memcpy(v, u, sizeof v);
    field8_raise_pair(v, 20, u);                 /* 2^40 - 1 */
    field8_raise_pair(v, 10, t);                 /* 2^50 - 1 */
    memcpy(t, v, sizeof t);
    field8_raise_pair(t, 50, v);                 /* 2^100 - 1 */
    memcpy(u, t, sizeof u);
    field8_raise_pair(u, 100, t);                /* 2^200 - 1 */
    field8_raise_pair(u, 50, v);                 /* 2^250 - 1 */
    memcpy(power_250, u, sizeof u);
}

/* a = a^((p - 5) / 8) = a^(2^252 - 3), the heart of the square root. */
static inline void field8_power_of_root_pair(field8 a[2])
{
    field8 power[2], power_11[2];
    field8_power_shared_pair(power, power_11, a);
    field8_raise_pair(power, 2, a);
    memcpy(a, power, sizeof power);
}

/* a = a^(p - 2) = a^(2^255 - 21), the inverse. */
static inline void field8_invert_pair(field8 a[2])
{
    field8 power[2], power_11[2];
    field8_power_shared_pair(power, power_11, a);
    field8_raise_pair(power, 5, power_11);
    memcpy(a, power, sizeof power);
}

#endif
