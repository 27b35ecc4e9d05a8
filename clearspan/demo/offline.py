"""The third process of the demonstration: it checks receipts with the genesis alone, and has no network to ask.

    python -m clearspan.demo.offline namespace|guard HOST PORT GENESIS PARENT_PID RECEIPT…

It promises to have tried: before it reads a receipt it calls a node that runs and must not reach it. With *namespace*
it was started in a network namespace of its own; with *guard* it refuses to open sockets by itself, for systems that
give no such namespace. Each receipt is checked twice, by the engine and by the verifier in plain Python, which share
nothing but the specification. What it found are lines of JSON.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Final

from clearspan.demo.children import end_with_parent, say
from clearspan.trust import Trust
from clearspan.verifier.offline import Refusal, read_trust, verify_receipt
from engine.receipt import decode_receipt
from engine.refusals import EncodingError, ProofRefused

__all__ = ["main"]

_CONNECT_S: Final = 2.0
_REACHED: Final = 4


class _NoNetworkError(OSError):
    """A socket was asked for where none may be."""


def _refuse_sockets() -> None:
    """Let no socket be made in this process any more; nothing takes such a hook away."""

    def hook(event: str, _: tuple[object, ...]) -> None:
        if event.startswith("socket."):
            raise _NoNetworkError(event)

    sys.addaudithook(hook)


def _reaches(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_S):
            return True
    except OSError:
        return False


def main(arguments: list[str]) -> int:
    """Check every receipt; the exit code says only whether the network was out of reach."""
    isolation, host, port, genesis_path, parent, *paths = arguments
    end_with_parent(int(parent))
    if isolation == "guard":
        _refuse_sockets()
    if _reaches(host, int(port)):
        sys.stderr.write(f"{host}:{port} answers: this process has a network\n")
        return _REACHED
    document = Path(genesis_path).read_bytes()
    ours, plain = Trust.decode(document), read_trust(document)
    for name in paths:
        data = Path(name).read_bytes()
        try:
            found = decode_receipt(data).verify(ours.hash_suite, ours.genesis_hash, ours.validators).anchorage
            second = verify_receipt(data, plain)
        except (EncodingError, ProofRefused, Refusal) as error:
            say("receipt", file=name, holds=False, reason=str(error))
            continue
        agrees = (found.finality.name.lower(), found.relay_height) == (second.state, second.relay_height)
        say(
            "receipt",
            file=name,
            holds=agrees,
            reason="" if agrees else "the two verifiers disagree",
            state=found.state,
            relay_height=found.relay_height,
            relay_time=found.relay_time,
        )
    say("done", isolation=isolation)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
