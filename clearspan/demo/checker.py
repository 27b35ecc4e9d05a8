"""The second process of the demonstration: it reads every acknowledged transfer back from the nodes and compares.

    python -m clearspan.demo.checker NETWORK WORK PARENT_PID

It promises that nothing is counted which a node did not show, by its record digest, with the code and the time that the
client was told. It speaks as the operator of each domain, has the acknowledgement files and the client's list of SM2
keys, and shares no memory with who wrote them. What it found is one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from clearspan.acknowledgements import AcknowledgementFile
from clearspan.client import AsyncClient, RetryPolicy
from clearspan.demo.children import end_with_parent, run_to_end, say
from clearspan.demo.client import acknowledgement_path
from clearspan.network import Network
from clearspan.population import tls_files
from engine.codes import MEANINGS, CodeClass, ResultCode, code_name
from engine.record import Transfer
from engine.types import TransferFlag, TransferKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clearspan.acknowledgements import Acknowledgement
    from clearspan.client.results import TransferView

__all__ = ["Findings", "check_domain", "gather", "main"]

_LOOKUP: Final = 2_048
"""Digests of one look-up."""
_SIDE_BY_SIDE: Final = 2
_SHOWN_MAX: Final = 5
_POLICY: Final = RetryPolicy(deadline_s=60.0, attempt_s=60.0)
_DECIDED: Final = frozenset({CodeClass.DONE, CodeClass.NO})


@dataclass(slots=True)
class Findings:
    """What one domain's node showed of what it had acknowledged."""

    domain: int
    acknowledged: int = 0
    """Different transfers for which a decision was acknowledged."""
    settled: int = 0
    load_settled: int = 0
    cross_shard: int = 0
    sm2: int = 0
    linked: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    amount: int = 0
    """Minor units of all settled transfers that move money: plain ones and posts."""
    lost: int = 0
    lost_digests: list[str] = field(default_factory=list)

    def encode(self) -> dict[str, Any]:
        """Return the fields for JSON; the amount as a string."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**plain, "amount": str(self.amount)}

    @classmethod
    def decode(cls, tree: Mapping[str, Any]) -> Self:
        """Read what encode wrote."""
        counters = {name: Counter(tree[name]) for name in ("kinds", "refused")}
        return cls(**{**tree, **counters, "amount": int(tree["amount"])})

    def lose(self, digest: bytes) -> None:
        """Count a transfer that is not as it was acknowledged."""
        self.lost += 1
        if len(self.lost_digests) < _SHOWN_MAX:
            self.lost_digests.append(digest.hex())


@dataclass(slots=True)
class Answers:
    """All answers to one record; a decided one wins, because an open one decides nothing."""

    decided: tuple[int, int] | None = None
    load: bool = False
    opened: list[int] = field(default_factory=list)
    contradicted: bool = False


def gather(entries: Iterable[Acknowledgement], found: dict[bytes, Answers], *, load: bool) -> None:
    """Sort acknowledgements by record digest. Two decided answers that differ contradict each other."""
    for entry in entries:
        codes, times = entry.codes.tolist(), entry.times.tolist()
        packed = np.ascontiguousarray(entry.digests).tobytes()
        for row, code in enumerate(codes):
            answers = found.setdefault(packed[32 * row : 32 * row + 32], Answers())
            answers.load |= load
            if MEANINGS[ResultCode(code)].code_class not in _DECIDED:
                answers.opened.append(code)
            elif answers.decided is None:
                answers.decided = (code, times[row])
            else:
                answers.contradicted |= answers.decided != (code, times[row])


async def check_domain(
    client: AsyncClient, domain: int, known: Mapping[bytes, Answers], sm2_keys: frozenset[int]
) -> Findings:
    """Ask for each digest and compare. Raises what the client raises."""
    findings = Findings(domain)
    digests = list(known)
    room = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def part(start: int) -> None:
        asked = digests[start : start + _LOOKUP]
        async with room:
            views = await client.transfers(asked)
        for digest, view in zip(asked, views, strict=True):
            _compare(findings, digest, known[digest], view, sm2_keys)

    async with asyncio.TaskGroup() as tasks:
        for start in range(0, len(digests), _LOOKUP):
            tasks.create_task(part(start))
    return findings


def _compare(
    findings: Findings, digest: bytes, answers: Answers, view: TransferView | None, sm2_keys: frozenset[int]
) -> None:
    if answers.decided is None:
        # Refused and still open: then the ledger must show nothing of it.
        if view is not None:
            findings.lose(digest)
            return
        findings.refused.update(code_name(code) for code in answers.opened)
        return
    findings.acknowledged += 1
    if answers.contradicted or view is None or (view.code, view.time) != answers.decided:
        findings.lose(digest)
        return
    findings.refused.update(code_name(code) for code in answers.opened)
    record = view.body
    assert isinstance(record, Transfer)
    if not view.settled:
        findings.refused[view.name] += 1
        return
    findings.settled += 1
    findings.load_settled += answers.load
    findings.cross_shard += view.code == ResultCode.CREATED_IN_TRANSIT
    findings.sm2 += record.key_id in sm2_keys
    findings.linked += bool(record.flags & TransferFlag.LINKED)
    findings.kinds[TransferKind(record.kind).name.lower()] += 1
    if record.kind in {TransferKind.PLAIN, TransferKind.POST}:
        findings.amount += record.amount


async def _run(network: Network, work: Path) -> None:
    sm2_keys = json.loads((work / "sm2.json").read_text(encoding="utf-8"))
    async with asyncio.TaskGroup() as tasks:
        for domain in network.genesis.domains:
            tasks.create_task(_one(network, work, domain.domain, frozenset(sm2_keys[str(domain.domain)])))
    say("done")


async def _one(network: Network, work: Path, domain: int, sm2_keys: frozenset[int]) -> None:
    known: dict[bytes, Answers] = {}
    for part in ("others", "load"):
        gather(AcknowledgementFile.read(acknowledgement_path(work, domain, part)), known, load=part == "load")
    name = network.genesis.domain(domain).name
    tls = tls_files(network, f"operator-{name}")
    async with AsyncClient(network.address(domain), tls, genesis_hash=network.genesis.hash, policy=_POLICY) as client:
        findings = await check_domain(client, domain, known, sm2_keys)
    say("checked", findings=findings.encode())


def main(arguments: list[str]) -> None:
    """Read everything back; the exit code says only whether it could be asked."""
    network, work, parent = arguments
    end_with_parent(int(parent))
    run_to_end(_run(Network.load(Path(network)), Path(work)))


if __name__ == "__main__":
    main(sys.argv[1:])
