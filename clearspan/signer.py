"""From records to signed columns: batches in one native call, runs with their own prefix, admin requests with two keys.

A signer holds a ring of keys and the genesis, because every signature is bound to the network. It never asks a ledger
anything: key ids and validity are what the records say, and `transfer` fills them in for those who build records one by
one.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

import numpy as np

from engine.admin import NEW_KEY_SIGNS, AdminColumns, AdminRequest, SignedAdmin
from engine.batch import BatchColumns
from engine.prefix import PrefixType, signing_prefix
from engine.record import Transfer
from engine.types import MESSAGE_BYTES, NS_PER_S, SIGNATURE_BYTES, U128_MAX, TransferKind
from native.ledger import prepare
from native.signatures import sign_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clearspan.keys import KeyRing
    from engine.genesis import Genesis

__all__ = ["VALID_FOR_S", "Signer", "new_batch_id", "new_transfer_id"]

VALID_FOR_S: Final = 60
"""How long a record is valid when nothing else is asked for; ledgers have a window of 60 s unless told."""

_NO_SIGNATURE: Final = bytes(SIGNATURE_BYTES)
# Kinds that the relay derives carry no signature (RECORD-6).
_UNSIGNED: Final = (TransferKind.CLAIM, TransferKind.REFUND)


class Signer:
    """Signs for the keys of one ring; a key is named by the id under which the ledger registered it."""

    def __init__(self, genesis: Genesis, ring: KeyRing) -> None:
        """Take the network and the keys; keys without an id cannot sign transfers and are left out."""
        self._suite = int(genesis.hash_suite)
        self._genesis_hash = genesis.hash
        self._ring = ring
        self._admin_prefix = signing_prefix(self._suite, PrefixType.ACCOUNT, genesis.hash)
        known = sorted((info.key_id, index) for index, info in enumerate(ring) if info.key_id)
        self._key_ids = np.array([key_id for key_id, _ in known], dtype=np.uint32)
        self._indexes = np.array([index for _, index in known], dtype=np.uint32)

    def __repr__(self) -> str:
        """Show how many keys sign and nothing of them."""
        return f"<Signer with {self._key_ids.size} keys>"

    def transfer(
        self,
        *,
        debit_account: int,
        credit_account: int,
        amount: int,
        ledger: int,
        key_id: int,
        valid_for_s: int = VALID_FOR_S,
        now: int | None = None,
        transfer_id: int | None = None,
    ) -> Transfer:
        """Return a plain transfer that is valid from now on, under a new random id; `replace` makes other kinds of it.

        amount in minor units; now in ns since 1970.
        """
        start = now if now is not None else time.time_ns()
        return Transfer(
            id=transfer_id if transfer_id is not None else new_transfer_id(),
            debit_account=debit_account,
            credit_account=credit_account,
            amount=amount,
            ledger=ledger,
            key_id=key_id,
            expires_at=start + valid_for_s * NS_PER_S,
            valid_for_s=valid_for_s,
        )

    def sign(self, domain: int, transfers: Sequence[Transfer], batch_id: bytes | None = None) -> BatchColumns:
        """Sign records built one by one. Raises as sign_columns does, and BatchRefused for more than 8,192."""
        columns = BatchColumns.from_transfers(domain, batch_id if batch_id is not None else new_batch_id(), transfers)
        return self.sign_columns(columns)

    def sign_columns(self, columns: BatchColumns) -> BatchColumns:
        """Return the batch with its signatures, whatever was in their place; heads and bindings are not copied.

        Raises KeyError naming a key id of which the ring has no secret. Claims and refunds stay unsigned.
        """
        messages = self._messages(columns)
        fields = columns.fields
        signed = ~np.isin(fields["flags"] & 0x0F, _UNSIGNED)
        rows = np.flatnonzero(signed)
        signatures = np.zeros((columns.count, SIGNATURE_BYTES), dtype=np.uint8)
        if rows.size == columns.count:
            sign_batch(self._ring.signing_keys, self._index_of(fields["key_id"]).data, messages.data, signatures.data)
        elif rows.size:
            part = np.empty((rows.size, SIGNATURE_BYTES), dtype=np.uint8)
            indexes = self._index_of(fields["key_id"][rows])
            sign_batch(self._ring.signing_keys, indexes.data, np.ascontiguousarray(messages[rows]).data, part.data)
            signatures[rows] = part
        return BatchColumns(
            columns.domain, columns.batch_id, columns.heads, signatures, columns.binding_index, columns.bindings
        )

    def sign_admin(self, request: AdminRequest, *key_ids: int) -> SignedAdmin:
        """Sign an admin request with one or two keys of the ring. Raises KeyError, ValueError for another number.

        For a rotation that the new key signs as well, use sign_rotation.
        """
        if not 1 <= len(key_ids) <= 2:
            message = f"an admin request has one or two signers, not {len(key_ids)}"
            raise ValueError(message)
        body = request.encode()
        signatures = [self._ring.sign(self._ring.index_of(key_id), self._admin_prefix + body) for key_id in key_ids]
        first, second = (*key_ids, 0)[:2]
        return SignedAdmin(body, (first, second), (signatures[0], signatures[1] if second else _NO_SIGNATURE))

    def sign_rotation(self, request: AdminRequest, old_key_id: int, new_index: int) -> SignedAdmin:
        """Sign a key_rotate with the old key and, at its index in the ring, the new one that has no id yet."""
        body = request.encode()
        message = self._admin_prefix + body
        old = self._ring.sign(self._ring.index_of(old_key_id), message)
        return SignedAdmin(body, (old_key_id, NEW_KEY_SIGNS), (old, self._ring.sign(new_index, message)))

    @staticmethod
    def admin_columns(requests: Sequence[SignedAdmin]) -> AdminColumns:
        """Return signed requests as they are submitted. Raises BatchRefused for none or too many."""
        return AdminColumns.from_requests(requests)

    def _index_of(self, key_ids: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Return the ring's index of each key id."""
        if not self._key_ids.size:
            raise KeyError(int(key_ids[0]))
        places = np.minimum(np.searchsorted(self._key_ids, key_ids), self._key_ids.size - 1)
        missing = np.flatnonzero(self._key_ids[places] != key_ids)
        if missing.size:
            raise KeyError(int(key_ids[missing[0]]))
        found: NDArray[np.uint32] = self._indexes[places]
        return found

    def _messages(self, columns: BatchColumns) -> NDArray[np.uint8]:
        """Return what is signed, n x 192: T and the record, with T_run in place of T in a run (RECORD-4)."""
        prepared = prepare(
            self._suite,
            self._genesis_hash,
            np.ascontiguousarray(columns.heads).data,
            np.ascontiguousarray(columns.binding_index, dtype=np.uint32).data,
            np.ascontiguousarray(columns.bindings).data,
        )
        return np.frombuffer(prepared.messages, dtype=np.uint8).reshape(columns.count, MESSAGE_BYTES)


def new_batch_id() -> bytes:
    """Return 16 random bytes."""
    return secrets.token_bytes(16)


def new_transfer_id() -> int:
    """Return a random id; 0 and 2^128 - 1, which are reserved, never come."""
    return secrets.randbelow(U128_MAX - 1) + 1
