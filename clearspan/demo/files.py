"""The clearing files of the demonstration, by the commands that a person would type: `clearspan sign`, then `submit`.

It promises that everything the clearing house was answered comes back as acknowledgements, for each file of the
examples and for one copy of a signed payment in which a byte of the signature was changed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from clearspan.acknowledgements import Acknowledgement
from clearspan.demo.plan import EXAMPLES
from clearspan.errors import ClearspanError
from engine.batch import decode_batch_file, encode_batch_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clearspan.network import Network

__all__ = ["CommandFailed", "FileAnswers", "forge", "settle_files"]

_REFUSED: Final = 1
_LAST_BYTE: Final = 63


class CommandFailed(ClearspanError):  # noqa: N818 - named as what it is, like the other refusals
    """A command that the demonstration runs did not do its work."""

    def __init__(self, command: Sequence[str], code: int, said: str) -> None:
        """Keep what was typed, how it ended and what it said."""
        super().__init__(f"`clearspan {' '.join(command)}` ended with {code}: {said.strip()[-400:]}")
        self.command = tuple(command)
        self.code = code


@dataclass(frozen=True, slots=True, eq=False)
class FileAnswers:
    """What became of the clearing files of one domain."""

    domain: int
    payments: int
    repeated: int
    """Payments answered `exists`: sent before, and paid once."""
    acknowledgements: tuple[Acknowledgement, ...]


def forge(network: Network, source: Path, target: Path) -> None:
    """Write a batch file of the first payment of another one, with one byte of its signature changed.

    The file's own digest is made anew, as a forger would: what catches it is the signature alone.
    """
    genesis = network.genesis
    batch = next(iter(decode_batch_file(source.read_bytes(), genesis.hash_suite, genesis.hash)))
    altered = batch.select(np.array([0]))
    signatures = altered.signatures.copy()
    signatures[0, _LAST_BYTE // 2] ^= 0x01
    target.write_bytes(encode_batch_file(replace(altered, signatures=signatures), genesis.hash_suite, genesis.hash))


async def settle_files(network: Network, domain: int, keys: Path, work: Path, *, forged: bool) -> FileAnswers:
    """Sign all example files of a domain's currency with the payers' keys and submit them in the order of their names.

    Batch files go to ``work``, a folder that exists.
    ``forged`` sends the altered copy first: it is refused, burns nothing, and the true payment settles after it.
    """
    currency = network.genesis.domain(domain).ledgers[0].currency.lower()
    sources = sorted(EXAMPLES.glob(f"{currency}-*.xml"))
    place = ("--network", str(network.path), "--json")
    directory = ("--directory", str(EXAMPLES / "directory.toml"))
    await _clearspan("sign", *map(str, sources), "--keys", str(keys), *directory, "--out", str(work), *place)
    signed = [work / f"{source.stem}.csb" for source in sources]
    if forged:
        signed.insert(0, work / f"{currency}-00-forged.csb")
        forge(network, signed[1], signed[0])
    document = await _clearspan("submit", *map(str, signed), "--timeout-s", "60", *place)
    return _answers(domain, document)


def _answers(domain: int, document: dict[str, Any]) -> FileAnswers:
    entries = []
    payments = repeated = 0
    for batch in document["batches"]:
        records = batch["records"]
        payments += len(records)
        repeated += sum(record["answer"] == "exists" for record in records)
        digests = b"".join(bytes.fromhex(record["digest"]) for record in records)
        entries.append(
            Acknowledgement(
                bytes.fromhex(batch["batch_id"]),
                np.frombuffer(digests, dtype=np.uint8).reshape(len(records), -1),
                np.array([record["number"] for record in records], dtype=np.uint16),
                np.array([record["time"] for record in records], dtype=np.uint64),
            )
        )
    return FileAnswers(domain, payments, repeated, tuple(entries))


async def _clearspan(*arguments: str) -> dict[str, Any]:
    """Run one command of the command line and return its JSON document; refused payments are an answer."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "clearspan",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode not in {0, _REFUSED} or not said.strip():
        raise CommandFailed(arguments, process.returncode or 0, errors.decode(errors="replace"))
    document: dict[str, Any] = json.loads(said)
    return document
