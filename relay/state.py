"""The relay's finalized state: an immutable value, a pure function of the genesis and the blocks up to its height (07).

It promises that every validator that took the same blocks has the same state, the same leaders and the same verdict on
the next block. It knows no certificate of its tip: which signatures made a block final differs from place to place
until the next block names one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Self

from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import RELAY_HEADER_BYTES, RelayBlock, RelayHeader, parent_certificate_record, verify_anchor
from engine.types import RelayRecordType
from engine.validators import Certificate, Statement, ValidatorSet
from native.hashing import digest
from relay import leaders, rules
from relay.checkpoint import CHECKPOINT_HEIGHTS, checkpoint_of
from relay.draft import SETS_KEPT, Draft, genesis_block_keys, set_of
from relay.entries import BlockKey, KeyBook, Parameters, Penalty, ShardEntry
from relay.errors import BlockRefused
from relay.headers import Candidate, admissible, check_headers, check_key, check_one, check_signatures
from relay.messages import BLOCK_BYTES_MAX, SIDECAR_BYTES_MAX
from relay.offers import HeaderOffer, PoolItem, Sidecar
from relay.reveals import RevealTable
from relay.state_codec import decode_fields, encode_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from typing_extensions import Buffer

    from engine.block import InclusionPath
    from engine.genesis import Genesis
    from engine.governance import Corridor, SlotMap
    from engine.relay_block import ParentCertificate, RelayRecord

__all__ = ["RelayState", "Sidecar", "median_time"]

_RECORD_FRAME: Final = 8
# What a proposer leaves between a header's time and its own clock, so that a validator whose clock is behind its own
# still votes: a part of the drift that validators allow.
_PROPOSER_DRIFT_DIVISOR: Final = 2


@dataclass(frozen=True, slots=True)
class RelayState:
    """What is final after ``height``; at height 0 the genesis alone, whose hash is then ``tip_hash``.

    Mappings are never changed in place. ``shards`` by shard id, ``block_keys`` and ``slot_maps`` by domain, ``reveals``
    preimage to relay height, ``decisions`` run digest to deadline, ``penalties`` and ``noted`` by public key.
    ``anchored``: the (shard, height) that the tip's header records anchored, in order. ``sets`` ascend, the last one
    may be pending.
    """

    genesis: Genesis
    suite: int
    height: int
    time: int
    tip_hash: bytes
    header: RelayHeader | None
    sets: tuple[ValidatorSet, ...]
    shards: Mapping[int, ShardEntry]
    block_keys: Mapping[int, tuple[BlockKey, ...]]
    key_sequences: Mapping[int, int]
    reveals: RevealTable
    decisions: Mapping[bytes, int]
    penalties: Mapping[bytes, Penalty]
    parameters: Parameters
    slot_maps: Mapping[int, SlotMap]
    corridors: Mapping[bytes, Corridor]
    noted: Mapping[bytes, int]
    anchored: tuple[tuple[int, int], ...] = ()
    keys: KeyBook = field(default_factory=KeyBook, compare=False, repr=False)
    certificate: Certificate | None = field(default=None, compare=False, repr=False)

    @classmethod
    def begin(cls, genesis: Genesis) -> Self:
        """Return the state at height 0; raises CertificateRefused when the genesis names no usable validator set."""
        return cls(
            genesis=genesis,
            suite=genesis.hash_suite,
            height=0,
            time=genesis.time,
            tip_hash=genesis.hash,
            header=None,
            sets=(ValidatorSet.of_genesis(genesis),),
            shards={shard: ShardEntry() for domain in genesis.domains for shard in domain.shard_ids()},
            block_keys={domain.domain: genesis_block_keys(domain) for domain in genesis.domains},
            key_sequences={},
            reveals=RevealTable(),
            decisions={},
            penalties={},
            parameters=Parameters(),
            slot_maps={},
            corridors={},
            noted={},
        )

    # Who decides.

    def set_at(self, height: int) -> ValidatorSet:
        """Return the set that decides a height up to the next one; raises BlockRefused for one older than is kept."""
        return set_of(self.sets, height)

    def leader_order(self, height: int) -> tuple[int, ...]:
        """Return the member indexes of ``set_at(height)`` in the order in which they lead views 0, 1, 2, …."""
        return leaders.leader_order(self.suite, self.genesis.hash, self.set_at(height), self.penalties, height)

    def verified(self, shard: int, height: int) -> bool:
        """Say whether a height of a shard is verified: more than F executed and held it."""
        return shard in self.shards and 0 < height <= self.shards[shard].verified_height

    # The next block.

    def propose(
        self,
        pool_records: Iterable[PoolItem],
        parent_certificate: Certificate | None,
        view: int,
        *,
        now: int | None = None,
        statements: Iterable[bytes] = (),
    ) -> tuple[RelayBlock, Sidecar]:
        """Build the next block from what waits; what may not stand in it is left out, so the block passes ``check``.

        ``parent_certificate`` was verified; None at height 1 only. ``now`` is this validator's clock: without it a
        header from the future would cost the proposer its view. ``statements`` are those that came beside the
        certificate's votes, in any order; one that no vote names is left out.
        """
        first = self._first_records(parent_certificate, statements)
        time = self._time_after(parent_certificate)
        draft = self._draft(time)
        if parent_certificate is not None:
            self._take_parent(draft, first[0].parent_certificate())
        offers = [each for each in pool_records if isinstance(each, HeaderOffer)]
        others = [each for each in pool_records if not isinstance(each, HeaderOffer)]
        room = BLOCK_BYTES_MAX // 2
        candidates = self._fitting_headers(draft, offers, now, room)
        draft.anchor([signed for signed, _ in candidates])
        headers = [HeaderOffer(signed).record for signed, _ in candidates]
        room = BLOCK_BYTES_MAX - sum(len(record.payload) + _RECORD_FRAME for record in (*first, *headers)) - 1024
        chosen = rules.choose(draft, others, room)
        records = [*first, *headers, *chosen, *self._checkpoint_records()]
        block = RelayBlock.build(
            self.suite,
            genesis_hash=self.genesis.hash,
            height=self.height + 1,
            view=view,
            time=time,
            parent_hash=self.tip_hash,
            set_id=draft.validators.set_id,
            records=records,
        )
        return block, Sidecar(tuple(path for _, path in candidates))

    def check(self, block: RelayBlock, sidecar: Sidecar | None, now: int | None) -> None:
        """Demand that a block may follow this state; raises BlockRefused with a fixed word. Changes nothing.

        ``now`` is the validator's own clock in ns. Of a block that is final both may be None: what then stays
        unchecked is the clock, and the paths of headers over a gap.
        """
        self.check_place(block)
        draft = self._draft(block.header.time)
        if block.header.height > 1:
            self._take_parent(draft, block.records[0].parent_certificate())
        signed = [record.signed_header() for record in block.records if record.type is RelayRecordType.HEADER]
        paths = (None,) * len(signed) if sidecar is None else sidecar.paths
        if len(signed) != len(paths):
            raise BlockRefused("sidecar_count", f"{len(paths)} paths for {len(signed)} headers")
        check_headers(draft, list(zip(signed, paths, strict=True)), now, has_paths=sidecar is not None)
        draft.anchor(signed)
        rules.check_all(draft, block.records)

    def check_place(self, block: RelayBlock) -> None:
        """Demand of a block what needs neither clock nor sidecar: place, order, parent certificate, time, checkpoint.

        A block with a verified certificate that fails here was certified by members that break the rules.
        """
        header, height = block.header, self.height + 1
        if header.genesis_hash != self.genesis.hash:
            raise BlockRefused("genesis", header.genesis_hash.hex())
        if header.height != height:
            raise BlockRefused("height", f"{header.height}, where {height} comes next")
        if header.parent_hash != self.tip_hash:
            raise BlockRefused("parent", header.parent_hash.hex())
        if header.set_id != self.set_at(height).set_id:
            raise BlockRefused("set", f"{header.set_id}, where set {self.set_at(height).set_id} decides")
        if header.record_count != len(block.records):
            raise BlockRefused("record_count", str(header.record_count))
        size = sum(len(record.payload) + _RECORD_FRAME for record in block.records)
        if size + RELAY_HEADER_BYTES > BLOCK_BYTES_MAX:
            raise BlockRefused("size", f"{size} bytes of records")
        rules.check_order(block.records)
        certificate = self._check_parent(block)
        expected = self._time_after(certificate)
        if header.time != expected:
            raise BlockRefused("time", f"{header.time}, where the parent's votes say {expected}")
        found = [record for record in block.records if record.type is RelayRecordType.CHECKPOINT]
        if found != self._checkpoint_records():
            raise BlockRefused("checkpoint", f"of the state after height {self.height}")

    def after(self, block: RelayBlock, certificate: Certificate) -> RelayState:
        """Return the state after a block that is final: the caller verified the certificate."""
        header = block.header
        draft = self._draft(header.time)
        if header.height > 1:
            self._take_parent(draft, block.records[0].parent_certificate())
        order = self.leader_order(header.height)
        leaders.note_turn(draft.penalties, draft.validators, order, header.height, header.view)
        draft.anchor([record.signed_header() for record in block.records if record.type is RelayRecordType.HEADER])
        for record in block.records:
            rules.apply(draft, record)
        rules.forget(draft)
        return replace(
            self,
            height=header.height,
            time=header.time,
            tip_hash=header.hash(self.suite),
            header=header,
            sets=draft.sets[-SETS_KEPT:],
            shards=draft.shards,
            block_keys=draft.block_keys,
            key_sequences=draft.key_sequences,
            reveals=draft.reveals,
            decisions=draft.decisions,
            penalties=draft.penalties,
            parameters=draft.parameters,
            slot_maps=draft.slot_maps,
            corridors=draft.corridors,
            noted=draft.noted,
            anchored=draft.anchored,
            certificate=certificate,
        )

    # As bytes.

    def encode(self) -> bytes:
        """Return the canonical bytes that a checkpoint is of; the genesis stands in them by its hash."""
        return encode_state(self)

    @classmethod
    def decode(cls, data: Buffer, genesis: Genesis) -> Self:
        """Read a state from exactly its bytes; raises EncodingError, or CertificateRefused for a set in it."""
        state = cls(genesis=genesis, suite=genesis.hash_suite, **decode_fields(data, genesis))
        if state.encode() != data:
            raise EncodingError("relay state", "another spelling", "the canonical form")
        return state

    # Parts.

    def draft(self) -> Draft:
        """Return a working copy as of the next block, its time not before it can be: for checks of what is offered."""
        return self._draft(self.time + 1)

    def admits(self, offer: HeaderOffer, now: int | None = None) -> str:
        """Return the reason (a fixed word) why an offered header may not follow what is anchored now, or nothing.

        The signature is checked first: what is refused for any other reason was at least sent by the operator.
        """
        draft, shard = self.draft(), offer.signed.header.shard
        try:
            check_key(draft, offer.signed)
            path = offer.path_from(draft.shards[shard].height)
            check_signatures(draft, [(offer.signed, path)])
            check_one(draft, offer.signed, path, now)
        except BlockRefused as error:
            return error.reason
        return ""

    def useful(self, items: Sequence[PoolItem]) -> bool:
        """Say whether a block of these would hold anything; their signatures were checked when they were taken.

        Relay time stands for the clock: a header from the future is no reason for blocks without content.
        """
        draft = self.draft()
        offers = [each for each in items if isinstance(each, HeaderOffer)]
        if len(offers) < len(items):
            return True
        candidates = [(each.signed, path) for each, path in _newest_first(draft, offers)]
        limit = self.time - self.parameters.drift_ns // _PROPOSER_DRIFT_DIVISOR
        return bool(admissible(draft, candidates, limit, signatures=False))

    def _draft(self, time: int) -> Draft:
        return Draft(
            genesis=self.genesis,
            suite=self.suite,
            height=self.height + 1,
            time=time,
            parent_height=self.height,
            parent_time=self.time,
            sets=self.sets,
            shards=dict(self.shards),
            block_keys=dict(self.block_keys),
            key_sequences=dict(self.key_sequences),
            reveals=self.reveals,
            decisions=dict(self.decisions),
            penalties=dict(self.penalties),
            parameters=self.parameters,
            slot_maps=dict(self.slot_maps),
            corridors=dict(self.corridors),
            noted=dict(self.noted),
            keys=self.keys,
        )

    def _first_records(self, certificate: Certificate | None, statements: Iterable[bytes]) -> list[RelayRecord]:
        if certificate is None:
            return []
        named = frozenset(signer.executed_held for signer in certificate.signers)
        size = len(Statement.of(len(self.anchored)).encode())
        wanted = (each for each in statements if len(each) == size and digest(self.suite, each) in named)
        return [parent_certificate_record(certificate, wanted if self.anchored else ())]

    def _time_after(self, certificate: Certificate | None) -> int:
        """Relay time of the next block: the median of the votes that certify its parent, weighted, only forward."""
        if certificate is None:
            return self.genesis.time
        return max(self.time + 1, median_time(certificate, self.set_at(self.height)))

    def _check_parent(self, block: RelayBlock) -> Certificate | None:
        """Demand the certificate of this state's tip as the first record, its statements named by its votes."""
        if self.header is None:
            if any(record.type is RelayRecordType.PARENT_CERTIFICATE for record in block.records):
                raise BlockRefused("parent_certificate", "the first block has no parent")
            return None
        if not block.records or block.records[0].type is not RelayRecordType.PARENT_CERTIFICATE:
            raise BlockRefused("parent_certificate", "the first record is another one")
        record = block.records[0].parent_certificate()
        certificate, validators = record.certificate, self.set_at(self.height)
        try:
            verify_anchor(self.suite, self.header, certificate, validators)
            if certificate != self.certificate:
                certificate.verify(self.suite, self.genesis.hash, validators)
        except ProofRefused as error:
            raise BlockRefused("parent_certificate", str(error)) from error
        named = frozenset(signer.executed_held for signer in certificate.signers)
        for statement in record.statements:
            if Statement.decode(statement).count != len(self.anchored) or digest(self.suite, statement) not in named:
                raise BlockRefused("statements", "one that no vote names")
        return certificate

    def _take_parent(self, draft: Draft, parent: ParentCertificate) -> None:
        """Let the votes that certified the tip verify what it anchored, and show who is alive."""
        certificate, validators = parent.certificate, self.set_at(self.height)
        leaders.note_signers(
            draft.penalties, validators, [each.index for each in certificate.signers], certificate.height
        )
        power_of: dict[bytes, int] = {}
        for signer in certificate.signers:
            power = validators.members[signer.index].power
            power_of[signer.executed_held] = power_of.get(signer.executed_held, 0) + power
        said = [(Statement.decode(each), power_of.get(digest(self.suite, each), 0)) for each in parent.statements]
        for index, (shard, height) in enumerate(self.anchored):
            if sum(power for statement, power in said if statement.verified(index)) > validators.fault_max:
                draft.verify(shard, height)

    def _fitting_headers(
        self, draft: Draft, offers: Sequence[HeaderOffer], now: int | None, room: int
    ) -> list[Candidate]:
        """Return the headers to anchor: the highest of each shard that passes, as far as the block has room.

        Where there is no room for all, each height begins at another shard.
        """
        limit = None if now is None else now - self.parameters.drift_ns // _PROPOSER_DRIFT_DIVISOR
        candidates = [(each.signed, path) for each, path in _newest_first(draft, offers)]
        passing = admissible(draft, candidates, limit)
        beside = SIDECAR_BYTES_MAX // 2
        start = (self.height * len(passing) // 3) % len(passing) if passing else 0
        fitting: list[Candidate] = []
        for signed, path in passing[start:] + passing[:start]:
            room -= len(signed.encode()) + _RECORD_FRAME
            beside -= 0 if path is None else len(path.encode())
            if room < 0 or beside < 0:
                return admissible(draft, sorted(fitting, key=lambda each: each[0].header.shard), limit)
            fitting.append((signed, path))
        return passing

    def _checkpoint_records(self) -> list[RelayRecord]:
        """Return the record of the state after this height, where this is one of those that have a checkpoint."""
        if not self.height or self.height % CHECKPOINT_HEIGHTS:
            return []
        return [checkpoint_of(self.suite, self.height, self.encode()).record]


def _newest_first(draft: Draft, offers: Iterable[HeaderOffer]) -> list[tuple[HeaderOffer, InclusionPath | None]]:
    """Return offers of known shards by shard, the highest first, each with its path from what is anchored."""
    known = [each for each in offers if draft.entry(each.signed.header.shard) is not None]
    known.sort(key=lambda each: (each.signed.header.shard, -each.signed.header.height))
    return [(each, each.path_from(draft.shards[each.signed.header.shard].height)) for each in known]


def median_time(certificate: Certificate, validators: ValidatorSet) -> int:
    """Return the weighted median of a certificate's vote times: the lower one, at which half of its power is reached.

    Liars hold less than half of any quorum, so the median is never beyond what honest clocks show.
    """
    votes = sorted((each.time, validators.members[each.index].power) for each in certificate.signers)
    total, reached = sum(power for _, power in votes), 0
    for time, power in votes:
        reached += power
        if 2 * reached >= total:
            return time
    return 0
