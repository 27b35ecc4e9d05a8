"""Makes receipts of what is final: the decision or account, its block's header, the anchored header, the certificate.

It promises to give out no receipt that it did not verify itself, as its holder will, with the validator set that
decided the relay block. What is not final yet is waited for as long as the caller says.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

from engine.anchorage import Anchorage
from engine.block_receipt import BlockReceipt
from engine.header import SignedHeader
from engine.receipt import BalanceReceipt, Receipt, ReceiptForm
from engine.relay_block import RelayHeader
from engine.validators import Certificate

if TYPE_CHECKING:
    from clearspan.relay_link.link import RelayLink
    from clearspan.relay_link.ports import RelayStanding
    from clearspan.relay_link.store import AnchorEntry, AnchorStore
    from engine.chain import ChainBlock
    from engine.genesis import Genesis
    from engine.header import Header
    from shards.account_proofs import AccountAtBlock
    from shards.lookup import DecidedRecord

__all__ = ["ReceiptDesk", "ReceiptNode"]

_BLOCKS_AT_ONCE_MAX: Final = 64
_BLOCK_BYTES_MAX: Final = 4 << 20
"""Decisions of one reply, beside those of its first block: a message holds 8 MiB."""
_LOOKED_AT_MAX: Final = 16
"""Anchored headers among which one that is verified is looked for."""


class ReceiptNode(Protocol):
    """What receipts ask of the node."""

    async def decided(self, digest: bytes, *, payee: bool) -> DecidedRecord | None:
        """Return a decided record with its proof, None while its block is not sealed."""

    async def sealed_blocks(self, shard: int, from_height: int, to_height: int, bytes_max: int) -> list[ChainBlock]:
        """Return sealed blocks with their decisions from a height on, ascending; the first one whatever its size."""

    async def prove_account(self, account: int) -> AccountAtBlock | None:
        """Return an account as the next block leaves it, None for one that is unknown."""


class ReceiptDesk:
    """Receipts of one node. Use from its event loop."""

    def __init__(self, genesis: Genesis, node: ReceiptNode, store: AnchorStore, link: RelayLink) -> None:
        """Stand on the node, the store of anchors and the link that fills it."""
        self._genesis, self._node, self._store, self._link = genesis, node, store, link
        self._making: dict[tuple[int, int, int, bool], asyncio.Task[list[bytes]]] = {}

    @property
    def standing(self) -> RelayStanding:
        """How the line to the validators stands."""
        return self._link.standing

    def set_changes(self, after: int) -> list[bytes]:
        """Return the proofs of the changes to validator sets above a set's id, in order."""
        return self._store.set_proofs(after)

    async def receipt(
        self, digest: bytes, form: ReceiptForm, *, wait_s: float = 0.0, verified: bool = False
    ) -> bytes | None:
        """Return the receipt of a record by its digest, None where there is none within ``wait_s``.

        ``verified``: one that also proves that validators re-executed it. Raises ProofRefused where the decision is no
        proof of payment and the payee's form was asked for.
        """
        deadline = time.monotonic() + wait_s
        decided: DecidedRecord | None = None
        while True:
            decided = decided or await self._node.decided(digest, payee=form is ReceiptForm.PAYEE)
            if decided is not None:
                anchorage = await self._anchorage(decided.proof.signed_header.header, verified=verified)
                if anchorage is not None:
                    proof = decided.proof
                    found = Receipt(form, decided.record, decided.prefix, proof.decision, proof.path, anchorage)
                    return self._checked(found)
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            await self._link.grown(left)

    async def blocks(
        self, shard: int, from_height: int, *, wait_s: float, verified: bool = False
    ) -> tuple[int, list[bytes]]:
        """Return a height and the receipts of a shard's blocks from there on: those that are final by then.

        ``from_height`` 0 is the one after the newest that is final. None come where nothing is final within ``wait_s``.
        """
        deadline = time.monotonic() + wait_s
        while True:
            standing = self._link.standing.shards[shard]
            reached = (standing.verified if verified else standing.final).height
            from_height = from_height or reached + 1
            if reached >= from_height:
                to_height = min(reached, from_height + _BLOCKS_AT_ONCE_MAX - 1)
                receipts = await self._made(shard, from_height, to_height, verified)
                if receipts:
                    return from_height, receipts
            left = deadline - time.monotonic()
            if left <= 0:
                return from_height, []
            await self._link.grown(left)

    async def _made(self, shard: int, from_height: int, to_height: int, verified: bool) -> list[bytes]:
        """Make receipts once for all who ask for the same at the same time, as those who follow a shard do."""
        wanted = (shard, from_height, to_height, verified)
        task = self._making.get(wanted)
        if task is None:
            task = self._making[wanted] = asyncio.create_task(self._make(*wanted), name=f"receipts-{shard}")
            task.add_done_callback(lambda _: self._making.pop(wanted))
        return await asyncio.shield(task)

    async def _make(self, shard: int, from_height: int, to_height: int, verified: bool) -> list[bytes]:
        found = await self._node.sealed_blocks(shard, from_height, to_height, _BLOCK_BYTES_MAX)
        return await asyncio.to_thread(self._block_receipts, found, verified)

    def _block_receipts(self, blocks: list[ChainBlock], verified: bool) -> list[bytes]:
        """Return the receipts of blocks, up to the first that no anchorage leads to yet."""
        found: list[bytes] = []
        checked: int | None = None
        for block in blocks:
            header = SignedHeader.decode(block.signed_header).header
            anchorage = self._read_anchorage(header, verified)
            if anchorage is None:
                break
            receipt = BlockReceipt(block.decision_leaves, anchorage)
            relay_height = anchorage.relay_header.height
            if relay_height != checked:
                # Blocks under one anchored header share certificate and path: whether these convince is asked once.
                receipt.verify(self._genesis.hash_suite, self._genesis.hash, self._link.set_at(relay_height))
                checked = relay_height
            found.append(receipt.encode())
        return found

    async def balance(self, account: int, *, wait_s: float, verified: bool = False) -> bytes | None:
        """Return the receipt of an account as the next block leaves it.

        None for an unknown account, and where that block is not final within ``wait_s``.
        """
        deadline = time.monotonic() + wait_s
        found = await self._node.prove_account(account)
        if found is None:
            return None
        while True:
            anchorage = await self._anchorage(found.header, verified=verified)
            if anchorage is not None:
                proof = found.proof
                return self._checked(BalanceReceipt(proof.leaf, proof.path, proof.state_path, anchorage))
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            await self._link.grown(left)

    async def _anchorage(self, header: Header, *, verified: bool) -> Anchorage | None:
        return await asyncio.to_thread(self._read_anchorage, header, verified)

    def _read_anchorage(self, header: Header, verified: bool) -> Anchorage | None:
        """Lead from a block's header to the first verified one at or above it, else the first anchored one."""
        entries = self._store.anchors_from(header.shard, header.height, _LOOKED_AT_MAX)
        chosen = next((each for each in entries if each.verified), None)
        if chosen is None and not verified:
            chosen = next(iter(entries), None)
        # Validators that execute again may fall behind for long: then what they verify is a header far above.
        reached = self._store.verified(header.shard).height if verified else 0
        while chosen is None and entries and entries[-1].height < reached:
            entries = self._store.anchors_from(header.shard, entries[-1].height + 1, _LOOKED_AT_MAX)
            chosen = next((each for each in entries if each.verified), None)
        return None if chosen is None else self._lead(header, chosen)

    def _lead(self, header: Header, entry: AnchorEntry) -> Anchorage | None:
        final = self._store.final(entry.relay_height)
        if final is None:
            return None
        try:
            path = None
            if entry.height != header.height:
                path = self._store.range_path(entry.shard, header.height, entry.height)
        except KeyError:
            # The header was anchored by what an earlier life of this node had offered; its tree catches up.
            return None
        return Anchorage(
            header=header,
            range_path=path,
            anchored=SignedHeader.decode(entry.signed_header),
            anchor_path=entry.path,
            relay_header=RelayHeader.decode(final.header),
            certificate=Certificate.decode(final.certificate),
            statements=final.statements,
        )

    def _checked(self, receipt: Receipt | BalanceReceipt) -> bytes:
        """Verify a receipt as its holder will; raises ProofRefused for one that would not convince."""
        validators = self._link.set_at(receipt.anchorage.relay_header.height)
        receipt.verify(self._genesis.hash_suite, self._genesis.hash, validators)
        return receipt.encode()
