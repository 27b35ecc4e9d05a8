"""What a client does with receipts: ask until something is final, follow the validator sets, verify before it returns.

Steps as in ``clearspan.client.core``; no socket and no clock of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clearspan.client.results import NOT_FOUND
from clearspan.errors import Refused, VerificationFailed
from clearspan.roles import Rpc
from clearspan.v1 import clearspan_pb2
from engine.anchorage import Finality
from engine.block_receipt import BlockReceipt
from engine.receipt import BalanceReceipt, Receipt, decode_receipt
from engine.refusals import EncodingError, ProofRefused
from relay.light import LightClient, RecordProof

if TYPE_CHECKING:
    from collections.abc import Callable

    from clearspan.client.core import ClientCore, Steps
    from engine.block_receipt import BlockFinding
    from engine.receipt import BalanceFinding, ReceiptFinding
    from engine.relay_block import RelayHeader
    from engine.validators import ValidatorSet

__all__ = ["FinalityCore", "ProvenBalance", "ProvenReceipt"]

_VERSION: Final = 1
_WAIT_S: Final = 5.0
_MS_PER_S: Final = 1_000


@dataclass(frozen=True, slots=True)
class ProvenReceipt:
    """A receipt of a decided record, verified: its bytes, as they are kept and handed on, and what it proves."""

    data: bytes
    finding: ReceiptFinding


@dataclass(frozen=True, slots=True)
class ProvenBalance:
    """A receipt of an account, verified."""

    data: bytes
    finding: BalanceFinding


class FinalityCore:
    """The receipts of one client, and the validator sets that it was led to."""

    def __init__(self, core: ClientCore, clock: Callable[[], float]) -> None:
        """Stand on the calls of a client."""
        self._core = core
        self._clock = clock
        self._light: LightClient | None = None

    def receipt(self, digest: bytes, *, payee: bool, wait_s: float, verified: bool) -> Steps[ProvenReceipt]:
        """Return the receipt of a record, once it is final; raises Refused (not_found) when that takes too long."""
        network = yield from self._core.network()

        def request(wait_ms: int) -> bytes:
            return clearspan_pb2.GetReceiptRequest(
                version=_VERSION,
                domain=network.domain.domain,
                digest=digest,
                form=clearspan_pb2.RECEIPT_FORM_PAYEE if payee else clearspan_pb2.RECEIPT_FORM_PAYER,
                wait_ms=wait_ms,
                least=_least(verified=verified),
            ).SerializeToString()

        data = yield from self._awaited(Rpc.GET_RECEIPT, request, wait_s)
        found = _decoded(data)
        if not isinstance(found, Receipt):
            raise VerificationFailed("receipt", "it is of an account")
        validators = yield from self._set_of(found)
        try:
            finding = found.verify(network.genesis.hash_suite, network.genesis.hash, validators)
        except ProofRefused as error:
            raise VerificationFailed("receipt", str(error)) from error
        if not finding.speaks_of(network.genesis.hash_suite, digest):
            raise VerificationFailed("receipt", "it is of another record")
        return ProvenReceipt(data, finding)

    def balance_receipt(self, account: int, *, wait_s: float, verified: bool) -> Steps[ProvenBalance]:
        """Return the receipt of an account as the next block leaves it; raises Refused (not_found) as above."""
        network = yield from self._core.network()

        def request(wait_ms: int) -> bytes:
            return clearspan_pb2.GetBalanceReceiptRequest(
                version=_VERSION,
                domain=network.domain.domain,
                account=account.to_bytes(16, "little"),
                wait_ms=wait_ms,
                least=_least(verified=verified),
            ).SerializeToString()

        data = yield from self._awaited(Rpc.GET_BALANCE_RECEIPT, request, wait_s)
        found = _decoded(data)
        if not isinstance(found, BalanceReceipt):
            raise VerificationFailed("receipt", "it is of a record")
        validators = yield from self._set_of(found)
        try:
            finding = found.verify(network.genesis.hash_suite, network.genesis.hash, validators)
        except ProofRefused as error:
            raise VerificationFailed("receipt", str(error)) from error
        if finding.account.id != account:
            raise VerificationFailed("receipt", "it is of another account")
        return ProvenBalance(data, finding)

    def blocks(
        self, shard: int, from_height: int, *, wait_s: float, verified: bool
    ) -> Steps[tuple[int, list[BlockFinding]]]:
        """Return the next height to ask for, and a shard's blocks from a height on, each followed to its certificate.

        Height 0 is the one after the newest that is final. None come where nothing became final within ``wait_s``.
        """
        network = yield from self._core.network()
        wait_ms = int(min(wait_s, _WAIT_S) * _MS_PER_S)
        request = clearspan_pb2.GetBlockReceiptRequest(
            version=_VERSION,
            domain=network.domain.domain,
            shard=shard,
            from_height=from_height,
            wait_ms=wait_ms,
            least=_least(verified=verified),
        )
        reply = yield from self._core.call(
            Rpc.GET_BLOCK_RECEIPT, request.SerializeToString(), clearspan_pb2.GetBlockReceiptReply
        )
        due = from_height or reply.next_height - len(reply.receipts)
        found: list[BlockFinding] = []
        for data in reply.receipts:
            try:
                receipt = BlockReceipt.decode(data)
                validators = yield from self._set_at(receipt.anchorage.relay_header)
                finding = receipt.verify(network.genesis.hash_suite, network.genesis.hash, validators)
            except (EncodingError, ProofRefused) as error:
                raise VerificationFailed("block receipt", str(error)) from error
            if (finding.header.shard, finding.header.height) != (shard, due + len(found)):
                raise VerificationFailed("block receipt", "it is of another block")
            if verified and finding.anchorage.finality is not Finality.VERIFIED:
                raise VerificationFailed("block receipt", "it is not verified")
            found.append(finding)
        return due + len(found), found

    def validators(self) -> Steps[ValidatorSet]:
        """Return the newest validator set that the genesis leads to, each change of it proven."""
        light = yield from self._followed()
        return light.newest

    def light_client(self) -> Steps[LightClient]:
        """Return the light client with every set that a proof leads to now."""
        return self._followed()

    def _awaited(self, rpc: Rpc, request: Callable[[int], bytes], wait_s: float) -> Steps[bytes]:
        """Ask, letting the node wait, until there is a receipt or ``wait_s`` are over."""
        deadline = self._clock() + wait_s
        while True:
            left = max(0.0, deadline - self._clock())
            content = request(int(min(left, _WAIT_S) * _MS_PER_S))
            try:
                reply = yield from self._core.call(rpc, content, clearspan_pb2.GetReceiptReply)
            except Refused as error:
                if error.name != NOT_FOUND or self._clock() >= deadline:
                    raise
            else:
                return reply.receipt

    def _set_of(self, receipt: Receipt | BalanceReceipt) -> Steps[ValidatorSet]:
        """Return the set that decides a receipt's relay block, as far as proofs lead to it."""
        return (yield from self._set_at(receipt.anchorage.relay_header))

    def _set_at(self, header: RelayHeader) -> Steps[ValidatorSet]:
        if self._light is None or header.set_id > self._light.newest.set_id:
            yield from self._followed()
        assert self._light is not None
        try:
            return self._light.set_at(header.height)
        except ProofRefused as error:
            raise VerificationFailed("receipt", str(error)) from error

    def _followed(self) -> Steps[LightClient]:
        """Follow the changes of the validator set from what is known; each proof is verified."""
        network = yield from self._core.network()
        if self._light is None:
            self._light = LightClient.from_genesis(network.genesis)
        light = self._light
        while True:
            request = clearspan_pb2.GetSetChangesRequest(version=_VERSION, after_set_id=light.newest.set_id)
            reply = yield from self._core.call(
                Rpc.GET_SET_CHANGES, request.SerializeToString(), clearspan_pb2.GetSetChangesReply
            )
            if not reply.proofs:
                return light
            for proof in reply.proofs:
                try:
                    light.follow(RecordProof.decode(proof))
                except (ProofRefused, EncodingError) as error:
                    raise VerificationFailed("set change", str(error)) from error


def _least(*, verified: bool) -> clearspan_pb2.Durability:
    return clearspan_pb2.DURABILITY_VERIFIED if verified else clearspan_pb2.DURABILITY_FINAL


def _decoded(data: bytes) -> Receipt | BalanceReceipt:
    try:
        return decode_receipt(data)
    except EncodingError as error:
        raise VerificationFailed("receipt", str(error)) from error
