"""The relay of the simulation, and what a party believes of a node's word: nothing that no anchored header proves."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from bridge.leg import LockOrder, LockState, LockView
from bridge.ports import HELD as HELD_REASON
from bridge.terms import account_text
from clearspan.errors import ClientError
from clearspan.simulation.anchoring import AnchoringRelay
from clearspan.simulation.bridge.places import ARRIVAL, CLAIM, HELD, LOCK, REFUND
from engine.anchorage import AnchorageFinding, Finality
from engine.block import decisions_root
from engine.block_receipt import BlockFinding
from engine.codes import MEANINGS, CodeClass, ResultCode, code_name
from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import reveal_record
from engine.types import TransferFlag

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from bridge.leg import HashFunction
    from clearspan.simulation.bridge.places import Place, Record, Statement
    from clearspan.simulation.bridge.realm import Realm
    from engine.block import DecisionProof
    from engine.header import Header
    from engine.record import Transfer
    from engine.relay_block import RelayBlock

__all__ = ["BlockLine", "SimRelay", "Verifier", "driven"]

_Value = TypeVar("_Value")


def driven(steps: Coroutine[object, object, _Value]) -> _Value:
    """Return what a coroutine returns that waits for nothing: what it calls here is there already."""
    try:
        steps.send(None)
    except StopIteration as end:
        value: _Value = end.value
        return value
    steps.close()
    raise AssertionError("it waits, and nothing here would wake it")


class SimRelay:
    """Blocks that are final at once: the newest header of every shard, and each reveal once."""

    def __init__(self, realm: Realm) -> None:
        self._anchoring = AnchoringRelay(realm.genesis)
        self._known: dict[bytes, None] = {}
        self._pool: list[bytes] = []
        for headers in realm.headers:
            for signed in headers:
                self._anchoring.publish(signed)

    @property
    def blocks(self) -> list[RelayBlock]:
        """All blocks, by height from 1."""
        return self._anchoring.blocks

    def publish(self, place: Place) -> None:
        """Hear of a node's newest headers."""
        for signed in place.newest:
            self._anchoring.publish(signed)
        place.newest = place.newest[-1:]

    def reveal(self, preimage: bytes) -> bool:
        """Take a reveal for the next block; a preimage of another length, or a known one, is refused (RELAY-20)."""
        try:
            reveal_record(preimage)
        except EncodingError:
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

    def is_anchored(self, header: Header) -> bool:
        """Demand that a header was published, and say whether it is anchored. Raises ProofRefused."""
        known = self._anchoring.published.get(header.shard, [])
        if header.height > len(known) or known[header.height - 1].header != header:
            raise ProofRefused("header", "nobody published it")
        return header.height <= self._anchoring.anchored_height(header.shard)

    def anchored(self, proof: DecisionProof) -> bool:
        """Demand that a proof's header is one that this relay anchored, and that it holds the decision.

        Raises ProofRefused for a proof that does not lead where it says; returns False while it is not anchored yet.
        """
        is_anchored = self.is_anchored(proof.signed_header.header)
        proof.check_path()
        return is_anchored


class Verifier:
    """Turns a node's statements into views."""

    def __init__(self, relay: SimRelay) -> None:
        self._relay = relay
        self.lies = 0

    def view(self, order: LockOrder, function: HashFunction, statements: list[Statement]) -> LockView:
        """Return how a lock of ours stands; ``order`` is what was agreed."""
        views = [self._one(order, function, each) for each in statements]
        # Of several records under one id at most one was made; show the one that says most.
        return max(views, key=lambda view: view.state, default=LockView(LockState.ABSENT, None, None, 0, ""))

    def is_final(self, record: Record | None) -> bool:
        """Tell whether a plain transfer has reached its payee for good; a held one, or one that came back, has not."""
        if record is None or not record.paid():
            return False
        return self._relay.anchored(record.proofs.get(ARRIVAL, record.proofs[LOCK]))

    def _height(self) -> int:
        """Return the relay height up to which a verifier must have read when it believes what is shown now."""
        return self._relay.blocks[-1].header.height if self._relay.blocks else 0

    def _one(self, order: LockOrder, function: HashFunction, said: Statement) -> LockView:
        found = _order(order, function, said.transfer)
        final: dict[str, bool] = {}
        for what, proof in said.proofs.items():
            try:
                final[what] = self._relay.anchored(proof)
            except ProofRefused:
                self.lies += 1
        if CLAIM in final:
            state = LockState.CLAIMED_FINAL if final[CLAIM] else LockState.CLAIMED
            return LockView(state, found, said.preimage, 0, "")
        if REFUND in final:
            return LockView(LockState.REFUNDED_FINAL if final[REFUND] else LockState.REFUNDED, found, None, 0, "")
        if LOCK in final:
            code = ResultCode(said.proofs[LOCK].decision.code)
            if MEANINGS[code].code_class is not CodeClass.DONE:
                refused = final[LOCK]
                state = LockState.REFUSED if refused else LockState.ABSENT
                return LockView(state, None, None, 0, code_name(code) if refused else "")
            return LockView(LockState.FINAL if final[LOCK] else LockState.SEEN, found, None, self._height(), "")
        if HELD in final:
            return LockView(LockState.SEEN, found, None, 0, HELD_REASON)
        return LockView(LockState.ABSENT, None, None, 0, "")


class BlockLine:
    """A bridge's line to one node for whole blocks of decisions: nothing is believed that no anchored header holds.

    It stands for a ledger's port and for its client at once.
    """

    verified = True

    def __init__(self, relay: SimRelay, place: Place, suite: int, wanted: bytes) -> None:
        self._relay, self._place, self._suite, self._wanted = relay, place, suite, wanted
        self.client = self

    async def final_blocks(
        self, shard: int, from_height: int, *, wait_s: float, verified: bool
    ) -> tuple[int, list[BlockFinding]]:
        """Return a block that is final, with all of its decisions; raises ClientError for one that is not proved."""
        del wait_s, verified
        found = self._place.block(from_height, self._wanted)
        if found is None:
            return from_height, []
        header, leaves = found
        try:
            if header.shard != shard or not self._relay.is_anchored(header):
                return from_height, []
        except ProofRefused as error:
            raise ClientError(str(error), "") from error
        if decisions_root(self._suite, leaves) != header.decisions_root:
            raise ClientError("the leaves are not those of the header", "")
        relay = self._relay.blocks[-1].header
        finding = AnchorageFinding(shard, header.height, relay.height, relay.time, 1, Finality.VERIFIED)
        return from_height + 1, [BlockFinding(header, leaves, finding)]


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
