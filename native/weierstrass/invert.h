/* The inverse of one public number modulo an odd number above 2^255, in time that depends on it.
 *
 * Division steps, Bernstein and Yang 2019, "Fast constant-time gcd computation and modular inversion": 62 steps at a
 * time are gathered in a matrix from the low bits of f and g alone, which is then applied to the whole numbers. */
#ifndef CS_WEIERSTRASS_INVERT_H
#define CS_WEIERSTRASS_INVERT_H

#include <stdint.h>

__extension__ typedef __int128 signed128;

enum { STEPS = 62, DIVISION_LIMBS = 5 };

/* A number of five limbs in radix 2^62; all but the last in [0, 2^62), and the last with the sign. */
typedef struct {
    int64_t limb[DIVISION_LIMBS];
} division_number;

/* (f, g) becomes (u f + v g, q f + r g) / 2^62. */
typedef struct {
    int64_t u, v, q, r;
} division_matrix;

static const int64_t DIVISION_MASK = INT64_MAX >> 1;

/* The inverse of an odd number modulo 2^64. */
static inline uint64_t inverse_of_word(uint64_t odd)
{
    uint64_t inverse = odd; /* right modulo 2^3, and each round doubles that */
    for (int i = 0; i < 5; i++) {
        inverse *= 2 - odd * inverse;
    }
    return inverse;
}

/* Take 62 steps on the low words of f, odd, and g; delta is the balance of the method. */
static inline int64_t division_steps(division_matrix *out, int64_t delta, uint64_t f, uint64_t g)
{
    uint64_t u = 1, v = 0, q = 0, r = 1;
    int left = STEPS;
    for (;;) {
        const int zeros = __builtin_ctzll(g | UINT64_C(1) << left);
        g >>= zeros;
        u <<= zeros;
        v <<= zeros;
        delta += zeros;
        left -= zeros;
        if (left == 0) {
            break;
        }
        if (delta > 0) { /* (f, g) becomes (g, -f) */
            const uint64_t old_f = f, old_u = u, old_v = v;
            delta = -delta;
            f = g;
            g = 0 - old_f;
            u = q;
            q = 0 - old_u;
            v = r;
            r = 0 - old_v;
        }
        /* g + w f loses as many low bits as there are steps until delta is positive again, at most six at once. Each of
         * these steps adds f or does not, and shifts. */
        const int64_t until_swap = 1 - delta;
        const int bits_max = until_swap < left ? (int)until_swap : left, bits = bits_max < 6 ? bits_max : 6;
        const uint64_t w = (f * g * (f * f - 2)) & ((UINT64_C(1) << bits) - 1);
        g += f * w;
        q += u * w;
        r += v * w;
    }
    *out = (division_matrix){(int64_t)u, (int64_t)v, (int64_t)q, (int64_t)r};
    return delta;
}

/* out = (a x + b y + m times) / 2^62, where times is chosen for the division: the low word of modulus_inverse says how.
 * x and y lie between -2 m and m, and so does what comes out. */
static inline void division_apply(division_number *out, const division_number *x, const division_number *y, int64_t a,
                                  int64_t b, const division_number *modulus, uint64_t modulus_inverse)
{
    int64_t times = (a & x->limb[4] >> 63) + (b & y->limb[4] >> 63);
    signed128 sum = (signed128)a * x->limb[0] + (signed128)b * y->limb[0];
    times -= (int64_t)((modulus_inverse * (uint64_t)sum + (uint64_t)times) & (uint64_t)DIVISION_MASK);
    sum += (signed128)modulus->limb[0] * times;
    sum >>= STEPS;
    for (int i = 1; i < DIVISION_LIMBS; i++) {
        sum += (signed128)a * x->limb[i] + (signed128)b * y->limb[i] + (signed128)modulus->limb[i] * times;
        out->limb[i - 1] = (int64_t)sum & DIVISION_MASK;
        sum >>= STEPS;
    }
    out->limb[4] = (int64_t)sum;
}

