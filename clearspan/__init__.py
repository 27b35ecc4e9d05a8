"""Clearspan, as a program that uses it imports it: `Client`, `AsyncClient` and `__version__`; the rest is its own."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clearspan.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "__version__"]

_LAZY = {"AsyncClient": "clearspan.client", "Client": "clearspan.client"}

try:
    __version__ = version("clearspan")
except PackageNotFoundError:  # a checkout that was built in place and not installed
    __version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import the client when it is asked for: a program that only reads the version does not load gRPC."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
