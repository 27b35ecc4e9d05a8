"""Which headers may be anchored: the checks every validator makes of every shard, whether it follows it or not (07).

It promises that what is anchored continues what was, that no sum goes below zero, and that no effect stands before its
cause; the state transition itself is checked by those who re-execute the shard. Reasons are fixed words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from engine.header import Header, SignedHeader, header_message
from engine.refusals import ProofRefused
from engine.types import ZERO_HASH
from native.hashing import digest, leaf_hash, node_hash
from relay.errors import BlockRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from engine.block import InclusionPath
    from engine.genesis import GenesisDomain
    from relay.draft import Draft
    from relay.entries import BlockKey, ShardEntry

__all__ = ["Candidate", "admissible", "check_headers", "check_key", "check_one", "check_signatures"]

Candidate: TypeAlias = "tuple[SignedHeader, InclusionPath | None]"


def check_headers(draft: Draft, candidates: Sequence[Candidate], now: int | None, *, has_paths: bool = True) -> None:
    """Demand that all candidates, one of each shard, ascending, may be anchored together; raises BlockRefused.

    ``now`` is the validator's own clock in ns; None leaves that one check out. Without ``has_paths`` no header over a
    gap is asked for its path: those who certified it saw one.
    """
    last = -1
    for signed, path in candidates:
        if signed.header.shard <= last:
            raise BlockRefused("headers_order", f"shard {signed.header.shard:#x} after {last:#x}")
        last = signed.header.shard
        check_one(draft, signed, path, now, has_paths=has_paths)
    check_signatures(draft, candidates)
    newest = _newest(draft, candidates)
    sent = _sent(newest)
    for signed, _ in candidates:
        effect = _effect_before_cause(sent, signed.header)
        if effect:
            raise BlockRefused("header_effect_before_cause", effect)
    for domain in sorted({signed.header.shard >> 8 for signed, _ in candidates}):
        negative = _negative_ledger(newest, draft.genesis.domain(domain))
        if negative is not None:
            raise BlockRefused("header_in_transit_negative", f"domain {domain}, ledger {negative}")


def check_signatures(draft: Draft, candidates: Sequence[Candidate]) -> None:
    """Demand every candidate's signature, one batch; their keys are known. Raises BlockRefused."""
    bad = _bad_signatures(draft, candidates)
    if bad:
        raise BlockRefused("header_signature", _name(bad[0]))


def admissible(
    draft: Draft, candidates: Iterable[Candidate], now: int | None, *, signatures: bool = True
) -> list[Candidate]:
    """Return those candidates, ascending by shard, that pass ``check_headers`` together; at most one of each shard.

    The first that passes is taken of each shard. Without ``signatures`` those were checked before.

    A candidate that fails is dropped, and with it what would stand before its cause without it: both belong to one
    operator, and no other domain is touched.
    """
    chosen: dict[int, Candidate] = {}
    for candidate in candidates:
        header = candidate[0].header
        if header.shard not in chosen and _passes(draft, candidate, now):
            chosen[header.shard] = candidate
    listed = [chosen[shard] for shard in sorted(chosen)]
    if signatures:
        bad = {signed.header.shard for signed in _bad_signatures(draft, listed)}
        listed = [each for each in listed if each[0].header.shard not in bad]
    return _consistent(draft, listed)


def _passes(draft: Draft, candidate: Candidate, now: int | None) -> bool:
    """Say whether one candidate passes what concerns it alone, its signature left out."""
    try:
        check_one(draft, *candidate, now)
    except BlockRefused:
        return False
    return True


def _consistent(draft: Draft, candidates: list[Candidate]) -> list[Candidate]:
    """Drop candidates until causes stand before effects and no sum is negative."""
    while True:
        newest = _newest(draft, candidates)
        sent = _sent(newest)
        kept = [each for each in candidates if not _effect_before_cause(sent, each[0].header)]
        if len(kept) != len(candidates):
            candidates = kept
            continue
        negative = {
            domain
            for domain in sorted({signed.header.shard >> 8 for signed, _ in candidates})
            if _negative_ledger(newest, draft.genesis.domain(domain)) is not None
        }
        if not negative:
            return candidates
        candidates = [each for each in candidates if each[0].header.shard >> 8 not in negative]


