/* The one place where the kernel's arrays are allocated. */
#include "apply/memory.h"

#include <stdlib.h>

enum { ITEMS_MIN = 16 };

int cs_room(void **array, uint64_t *capacity, uint64_t need, size_t item_bytes) {
    uint64_t wanted = *capacity < ITEMS_MIN ? ITEMS_MIN : *capacity;
    if (need <= *capacity) {
        return 0;
    }
    if (need > SIZE_MAX / 4 / item_bytes) {
        return -1;
    }
    while (wanted < need) {
        wanted *= 2;
    }
    void *grown = realloc(*array, (size_t)wanted * item_bytes);
    if (grown == NULL) {
        return -1;
    }
    *array = grown;
    *capacity = wanted;
    return 0;
}
