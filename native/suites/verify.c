/* Parts, runs and threads of verify.h. */
#define _GNU_SOURCE /* pthread_sigmask, beside the standard that -std=c11 names */
#include "suites/verify.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

enum { THREAD_STACK_BYTES = 1 << 20 }; /* kernels keep what is large in the memory that they are handed */

/* What one thread works in: gathered items and where they came from, what the kernel says of them, and its own. */
typedef struct {
    cs_item *items;
    size_t *origins;
    uint8_t *verdicts, *hints;
    void *scratch;
} run_memory;

typedef struct {
    const cs_columns *columns;
    const uint8_t *seeds;
    atomic_size_t next_part;
} shared_work;

typedef struct {
    shared_work *shared;
    run_memory memory;
    pthread_t thread;
} worker;

size_t cs_first_unknown(const uint8_t *indexes, size_t count, uint64_t bound)
{
    for (size_t at = 0; at < count; at++) {
        if (cs_index_at(indexes, at) >= bound) {
            return at;
        }
    }
    return count;
}

void cs_survey(cs_columns *columns)
{
    memset(columns->suite_counts, 0, sizeof columns->suite_counts);
    for (size_t at = 0; at < columns->count; at++) {
        const cs_key *key = cs_key_of(columns, at);
        columns->suite_counts[key == NULL ? 0 : key->suite]++;
    }
}

/* Whether items of a suite go to its kernel for batches: one alone gains nothing there. */
static int goes_in_runs(const cs_columns *columns, uint32_t suite)
{
    return columns->suite_counts[suite] > (columns->hints_out == NULL ? 1 : 0) && cs_suite_of(suite)->batches();
}

static size_t take(size_t *used, size_t bytes)
{
    const size_t at = *used;
    *used += (bytes + CS_MEMORY_ALIGNMENT - 1) & ~(size_t)(CS_MEMORY_ALIGNMENT - 1);
    return at;
}

/* Lay out the memory of one thread and return its size; with base NULL only count. */
static size_t lay_out(run_memory *out, const cs_columns *columns, uint8_t *base)
{
    const size_t items_max = columns->run_items_max;
    size_t used = 0, scratch_bytes = 0;
    for (uint32_t suite = 1; suite < CS_SUITES_END; suite++) {
        if (goes_in_runs(columns, suite)) {
            const size_t bytes = cs_suite_of(suite)->scratch_bytes(items_max);
            scratch_bytes = bytes > scratch_bytes ? bytes : scratch_bytes;
        }
    }
    const size_t items = take(&used, items_max * sizeof(cs_item)), origins = take(&used, items_max * sizeof(size_t));
    const size_t verdicts = take(&used, items_max);
    const size_t hints = take(&used, columns->hints_out == NULL ? 0 : items_max * CS_HINT_BYTES);
    const size_t scratch = take(&used, scratch_bytes);
    if (base != NULL) {
        out->items = (cs_item *)(void *)(base + items);
        out->origins = (size_t *)(void *)(base + origins);
        out->verdicts = base + verdicts;
        out->hints = columns->hints_out == NULL ? NULL : base + hints;
        out->scratch = base + scratch;
    }
    return used;
}

size_t cs_plan(cs_columns *columns, size_t threads)
{
    size_t run_items_max = 0, seeds = 0;
    const size_t worth_while = columns->count / CS_PART_ITEMS_MIN;
    threads = threads > CS_THREADS_MAX ? CS_THREADS_MAX : threads;
    threads = threads > worth_while ? worth_while : threads;
    threads = threads == 0 ? 1 : threads;
    /* One thread takes the batch as it comes. Several share as many equal parts as fill a whole number of rounds. */
    columns->part_count = 1;
    if (threads > 1) {
        columns->part_count = threads * (columns->count / (threads * CS_BATCH_MAX) + 1);
    }
    columns->part_items = columns->count / columns->part_count + (columns->count % columns->part_count != 0);
    for (uint32_t suite = 1; suite < CS_SUITES_END; suite++) {
        if (goes_in_runs(columns, suite)) {
            const size_t count = columns->suite_counts[suite];
            const size_t most = count < columns->part_items ? count : columns->part_items;
            run_items_max = most > run_items_max ? most : run_items_max;
            seeds += most / CS_BATCH_MAX + (most % CS_BATCH_MAX != 0);
        }
    }
    columns->run_items_max = run_items_max < CS_BATCH_MAX ? run_items_max : CS_BATCH_MAX;
    columns->seeds_per_part = seeds;
    columns->work_bytes = run_items_max == 0 ? 0 : lay_out(NULL, columns, NULL);
    return threads;
}

static void verify_one(const cs_columns *columns, size_t at)
{
    const cs_key *key = cs_key_of(columns, at);
    columns->verdicts[at] =
        key != NULL && cs_suite_of(key->suite)->verify(key->loaded, columns->signatures + CS_SIGNATURE_BYTES * at,
                                                       columns->messages + columns->stride * at, columns->stride) == 1;
    if (columns->hints_out != NULL) {
        memset(columns->hints_out + CS_HINT_BYTES * at, 0, CS_HINT_BYTES);
    }
}

