"""The keys of a participant by domain: which one signs for an account, signatures of quotes, signers of locks.

It promises that a secret never leaves the ring that holds it, and names a key only by its id in a domain's registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearspan.errors import ConfigError
from clearspan.keys import KeyRing, read_passphrase
from clearspan.signer import Signer
from engine.types import Role

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.bridging.settings.offers import Offers
    from engine.genesis import Genesis, GenesisLedger

__all__ = ["BridgeKeys"]


class BridgeKeys:
    """Rings by domain number; a domain without a folder of keys is one on which nothing is locked."""

    def __init__(self, genesis: Genesis, folder: Path, passphrase_file: Path) -> None:
        """Load `<folder>/<domain's name>` of every domain. Raises KeyFileError, ConfigError where there is none."""
        self._genesis = genesis
        self._rings: dict[int, KeyRing] = {}
        passphrase = read_passphrase(passphrase_file)
        for domain in genesis.domains:
            if (folder / domain.name).is_dir():
                self._rings[domain.domain] = KeyRing.load(folder / domain.name, passphrase)
        if not self._rings:
            raise ConfigError("keys.path", f"{folder} holds no folder of a domain", "put the key files there")
        self.offers: Offers | None = None
        # Every lock asks, and rings do not change while the process lives.
        self._newest: dict[int, int] = {}

    @property
    def domains(self) -> tuple[int, ...]:
        """The domains on which this participant has keys."""
        return tuple(self._rings)

    def domain_of(self, ledger: int) -> int:
        """Return the domain of a ledger. Raises ConfigError for one that the genesis does not have."""
        for domain in self._genesis.domains:
            if any(each.ledger == ledger for each in domain.ledgers):
                return domain.domain
        raise ConfigError("ledger", f"the network has no ledger {ledger}", "name a ledger of the genesis")

    def ledger(self, number: int) -> GenesisLedger:
        """Return a ledger of the genesis. Raises ConfigError."""
        domain = self._genesis.domain(self.domain_of(number))
        return next(each for each in domain.ledgers if each.ledger == number)

    def signer(self, domain: int) -> Signer:
        """Return what signs locks of a domain. Raises KeyError where there are no keys."""
        return Signer(self._genesis, self._rings[domain])

    def ring(self, domain: int) -> KeyRing:
        """Return the keys of a domain. Raises KeyError where there are none."""
        return self._rings[domain]

    def key_of(self, ledger: int, account: int) -> int:
        """Return the id of the key that signs for an account: the one that the offers name, else the newest."""
        named = self.offers.key_of(ledger, account) if self.offers is not None else 0
        if named:
            return named
        newest = self._newest.get(ledger)
        if newest is None:
            newest = self._newest[ledger] = self.role_key(self.domain_of(ledger), Role.ACCOUNT)
        return newest

    def any_of(self, role: Role) -> int:
        """Return the id of a key of a role, 0 where there is none."""
        return next((info.key_id for ring in self._rings.values() for info in ring if info.role == role), 0)

    def role_key(self, domain: int, role: Role) -> int:
        """Return the id of the newest key of a role in a domain, 0 where there is none."""
        ring = self._rings.get(domain)
        return max((int(info.key_id) for info in ring or () if info.key_id and info.role == role), default=0)

    def sign(self, domain: int, key_id: int, message: bytes) -> bytes:
        """Sign a message with one key, 64 bytes. Raises KeyError."""
        ring = self._rings[domain]
        return ring.sign(ring.index_of(key_id), message)
