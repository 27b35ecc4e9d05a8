"""The one line that a process of the cluster prints when it is ready, for whoever started it.

It promises one JSON object on one line of standard output, flushed, with the same names for a node, a validator and a
bridge.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from clearspan.network import NodeAddress

__all__ = ["Announce", "announcer", "say_checked"]


class Announce(Protocol):
    """Tells that a process listens at an address, and in numbers what else is to be known of it."""

    def __call__(self, address: NodeAddress, **stands: int) -> None:
        """Tell it."""
        ...


def announcer(**who: str | int) -> Announce:
    """Return what tells that a process is ready; ``who`` names it: ``domain``, or ``name``."""

    def announce(address: NodeAddress, **stands: int) -> None:
        line = {
            "ready": True,
            "host": address.host,
            "port": address.port,
            "metrics_port": address.metrics_port,
            "pid": address.pid,
            **who,
            **stands,
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    return announce


def say_checked(**who: str | int) -> None:
    """Tell that the settings are good and nothing was started."""
    sys.stdout.write(json.dumps({"ready": False, **who, "settings": "good"}) + "\n")
