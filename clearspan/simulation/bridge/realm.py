"""The ledgers of a simulated network: one domain each, the same participants on all of them, money issued to each.

Everything is derived from a number and signed for real; what a number gives is made once and loaded from then on. The
number also says how many shards each ledger has, so that the accounts of a leg lie on one shard or on two.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self

from clearspan.simulation.world import START, Secret, World
from engine.admin import AdminColumns
from engine.genesis import Genesis, GenesisDomain, GenesisKey, GenesisLedger
from engine.header import SignedHeader, header_message
from engine.machine import ShardMachine
from engine.types import NS_PER_S, Role
from shards.domain import AdminJob, DomainCore
from shards.slots import SlotMap

if TYPE_CHECKING:
    from engine.admin import SignedAdmin
    from engine.batch import BatchColumns
    from shards.domain import Round

__all__ = ["BANKS", "FUNDS", "LEDGERS", "OPERATOR", "SUPERVISORS", "LedgerWorld", "Realm", "realm_of", "signed_headers"]

LEDGERS: Final = ((156, "CNY", 2), (344, "HKD", 2), (764, "THB", 2), (392, "JPY", 0))
FUNDS: Final = 1_000_000
BANKS: Final = 6
OPERATOR: Final = 1
"""The key of the operator who sets rules together with a supervisor."""
SUPERVISORS: Final = (3, 4, 6)
"""Keys of supervisors: one each of two institutions, and a second one of the first."""
_SHARDS_MAX: Final = 4
_ISSUER: Final = 100
_KEYS: Final = (
    (Role.OPERATOR, 1),
    (Role.OPERATOR, 1),
    (Role.SUPERVISOR, 2),
    (Role.SUPERVISOR, 3),
    (Role.BLOCK, 1),
    (Role.SUPERVISOR, 2),
)


class LedgerWorld(World):
    """One domain's parties and keys on a genesis of several domains; bank ``i`` is the same participant on each."""

    @classmethod
    def on(cls, genesis: Genesis, domain: GenesisDomain, keys: dict[int, Secret], number: int) -> Self:
        """Derive the parties of a domain."""
        world = cls(genesis, domain.domain, domain.ledgers[0].ledger, keys)
        world._enrol(number, BANKS, 1)
        world._add_screening(number)
        return world

    @property
    def screening_key(self) -> int:
        """The key with which the bank that pays signs what came of screening."""
        return len(self.keys)

    def _participant(self, seed: int, number: int, requests: list[SignedAdmin], roles: int = 0) -> int:
        # Whoever pays screens.
        return super()._participant(seed, number, requests, roles or 1 << Role.SCREENING)

    def _add_screening(self, number: int) -> None:
        requests: list[SignedAdmin] = []
        _, key = self._key(number, "screening")
        bank = self.banks[0]
        self._key_add(requests, bank.number, key, Role.SCREENING, OPERATOR)
        self.setup.append(AdminColumns.from_requests(requests))

    def account(self, bank: int) -> int:
        """Return a bank's account on this ledger."""
        return self.banks[bank].accounts[0]

    def key_of(self, account: int) -> int:
        """Return the key that signs for a bank's account."""
        return next(bank.account_key for bank in self.banks if account in bank.accounts)


@dataclass(frozen=True, slots=True)
class Realm:
    """A network that stands: its worlds, and of each shard its state and the headers that led there."""

    genesis: Genesis
    worlds: tuple[LedgerWorld, ...]
    states: tuple[dict[int, bytes], ...]
    headers: tuple[tuple[SignedHeader, ...], ...]
    time: int

    def core(self, index: int) -> DomainCore:
        """Return a fresh core of a domain."""
        machines = {shard: ShardMachine.load(self.genesis, shard, state) for shard, state in self.states[index].items()}
        return DomainCore(self.genesis, machines, SlotMap.of(self.genesis, index + 1), 1)


def signed_headers(world: World, round_: Round) -> list[SignedHeader]:
    """Sign what a round has sealed: one header of each shard."""
    made = []
    for block in round_.sealed:
        signature = world.block_key.sign(
            header_message(world.genesis.hash_suite, world.genesis.hash, block.header.hash)
        )
        made.append(SignedHeader(block.header, world.block_key.key_id, signature))
    return made


@lru_cache(maxsize=16)
def realm_of(count: int, number: int) -> Realm:
    """Return the network of ``count`` ledgers that belongs to a number."""
    domains, secrets = [], []
    for index in range(count):
        ledger, currency, scale = LEDGERS[index]
        keys = {key_id: _secret(number, f"{currency} {key_id}") for key_id in range(1, len(_KEYS) + 1)}
        genesis_keys = tuple(
            GenesisKey(participant, role, keys[key_id].suite, keys[key_id].public)
            for key_id, (role, participant) in enumerate(_KEYS, 1)
        )
        terms = GenesisLedger(ledger, currency, scale, _ISSUER, window_s=60, lock_min_s=5)
        shards = 1 + (number + index) % _SHARDS_MAX
        domains.append(GenesisDomain(index + 1, currency, shards, (terms,), genesis_keys))
        secrets.append(keys)
    random = hashlib.sha256(f"bridge simulation {number}".encode()).digest()
    genesis = Genesis("simulation", random, START, tuple(domains), ())
    worlds, states, headers = [], [], []
    now = START
    for domain, keys in zip(domains, secrets, strict=True):
        world = LedgerWorld.on(genesis, domain, keys, number)
        now = START + NS_PER_S
        state, made = _founded(world, now)
        worlds.append(world)
        states.append(state)
        headers.append(made)
    return Realm(genesis, tuple(worlds), tuple(states), tuple(headers), now)


def _founded(world: LedgerWorld, now: int) -> tuple[dict[int, bytes], tuple[SignedHeader, ...]]:
    """Bring a domain's parties in and give each bank its funds; return the state of its shards and their headers."""
    shards = world.genesis.domain(world.domain).shard_ids()
    machines = {shard: ShardMachine(world.genesis, shard) for shard in shards}
    core = DomainCore(world.genesis, machines, SlotMap.of(world.genesis, world.domain), 1)
    rounds = [core.run([AdminJob(columns) for columns in world.setup], now, seal=True)]
    for bank in range(BANKS):
        rounds += [_applied(core, columns, now) for columns in world.issue(world.account(bank), FUNDS, now)]
    rounds.append(core.run([], now, seal=True))
    headers = tuple(each for round_ in rounds for each in signed_headers(world, round_))
    return {shard: machine.export() for shard, machine in core.machines.items()}, headers


def _applied(core: DomainCore, columns: BatchColumns, now: int) -> Round:
    job = core.split(columns, submitter=1)
    for part in job.to_verify:
        core.verify(part)
    return core.run([job], now, seal=False)


def _secret(number: int, name: str) -> Secret:
    return Secret(1, hashlib.sha256(f"clearspan bridge simulation {number} {name}".encode()).digest())
