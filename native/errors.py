"""What the kernels refuse, as types: a wrong shape of input is the caller's mistake and never a verdict.

NativeError
├── ShapeError          lengths, counts or indexes that do not fit together
├── UnknownSuite        a suite number that names no algorithm of this kind
├── UnknownKey          an index past the end of a registry
├── KeyRejected         key bytes outside the suite's rule
├── KernelUnavailable   a variant was demanded that this build or this CPU does not have
├── InvariantBroken     the ledger kernel met what cannot be; nothing it says from then on counts
└── StateBytesInvalid   bytes that no state of the ledger kernel has
"""

from __future__ import annotations

__all__ = [
    "InvariantBroken",
    "KernelUnavailable",
    "KeyRejected",
    "NativeError",
    "ShapeError",
    "StateBytesInvalid",
    "UnknownKey",
    "UnknownSuite",
]


class NativeError(Exception):
    """Root of everything that ``native`` raises on its own account."""


class ShapeError(NativeError, ValueError):
    """A length, count or index does not fit: ``what`` was ``got`` where ``expected`` is asked."""

    def __init__(self, what: str, got: int, expected: str) -> None:
        """Keep the three fields for callers that report them."""
        super().__init__(f"{what}: got {got}, expected {expected}")
        self.what = what
        self.got = got
        self.expected = expected


class UnknownSuite(NativeError, ValueError):  # noqa: N818 - named as what it is, like the other refusals
    """``suite`` is the number that names no algorithm here."""

    def __init__(self, suite: int) -> None:
        """Keep the number for callers that report it."""
        super().__init__(f"unknown suite {suite}")
        self.suite = suite


class UnknownKey(NativeError, LookupError):  # noqa: N818 - named as what it is, like the other refusals
    """``index`` names no key of a registry that holds ``count``."""

    def __init__(self, index: int, count: int) -> None:
        """Keep both numbers for callers that report them."""
        super().__init__(f"no key at index {index}: the registry holds {count}")
        self.index = index
        self.count = count


class KeyRejected(NativeError, ValueError):  # noqa: N818 - named as what it is, like the other refusals
    """A key of ``suite`` breaks its rule; ``reason`` is a fixed word such as ``not_canonical``."""

    def __init__(self, reason: str, suite: int) -> None:
        """Keep the word and the suite; the key itself is never kept, for it may be secret."""
        super().__init__(f"key of suite {suite} rejected: {reason}")
        self.reason = reason
        self.suite = suite


class KernelUnavailable(NativeError, ImportError):  # noqa: N818 - named as what it is, like the other refusals
    """CLEARSPAN_KERNEL demands the variant ``requested``, and only those in ``available`` can run here."""

    def __init__(self, requested: str, available: tuple[str, ...]) -> None:
        """Keep what was asked and what there is."""
        super().__init__(f"CLEARSPAN_KERNEL={requested} is not available; built: {', '.join(available)}")
        self.requested = requested
        self.available = available


class InvariantBroken(NativeError):  # noqa: N818 - named as what it is, like the other refusals
    """The invariant ``name`` of the ledger does not hold: the log or the state is broken, and the machine stops."""

    def __init__(self, name: str) -> None:
        """Keep the name for callers that report it."""
        super().__init__(f"invariant broken: {name}")
        self.name = name


class StateBytesInvalid(NativeError, ValueError):  # noqa: N818 - named as what it is, like the other refusals
    """``got`` bytes that are no state of this shard with these parameters."""

    def __init__(self, got: int) -> None:
        """Keep the length for callers that report it."""
        super().__init__(f"{got} bytes are no state of this shard")
        self.got = got
