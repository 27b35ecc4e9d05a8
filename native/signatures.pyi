"""Signatures of every suite: registries of keys, verdicts and signing, alone and in batches, without the GIL.

A suite is 1 (Ed25519) or 2 (SM2 with SM3); 3 is kept for P-256, and any other number raises UnknownSuite. A public key
is 32 bytes (Ed25519) or 64 bytes (SM2: x || y), a secret 32 bytes, a signature 64 bytes. A buffer is anything
contiguous that offers its bytes (bytes, bytearray, memoryview, a numpy array), aligned or not; one that is not
contiguous, or not writable where it is written, raises what its owner raises (BufferError or ValueError). Lengths that
disagree raise ShapeError before anything is computed.

Whether a key is in force is not known here: a verdict is a function of key, signature and message alone.
"""

from typing import Final, Self, final

from typing_extensions import Buffer

__all__ = [
    "PUBLIC_KEY_BYTES",
    "SECRET_BYTES",
    "SIGNATURE_BYTES",
    "SUITE_ED25519",
    "SUITE_SM2",
    "KeyRegistry",
    "SigningKeys",
    "kernel_variant",
    "public_key",
    "sign",
    "sign_batch",
    "verify",
    "verify_batch",
]

SUITE_ED25519: Final = 1
SUITE_SM2: Final = 2
SECRET_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
PUBLIC_KEY_BYTES: Final[dict[int, int]]

def kernel_variant() -> str:
    """Return the name of the variant in use: scalar or avx512ifma."""

@final
class KeyRegistry:
    """Public keys, checked and prepared once; append-only, and an index never changes what it names.

    Indexes start at 1, because 0 stands for "no key" wherever a key index travels. Loaded keys never move, so one
    thread may register while others verify. A key registered twice has two indexes.
    """

    def __new__(cls) -> Self: ...
    def __len__(self) -> int: ...
    def register(self, suite: int, public_key: Buffer) -> int:
        """Check a key and return its index.

        Raises KeyRejected with the reason: not_canonical or not_on_curve, and for Ed25519 small_order or mixed_order.
        """

    def suite(self, index: int) -> int:
        """Return the suite of a key; raises UnknownKey, for index 0 too."""

    def public_key(self, index: int) -> bytes:
        """Return the bytes of a key as they were registered; raises UnknownKey, for index 0 too."""

    @staticmethod
    def bytes_per_key(suite: int) -> int:
        """Return the memory that one key of a suite takes, without the allocator's own."""

def verify_batch(registry: KeyRegistry, key_indexes: Buffer, signatures: Buffer, messages: Buffer, out: Buffer) -> int:
    """Check n signatures; set out[i] to 1 or 0 and return how many failed.

    key_indexes n x u32 in the machine's byte order, signatures n x 64 bytes, messages n x stride bytes, packed; out
    n bytes, always written whole, and no part of the inputs. Key index 0 means "no key": that item fails. Each verdict
    is that of ``verify``, whatever stands beside the item; in lanes, bad items cost their batch time, and each 4,096
    items draw 32 bytes of the system's randomness.
    Raises ShapeError when lengths disagree and UnknownKey for an index past the registry, both before anything is
    verified. Releases the GIL for the whole batch.
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
        """Copy a 32-byte secret and return its index; raises KeyRejected (secret_out_of_range) where SM2 cannot use it.

        The caller's own copy stays the caller's to wipe.
        """

    def suite(self, index: int) -> int:
        """Return the suite of a secret; raises UnknownKey."""

    def public_key(self, index: int) -> bytes:
        """Return the public key of a secret; raises UnknownKey."""

def sign_batch(keys: SigningKeys, key_indexes: Buffer, messages: Buffer, out: Buffer) -> None:
    """Sign n messages of one length.

    key_indexes n x u32 in the machine's byte order, messages n x stride bytes, packed; out n x 64 bytes, no part of the
    inputs. Signatures are deterministic where the suite is (Ed25519: RFC 8032).
    Raises ShapeError when lengths disagree and UnknownKey for an index out of range, both before anything is signed.
    Releases the GIL for the whole batch.
    """

def sign(suite: int, secret: Buffer, message: Buffer) -> bytes:
    """Sign one message; derives the public key each time. Raises KeyRejected for a secret the suite cannot use."""

def public_key(suite: int, secret: Buffer) -> bytes:
    """Return the public key of a secret; raises KeyRejected for one that its suite cannot use."""
