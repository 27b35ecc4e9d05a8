/* Arrays that grow by doubling, and only where a caller reserves. */
#ifndef CS_APPLY_MEMORY_H
#define CS_APPLY_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Make *array hold at least `need` items of item_bytes: 0, or -1 when memory is short, and then nothing changed.
 * New room holds arbitrary bytes. */
int cs_room(void **array, uint64_t *capacity, uint64_t need, size_t item_bytes);

#define CS_ROOM(array, capacity, need) cs_room((void **)&(array), &(capacity), (need), sizeof *(array))

#endif
