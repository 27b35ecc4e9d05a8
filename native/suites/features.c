#include "suites/features.h"

#include <stddef.h>

#if defined(__x86_64__)

#include <cpuid.h>

enum { LEAF_7_EBX_SHA = 29 };

int cs_levels_built(void) { return 3; }

const char *cs_cpu_feature(int at)
{
    unsigned eax, ebx = 0, ecx, edx;
    __builtin_cpu_init();
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        ebx = 0;
    }
    const struct {
        int has;
        const char *name;
    } features[] = {
        {__builtin_cpu_supports("avx2"), "avx2"},
        {__builtin_cpu_supports("bmi2"), "bmi2"},
        {(ebx >> LEAF_7_EBX_SHA & 1) != 0, "sha"},
        {__builtin_cpu_supports("avx512f"), "avx512f"},
        {__builtin_cpu_supports("avx512bw"), "avx512bw"},
        {__builtin_cpu_supports("avx512dq"), "avx512dq"},
        {__builtin_cpu_supports("avx512vl"), "avx512vl"},
        {__builtin_cpu_supports("avx512ifma"), "avx512ifma"},
    };
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        if (features[i].has && at-- == 0) {
            return features[i].name;
        }
    }
    return NULL;
}

#else

int cs_levels_built(void) { return 1; }

const char *cs_cpu_feature(int at)
{
    (void)at;
    return NULL;
}

#endif
