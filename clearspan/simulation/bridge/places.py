"""Where locks stand in the simulation: a domain's node over a real machine, the relay that anchors, a foreign chain.

A node queues what it gets, applies it in rounds, seals, and shows decisions with their proofs; the relay takes headers
and reveals by its own rules. None of them knows of swaps. Operators may lag, hold a lock back, fall silent or lie.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bridge.leg import LockOrder, LockState, LockView
from bridge.ports import HELD
from bridge.terms import account_text, hash_preimage, record_id
from clearspan.simulation.anchoring import AnchoringRelay
from clearspan.simulation.bridge.realm import signed_header
from engine.block import Decision, DecisionProof, InclusionPath, build_decision_proof
from engine.codes import MEANINGS, CodeClass, ResultCode, code_name
from engine.record import derived_claim, derived_refund
from engine.refusals import EncodingError, InvariantBroken, ProofRefused
from engine.relay_block import reveal_record
from engine.types import DECISION_BYTES, HASH_BYTES, TransferFlag, TransferKind
from shards.domain import RelayJob

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.leg import HashFunction
    from clearspan.simulation.bridge.realm import Realm
    from engine.header import SignedHeader
    from engine.record import Transfer
    from engine.relay_block import RelayBlock

__all__ = ["LockRecord", "Place", "SimRelay", "Statement", "Verifier"]

_LOCK: Final = "lock"
_CLAIM: Final = "claim"
_REFUND: Final = "refund"


@dataclass(slots=True)
class LockRecord:
    """A lock as a shard was asked for it, and what it decided of it so far: proofs by what they prove."""

    transfer: Transfer
    digest: bytes
    proofs: dict[str, DecisionProof] = field(default_factory=dict)
    preimage: bytes | None = None

    @property
    def function(self) -> int:
        """The hash function that its flags name."""
        return 2 if self.transfer.flags & TransferFlag.HASH_IS_SM3 else 1

    def created(self) -> bool:
        """Tell whether the ledger made the lock."""
        made = self.proofs.get(_LOCK)
        return made is not None and made.decision.code == ResultCode.CREATED


@dataclass(frozen=True, slots=True)
class Statement:
    """What a node says of a lock: the record and the proofs, or that it holds the record back."""

    transfer: Transfer
    proofs: dict[str, DecisionProof]
    preimage: bytes | None = None
    held: bool = False


class Place:
    """One domain: ``offer`` records, ``consume`` relay blocks, ``round`` applies and seals; ``say`` shows a lock."""

    def __init__(self, realm: Realm, index: int) -> None:
        self.name = f"place:{index}"
        self.index = index
        self.world = realm.worlds[index]
        self.core = realm.core(index)
        self.shard = realm.shard(index)
        self.locks: dict[bytes, LockRecord] = {}
        self.liar = ""
        self.imagine: Callable[[bytes], list[Transfer]] = lambda _: []
        self.held: dict[bytes, Transfer] = {}
        self._suite = realm.genesis.hash_suite
        self._queue: list[Transfer] = []
        self._of_digest: dict[bytes, tuple[LockRecord, str]] = {}
        self.newest = realm.headers[index][-1]
        self.changed: list[LockRecord] = []

    @property
    def busy(self) -> bool:
        """Tell whether something waits for a round."""
        return bool(self._queue)

    @property
    def relay_height(self) -> int:
        """The last relay block consumed."""
        return self.core.relay_height

    def offer(self, transfer: Transfer) -> None:
        """Get a record; it is applied in the next round."""
        self._queue.append(transfer)

    def consume(self, blocks: list[RelayBlock], now: int) -> None:
        """Consume relay blocks in order, then round off."""
        for block in blocks:
            for preimage in block.preimages():
                self._expect_claims(preimage)
        self.core.run([RelayJob(tuple(blocks))], now, seal=False)

    def _expect_claims(self, preimage: bytes) -> None:
        for lock in self.locks.values():
            if lock.transfer.binding == hash_preimage(lock.function, preimage):
                claim = derived_claim(self._suite, lock.transfer, lock.digest, preimage)
                lock.preimage = preimage
                self._of_digest[self.world.digests([claim])[0]] = (lock, _CLAIM)

    def round(self, now: int) -> list[ResultCode]:
        """Apply what waits, seal, and return the codes of what was applied."""
        jobs = []
        for transfer in self._queue:
            columns = self.world.signed([transfer])
            digest = self.world.digests([transfer])[0]
            if transfer.flags & 0x0F == TransferKind.LOCK and digest not in self.locks:
                lock = self.locks[digest] = LockRecord(transfer, digest)
                refund = derived_refund(self._suite, transfer, digest)
                self._of_digest[digest] = (lock, _LOCK)
                self._of_digest[self.world.digests([refund])[0]] = (lock, _REFUND)
            job = self.core.split(columns, submitter=1)
            for part in job.to_verify:
                self.core.verify(part)
            jobs.append(job)
        self._queue.clear()
        round_ = self.core.run(jobs, now, seal=True)
        for signed, block in zip(signed_header(self.world, round_), round_.sealed, strict=True):
            self.newest = signed
            self._index(block.decision_leaves, signed)
        return [ResultCode(int(code)) for reply in round_.replies for code in getattr(reply, "codes", ())]

    def _index(self, leaves: bytes, signed: SignedHeader) -> None:
        for at in range(0, len(leaves), DECISION_BYTES):
            found = self._of_digest.get(leaves[at : at + HASH_BYTES])
            if found is None:
                continue
            lock, what = found
            proof = build_decision_proof(self._suite, leaves[at : at + HASH_BYTES], leaves, signed)
            assert proof is not None
            if _CLAIM in lock.proofs or _REFUND in lock.proofs or (what == _LOCK and lock.created()):
                raise InvariantBroken("a_lock_ends_once", {"place": self.name, "what": what})
            lock.proofs[what] = proof
            self.changed.append(lock)

    def say(self, debit: int, lock_id: bytes) -> list[Statement]:
        """Say what is known of a lock; a liar shows a decision that no header holds, or denies."""
        identity = record_id(lock_id)
        said = [
            Statement(lock.transfer, dict(lock.proofs), lock.preimage)
            for lock in self.locks.values()
            if (lock.transfer.debit_account, lock.transfer.id) == (debit, identity)
        ]
        held = self.held.get(lock_id)
        if held is not None:
            said.append(Statement(held, {}, None, held=True))
        if self.liar == "denies":
            return []
        if self.liar == "forges":
            if not said:
                said = [Statement(record, {}) for record in self.imagine(lock_id)]
            return [self._forged(each) for each in said]
        return said

    def _forged(self, said: Statement) -> Statement:
        """Claim that a lock stands, under the newest header, which does not hold it."""
        digest = self.world.digests([said.transfer])[0]
        leaf = Decision(digest, self.newest.header.time, int(ResultCode.CREATED))
        count = max(1, self.newest.header.decision_count)
        path = (bytes(HASH_BYTES),) * (count - 1).bit_length()
        return Statement(said.transfer, {_LOCK: DecisionProof(leaf, InclusionPath(0, count, path), self.newest)})


class SimRelay:
    """Blocks that are final at once: the newest header of every shard, and each reveal once."""

    def __init__(self, realm: Realm) -> None:
        self._anchoring = AnchoringRelay(realm.genesis)
        self._known: dict[bytes, None] = {}
        self._pool: list[bytes] = []
        self.refused = 0
        for headers in realm.headers:
            for signed in headers:
                self._anchoring.publish(signed)

    @property
    def blocks(self) -> list[RelayBlock]:
        """All blocks, by height from 1."""
        return self._anchoring.blocks

    def publish(self, place: Place) -> None:
        """Hear of a node's newest header."""
        self._anchoring.publish(place.newest)

    def reveal(self, preimage: bytes) -> bool:
        """Take a reveal for the next block; a preimage of another length, or a known one, is refused (RELAY-20)."""
        try:
            reveal_record(preimage)
        except EncodingError:
            self.refused += 1
            return False
        if preimage in self._known:
            return False
        self._known[preimage] = None
        self._pool.append(preimage)
        return True

    def step(self, time: int) -> RelayBlock:
        """Make the next block."""
        heights = [
            (shard, len(known))
            for shard, known in self._anchoring.published.items()
            if len(known) > self._anchoring.anchored_height(shard)
        ]
        self._anchoring.step(heights, time, self._pool)
        self._pool = []
        return self.blocks[-1]

    def anchored(self, proof: DecisionProof) -> bool:
        """Demand that a proof's header is one that this relay anchored, and that it holds the decision.

        Raises ProofRefused for a proof that does not lead where it says; returns False while it is not anchored yet.
        """
        header = proof.signed_header.header
        known = self._anchoring.published.get(header.shard, [])
        if header.height > len(known) or known[header.height - 1].header != header:
            raise ProofRefused("header", "nobody published it")
        proof.check_path()
        return header.height <= self._anchoring.anchored_height(header.shard)