def check_one(
    draft: Draft, signed: SignedHeader, path: InclusionPath | None, now: int | None, *, has_paths: bool = True
) -> None:
    """Demand of one header everything but its signature and its peers; raises BlockRefused."""
    check_key(draft, signed)
    header, entry = signed.header, draft.shards[signed.header.shard]
    if entry.suspended:
        raise BlockRefused("header_shard_suspended", _name(signed))
    _check_shape(draft.genesis.domain(header.shard >> 8), header)
    if header.height <= entry.height:
        raise BlockRefused("header_height", f"{_name(signed)}, where {entry.height} is anchored")
    if header.epoch < max(entry.epoch_min, 0 if entry.header is None else entry.header.epoch):
        raise BlockRefused("header_epoch", f"{_name(signed)}, epoch {header.epoch}")
    _check_clocks(draft, signed, now)
    if entry.header is None:
        _check_first(header)
    else:
        _check_forward(entry.header, header)
        if has_paths or header.height == entry.height + 1:
            _check_continuity(entry, header, path)


def check_key(draft: Draft, signed: SignedHeader) -> None:
    """Demand a header of this network, of a known shard, under a key id in force; raises BlockRefused."""
    header = signed.header
    if (header.genesis_hash, header.hash_suite) != (draft.genesis.hash, draft.suite):
        raise BlockRefused("header_network", _name(signed))
    if draft.entry(header.shard) is None:
        raise BlockRefused("header_shard_unknown", _name(signed))
    if _key_of(draft, signed) is None:
        raise BlockRefused("header_key_unknown", f"{_name(signed)}, key {signed.key_id}")


def _check_shape(domain: GenesisDomain, header: Header) -> None:
    peers = tuple(each for each in domain.shard_ids() if each != header.shard)
    ledgers = tuple(each.ledger for each in domain.ledgers)
    found = tuple(each.peer for each in header.channels), tuple(each.ledger for each in header.ledgers)
    if found != (peers, ledgers):
        raise BlockRefused("header_shape", f"shard {header.shard:#x}: its channels or ledgers are not its domain's")
    if not 0 < header.first_number <= header.last_number:
        raise BlockRefused("header_log_numbers", f"{header.first_number} to {header.last_number}")


def _check_clocks(draft: Draft, signed: SignedHeader, now: int | None) -> None:
    header, drift = signed.header, draft.parameters.drift_ns
    if now is not None and header.time > now + drift:
        raise BlockRefused("header_time_ahead", f"{_name(signed)}, {header.time - now} ns ahead of this clock")
    if header.time + drift < header.relay_time:
        raise BlockRefused("header_time_behind_relay", _name(signed))
    # It may consume what was final before this block, and never this block itself.
    if header.relay_height > draft.parent_height or header.relay_time > draft.parent_time:
        raise BlockRefused("header_relay_height", f"{_name(signed)} consumed relay height {header.relay_height}")


def _check_first(header: Header) -> None:
    if header.height == 1 and (header.parent_hash, header.first_number) != (ZERO_HASH, 1):
        raise BlockRefused("header_continuity", f"shard {header.shard:#x}: height 1 has a parent")


def _check_forward(base: Header, header: Header) -> None:
    """Demand that what only grows has grown or stayed."""
    name = f"shard {header.shard:#x}, height {header.height}"
    direct = header.height == base.height + 1
    if header.first_number <= base.last_number or (direct and header.first_number != base.last_number + 1):
        raise BlockRefused("header_log_numbers", f"{name}: begins at {header.first_number} after {base.last_number}")
    if header.time < base.time:
        raise BlockRefused("header_time_back", name)
    if header.relay_height < base.relay_height or header.relay_time < base.relay_time:
        raise BlockRefused("header_relay_height", f"{name}: went back")
    if header.slot_map_version < base.slot_map_version or header.account_count < base.account_count:
        raise BlockRefused("header_totals", f"{name}: accounts or slot map went back")
    for before, after in zip(base.channels, header.channels, strict=True):
        if after.sent < before.sent or after.received < before.received:
            raise BlockRefused("header_cursor", f"{name}, channel {after.peer:#x}")
    for earlier, later in zip(base.ledgers, header.ledgers, strict=True):
        if later.debits_posted < earlier.debits_posted:
            raise BlockRefused("header_totals", f"{name}, ledger {later.ledger}")


