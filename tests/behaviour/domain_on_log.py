"""A domain of shards with their logs in lists: drives real machines as a node would, signs for everybody, loses nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.admin import NEW_KEY_SIGNS, AdminColumns, AdminRequest, SignedAdmin
from engine.batch import BatchColumns, sign_messages
from engine.bodies import encode_admin_body, encode_batch_body, encode_credits_body
from engine.conservation import check_domain
from engine.development import Development, DevelopmentKey, development_network
from engine.genesis import padded_key
from engine.log_record import LogRecord, RecordKind
from engine.machine import Sealed, ShardMachine
from engine.prefix import PrefixType, signing_prefix
from engine.record import Transfer, ordinary_account_id, shard_index_of_slot, slot_of_account
from engine.relay_block import RelayBlock, reveal_record
from engine.types import AdminType, Role, TransferKind

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
OPERATOR, ISSUER, BANK_A, BANK_B = 101, 102, 111, 112


class DomainOnLog:
    """Domain 1 of a development network; time moves only when it is told to."""

    def __init__(self, network: Development | None = None, shards: int = 1) -> None:
        self.network = network or development_network(b"test", currencies=(("CNY", 2),), shards=shards)
        self.genesis = self.network.genesis
        self.domain = self.genesis.domains[0]
        self.machines = {shard: ShardMachine(self.genesis, shard) for shard in self.domain.shard_ids()}
        self.logs: dict[int, list[LogRecord]] = {shard: [] for shard in self.machines}
        self.sealed: dict[int, list[Sealed]] = {shard: [] for shard in self.machines}
        self.now = self.genesis.time + SECOND
        self.relay_height = 0
        self.parent = bytes(32)
        self._next_id = 0
        self._admin_prefix = signing_prefix(self.genesis.hash_suite, PrefixType.ACCOUNT, self.genesis.hash)

    # Who signs.

    def key(self, role: int, nth: int = 0, participant: int | None = None) -> DevelopmentKey:
        return self.network.key(1, role, nth, participant)

    def fresh_id(self) -> int:
        self._next_id += 1
        return self._next_id

    # Where things are.

    def shard_of(self, account: int) -> int:
        return self.domain.domain << 8 | shard_index_of_slot(slot_of_account(account), self.domain.shards)

    def account_on(self, participant: int, index: int, nth: int = 0) -> int:
        """Return the nth account id of a participant that lives on the shard with this index."""
        found = (
            account
            for serial in range(1, 100_000)
            if self.shard_of(account := ordinary_account_id(participant, serial)) & 0xFF == index
        )
        for _ in range(nth):
            next(found)
        return next(found)

    # Log records.

    def _append(self, shard: int, kind: RecordKind, body: bytes) -> None:
        record = self.record(shard, kind, body)
        self.logs[shard].append(record)
        if kind is RecordKind.SEAL:
            self.sealed[shard].append(self.machines[shard].seal(record))
        else:
            self.machines[shard].record_applied(record)

    def record(self, shard: int, kind: RecordKind, body: bytes) -> LogRecord:
        number, previous = self.machines[shard].log_position
        return LogRecord.make(
            suite=self.genesis.hash_suite, genesis_hash=self.genesis.hash, shard=shard, epoch=1, number=number + 1,
            time=self.now, kind=kind, previous_hash=previous, body=body,
        )  # fmt: skip

    def submit(self, transfers: Sequence[Transfer], keys: Sequence[DevelopmentKey | None]) -> list[int]:
        """Sign and apply transfers of one shard as one batch; return the codes."""
        signed = sign_messages(self.genesis.hash_suite, self.genesis.hash, transfers)
        signatures = [
            bytes(64) if key is None else key.sign(message) for key, (message, _) in zip(keys, signed, strict=True)
        ]
        batch = BatchColumns.from_transfers(1, self.fresh_id().to_bytes(16, "little"), transfers, signatures)
        shard = self.shard_of(transfers[0].debit_account)
        machine = self.machines[shard]
        prepared = machine.prepare(batch)
        outcome = machine.apply_batch(batch, machine.verify(prepared, batch), self.now, prepared)
        self._append(shard, RecordKind.BATCH, encode_batch_body(batch, submitter=OPERATOR, codes=outcome.codes))
        self.last = outcome
        return outcome.codes.tolist()

    def deliver(self) -> None:
        """Carry every message between the shards until none is left."""
        while True:
            waiting = [(source, *each) for source in self.machines for each in self.machines[source].take_outgoing()]
            if not waiting:
                return
            for source, peer, messages in waiting:
                self.machines[peer].apply_credits(source, messages, self.now)
                self._append(peer, RecordKind.CREDITS, encode_credits_body(source, messages))

    def administer(self, requests: Sequence[SignedAdmin], shard: int | None = None) -> list[int]:
        """Apply admin requests on one shard, or on all; return the codes of the last one."""
        columns = AdminColumns.from_requests(requests)
        for each in self.machines if shard is None else (shard,):
            self.admin_outcome = self.machines[each].apply_admin(columns, self.now)
            self._append(each, RecordKind.ADMIN, encode_admin_body(columns, codes=self.admin_outcome.codes))
        return self.admin_outcome.codes.tolist()

    def signed_admin(self, request: AdminRequest, *keys: DevelopmentKey, new_key: bool = False) -> SignedAdmin:
        """Sign a request by one or two keys; with ``new_key`` the second one signs as the new key of a rotation."""
        body = request.encode()
        ids = [key.key_id for key in keys] + [0, 0]
        if new_key:
            ids[1] = NEW_KEY_SIGNS
        signatures = [key.sign(self._admin_prefix + body) for key in keys] + [bytes(64), bytes(64)]
        return SignedAdmin(body, (ids[0], ids[1]), (signatures[0], signatures[1]))

    def admin(self, kind: AdminType, **fields: object) -> AdminRequest:
        given = {"id": self.fresh_id(), "expires_at": self.now + MINUTE, "valid_for_s": 120, **fields}
        return AdminRequest(type=int(kind), **given)

    def relay_block(self, time: int, *preimages: bytes) -> None:
        """Let every shard consume the next relay block."""
        self.relay_height += 1
        block = RelayBlock.build(
            self.genesis.hash_suite, genesis_hash=self.genesis.hash, height=self.relay_height, view=1, time=time,
            parent_hash=self.parent, set_id=1, records=[reveal_record(each) for each in preimages],
        )  # fmt: skip
        self.parent = block.hash(self.genesis.hash_suite)
        for shard, machine in self.machines.items():
            machine.apply_relay_block(block.encode(), self.now)
            self._append(shard, RecordKind.RELAY_BLOCK, block.encode())

    def seal(self) -> None:
        for shard in self.machines:
            self._append(shard, RecordKind.SEAL, b"")

    # Everyday business.

    def transfer(self, debit: int, credit: int, amount: int, key: DevelopmentKey, **fields: object) -> Transfer:
        given = {
            "id": self.fresh_id(), "debit_account": debit, "credit_account": credit, "amount": amount, "ledger": 1,
            "key_id": key.key_id, "expires_at": self.now + 30 * SECOND, "valid_for_s": 60, **fields,
        }  # fmt: skip
        return Transfer(**given)

    def open(self, account: int, holder: int, **fields: object) -> int:
        """Open an account by its participant's registrar; the issuer's own has no key."""
        key_id = 0 if holder == ISSUER else self.key(Role.ACCOUNT, 0, holder).key_id
        request = self.admin(
            AdminType.ACCOUNT_OPEN, participant=holder, subject=account, ledger=1, **{"key_id": key_id, **fields}
        )
        return self.administer(
            [self.signed_admin(request, self.key(Role.REGISTRAR, 0, holder))], self.shard_of(account)
        )[0]

    def issue(self, issuer_account: int, account: int, amount: int) -> list[int]:
        """Issue by a pending of one issuer key, posted by the other."""
        one, other = self.key(Role.ISSUER, 0), self.key(Role.ISSUER, 1)
        pending = self.transfer(issuer_account, account, amount, one, flags=int(TransferKind.PENDING))
        post = self.transfer(issuer_account, account, amount, other, flags=int(TransferKind.POST), reference=pending.id)
        return self.submit([pending, post], [one, other])

    def ready(self) -> tuple[int, int, int]:
        """Open an account of the issuer and of two banks on the first shard, and issue 1,000 to the first bank."""
        issuer, a, b = self.account_on(ISSUER, 0), self.account_on(BANK_A, 0), self.account_on(BANK_B, 0)
        assert [self.open(issuer, ISSUER), self.open(a, BANK_A), self.open(b, BANK_B)] == [1, 1, 1]
        assert self.issue(issuer, a, 1000) == [1, 1]
        return issuer, a, b

    def check(self) -> None:
        """Everything that must always hold."""
        assert check_domain(self.machines.values()) == []

    def replayed(self, shard: int, *, audit: bool = False) -> ShardMachine:
        """Fold a shard's log into a new machine and compare the two."""
        from engine.replay import replay

        fresh = ShardMachine(self.genesis, shard)
        blocks: list[Sealed] = []
        replay(fresh, self.logs[shard], audit=audit, on_sealed=blocks.append)
        assert fresh.subtree_roots() == self.machines[shard].subtree_roots()
        assert blocks == self.sealed[shard]
        return fresh


def new_public_key(seed: bytes, participant: int, role: int, suite: int = 1) -> tuple[DevelopmentKey, bytes]:
    """Return a key that no genesis names, and its public key as a field holds it."""
    from engine.development import development_key

    key = development_key(b"new/" + seed, "key", participant=participant, role=role, suite=suite)
    return key, padded_key(key.public_key)


def times_of(outcome: object) -> list[int]:
    return np.asarray(outcome.times).tolist()
