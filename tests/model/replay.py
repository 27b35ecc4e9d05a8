"""Replay of raw log records by the model: numbers, chain, body hashes and recorded codes must all agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from native.codes import ResultCode as Code
from tests.model.anchors import PROVED_CREDITS, ProvedBody
from tests.model.hashes import hasher
from tests.model.log_record import (
    ADMIN,
    BATCH,
    CREDITS,
    HEAD_BYTES,
    RELAY,
    RUN,
    AdminBody,
    BatchBody,
    CreditsBody,
    LogHead,
    RelayBody,
)  # fmt: skip
from tests.model.over_shards import decision_of
from tests.model.shard import ModelShard

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.model.genesis import ModelGenesis

__all__ = ["ReplayMismatch", "replay", "replay_record"]


class ReplayMismatch(AssertionError):
    """Record ``number`` does not follow from those before it: ``what`` was ``recorded`` where ``expected`` follows."""

    def __init__(self, number: int, what: str, recorded: object, expected: object) -> None:
        super().__init__(f"log record {number}: {what} is {recorded!r}, expected {expected!r}")
        self.number, self.what, self.recorded, self.expected = number, what, recorded, expected


def replay(records: Iterable[bytes], genesis: ModelGenesis, shard: int) -> tuple[ModelShard, list[bytes]]:
    """Replay raw records (header || body) from number 1; returns the shard and the headers of its blocks."""
    model = ModelShard(genesis, shard)
    headers = []
    for raw in records:
        header = replay_record(model, raw)
        if header is not None:
            headers.append(header)
    return model, headers


def replay_record(model: ModelShard, raw: bytes) -> bytes | None:
    """Replay one record; a seal gives its block's header."""
    head, body = LogHead.unpack(raw[:HEAD_BYTES]), raw[HEAD_BYTES:]
    _check_head(model, head, body)
    model.next_record(head)
    if head.kind == BATCH:
        _replay_batch(model, head, BatchBody.unpack(body))
    elif head.kind == ADMIN:
        _replay_admin(model, head, AdminBody.unpack(body))
    elif head.kind == CREDITS:
        credits_ = CreditsBody.unpack(body)
        model.apply_credits(credits_.source, credits_.messages, head.time)
    elif head.kind == RELAY:
        block = RelayBody.unpack(body)
        model.apply_relay(block.height, block.time, block.preimages, head.time, block.runs, anchored=block.anchored)
    elif head.kind == PROVED_CREDITS:
        model.apply_proved(ProvedBody.unpack(body), head.time)
    elif head.kind == RUN:
        _replay_run(model, head, BatchBody.unpack(body))
    else:
        return model.seal(head.time)
    return None


def _check_head(model: ModelShard, head: LogHead, body: bytes) -> None:
    number = model.number + 1
    demands = {
        "number": (head.number, number),
        "shard": (head.shard, model.shard),
        "genesis": (head.genesis_hash, model.genesis.genesis_hash),
        "previous record": (head.previous, model.record_hash),
        "body length": (head.body_bytes, len(body)),
        "body hash": (head.body_hash, hasher(model.genesis.suite)(body)),
        "epoch not below the last": (head.epoch >= model.epoch, True),
        "time not below the last": (head.time >= model.state.last_time, True),
        "kind": (1 <= head.kind <= 7, True),
    }
    for what, (recorded, expected) in demands.items():
        if recorded != expected:
            raise ReplayMismatch(number, what, recorded, expected)


def _replay_batch(model: ModelShard, head: LogHead, batch: BatchBody) -> None:
    """LOG-3: a verdict is "the recorded code is not invalid_signature"."""
    verdicts = [int(code != Code.INVALID_SIGNATURE) for code in batch.codes]
    answers = model.apply_batch(batch.heads, batch.binding_index, batch.bindings, verdicts, head.time)
    _check_codes(head, batch.codes, [answer.code for answer in answers])


def _replay_run(model: ModelShard, head: LogHead, run: BatchBody) -> None:
    """LOG-5: what the shard finds must allow what the record says that all of them decided."""
    verdicts = [int(code != Code.INVALID_SIGNATURE) for code in run.codes]
    held = model.hold_run(run.heads, run.binding_index, run.bindings, verdicts, head.time)
    decision = decision_of(run.codes)
    if wrong := held.forbids(decision, run.codes):
        raise ReplayMismatch(head.number, wrong, run.codes, held)
    model.decide_run(decision, head.time)


def _replay_admin(model: ModelShard, head: LogHead, admin: AdminBody) -> None:
    """Both verdicts fail where the recorded code is invalid_signature: whichever signer it was, the answer is the same."""
    verdicts = [(int(code != Code.INVALID_SIGNATURE),) * 2 for code in admin.codes]
    answers = model.apply_admin(admin.bodies, admin.signers, verdicts, head.time)
    _check_codes(head, admin.codes, [answer.code for answer in answers])


def _check_codes(head: LogHead, recorded: tuple[int, ...], codes: list[Code]) -> None:
    for index, (was, now) in enumerate(zip(recorded, codes, strict=True)):
        if was != now:
            raise ReplayMismatch(head.number, f"code {index}", Code(was).name, now.name)
