"""Has the receipts checked by a process that cannot ask anybody: the conductor's side of ``clearspan.demo.offline``."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from clearspan.demo.children import Child, ChildFailed
from clearspan.demo.receipts import FORMS, receipt_path
from clearspan.verifier.page import build_page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clearspan.network import Network, NodeAddress

__all__ = ["CheckedReceipts", "check_receipts", "page_path", "write_page"]

_UNSHARE: Final = ("unshare", "--user", "--map-root-user", "--net")
_TRY_S: Final = 10


@dataclass(slots=True)
class CheckedReceipts:
    """What the process without a network found: the state of each receipt that holds, its relay time, what is wrong."""

    isolation: str
    states: list[str] = field(default_factory=list)
    relay_times: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def check_receipts(network: Network, work: Path, node: NodeAddress) -> CheckedReceipts:
    """Run the process on all receipts of the client; ``node`` listens, and must be out of its reach.

    Raises ChildFailed when it reaches the node, or does not come to its end.
    """
    before = _without_network()
    found = CheckedReceipts("namespace" if before else "guard")
    paths = [receipt_path(work, domain.domain, form) for domain in network.genesis.domains for form in FORMS]
    arguments = ["-m", "clearspan.demo.offline", found.isolation, node.host, str(node.port)]
    arguments += [str(network.path / "genesis.json"), str(os.getpid()), *(str(path) for path in paths if path.exists())]
    finished = False
    with Child("offline checker", arguments, work / "offline.log", before=before) as child:
        for event in child.events():
            if event["event"] == "receipt" and event["holds"]:
                found.states.append(event["state"])
                found.relay_times.append(event["relay_time"])
            elif event["event"] == "receipt":
                found.problems.append(f"the receipt {event['file']} does not hold: {event['reason']}")
            finished |= event["event"] == "done"
    if not finished:
        raise ChildFailed("offline checker", 0, "it ended without a word")
    return found


def page_path(folder: Path) -> Path:
    """Return where the page of a payee's receipt is kept."""
    return folder / "receipt.html"


def write_page(network: Network, work: Path, folder: Path) -> Path:
    """Write the page that checks a payee's receipt in any browser without a network; return its file."""
    domain = network.genesis.domains[0].domain
    data = receipt_path(work, domain, "payee").read_bytes()
    path = page_path(folder)
    path.write_text(build_page(receipt=data, trust=network.genesis.document.decode("ascii")), encoding="utf-8")
    return path


def _without_network() -> Sequence[str]:
    """Return the command that runs another one in a network namespace of its own; empty where there is none."""
    if shutil.which(_UNSHARE[0]) is None:
        return ()
    tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False, timeout=_TRY_S)  # noqa: S603
    return _UNSHARE if tried.returncode == 0 else ()
