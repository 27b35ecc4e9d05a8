/* What the lanes of Ed25519 use besides, one lane after the other in plain C: see the header that this one includes. */
#ifndef CS_TESTS_EMULATED_ED25519_H
#define CS_TESTS_EMULATED_ED25519_H

#include "../../../emulated/common/avx512ifma.h"

EMULATED emulated_512 _mm512_mullo_epi64(emulated_512 a, emulated_512 b) {
    EACH_LANE { a.word[lane] *= b.word[lane]; }
    return a;
}

/* Less by the borrow of a - b, so that nothing branches. */
EMULATED emulated_mask _mm512_cmpge_epu64_mask(emulated_512 a, emulated_512 b) {
    return (emulated_mask)~_mm512_cmplt_epu64_mask(a, b);
}

EMULATED emulated_512 _mm512_abs_epi64(emulated_512 a) {
    EACH_LANE {
        const uint64_t negative = (uint64_t)0 - (a.word[lane] >> 63);
        a.word[lane] = (a.word[lane] ^ negative) - negative;
    }
    return a;
}

/* Masks are constants here: they say how much there is to read. */
EMULATED emulated_512 _mm512_maskz_loadu_epi64(emulated_mask mask, const void *from) {
    emulated_512 out = {{0}};
    EACH_LANE {
        if ((mask >> lane & 1) != 0) {
            memcpy(&out.word[lane], (const uint8_t *)from + 8 * lane, 8);
        }
    }
    return out;
}

#endif
