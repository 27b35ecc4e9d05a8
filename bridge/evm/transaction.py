"""Transactions as bytes: what is signed, what is sent, what it is called. Knows no node and no key.

Chains with a base fee get the form of EIP-1559; those without one get the older form of EIP-155.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import rlp  # type: ignore[import-untyped]
from eth_keys.datatypes import PrivateKey, Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from bridge.leg import LegUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.evm.fees import Offer

__all__ = ["Signer", "SignerWrong", "Transaction", "sign", "signer_of"]

_TYPE_1559 = b"\x02"
_SIGNATURE_BYTES = 65
_Item: TypeAlias = "int | bytes | Sequence[_Item]"


class SignerWrong(LegUnavailable):
    """A signer answered what is no signature of its own address; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that stays where it is: its address, and a call that signs a 32-byte digest as r, s, parity (65 bytes).

    The key is of the curve secp256k1 and s is the lower of the two; parity is 0 or 1.
    """

    address: str
    sign_digest: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Transaction:
    """One call of a contract (or, with an empty ``to``, the making of one). ``dynamic`` is the form of EIP-1559."""

    chain_id: int
    nonce: int
    to: bytes
    value: int
    data: bytes
    gas: int
    offer: Offer
    dynamic: bool

    def digest(self) -> bytes:
        """Return what is signed."""
        if self.dynamic:
            return keccak(_TYPE_1559 + _encode(self._dynamic()))
        return keccak(_encode([*self._plain(), self.chain_id, 0, 0]))

    def encode(self, signature: bytes) -> bytes:
        """Return what is sent; the keccak of it is the transaction's hash."""
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        if self.dynamic:
            return _TYPE_1559 + _encode([*self._dynamic(), signature[64], r, s])
        return _encode([*self._plain(), 35 + 2 * self.chain_id + signature[64], r, s])

    def _dynamic(self) -> list[_Item]:
        return [
            self.chain_id, self.nonce, self.offer.priority_fee, self.offer.max_fee, self.gas, self.to, self.value,
            self.data, [],
        ]  # fmt: skip

    def _plain(self) -> list[_Item]:
        return [self.nonce, self.offer.max_fee, self.gas, self.to, self.value, self.data]


def signer_of(secret: bytes) -> Signer:
    """Make a signer of a secret of 32 bytes that an encrypted container has given up; it stays in this process."""
    key = PrivateKey(secret)
    return Signer(key.public_key.to_checksum_address(), lambda message: bytes(key.sign_msg_hash(message).to_bytes()))


def sign(transaction: Transaction, signer: Signer) -> bytes:
    """Have a transaction signed and return its bytes; raises SignerWrong unless the signature is the signer's."""
    digest = transaction.digest()
    signature = signer.sign_digest(digest)
    if len(signature) != _SIGNATURE_BYTES:
        raise SignerWrong(f"the signer answered {len(signature)} bytes, not {_SIGNATURE_BYTES}")
    try:
        found = Signature(signature).recover_public_key_from_msg_hash(digest).to_checksum_address()
    except (BadSignature, ValidationError) as error:
        raise SignerWrong("the signer answered what is no signature") from error
    if found != signer.address:
        raise SignerWrong("the signature is not of the signer's address")
    return transaction.encode(signature)


def _encode(items: Sequence[_Item]) -> bytes:
    return bytes(rlp.encode(items))
