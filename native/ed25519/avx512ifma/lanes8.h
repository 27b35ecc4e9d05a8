/* What the files of this folder do for cs_ed25519_lanes_avx512ifma, which lanes8.c puts together; see ../lanes.h. */
#ifndef CS_ED25519_LANES8_H
#define CS_ED25519_LANES8_H

#include "ed25519/avx512ifma/group8.h"

uint32_t cs_ed25519_single_verify8(const single_item items[8], size_t count);
void cs_ed25519_fill16(const sum_work *work, const uint32_t buckets[16]);
void cs_ed25519_weigh8(point out[8], const sum_work *work, size_t digit_count, size_t first_place);

#endif
