"""Governance from outside: a record is drafted, approved by members with their own keys, and handed to the validators.

    standing = await read_standing(targets, tls)
    draft = draft_corridor(standing, genesis, identity, document)
    draft = draft.approved(genesis, key)                     each member on its own machine; drafts merge
    found = await submit(draft, genesis, targets, tls)       the height of the block that holds it

It promises that what was handed in is reported final only under a certificate of the set in force. What validators say
of how they stand is their word: a wrong one makes a draft that the others refuse.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clearspan.client.relay import RelayClient
from clearspan.errors import Refused, Unreachable
from clearspan.governance_draft import (
    GovernanceDraft,
    Signatory,
    Standing,
    draft_block_key,
    draft_corridor,
    draft_drift,
    draft_epoch_length,
    draft_resume,
    draft_slot_map,
    draft_validator_set,
)
from engine.refusals import CertificateRefused, EncodingError, ProofRefused
from engine.relay_block import RelayBlock
from engine.validators import Certificate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clearspan.pki import TlsFiles
    from engine.genesis import Genesis
    from engine.relay_block import RelayRecord

__all__ = [
    "GovernanceDraft",
    "Signatory",
    "Standing",
    "Submitted",
    "draft_block_key",
    "draft_corridor",
    "draft_drift",
    "draft_epoch_length",
    "draft_resume",
    "draft_slot_map",
    "draft_validator_set",
    "read_standing",
    "submit",
]

_CALL_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a record: the height of the block that holds it, and what each validator answered."""

    height: int
    answers: dict[str, str]


async def read_standing(targets: Sequence[str], tls: TlsFiles, *, timeout_s: float = _CALL_S) -> Standing:
    """Return how validators stand: the answer of the highest final height. Raises Unreachable where none answers."""
    found = [each for each in await asyncio.gather(*(_ask(target, tls, timeout_s) for target in targets)) if each]
    if not found:
        raise Unreachable(", ".join(targets) or "validators", "none of them answers")
    return max(found, key=lambda each: each.height)


async def _ask(target: str, tls: TlsFiles, timeout_s: float) -> Standing | None:
    try:
        async with RelayClient(target, tls, timeout_s=timeout_s) as client:
            standing = Standing.of(await client.status(governance=True))
    except (Refused, Unreachable, EncodingError, CertificateRefused):
        return None
    return standing if standing.sets else None


async def submit(
    draft: GovernanceDraft, genesis: Genesis, targets: Sequence[str], tls: TlsFiles, *, wait_s: float = 30.0
) -> Submitted:
    """Hand a draft in at every validator and wait until it stands in a final block.

    Raises ConfigError where approvals are missing, Refused with the validators' word where none takes it or none has it
    final in time, Unreachable where none answers. The block's certificate is verified with the set in force.
    """
    standing = await read_standing(targets, tls)
    record = draft.record(genesis, standing.in_force)
    answers = dict(await asyncio.gather(*(_hand_in(target, tls, record) for target in targets)))
    if not any(each in {"", "known"} for each in answers.values()):
        told = ", ".join(sorted(set(answers.values())))
        raise Refused(0, "not_taken", f"no validator took it: {told}", "see docs/spec/07, Reasons")
    searches = [
        asyncio.ensure_future(_find(target, tls, record, standing, genesis))
        for target in targets
        if not answers[target]
    ] or [asyncio.ensure_future(_find(target, tls, record, standing, genesis)) for target in targets]
    try:
        async with asyncio.timeout(wait_s):
            for done in asyncio.as_completed(searches):
                height = await done
                if height:
                    return Submitted(height, answers)
    except TimeoutError:
        pass
    finally:
        for search in searches:
            search.cancel()
        await asyncio.gather(*searches, return_exceptions=True)
    raise Refused(0, "not_final", f"it is in no final block after {wait_s:g} s", "ask again: it may still come")


async def _hand_in(target: str, tls: TlsFiles, record: RelayRecord) -> tuple[str, str]:
    try:
        async with RelayClient(target, tls, timeout_s=_CALL_S) as client:
            answer = await client.submit(record)
    except (Refused, Unreachable) as error:
        return target, error.message
    return target, "" if answer.taken else answer.reason


async def _find(target: str, tls: TlsFiles, record: RelayRecord, standing: Standing, genesis: Genesis) -> int:
    """Return the height of the final block that holds the record, 0 where this validator does not say."""
    suite = genesis.hash_suite
    try:
        async with (
            RelayClient(target, tls, timeout_s=_CALL_S) as client,
            aclosing(client.blocks(max(1, standing.height), follow=True)) as blocks,
        ):
            async for message in blocks:
                block = RelayBlock.decode(message.block, suite)
                if record not in block.records:
                    continue
                validators = next((each for each in standing.sets if each.set_id == block.header.set_id), None)
                if validators is not None:
                    block.verify_certificate(suite, Certificate.decode(message.certificate), validators)
                    return block.header.height
    except (Refused, Unreachable, EncodingError, ProofRefused):
        pass
    return 0
