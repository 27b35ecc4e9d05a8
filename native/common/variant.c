/* The level, and what the CPU is asked to find the highest one. */
#include "common/variant.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static int level = CS_VARIANT_SCALAR;
static int sha = 0;

int cs_variant(void) { return level; }

int cs_variant_sha(void) { return sha; }

int cs_hash_x16_available(void) { return level >= CS_VARIANT_AVX2; }

#if defined(__x86_64__)

int cs_variant_best(void)
{
    __builtin_cpu_init(); /* it asks for the operating system's support of the registers too */
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2")) {
        return CS_VARIANT_SCALAR;
    }
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512ifma")
               ? CS_VARIANT_AVX512IFMA
               : CS_VARIANT_AVX2;
}

/* Leaf 7, EBX: the SHA extensions work on the registers of SSE, which every x86-64 system saves. */
static int cpu_has_sha(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx >> 29 & 1) != 0;
}

#else

int cs_variant_best(void) { return CS_VARIANT_SCALAR; }

static int cpu_has_sha(void) { return 0; }

#endif

void cs_variant_set(int wanted)
{
    const int best = cs_variant_best();
    level = wanted < best ? wanted : best;
    sha = level >= CS_VARIANT_AVX2 && cpu_has_sha();
}
