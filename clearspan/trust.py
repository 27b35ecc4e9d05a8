"""What a receipt is checked with: a genesis document, or a trust document that a light client wrote (RECEIPT-6).

It promises to read nothing else, and that what it writes the offline verifier and the page read too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from engine.genesis import Genesis, padded_key, plain_key
from engine.refusals import EncodingError, GenesisRefused, ProofRefused
from engine.types import HASH_BYTES, HashSuite
from engine.validators import Validator, ValidatorSet

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Trust", "TrustInvalid", "trust_for"]

_FORMAT: Final = 1
_BYTES_MAX: Final = 64 << 20


class TrustInvalid(ValueError):  # noqa: N818 - named as what it is, like the other refusals
    """A document that is neither a genesis nor a trust document."""


@dataclass(frozen=True, slots=True)
class Trust:
    """A network by its genesis hash, and one validator set of it."""

    network: str
    hash_suite: int
    genesis_hash: bytes
    validators: ValidatorSet

    @classmethod
    def of_genesis(cls, genesis: Genesis) -> Self:
        """Trust the first set; raises CertificateRefused for a genesis without a usable one."""
        return cls(genesis.network, genesis.hash_suite, genesis.hash, ValidatorSet.of_genesis(genesis))

    @classmethod
    def decode(cls, document: bytes) -> Self:
        """Read either kind of document; raises TrustInvalid."""
        try:
            if len(document) > _BYTES_MAX:
                raise ValueError("larger than 64 MiB")  # noqa: TRY301 - one place turns all of it into one error
            tree = json.loads(document)
            return cls.of_genesis(Genesis.decode(document)) if "domains" in tree else cls._read(tree)
        except (EncodingError, GenesisRefused, ProofRefused) as error:
            raise TrustInvalid(str(error)) from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"neither a genesis nor a trust document ({error})"
            raise TrustInvalid(reason) from error

    @classmethod
    def _read(cls, tree: dict[str, Any]) -> Self:
        if tree["format"] != _FORMAT:
            raise ValueError(f"format {tree['format']!r} is not known here")
        suite, genesis_hash = HashSuite(tree["hash_suite"]), bytes.fromhex(tree["genesis_hash"])
        if len(genesis_hash) != HASH_BYTES:
            raise ValueError("the genesis hash has 32 bytes")
        members = tuple(
            Validator(
                int(each["participant"]),
                int(each["suite"]),
                int(each["power"]),
                padded_key(bytes.fromhex(each["public_key"])),
            )
            for each in tree["members"]
        )
        validators = ValidatorSet(int(tree["set_id"]), int(tree["first_height"]), members)
        return cls(str(tree["network"]), suite, genesis_hash, validators)

    def encode(self) -> str:
        """Return the trust document."""
        members = [
            {
                "participant": each.participant,
                "suite": int(each.suite),
                "power": each.power,
                "public_key": (plain_key(each.suite, each.public_key) or each.public_key).hex(),
            }
            for each in self.validators.members
        ]
        tree = {
            "format": _FORMAT,
            "network": self.network,
            "hash_suite": int(self.hash_suite),
            "genesis_hash": self.genesis_hash.hex(),
            "set_id": self.validators.set_id,
            "first_height": self.validators.first_height,
            "members": members,
        }
        return json.dumps(tree, indent=1) + "\n"


def trust_for(documents: Iterable[Trust], set_id: int) -> Trust:
    """Return the document of a set, or else the one of the newest set: its refusal says what is missing."""
    found = sorted(documents, key=lambda each: (each.validators.set_id == set_id, each.validators.set_id))
    return found[-1]
