"""What stands behind a command: the network folder, a client that speaks in a role, and the keys that sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clearspan.administration import AdminDesk, RingKey
from clearspan.client import AsyncClient, RetryPolicy
from clearspan.errors import ConfigError
from clearspan.keys import KeyFile, ScryptCost
from clearspan.network import DEVELOPMENT_COST_N, Network, find_network
from clearspan.pki import TlsFiles
from engine.record import participant_of_account
from engine.types import Role

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.keys import KeyRing
    from engine.genesis import GenesisDomain, GenesisLedger

__all__ = ["Session"]


@dataclass(frozen=True, slots=True)
class Session:
    """A network folder in use by one command."""

    network: Network
    timeout_s: float = 10.0

    @classmethod
    def open(cls, path: Path | None, timeout_s: float = 10.0) -> Session:
        """Find and read the folder. Raises ConfigError."""
        return cls(Network.load(find_network(path)), timeout_s)

    # Whom a command is about.

    def domain(self, name: str | None, participant: int = 0) -> GenesisDomain:
        """Return the domain that was named, the only one, or the one in which this folder knows the participant."""
        if name is not None:
            return self.network.domain(name)
        domains = self.network.genesis.domains
        if len(domains) == 1:
            return domains[0]
        known = {each.domain for each in self.network.participants() if each.number == participant}
        if len(known) == 1:
            return self.network.genesis.domain(known.pop())
        names = ", ".join(domain.name for domain in domains)
        raise ConfigError("--domain", "this network has several domains", f"name one of {names}")

    def ledger(self, name: str) -> tuple[GenesisDomain, GenesisLedger]:
        """Return a ledger by its currency or number, with its domain."""
        return self.network.ledger(name)

    def ledger_of(self, number: int) -> GenesisLedger:
        """Return a ledger of the network by its number."""
        return self.network.ledger(str(number))[1]

    # Who speaks.

    def connect(self, domain: int, speaker: str) -> AsyncClient:
        """Return a client of a domain's node that speaks with a certificate of this folder, to use in `async with`."""
        policy = RetryPolicy(deadline_s=self.timeout_s, attempt_s=self.timeout_s)
        return AsyncClient(
            self.network.address(domain),
            self.certificate(domain, speaker),
            genesis_hash=self.network.genesis.hash,
            policy=policy,
        )

    def certificate(self, domain: int, speaker: str) -> TlsFiles:
        """Return the files of a certificate: by its name, or as that role of the domain. Raises ConfigError."""
        folder = self.network.path / "tls"
        for name in (f"{speaker}-{self.network.genesis.domain(domain).name}", speaker):
            if (folder / f"{name}.pem").is_file() and "/" not in name:
                return TlsFiles(folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem")
        raise ConfigError(
            "--as", f"{folder} holds no certificate {speaker!r}", "name one of the files there, without .pem"
        )

    # Who signs.

    def desk(self, client: AsyncClient, domain: int) -> AdminDesk:
        """Return the administration of a domain, with the operator's keys of this folder."""
        return AdminDesk(client, self.network.genesis, domain, self.domain_keys(domain, Role.OPERATOR))

    def domain_keys(self, domain: int, role: Role) -> KeyRing:
        """Return the keys of the domain's operator or supervisor, as the genesis names it."""
        keys = self.network.genesis.domain(domain).keys
        participant = next(key.participant for key in keys if key.role == role)
        return self.network.load_keys(domain, participant)

    def signer(self, domain: int, participant: int, role: Role, key_id: int = 0) -> RingKey:
        """Return a registered key of a participant: the one named, else the newest of the role. Raises ConfigError."""
        ring = self.network.load_keys(domain, participant)
        found = [
            RingKey(ring, index)
            for index, info in enumerate(ring)
            if info.key_id and (info.key_id == key_id if key_id else info.role == role)
        ]
        if not found:
            what = f"key {key_id}" if key_id else f"registered key of role {role.name.lower()}"
            folder = self.network.key_folder(domain, participant)
            raise ConfigError(
                str(folder), f"holds no {what} of participant {participant}", "make one: clearspan key new"
            )
        return max(found, key=lambda each: each.key_id)

    def account_signer(self, domain: int, account: int, key_id: int = 0) -> RingKey:
        """Return the key that signs for an account: the one named, the one it was opened with, or the newest."""
        participant = participant_of_account(account)
        known = self.network.participant(domain, participant)
        served = known.accounts.get(account, 0) if known is not None else 0
        return self.signer(domain, participant, Role.ACCOUNT, key_id or served)

    def save_key(self, domain: int, key: KeyFile) -> Path:
        """Keep a registered key in its participant's folder and return the file."""
        info = key.info
        folder = self.network.key_folder(domain, info.participant)
        path = folder / f"{info.role.name.lower()}-{info.key_id}.key"
        key.save(path, self.network.passphrase(), ScryptCost(n=DEVELOPMENT_COST_N))
        return path
