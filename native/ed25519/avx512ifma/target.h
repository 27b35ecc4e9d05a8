/* Opens this folder's instruction set. Every .c file here includes it first, before any other header that includes
 * intrinsics; nothing here runs unless cs_ed25519_batch_available() said so. */
#ifndef CS_ED25519_TARGET_H
#define CS_ED25519_TARGET_H

#pragma GCC push_options
#pragma GCC target("avx512f,avx512ifma,avx512vl,avx512dq,avx512bw,bmi2")

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#endif