/* out = (a f + b g) / 2^62, which divides. */
static inline void division_combine(division_number *out, const division_number *f, const division_number *g, int64_t a,
                                    int64_t b)
{
    signed128 sum = (signed128)a * f->limb[0] + (signed128)b * g->limb[0];
    sum >>= STEPS;
    for (int i = 1; i < DIVISION_LIMBS; i++) {
        sum += (signed128)a * f->limb[i] + (signed128)b * g->limb[i];
        out->limb[i - 1] = (int64_t)sum & DIVISION_MASK;
        sum >>= STEPS;
    }
    out->limb[4] = (int64_t)sum;
}

static inline division_number division_number_of(const uint64_t words[4])
{
    const uint64_t mask = (uint64_t)DIVISION_MASK;
    return (division_number){{
        (int64_t)(words[0] & mask),
        (int64_t)((words[0] >> 62 | words[1] << 2) & mask),
        (int64_t)((words[1] >> 60 | words[2] << 4) & mask),
        (int64_t)((words[2] >> 58 | words[3] << 6) & mask),
        (int64_t)(words[3] >> 56),
    }};
}

/* x += m or -m. */
static inline void division_shift(division_number *x, const division_number *modulus, int64_t sign)
{
    int64_t carry = 0;
    for (int i = 0; i < DIVISION_LIMBS; i++) {
        const int64_t sum = x->limb[i] + sign * modulus->limb[i] + carry;
        x->limb[i] = i < 4 ? sum & DIVISION_MASK : sum;
        carry = sum >> STEPS;
    }
}

/* out = 1 / a modulo m; a is below m, and prime to it. Zero gives zero. */
static __attribute__((noinline, unused)) void invert_public(uint64_t out[4], const uint64_t a[4], const uint64_t m[4])
{
    const division_number modulus = division_number_of(m);
    const uint64_t modulus_inverse = inverse_of_word(m[0]);
    division_number d = {{0}}, e = {{1}}, f = modulus, g = division_number_of(a), next;
    int64_t delta = 1;
    while ((g.limb[0] | g.limb[1] | g.limb[2] | g.limb[3] | g.limb[4]) != 0) {
        division_matrix t;
        const uint64_t low_f = (uint64_t)f.limb[0] | (uint64_t)f.limb[1] << STEPS;
        const uint64_t low_g = (uint64_t)g.limb[0] | (uint64_t)g.limb[1] << STEPS;
        delta = division_steps(&t, delta, low_f, low_g);
        division_apply(&next, &d, &e, t.u, t.v, &modulus, modulus_inverse);
        division_apply(&e, &d, &e, t.q, t.r, &modulus, modulus_inverse);
        d = next;
        division_combine(&next, &f, &g, t.u, t.v);
        division_combine(&g, &f, &g, t.q, t.r);
        f = next;
    }
    /* f is 1 or -1, and d f is the inverse, between -2 m and 2 m. */
    if (f.limb[4] < 0) {
        int64_t carry = 0;
        for (int i = 0; i < DIVISION_LIMBS; i++) {
            const int64_t sum = carry - d.limb[i];
            d.limb[i] = i < 4 ? sum & DIVISION_MASK : sum;
            carry = sum >> STEPS;
        }
    }
    while (d.limb[4] < 0) {
        division_shift(&d, &modulus, 1);
    }
    for (;;) {
        division_number less = d;
        division_shift(&less, &modulus, -1);
        if (less.limb[4] < 0) {
            break;
        }
        d = less;
    }
    out[0] = (uint64_t)d.limb[0] | (uint64_t)d.limb[1] << 62;
    out[1] = (uint64_t)d.limb[1] >> 2 | (uint64_t)d.limb[2] << 60;
    out[2] = (uint64_t)d.limb[2] >> 4 | (uint64_t)d.limb[3] << 58;
    out[3] = (uint64_t)d.limb[3] >> 6 | (uint64_t)d.limb[4] << 56;
}

#endif