/* Hand gathered items to the kernel of their suite, and its verdicts and hints back to where the items came from. */
static void verify_run(const cs_columns *columns, const cs_suite *suite, const run_memory *memory, size_t gathered,
                       const uint8_t *seed)
{
    suite->verify_batch(memory->verdicts, memory->hints, memory->scratch, memory->items, gathered, columns->stride,
                        seed);
    for (size_t i = 0; i < gathered; i++) {
        columns->verdicts[memory->origins[i]] = memory->verdicts[i];
        if (memory->hints != NULL) {
            memcpy(columns->hints_out + CS_HINT_BYTES * memory->origins[i], memory->hints + CS_HINT_BYTES * i,
                   CS_HINT_BYTES);
        }
    }
}

/* Decide the items of one suite between first and last, exclusive; returns how many seeds that took. */
static size_t verify_suite(const cs_columns *columns, uint32_t number, const run_memory *memory, size_t first,
                           size_t last, const uint8_t *seeds)
{
    const cs_suite *const suite = cs_suite_of(number);
    size_t gathered = 0, seed_count = 0;
    for (size_t at = first; at < last; at++) {
        const cs_key *key = cs_key_of(columns, at);
        if (key == NULL || key->suite != number) {
            continue;
        }
        memory->items[gathered] = (cs_item){
            .key = key->loaded,
            .table = columns->tables == NULL ? NULL : columns->tables[at],
            .signature = columns->signatures + CS_SIGNATURE_BYTES * at,
            .message = columns->messages + columns->stride * at,
            .hint = columns->hints == NULL ? NULL : columns->hints + CS_HINT_BYTES * at,
        };
        memory->origins[gathered++] = at;
        if (gathered == columns->run_items_max) {
            verify_run(columns, suite, memory, gathered, seeds + CS_SEED_BYTES * seed_count++);
            gathered = 0;
        }
    }
    if (gathered > 0) {
        verify_run(columns, suite, memory, gathered, seeds + CS_SEED_BYTES * seed_count++);
    }
    return seed_count;
}

static void verify_part(const cs_columns *columns, const run_memory *memory, size_t part, const uint8_t *seeds)
{
    const size_t first = part * columns->part_items;
    const size_t last = columns->count - first < columns->part_items ? columns->count : first + columns->part_items;
    int in_runs[CS_SUITES_END] = {0}, all = columns->suite_counts[0] == 0;
    seeds += CS_SEED_BYTES * columns->seeds_per_part * part;
    for (uint32_t suite = 1; suite < CS_SUITES_END; suite++) {
        in_runs[suite] = goes_in_runs(columns, suite);
        if (in_runs[suite]) {
            seeds += CS_SEED_BYTES * verify_suite(columns, suite, memory, first, last, seeds);
        } else {
            all = all && columns->suite_counts[suite] == 0;
        }
    }
    for (size_t at = first; at < last && !all; at++) {
        const cs_key *key = cs_key_of(columns, at);
        if (key == NULL || !in_runs[key->suite]) {
            verify_one(columns, at);
        }
    }
}

static void *work_off_parts(void *argument)
{
    worker *const self = argument;
    const cs_columns *const columns = self->shared->columns;
    for (;;) {
        const size_t part = atomic_fetch_add(&self->shared->next_part, 1);
        if (part >= columns->part_count || part * columns->part_items >= columns->count) {
            return NULL;
        }
        verify_part(columns, &self->memory, part, self->shared->seeds);
    }
}

size_t cs_verify_columns(const cs_columns *columns, void *const *work, size_t thread_count, const uint8_t *seeds)
{
    worker workers[CS_THREADS_MAX];
    shared_work shared = {.columns = columns, .seeds = seeds};
    sigset_t all, before;
    pthread_attr_t attributes;
    size_t started = 1, failed = 0;
    atomic_init(&shared.next_part, 0);
    for (size_t i = 0; i < thread_count; i++) {
        workers[i].shared = &shared;
        if (work[i] != NULL) {
            lay_out(&workers[i].memory, columns, work[i]);
        }
    }
    if (thread_count > 1 && pthread_attr_init(&attributes) == 0) {
        pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
        sigfillset(&all); /* signals are for the interpreter's own threads */
        pthread_sigmask(SIG_SETMASK, &all, &before);
        while (started < thread_count &&
               pthread_create(&workers[started].thread, &attributes, work_off_parts, &workers[started]) == 0) {
            started++;
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
    }
    work_off_parts(&workers[0]);
    for (size_t i = 1; i < started; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    for (size_t at = 0; at < columns->count; at++) {
        failed += columns->verdicts[at] == 0;
    }
    return failed;
}
