"""A domain's node in the simulation: a queue, rounds over a real machine, and what it shows of locks and transfers.

It queues what it gets, applies it in rounds, seals, and shows decisions with their proofs. It knows nothing of swaps.
Its operator may lie about locks; what he then shows leads to no anchored header.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bridge.terms import hash_preimage, record_id
from clearspan.simulation.bridge.realm import signed_headers
from engine.admin import AdminColumns, AdminRequest
from engine.block import Decision, DecisionProof, InclusionPath, build_decision_proof
from engine.invariants import invariant
from engine.prefix import PrefixType, record_digest, signing_prefix
from engine.record import derived_claim, derived_refund
from engine.types import DECISION_BYTES, HASH_BYTES, TransferFlag, TransferKind
from native.codes import ResultCode
from shards.domain import AdminJob, RelayJob

if TYPE_CHECKING:
    from collections.abc import Callable

    from clearspan.simulation.bridge.realm import Realm
    from engine.admin import SignedAdmin
    from engine.header import Header, SignedHeader
    from engine.holds import Hold
    from engine.machine import ShardMachine
    from engine.record import Transfer
    from engine.relay_block import RelayBlock
    from shards.domain import Round

    Answer = Callable[[int], None]

__all__ = ["ARRIVAL", "CLAIM", "HELD", "LOCK", "REFUND", "RETURN", "Decided", "Place", "Record", "Statement"]

LOCK: Final = "lock"
"""What a decision is about: the record itself, made or refused, at once or after a hold."""
HELD: Final = "held"
ARRIVAL: Final = "arrival"
"""What crosses shards: that it has reached its account, or gone back to where it came from."""
RETURN: Final = "return"
CLAIM: Final = "claim"
REFUND: Final = "refund"
_CROSSINGS: Final = {
    ResultCode.CREDITED: ARRIVAL,
    ResultCode.CREDITED_TO_SUSPENSE: ARRIVAL,
    ResultCode.RETURNED: RETURN,
}
_KIND_MASK: Final = 0x0F


@dataclass(slots=True)
class Record:
    """A lock or a plain transfer as a node was asked for it, and what was decided of it: proofs by what they prove."""

    transfer: Transfer
    digest: bytes
    proofs: dict[str, DecisionProof] = field(default_factory=dict)
    preimage: bytes | None = None

    @property
    def function(self) -> int:
        """The hash function that its flags name."""
        return 2 if self.transfer.flags & TransferFlag.HASH_IS_SM3 else 1

    @property
    def is_lock(self) -> bool:
        """Tell a lock from a plain transfer."""
        return self.transfer.flags & _KIND_MASK == TransferKind.LOCK

    @property
    def code(self) -> int:
        """What the ledger decided in the end; 0 while it has not."""
        made = self.proofs.get(LOCK)
        return 0 if made is None else made.decision.code

    def created(self) -> bool:
        """Tell whether the ledger made it."""
        return self.code in (ResultCode.CREATED, ResultCode.CREATED_IN_TRANSIT)

    def paid(self) -> bool:
        """Tell whether the payee has it: made, arrived where it went to another shard, and not sent back."""
        crossed = self.code != ResultCode.CREATED_IN_TRANSIT or ARRIVAL in self.proofs
        return self.created() and crossed and RETURN not in self.proofs

    def open(self) -> bool:
        """Tell whether it is a lock that stands and has not ended."""
        return self.created() and CLAIM not in self.proofs and REFUND not in self.proofs


@dataclass(frozen=True, slots=True)
class Decided:
    """An admin request that a domain's first shard has decided: the block that says so, code, and time in ns."""

    request: AdminRequest
    height: int
    code: int
    time: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What a node says of a lock: the record and the proofs."""

    transfer: Transfer
    proofs: dict[str, DecisionProof]
    preimage: bytes | None = None


class Place:
    """One domain: ``offer`` and ``administer`` queue, ``consume`` takes relay blocks, ``round`` applies and seals."""

    def __init__(self, realm: Realm, index: int) -> None:
        self.name = f"place:{index}"
        self.index = index
        self.world = realm.worlds[index]
        self.core = realm.core(index)
        self.records: dict[bytes, Record] = {}
        self.liar = ""
        self.imagine: Callable[[bytes], list[Transfer]] = lambda _: []
        self.newest = list(realm.headers[index])
        self.changed: list[Record] = []
        self._suite = realm.genesis.hash_suite
        self._queue: list[tuple[Transfer, Answer | None]] = []
        self._admin: list[tuple[SignedAdmin, Answer]] = []
        self.decided: dict[bytes, Decided] = {}
        self.made: dict[bytes, Decided] = {}
        self._blocks: dict[int, tuple[Header, bytes]] = {}
        self._prefix = signing_prefix(self._suite, PrefixType.ACCOUNT, realm.genesis.hash)
        self._admin_of: dict[bytes, bytes] = {}
        self._of_digest: dict[bytes, tuple[Record, str]] = {}

    @property
    def busy(self) -> bool:
        """Tell whether something waits for a round."""
        return bool(self._queue or self._admin)

    @property
    def relay_height(self) -> int:
        """The last relay block consumed."""
        return self.core.relay_height

    @property
    def machines(self) -> list[ShardMachine]:
        """The shards of the domain."""
        return list(self.core.machines.values())

    @property
    def locks(self) -> list[Record]:
        """All locks that were asked for, in order."""
        return [record for record in self.records.values() if record.is_lock]

    def holds(self) -> list[Hold]:
        """Return what is held on any shard."""
        # Most ledgers hold nothing at most times, and that is quickly seen.
        return [hold for machine in self.core.machines.values() if machine.ledger.holds() for hold in machine.holds()]

    def machine_of(self, account: int) -> ShardMachine:
        """Return the shard of an account."""
        return self.core.machines[self.core.slot_map.shard_of(account.to_bytes(16, "little"))]

    # Work.

    def offer(self, transfer: Transfer, answer: Answer | None = None) -> None:
        """Get a record; it is applied in the next round, and its code then told."""
        self._queue.append((transfer, answer))

    def administer(self, request: SignedAdmin, answer: Answer) -> None:
        """Get an admin request; it takes effect before the next relay block is consumed, and its code is then told."""
        self._admin.append((request, answer))

    def govern(self, now: int) -> None:
        """Apply the admin requests that wait."""
        waiting, self._admin = self._admin, []
        if not waiting:
            return
        for each, _ in waiting:
            self._admin_of[record_digest(self._suite, self._prefix, each.body)] = each.body
        round_ = self.core.run([AdminJob(AdminColumns.from_requests([each for each, _ in waiting]))], now, seal=False)
        for (_, answer), code in zip(waiting, getattr(round_.replies[0], "codes", ()), strict=True):
            answer(int(code))

    def consume(self, blocks: list[RelayBlock], now: int) -> None:
        """Consume relay blocks in order, then round off."""
        for block in blocks:
            for preimage in block.preimages():
                self._expect_claims(preimage)
        self.core.run([RelayJob(tuple(blocks))], now, seal=False)

    def _expect_claims(self, preimage: bytes) -> None:
        for lock in self.locks:
            if lock.transfer.binding == hash_preimage(lock.function, preimage):
                claim = derived_claim(self._suite, lock.transfer, lock.digest, preimage)
                lock.preimage = preimage
                self._of_digest[self.world.digests([claim])[0]] = (lock, CLAIM)

    def round(self, now: int) -> None:
        """Apply what waits, seal, and tell the codes of what was applied."""
        waiting, self._queue = self._queue, []
        jobs = []
        for transfer, _ in waiting:
            self._know(transfer)
            job = self.core.split(self.world.signed([transfer]), submitter=1)
            for part in job.to_verify:
                self.core.verify(part)
            jobs.append(job)
        round_ = self.core.run(jobs, now, seal=True)
        self._sealed(round_)
        for (_, answer), reply in zip(waiting, round_.replies, strict=True):
            if answer is not None:
                told = getattr(reply, "first_codes", [0])[0] or getattr(reply, "codes", [0])[0]
                answer(int(told))

    def _know(self, transfer: Transfer) -> None:
        digest = self.world.digests([transfer])[0]
        if digest in self.records:
            return
        record = self.records[digest] = Record(transfer, digest)
        self._of_digest[digest] = (record, LOCK)
        if record.is_lock:
            refund = derived_refund(self._suite, transfer, digest)
            self._of_digest[self.world.digests([refund])[0]] = (record, REFUND)

    def _sealed(self, round_: Round) -> None:
        for signed, block in zip(signed_headers(self.world, round_), round_.sealed, strict=True):
            self.newest.append(signed)
            self._index(block.decision_leaves, signed)
            self._index_admin(block.decision_leaves, signed.header)

    def _index_admin(self, leaves: bytes, header: Header) -> None:
        """Note what was decided of admin requests: the first shard's word, and what any shard has made."""
        for at in range(0, len(leaves), DECISION_BYTES) if self._admin_of else ():
            body = self._admin_of.get(leaves[at : at + HASH_BYTES])
            if body is None:
                continue
            leaf = Decision.decode(leaves[at : at + DECISION_BYTES])
            found = Decided(AdminRequest.decode(body), header.height, leaf.code, leaf.time)
            if leaf.code == ResultCode.CREATED:
                self.made[body] = found
            if header.shard == self.first_shard and body not in self.decided:
                self.decided[body] = found
                self._blocks[header.height] = header, leaves

    def _index(self, leaves: bytes, signed: SignedHeader) -> None:
        for at in range(0, len(leaves), DECISION_BYTES):
            found = self._of_digest.get(leaves[at : at + HASH_BYTES])
            if found is None:
                continue
            record, what = found
            code = Decision.decode(leaves[at : at + DECISION_BYTES]).code
            if code == ResultCode.EXPIRED and record.code == code:
                continue  # nothing remembers a record that came too late, so each time it comes has a leaf
            what = HELD if what == LOCK and code == ResultCode.HELD else _CROSSINGS.get(ResultCode(code), what)
            proof = build_decision_proof(self._suite, leaves[at : at + HASH_BYTES], leaves, signed)
            assert proof is not None
            ended = (CLAIM in record.proofs or REFUND in record.proofs) and what not in _CROSSINGS.values()
            once = what not in record.proofs and not ended and (what != HELD or LOCK not in record.proofs)
            invariant(once, "a_lock_ends_once", place=self.name, what=what)
            record.proofs[what] = proof
            self.changed.append(record)

    # What it shows.

    @property
    def first_shard(self) -> int:
        """The shard that speaks for the domain."""
        return min(self.core.machines)

    def block(self, height: int, wanted: bytes) -> tuple[Header, bytes] | None:
        """Show a block of the first shard with its decisions; a liar adds one that would be liked, or shows none."""
        found = self._blocks.get(height)
        if self.liar == "denies":
            return None
        if self.liar == "forges":
            header, leaves = found or (self.newest[-1].header, b"")
            return header, leaves + Decision(wanted, header.time, int(ResultCode.CREATED)).encode()
        return found

    def say(self, debit: int, lock_id: bytes) -> list[Statement]:
        """Say what is known of a lock; a liar shows a decision that no header holds, or denies."""
        identity = record_id(lock_id)
        said = [
            Statement(lock.transfer, dict(lock.proofs), lock.preimage)
            for lock in self.locks
            if (lock.transfer.debit_account, lock.transfer.id) == (debit, identity)
        ]
        if self.liar == "denies":
            return []
        if self.liar == "forges":
            if not said:
                said = [Statement(record, {}) for record in self.imagine(lock_id)]
            return [self._forged(each) for each in said]
        return said

    def _forged(self, said: Statement) -> Statement:
        """Claim that a lock stands, under the newest header, which does not hold it."""
        newest = self.newest[-1]
        digest = self.world.digests([said.transfer])[0]
        leaf = Decision(digest, newest.header.time, int(ResultCode.CREATED))
        count = max(1, newest.header.decision_count)
        path = (bytes(HASH_BYTES),) * (count - 1).bit_length()
        return Statement(said.transfer, {LOCK: DecisionProof(leaf, InclusionPath(0, count, path), newest)})
