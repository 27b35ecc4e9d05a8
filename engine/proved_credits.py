"""Credits of a peer on another node with the proof that it sent them: body of a log record, and its checks (CHANNEL-5).

It promises that nothing passes that an anchored header of the source does not commit to, as sent to this shard, next
in sequence. Every refusal comes before anything is applied and names its step.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from engine.batch import bytes_view
from engine.block import InclusionPath
from engine.bodies import CreditsBody, decode_credits_body, encode_credits_body
from engine.header import Header
from engine.range_proof import RANGE_PROOF_ENTRIES_MAX, root_of_range
from engine.refusals import CreditsRefused, EncodingError, ProofRefused
from engine.types import CREDIT_BYTES, HASH_BYTES, CreditKind
from native.hashing import leaf_hash, leaf_hash_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

    from engine.genesis import GenesisLedger
    from engine.peer_anchors import PeerAnchor

__all__ = ["ProvedCredits", "check_messages", "check_place", "check_proof"]

_CREDITS_HEAD: Final = struct.Struct("<IIQ")
# anchored height, header bytes, parent header bytes, hashes beside the range, hashes beside the header
_PROOF_HEAD: Final = struct.Struct("<QIIHHI")
assert _PROOF_HEAD.size == 24
_HEADER_PATH_ENTRIES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class ProvedCredits:
    """Messages of one block to one peer and what proves them; an offer of the source's node is the same bytes.

    ``header`` is the block's, ``parent`` the one before it (None at height 1): both together say which leaves are the
    channel's. ``header_path`` leads from the header to the root of earlier headers of the one at ``anchored_height``;
    it is empty where that is the header itself, or where it is the only earlier one.
    """

    source: int
    first_sequence: int
    messages: bytes
    anchored_height: int
    header: Header
    parent: Header | None
    range_path: tuple[bytes, ...]
    header_path: tuple[bytes, ...]

    @property
    def count(self) -> int:
        """How many messages these are."""
        return len(self.messages) // CREDIT_BYTES

    @property
    def last_sequence(self) -> int:
        """Sequence of the last message."""
        return self.first_sequence + self.count - 1

    def encode(self) -> bytes:
        """Return the body of the log record: messages as in a credits record, then the proof."""
        header, parent = self.header.encode(), b"" if self.parent is None else self.parent.encode()
        lengths = len(header), len(parent), len(self.range_path), len(self.header_path)
        return b"".join(
            (
                encode_credits_body(self.source, self.messages),
                _PROOF_HEAD.pack(self.anchored_height, *lengths, 0),
                header,
                parent,
                *self.range_path,
                *self.header_path,
            )
        )

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a body from exactly its bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes < _CREDITS_HEAD.size:
            raise EncodingError("proved credits bytes", view.nbytes, f"at least {_CREDITS_HEAD.size}")
        end = _CREDITS_HEAD.size + _CREDITS_HEAD.unpack(view[: _CREDITS_HEAD.size])[1] * CREDIT_BYTES
        if view.nbytes < end + _PROOF_HEAD.size:
            raise EncodingError("proved credits bytes", view.nbytes, f"at least {end + _PROOF_HEAD.size}")
        sent: CreditsBody = decode_credits_body(view[:end])
        anchored, header_bytes, parent_bytes, beside_range, beside_header, zero = _PROOF_HEAD.unpack(
            view[end : end + _PROOF_HEAD.size]
        )
        if zero or beside_range > RANGE_PROOF_ENTRIES_MAX or beside_header > _HEADER_PATH_ENTRIES_MAX:
            raise EncodingError("proved credits head", (beside_range, beside_header, zero), "a tree's paths, and zero")
        rest = view[end + _PROOF_HEAD.size :]
        expected = header_bytes + parent_bytes + (beside_range + beside_header) * HASH_BYTES
        if rest.nbytes != expected:
            raise EncodingError("proved credits proof bytes", rest.nbytes, expected)
        header = Header.decode(rest[:header_bytes])
        parent = Header.decode(rest[header_bytes : header_bytes + parent_bytes]) if parent_bytes else None
        hashes = rest[header_bytes + parent_bytes :].tobytes()
        paths = tuple(hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES))
        return cls(
            source=sent.source,
            first_sequence=sent.first_sequence,
            messages=sent.messages,
            anchored_height=anchored,
            header=header,
            parent=parent,
            range_path=paths[:beside_range],
            header_path=paths[beside_range:],
        )


def check_place(offered: ProvedCredits, received: int, anchor: PeerAnchor | None) -> None:
    """Demand the next messages of the channel, under the anchor that this shard knows; raises CreditsRefused.

    ``received``: the channel's cursor. Steps: ``sequence_known`` (all were applied before), ``sequence_other`` (some
    are missing, or were applied), ``not_anchored`` (of no header that this shard has seen anchored, or under an anchor
    that it has gone past: ask again).
    """
    if offered.last_sequence <= received:
        raise CreditsRefused(offered.source, "sequence_known", f"up to {offered.last_sequence}, {received} is applied")
    if offered.first_sequence != received + 1:
        raise CreditsRefused(offered.source, "sequence_other", f"from {offered.first_sequence}, {received} is applied")
    if anchor is None or offered.anchored_height != anchor.height or offered.header.height > anchor.height:
        known = 0 if anchor is None else anchor.height
        found = f"block {offered.header.height} under height {offered.anchored_height}"
        raise CreditsRefused(offered.source, "not_anchored", f"{found}, {known} is anchored")


def check_proof(  # noqa: PLR0917 - who asks, and under which anchor
    offered: ProvedCredits, suite: int, genesis_hash: bytes, shard: int, peers: Sequence[int], anchor: PeerAnchor
) -> None:
    """Demand that the anchor commits to the messages as sent by the source to ``shard``; raises CreditsRefused.

    ``peers``: the other shards of the source's domain as its headers list them. Steps: ``header`` (of another shard or
    network), ``header_path``, ``parent``, ``channels`` (the block sent something else), ``range``.
    """
    header = offered.header
    _check_header(offered, header, suite, genesis_hash, peers)
    if header.height == anchor.height:
        _demand(offered, header.hash == anchor.header_hash, "header_path", "the anchored header is another one")
        _demand(offered, not offered.header_path, "header_path", "the anchored header needs none")
    else:
        path = InclusionPath(header.height - 1, anchor.height - 1, offered.header_path)
        try:
            path.check(suite, leaf_hash(suite, header.hash), anchor.headers_root, "header_path")
        except ProofRefused as error:
            raise CreditsRefused(offered.source, "header_path", error.reason) from error
    first = _first_leaf(offered, suite, genesis_hash, shard, peers)
    hashes = leaf_hash_rows(suite, offered.messages, CREDIT_BYTES)
    try:
        root = root_of_range(suite, hashes, first, header.outgoing_count, offered.range_path)
    except ProofRefused as error:
        raise CreditsRefused(offered.source, "range", error.reason) from error
    _demand(offered, root == header.outgoing_root, "range", "the messages are not those of the block")


def _check_header(
    offered: ProvedCredits, header: Header, suite: int, genesis_hash: bytes, peers: Sequence[int]
) -> None:
    its = header.shard, header.hash_suite, header.genesis_hash
    _demand(offered, its == (offered.source, suite, genesis_hash), "header", "of another shard or network")
    listed = tuple(each.peer for each in header.channels)
    _demand(offered, listed == tuple(peers), "header", "its channels are not its domain's")


def _first_leaf(offered: ProvedCredits, suite: int, genesis_hash: bytes, shard: int, peers: Sequence[int]) -> int:
    """Return where the messages begin in the block's tree.

    A message does not say which peer it is for. How far each channel had come before the block, and how far after it,
    says how many leaves are whose: so no message to another peer passes for one to this shard.
    """
    header, parent = offered.header, offered.parent
    before = dict.fromkeys(peers, 0)
    if parent is not None:
        _check_header(offered, parent, suite, genesis_hash, peers)
        before = {each.peer: each.sent for each in parent.channels}
    found = (0, bytes(HASH_BYTES)) if parent is None else (parent.height, parent.hash)
    _demand(offered, found == (header.height - 1, header.parent_hash), "parent", "the header before is another one")
    counts = {each.peer: each.sent - before[each.peer] for each in header.channels}
    whole = min(counts.values(), default=0) >= 0 and sum(counts.values()) == header.outgoing_count
    _demand(offered, whole, "channels", "they do not count the block's messages")
    offset = offered.first_sequence - before[shard] - 1
    inside = offset >= 0 and offset + offered.count <= counts[shard]
    _demand(offered, inside, "channels", f"the block sent {counts[shard]} from {before[shard] + 1} on")
    return sum(count for peer, count in counts.items() if peer < shard) + offset


def check_messages(offered: ProvedCredits, ledgers: Sequence[GenesisLedger]) -> None:
    """Demand messages that a shard of the domain makes; raises CreditsRefused at step ``message``.

    A source that lies can so put nothing before the ledger that would stop it.
    """
    rows = bytes_view(offered.messages).reshape(offered.count, CREDIT_BYTES)
    kinds = np.ascontiguousarray(rows[:, 8:10]).view("<u2").reshape(-1)
    names = np.ascontiguousarray(rows[:, 12:16]).view("<u4").reshape(-1)
    amounts = np.ascontiguousarray(rows[:, 48:64]).view("<u8").reshape(-1, 2)
    reasons = np.ascontiguousarray(rows[:, 120:122]).view("<u2").reshape(-1)
    sound = np.isin(kinds, [int(kind) for kind in CreditKind])
    sound &= (kinds == CreditKind.RETURN) == (reasons != 0)
    sound &= ~rows[:, 122:].any(axis=1) & amounts.any(axis=1)
    within = np.zeros(offered.count, dtype=bool)
    for ledger in ledgers:
        high, low = divmod(ledger.amount_max, 1 << 64)
        fits = (amounts[:, 1] < high) | ((amounts[:, 1] == high) & (amounts[:, 0] <= np.uint64(low)))
        within |= (names == ledger.ledger) & fits
    sound &= within
    if not sound.all():
        row = int(np.flatnonzero(~sound)[0])
        raise CreditsRefused(offered.source, "message", f"{offered.first_sequence + row} is none that a shard makes")


def _demand(offered: ProvedCredits, holds: bool, step: str, reason: str) -> None:
    if not holds:
        raise CreditsRefused(offered.source, step, reason)
