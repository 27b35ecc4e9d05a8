# cython: embedsignature=False
"""Bindings of the hashes and Merkle trees: lengths are checked here, everything else is decided in C."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from native.errors import ShapeError, UnknownSuite
from native.kernel import choose_level

cdef extern from "common/variant.h" nogil:
    void cs_variant_set(int level)
    int cs_variant_best()

cdef extern from "merkle/hash.h" nogil:
    const uint32_t CS_HASH_SHA256
    const uint32_t CS_HASH_SM3
    void cs_hash(uint32_t suite, uint8_t *out, const void *data, size_t n)
    void cs_leaf_hash(uint32_t suite, uint8_t *out, const void *data, size_t n)
    void cs_node_hash(uint32_t suite, uint8_t *out, const uint8_t *left, const uint8_t *right)

cdef extern from "merkle/many.h" nogil:
    void cs_hash_rows(uint32_t suite, uint8_t *out, const void *rows, size_t stride, size_t n, size_t count)
    void cs_leaf_hash_rows(uint32_t suite, uint8_t *out, const void *rows, size_t stride, size_t n, size_t count)

cdef extern from "merkle/merkle.h" nogil:
    const size_t CS_MERKLE_PATH_MAX
    const int CS_MERKLE_INDEX_RANGE
    void cs_merkle_root(uint32_t suite, uint8_t *out, const uint8_t *leaf_hashes, uint64_t count)
    size_t cs_merkle_path(uint32_t suite, uint8_t *path, const uint8_t *leaf_hashes, uint64_t count, uint64_t index)
    int cs_merkle_root_from_path(uint32_t suite, uint8_t *out, const uint8_t *leaf_hash, uint64_t index,
                                 uint64_t count, const uint8_t *path, size_t path_count)

cdef extern from "merkle/tree.h" nogil:
    ctypedef struct cs_tree:
        uint64_t count
    void cs_tree_init(cs_tree *tree, uint32_t suite)
    void cs_tree_free(cs_tree *tree)
    int cs_tree_reserve(cs_tree *tree, uint64_t leaves)
    void cs_tree_append(cs_tree *tree, const uint8_t *leaf_hash)
    void cs_tree_set(cs_tree *tree, uint64_t index, const uint8_t *leaf_hash)
    void cs_tree_root(cs_tree *tree, uint8_t *out)
    size_t cs_tree_path(cs_tree *tree, uint64_t index, uint8_t *path)

__all__ = [
    "SUITE_SHA256",
    "SUITE_SM3",
    "Frontier",
    "MerkleTree",
    "digest",
    "digest_rows",
    "leaf_hash",
    "leaf_hash_rows",
    "merkle_path",
    "merkle_root",
    "node_hash",
    "root_from_path",
]

cs_variant_set(choose_level(cs_variant_best()))

SUITE_SHA256 = 1
SUITE_SM3 = 2
assert SUITE_SHA256 == CS_HASH_SHA256 and SUITE_SM3 == CS_HASH_SM3

# Below this many bytes a call is over before another thread could have taken the interpreter.
cdef enum:
    RELEASE_BYTES_MIN = 2048
    HASH_BYTES = 32

# Stands in for the address of an empty buffer, of which no memory view gives one.
cdef uint8_t NOTHING = 0


cdef uint32_t checked_suite(suite) except 0:
    if suite == 1 or suite == 2:
        return <uint32_t>suite
    raise UnknownSuite(suite)


cdef inline const uint8_t *start(const uint8_t[::1] view) noexcept:
    return &view[0] if view.shape[0] > 0 else &NOTHING


cdef Py_ssize_t hash_count(const uint8_t[::1] leaf_hashes) except -1:
    if leaf_hashes.shape[0] % HASH_BYTES != 0:
        raise ShapeError("leaf_hashes bytes", leaf_hashes.shape[0], "a multiple of 32")
    return leaf_hashes.shape[0] // HASH_BYTES


cdef int check_hash(what, const uint8_t[::1] value) except -1:
    if value.shape[0] != HASH_BYTES:
        raise ShapeError(what + " bytes", value.shape[0], "32")
    return 0


cdef uint64_t checked_index(index, uint64_t count) except? 0xFFFFFFFFFFFFFFFF:
    if not 0 <= index < count:
        raise ShapeError("index", index, f"0 to below {count}")
    return <uint64_t>index


cdef tuple split_path(const uint8_t *path, size_t entries):
    return tuple([(<const char *>path)[HASH_BYTES * i:HASH_BYTES * (i + 1)] for i in range(entries)])


def digest(suite, const uint8_t[::1] data not None):
    cdef uint32_t which = checked_suite(suite)
    cdef uint8_t out[HASH_BYTES]
    cdef const uint8_t *first = start(data)
    cdef size_t n = data.shape[0]
    if n < RELEASE_BYTES_MIN:
        cs_hash(which, out, first, n)
    else:
        with nogil:
            cs_hash(which, out, first, n)
    return (<char *>out)[:HASH_BYTES]


def leaf_hash(suite, const uint8_t[::1] data not None):
    cdef uint32_t which = checked_suite(suite)
    cdef uint8_t out[HASH_BYTES]
    cdef const uint8_t *first = start(data)
    cdef size_t n = data.shape[0]
    if n < RELEASE_BYTES_MIN:
        cs_leaf_hash(which, out, first, n)
    else:
        with nogil:
            cs_leaf_hash(which, out, first, n)
    return (<char *>out)[:HASH_BYTES]


def node_hash(suite, const uint8_t[::1] left not None, const uint8_t[::1] right not None):
    cdef uint32_t which = checked_suite(suite)
    cdef uint8_t out[HASH_BYTES]
    check_hash("left", left)
    check_hash("right", right)
    cs_node_hash(which, out, &left[0], &right[0])
    return (<char *>out)[:HASH_BYTES]


cdef bytes hash_rows(suite, const uint8_t[::1] rows, stride, bint as_leaves):
    cdef uint32_t which = checked_suite(suite)
    cdef const uint8_t *row = start(rows)
    if stride < 1 or rows.shape[0] % stride != 0:
        raise ShapeError("rows bytes", rows.shape[0], f"a multiple of the stride {stride}, which is at least 1")
    cdef size_t step = stride
    cdef size_t count = rows.shape[0] // step
    cdef bytes hashes = PyBytes_FromStringAndSize(NULL, count * HASH_BYTES)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(hashes)
    with nogil:
        if as_leaves:
            cs_leaf_hash_rows(which, out, row, step, step, count)
        else:
            cs_hash_rows(which, out, row, step, step, count)
    return hashes


def digest_rows(suite, const uint8_t[::1] rows not None, stride):
    return hash_rows(suite, rows, stride, False)


def leaf_hash_rows(suite, const uint8_t[::1] rows not None, stride):
    return hash_rows(suite, rows, stride, True)


def merkle_root(suite, const uint8_t[::1] leaf_hashes not None):
    cdef uint32_t which = checked_suite(suite)
    cdef uint64_t count = hash_count(leaf_hashes)
    cdef const uint8_t *first = start(leaf_hashes)
    cdef uint8_t out[HASH_BYTES]
    with nogil:
        cs_merkle_root(which, out, first, count)
    return (<char *>out)[:HASH_BYTES]


def merkle_path(suite, const uint8_t[::1] leaf_hashes not None, index):
    cdef uint32_t which = checked_suite(suite)
    cdef uint64_t count = hash_count(leaf_hashes)
    cdef uint64_t position = checked_index(index, count)
    cdef const uint8_t *first = start(leaf_hashes)
    cdef uint8_t path[64 * HASH_BYTES]
    cdef size_t entries
    with nogil:
        entries = cs_merkle_path(which, path, first, count, position)
    return split_path(path, entries)


def root_from_path(suite, const uint8_t[::1] leaf_hash not None, index, count, path):
    cdef uint32_t which = checked_suite(suite)
    cdef uint8_t out[HASH_BYTES]
    cdef bytes joined
    cdef const uint8_t[::1] entries
    cdef int code
    check_hash("leaf_hash", leaf_hash)
    if not 0 < count < 1 << 64:
        raise ShapeError("count", count, "1 to below 2^64")
    cdef uint64_t position = checked_index(index, count)
    for entry in path:
        if len(entry) != HASH_BYTES:
            raise ShapeError("path entry bytes", len(entry), "32")
    joined = b"".join(path)
    entries = joined
    code = cs_merkle_root_from_path(which, out, &leaf_hash[0], position, count, start(entries), len(path))
    if code != 0:
        raise ShapeError("path entries", len(path), f"those of leaf {index} of {count}")
    return (<char *>out)[:HASH_BYTES]


cdef class MerkleTree:
    cdef cs_tree tree
    cdef readonly uint32_t suite

    def __cinit__(self, suite):
        self.suite = checked_suite(suite)
        cs_tree_init(&self.tree, self.suite)

    def __dealloc__(self):
        cs_tree_free(&self.tree)

    def __len__(self):
        return self.tree.count

    cdef int reserve(self, uint64_t more) except -1:
        if cs_tree_reserve(&self.tree, self.tree.count + more) != 0:
            raise MemoryError(f"no room for {self.tree.count + more} leaves")
        return 0

    def append(self, const uint8_t[::1] leaf_hash not None):
        check_hash("leaf_hash", leaf_hash)
        self.reserve(1)
        cs_tree_append(&self.tree, &leaf_hash[0])

    def extend(self, const uint8_t[::1] leaf_hashes not None):
        cdef uint64_t count = hash_count(leaf_hashes)
        cdef const uint8_t *first = start(leaf_hashes)
        cdef uint64_t i
        self.reserve(count)
        for i in range(count):
            cs_tree_append(&self.tree, first + HASH_BYTES * i)

    def set(self, index, const uint8_t[::1] leaf_hash not None):
        cdef uint64_t position = checked_index(index, self.tree.count)
        check_hash("leaf_hash", leaf_hash)
        cs_tree_set(&self.tree, position, &leaf_hash[0])

    def root(self):
        cdef uint8_t out[HASH_BYTES]
        # The lock is kept: a tree that another thread changes meanwhile would be torn.
        cs_tree_root(&self.tree, out)
        return (<char *>out)[:HASH_BYTES]

    def path(self, index):
        cdef uint64_t position = checked_index(index, self.tree.count)
        cdef uint8_t path[64 * HASH_BYTES]
        cdef size_t entries = cs_tree_path(&self.tree, position, path)
        return split_path(path, entries)


cdef class Frontier:
    cdef readonly uint32_t suite
    cdef readonly uint64_t count
    cdef list tops  # one peak for each bit set in count, the largest first

    def __cinit__(self, suite):
        self.suite = checked_suite(suite)
        self.count = 0
        self.tops = []

    def __len__(self):
        return self.count

    @classmethod
    def from_peaks(cls, suite, count, peaks):
        cdef Frontier frontier = cls(suite)
        if not 0 <= count < 1 << 64:
            raise ShapeError("count", count, "0 to below 2^64")
        if len(peaks) != int(count).bit_count():
            raise ShapeError("peaks", len(peaks), f"one for each bit set in {count}")
        for peak in peaks:
            check_hash("peak", peak)
        frontier.count = count
        frontier.tops = [bytes(peak) for peak in peaks]
        return frontier

    def append(self, const uint8_t[::1] leaf_hash not None):
        cdef uint64_t seen = self.count
        check_hash("leaf_hash", leaf_hash)
        if seen == 0xFFFFFFFFFFFFFFFF:
            raise ShapeError("count", seen, "room for one more below 2^64")
        top = bytes(leaf_hash)
        # As in a binary addition: each bit that carries merges two peaks of one size.
        while seen & 1:
            top = node_hash(self.suite, self.tops.pop(), top)
            seen >>= 1
        self.tops.append(top)
        self.count += 1

    def peaks(self):
        return tuple(self.tops)

    def root(self):
        if self.count == 0:
            return digest(self.suite, b"")
        smallest_first = reversed(self.tops)
        top = next(smallest_first)
        for left in smallest_first:
            top = node_hash(self.suite, left, top)
        return top
