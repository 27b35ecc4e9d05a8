/* How high the kernels of this extension may reach. The binding sets the level once, at import, before any kernel runs;
 * until then it is the portable one. Every extension has its own copy.
 *
 * A level is a permission, not a promise: a kernel that has no variant at a level takes the best one below it, and the
 * portable one gives the same bytes everywhere.
 */
#ifndef CS_COMMON_VARIANT_H
#define CS_COMMON_VARIANT_H

enum {
    CS_VARIANT_SCALAR = 0,     /* portable C, no intrinsics */
    CS_VARIANT_AVX2 = 1,       /* AVX2 and BMI2; the SHA extensions where the CPU has them */
    CS_VARIANT_AVX512IFMA = 2, /* AVX-512 F, BW, DQ, VL and IFMA as well */
};

int cs_variant(void);
/* A level above cs_variant_best is lowered to it. */
void cs_variant_set(int level);
/* The highest level that this CPU and its operating system run; 0 on anything but x86-64. */
int cs_variant_best(void);

/* Whether the level allows the SHA extensions and the CPU has them. */
int cs_variant_sha(void);
/* Whether the hashes of sixteen messages at once run in lanes; they give the same digests without. */
int cs_hash_x16_available(void);

#endif