class Verifier:
    """Turns a node's statements into views, believing nothing that no anchored header proves."""

    def __init__(self, relay: SimRelay) -> None:
        self._relay = relay
        self.lies = 0

    def view(self, order: LockOrder, function: HashFunction, statements: list[Statement]) -> LockView:
        """Return how a lock of ours stands; ``order`` is what was agreed."""
        views = [self._one(order, function, each) for each in statements]
        # Of several records under one id at most one was made; show the one that says most.
        return max(views, key=lambda view: view.state, default=LockView(LockState.ABSENT, None, None, 0, ""))

    def _height(self) -> int:
        """Return the relay height up to which a verifier must have read when it believes what is shown now."""
        return self._relay.blocks[-1].header.height if self._relay.blocks else 0

    def _one(self, order: LockOrder, function: HashFunction, said: Statement) -> LockView:
        found = _order(order, function, said.transfer)
        if said.held:
            return LockView(LockState.SEEN, found, None, 0, HELD)
        final: dict[str, bool] = {}
        for what, proof in said.proofs.items():
            try:
                final[what] = self._relay.anchored(proof)
            except ProofRefused:
                self.lies += 1
        if _CLAIM in final:
            state = LockState.CLAIMED_FINAL if final[_CLAIM] else LockState.CLAIMED
            return LockView(state, found, said.preimage, 0, "")
        if _REFUND in final:
            return LockView(LockState.REFUNDED_FINAL if final[_REFUND] else LockState.REFUNDED, found, None, 0, "")
        if _LOCK in final:
            code = ResultCode(said.proofs[_LOCK].decision.code)
            if MEANINGS[code].code_class is not CodeClass.DONE:
                refused = final[_LOCK]
                state = LockState.REFUSED if refused else LockState.ABSENT
                return LockView(state, None, None, 0, code_name(code) if refused else "")
            return LockView(LockState.FINAL if final[_LOCK] else LockState.SEEN, found, None, self._height(), "")
        return LockView(LockState.ABSENT, None, None, 0, "")


def _order(order: LockOrder, function: HashFunction, transfer: Transfer) -> LockOrder:
    """Return what a record locks, as an order under the same id; equal to ``order`` only if all of it is as agreed."""
    sm3 = bool(transfer.flags & TransferFlag.HASH_IS_SM3)
    return LockOrder(
        lock_id=order.lock_id,
        payer=account_text(transfer.debit_account),
        payee=account_text(transfer.credit_account),
        amount=transfer.amount,
        hash_function=function if sm3 == (function == 2) else type(function)(3 - function),
        hashlock=transfer.binding,
        timelock_ns=transfer.until,
        asset=str(transfer.ledger),
    )
