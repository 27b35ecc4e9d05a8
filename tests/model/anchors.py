"""Anchored headers of peers, and credits that one of them proves (CHANNEL-5, CHANNEL-6, CHANNEL-7), read step by step."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.model.hashes import hasher

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.model.state import State

__all__ = ["PROVED_CREDITS", "PeerHeader", "ProvedBody", "check_proved", "headers_of_record", "note_anchors"]

PROVED_CREDITS = 7
_HEADER_RECORD, _PARAMETER_RECORD, _RESUME = 1, 8, 3
_MESSAGE_BYTES = 128


@dataclass(frozen=True, slots=True)
class PeerHeader:
    """What a shard reads of another one's block header."""

    data: bytes
    shard: int
    height: int
    outgoing_count: int
    parent_hash: bytes
    outgoing_root: bytes
    headers_root: bytes
    channels: dict[int, tuple[int, int]]

    @classmethod
    def unpack(cls, data: bytes) -> PeerHeader:
        magic, version, _suite, shard, _epoch, height = struct.unpack_from("<4sHHIIQ", data)
        assert (magic, version) == (b"CSBH", 1), "a block header of version 1"
        (channel_count,) = struct.unpack_from("<H", data, 68)
        rows = (struct.unpack_from("<I4xQQ", data, 416 + 24 * row) for row in range(channel_count))
        (outgoing_count,) = struct.unpack_from("<Q", data, 80)
        return cls(
            data, shard, height, outgoing_count, data[128:160], data[288:320], data[320:352],
            {peer: (sent, received) for peer, sent, received in rows},
        )  # fmt: skip


def headers_of_record(kind: int, payload: bytes) -> list[tuple[int, bytes]]:
    """What a relay record says of anchors: (shard, header), or (shard, nothing) for a resume from nothing."""
    if kind == _HEADER_RECORD:
        (length,) = struct.unpack_from("<I", payload)
        return [(struct.unpack_from("<I", payload, 12)[0], payload[4 : 4 + length])]
    if kind == _PARAMETER_RECORD and struct.unpack_from("<H", payload, 4) == (_RESUME,):
        (shard,) = struct.unpack_from("<I", payload, 8)
        (length,) = struct.unpack_from("<I", payload, 4 + 16 + 80)
        return [(shard, payload[108 : 108 + length])]
    return []


def note_anchors(state: State, found: list[tuple[int, bytes]]) -> None:
    """The last word on each peer counts."""
    for shard, data in found:
        if shard not in state.channels:
            continue
        if not data:
            state.anchors.pop(shard, None)
            continue
        header = PeerHeader.unpack(data)
        sent, received = header.channels[state.shard]
        assert received <= state.channels[shard].sent, "nobody received what was not sent"
        name = hasher(state.genesis.suite)(data)
        state.anchors[shard] = struct.pack("<QQQ", header.height, sent, received) + name + header.headers_root


@dataclass(frozen=True, slots=True)
class ProvedBody:
    """Messages of one block to one peer, and what proves them."""

    source: int
    messages: bytes
    anchored_height: int
    header: PeerHeader
    parent: PeerHeader | None
    range_path: list[bytes]
    header_path: list[bytes]

    @classmethod
    def unpack(cls, body: bytes) -> ProvedBody:
        source, count, _first = struct.unpack_from("<IIQ", body)
        at = 16 + _MESSAGE_BYTES * count
        height, header_bytes, parent_bytes, beside_range, beside_header, zero = struct.unpack_from("<QIIHHI", body, at)
        assert zero == 0, "padding is zero"
        start = at + 24
        parent_start, paths = start + header_bytes, start + header_bytes + parent_bytes
        hashes = [body[each : each + 32] for each in range(paths, len(body), 32)]
        assert len(hashes) == beside_range + beside_header, "as many hashes as are named"
        parent = PeerHeader.unpack(body[parent_start:paths]) if parent_bytes else None
        return cls(
            source, body[16:at], height, PeerHeader.unpack(body[start:parent_start]), parent, hashes[:beside_range],
            hashes[beside_range:],
        )  # fmt: skip


def check_proved(state: State, proved: ProvedBody) -> None:
    """All that CHANNEL-5 demands but the form of the messages, which receiving them reads."""
    hash_, header = hasher(state.genesis.suite), proved.header
    (first,) = struct.unpack_from("<Q", proved.messages)
    count = len(proved.messages) // _MESSAGE_BYTES
    assert first == state.channels[proved.source].received + 1, "the next messages of the channel"
    anchor = state.anchors[proved.source]
    assert struct.unpack_from("<Q", anchor) == (proved.anchored_height,), "the newest anchor"
    assert header.shard == proved.source, "the source's own block"
    if header.height == proved.anchored_height:
        assert (hash_(header.data), proved.header_path) == (anchor[24:56], []), "the anchored header"
    else:
        leaf = hash_(b"\0" + hash_(header.data))
        root = _root(hash_, [leaf], header.height - 1, proved.anchored_height - 1, _by_place(proved, header.height - 1))
        assert root == anchor[56:88], "a header before the anchored one"
    before = dict.fromkeys(header.channels, 0)
    if proved.parent is not None:
        assert (hash_(proved.parent.data), proved.parent.height) == (header.parent_hash, header.height - 1), (
            "its parent"
        )
        before = {peer: sent for peer, (sent, _) in proved.parent.channels.items()}
    else:
        assert header.height == 1, "only the first block has no parent"
    counts = {peer: sent - before[peer] for peer, (sent, _) in header.channels.items()}
    assert sum(counts.values()) == header.outgoing_count, "each message is some peer's"
    offset = first - before[state.shard] - 1
    assert 0 <= offset <= offset + count <= counts[state.shard], "messages to this shard"
    place = sum(counts[peer] for peer in counts if peer < state.shard) + offset
    leaves = [
        hash_(b"\0" + proved.messages[at : at + _MESSAGE_BYTES])
        for at in range(0, len(proved.messages), _MESSAGE_BYTES)
    ]
    assert _root(hash_, leaves, place, header.outgoing_count, proved.range_path) == header.outgoing_root, "its messages"


def _by_place(proved: ProvedBody, index: int) -> list[bytes]:
    """An inclusion path goes from the leaf upwards; put its hashes in the order of a range's, from left to right."""
    left, right = [], []
    start, end, upwards = 0, proved.anchored_height - 1, list(proved.header_path)
    while end - start > 1:
        middle = start + _left_part(end - start)
        sibling = upwards.pop()
        if index < middle:
            right.append(sibling)
            end = middle
        else:
            left.append(sibling)
            start = middle
    assert not upwards, "no more hashes than the way up has"
    return left + right[::-1]


def _root(hash_: Callable[[bytes], bytes], leaves: list[bytes], first: int, total: int, path: list[bytes]) -> bytes:
    """The root of a tree of which some leaves next to each other are known, and the hashes beside them."""
    beside = list(path)

    def root(start: int, end: int) -> bytes:
        if end <= first or first + len(leaves) <= start:
            return beside.pop(0)
        if end - start == 1:
            return leaves[start - first]
        middle = start + _left_part(end - start)
        left = root(start, middle)
        return hash_(b"\1" + left + root(middle, end))

    found = root(0, total)
    assert not beside, "no more hashes than the tree needs"
    return found


def _left_part(width: int) -> int:
    part = 1
    while part * 2 < width:
        part *= 2
    return part
