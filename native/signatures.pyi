"""Signatures of every suite: registries of keys, verdicts and signing, alone and in batches, without the GIL.

A suite is 1 (Ed25519), 2 (SM2 with SM3) or 3 (P-256 with SHA-256 and low s); any other number raises UnknownSuite. A
public key is 32 bytes (Ed25519) or 64 bytes (x || y), a secret 32 bytes, a signature 64 bytes. A buffer is anything
contiguous that offers its bytes (bytes, bytearray, memoryview, a numpy array), aligned or not; one that is not
contiguous, or not writable where it is written, raises what its owner raises (BufferError or ValueError). Lengths that
disagree raise ShapeError before anything is computed, and so does a buffer to be written that shares bytes with
another one.

A hint is 32 bytes that the first verifier of a good signature may keep beside it, so that others verify it again in
less time: x of R (Ed25519, little-endian) or y of R (SM2 and P-256, big-endian). It may come from anybody: a wrong one
costs time and never changes a verdict. All zero is none.

Whether a key is in force is not known here: a verdict is a function of key, signature and message alone.
"""

from typing import Final, Self, final

from typing_extensions import Buffer

__all__ = [
    "HINT_BYTES",
    "PUBLIC_KEY_BYTES",
    "SECRET_BYTES",
    "SIGNATURE_BYTES",
    "SUITE_ED25519",
    "SUITE_P256",
    "SUITE_SM2",
    "TABLE_BYTES_MAX",
    "KeyRegistry",
    "SigningKeys",
    "cpu_features",
    "kernel_variant",
    "kernel_variants",
    "public_key",
    "sign",
    "sign_batch",
    "verify",
    "verify_batch",
]

SUITE_ED25519: Final = 1
SUITE_SM2: Final = 2
SUITE_P256: Final = 3
SECRET_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
HINT_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final[dict[int, int]]
TABLE_BYTES_MAX: Final = 67_108_864

def kernel_variant() -> str:
    """Return the name of the variant in use, one of native.kernel.VARIANTS."""

def kernel_variants() -> tuple[str, ...]:
    """Return the variants that this build holds, lowest first, whether or not the CPU runs them."""

def cpu_features() -> tuple[str, ...]:
    """Return the names of what this CPU offers of what any kernel could use."""

@final
class KeyRegistry:
    """Public keys, checked and prepared once; append-only, and an index never changes what it names.

    Indexes start at 1, because 0 stands for "no key" wherever a key index travels. Loaded keys never move, so one
    thread may register, rotate and revoke while others verify. A key registered twice has two indexes.

    Suites whose batches go faster with a table of multiples for each key (SM2, P-256, in lanes) have tables made of the
    keys that batches use, once a key has been used often enough without hints to gain from one. All tables together
    never take more than table_bytes_max; for new ones those go that were unused for longest, but none that a running
    batch reads.
    """

    table_bytes_max: Final[int]
    def __new__(cls, *, table_bytes_max: int = ...) -> Self: ...
    def __len__(self) -> int: ...
    def register(self, suite: int, public_key: Buffer) -> int:
        """Check a key and return its index.

        Raises KeyRejected with the reason: not_canonical or not_on_curve, and for Ed25519 small_order or mixed_order.
        """

    def rotate(self, index: int, suite: int, public_key: Buffer) -> int:
        """Register the successor of a key, which is revoked, and return the successor's index.

        Raises UnknownKey for the old key and what ``register`` raises for the new one; then nothing has changed.
        """

    def revoke(self, index: int) -> None:
        """Mark a key and free its table; its index stays, and no verdict under it changes. Raises UnknownKey."""

    def revoked(self, index: int) -> bool:
        """Return whether a key was revoked or rotated; raises UnknownKey, for index 0 too."""

    def suite(self, index: int) -> int:
        """Return the suite of a key; raises UnknownKey, for index 0 too."""

    def public_key(self, index: int) -> bytes:
        """Return the bytes of a key as they were registered; raises UnknownKey, for index 0 too."""

    def tables(self) -> int:
        """Return how many keys have a table now."""

    def table_bytes(self) -> int:
        """Return the memory that all tables take now, at most table_bytes_max."""

    @staticmethod
    def bytes_per_key(suite: int) -> int:
        """Return the memory that one key of a suite takes, without its table and the allocator's own."""

    @staticmethod
    def table_bytes_per_key(suite: int) -> int:
        """Return the memory that a key's table takes; 0 where the variant in use makes none for this suite."""

def verify_batch(
    registry: KeyRegistry,
    key_indexes: Buffer,
    signatures: Buffer,
    messages: Buffer,
    out: Buffer,
    *,
    hints: Buffer | None = None,
    hints_out: Buffer | None = None,
    threads: int = 1,
) -> int:
    """Check n signatures; set out[i] to 1 or 0 and return how many failed.

    key_indexes n x u32 in the machine's byte order, signatures n x 64 bytes, messages n x stride bytes, packed; out
    n bytes, always written whole. Key index 0 means "no key": that item fails. Each verdict is that of ``verify``,
    whatever stands beside the item, whatever its hint says and however the batch is cut; bad items cost their batch
    time. Suites may be mixed: the items of each are gathered, so that each goes in runs of up to 4,096, which draw 32
    bytes of the system's randomness each.
    hints: n x 32 bytes. hints_out: n x 32 bytes, always written whole: the hint of each good item, zeros for a bad one
    and wherever the variant in use makes none. Giving hints_out of an earlier call as hints of a later one is the use.
    threads: at most so many share a batch, never more than there are CPUs, and one for fewer than 256 items each.
    Raises ShapeError when lengths disagree or buffers overlap and UnknownKey for an index past the registry, all before
    anything is verified. Releases the GIL for the whole batch, but while it looks up tables (for about 10 ns an item).
    """

def verify(suite: int, public_key: Buffer, signature: Buffer, message: Buffer) -> bool:
    """Check one signature under a key that is in no registry; a key that its suite's rule rejects verifies nothing.

    Loads the key each time: for headers and administrative records, not for the many.
    """

@final
class SigningKeys:
    """Secrets to sign with in batches, indexed from 0; wiped when this object goes, never shown and never pickled."""

    def __new__(cls) -> Self: ...
    def __len__(self) -> int: ...
    def register(self, suite: int, secret: Buffer) -> int:
        """Copy a 32-byte secret and return its index; raises KeyRejected (secret_out_of_range) for no secret.

        The caller's own copy stays the caller's to wipe.
        """

    def suite(self, index: int) -> int:
        """Return the suite of a secret; raises UnknownKey."""

    def public_key(self, index: int) -> bytes:
        """Return the public key of a secret; raises UnknownKey."""

def sign_batch(keys: SigningKeys, key_indexes: Buffer, messages: Buffer, out: Buffer) -> None:
    """Sign n messages of one length.

    key_indexes n x u32 in the machine's byte order, messages n x stride bytes, packed; out n x 64 bytes, no part of the
    inputs. Signatures are those of ``sign``, and deterministic in every suite.
    Raises ShapeError when lengths disagree and UnknownKey for an index out of range, both before anything is signed.
    Releases the GIL for the whole batch.
    """

def sign(suite: int, secret: Buffer, message: Buffer) -> bytes:
    """Sign one message; derives the public key each time. Raises KeyRejected for a secret the suite cannot use."""

def public_key(suite: int, secret: Buffer) -> bytes:
    """Return the public key of a secret; raises KeyRejected for one that its suite cannot use."""
