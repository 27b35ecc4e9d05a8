/* Opens the instruction set of the avx512ifma kernels. Every .c file in a folder of that name includes it first, before
 * any other header that includes intrinsics; nothing there runs unless the CPU was asked. */
#ifndef CS_COMMON_AVX512IFMA_H
#define CS_COMMON_AVX512IFMA_H

#pragma GCC push_options
#pragma GCC target("avx512f,avx512ifma,avx512vl,avx512dq,avx512bw,bmi2")

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#endif