def _check_continuity(entry: ShardEntry, header: Header, path: InclusionPath | None) -> None:
    """Demand that the anchored header is an ancestor: the parent itself, or by a path under the root of earlier ones.

    The left siblings of the path are the peaks over all heights before the anchored one, so they also show that the
    new root keeps the whole of what the anchored header committed to, and not its last leaf alone.
    """
    base, name = entry.header, f"shard {header.shard:#x}, height {header.height}"
    assert base is not None
    if header.height == base.height + 1:
        if header.parent_hash != entry.hash:
            raise BlockRefused("header_continuity", f"{name}: its parent is another one")
        if path is None:
            return
    if path is None or (path.index + 1, path.count) != (base.height, header.height - 1):
        raise BlockRefused("header_continuity", f"{name}: no path from height {base.height}")
    try:
        path.check(header.hash_suite, leaf_hash(header.hash_suite, entry.hash), header.headers_root, "continuity")
    except ProofRefused as error:
        raise BlockRefused("header_continuity", f"{name}: {error.reason}") from error
    if _root_before(header.hash_suite, path) != base.headers_root:
        raise BlockRefused("header_continuity", f"{name}: its earlier headers are others")


def _root_before(suite: int, path: InclusionPath) -> bytes:
    """Return the root over all leaves left of a path's leaf: its left siblings are their perfect subtrees."""
    root = digest(suite, b"") if path.index == 0 else b""
    node, last = path.index, path.count - 1
    for sibling in path.path:
        if node & 1 or node == last:
            root = node_hash(suite, sibling, root) if root else sibling
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    return root


def _key_of(draft: Draft, signed: SignedHeader) -> BlockKey | None:
    return next((key for key in draft.keys_of(signed.header.shard) if key.key_id == signed.key_id), None)


def _bad_signatures(draft: Draft, candidates: Sequence[Candidate]) -> list[SignedHeader]:
    """Return the headers whose signature does not hold; their keys are known. One batch."""
    headers = [signed for signed, _ in candidates]
    keys = [key for key in (_key_of(draft, signed) for signed in headers) if key is not None]
    messages = [header_message(draft.suite, draft.genesis.hash, signed.header.hash) for signed in headers]
    verdicts = draft.keys.holds(keys, [signed.signature for signed in headers], messages)
    return [signed for signed, holds in zip(headers, verdicts, strict=True) if not holds]


def _newest(draft: Draft, candidates: Sequence[Candidate]) -> dict[int, Header]:
    """Return the newest headers, candidates included, of all shards of the candidates' domains."""
    domains = frozenset(signed.header.shard >> 8 for signed, _ in candidates)
    anchored = ((shard, entry.header) for shard, entry in draft.shards.items() if shard >> 8 in domains)
    newest = {shard: header for shard, header in anchored if header is not None}
    return newest | {signed.header.shard: signed.header for signed, _ in candidates}


def _sent(newest: Mapping[int, Header]) -> dict[tuple[int, int], int]:
    """Return how far each shard has sent to each peer, by (source, destination)."""
    return {(shard, each.peer): each.sent for shard, header in newest.items() for each in header.channels}


def _effect_before_cause(sent: Mapping[tuple[int, int], int], header: Header) -> str:
    """Say what a shard received that no anchored header of its peer sent; nothing when all is well."""
    for channel in header.channels:
        its_sent = sent.get((channel.peer, header.shard), 0)
        if channel.received > its_sent:
            return f"shard {header.shard:#x} received {channel.received} of {channel.peer:#x}, which sent {its_sent}"
    return ""


def _negative_ledger(newest: Mapping[int, Header], domain: GenesisDomain) -> int | None:
    """Return a ledger of which less was sent than arrived, or None."""
    totals = dict.fromkeys((each.ledger for each in domain.ledgers), 0)
    for shard in domain.shard_ids():
        header = newest.get(shard)
        for entry in header.ledgers if header is not None else ():
            totals[entry.ledger] += entry.channel_credits - entry.channel_debits
    return next((ledger for ledger, total in totals.items() if total < 0), None)


def _name(signed: SignedHeader) -> str:
    return f"shard {signed.header.shard:#x}, height {signed.header.height}"
