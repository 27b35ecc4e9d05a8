"""Random play on a stage: one choice after another makes requests, most of them sensible, and feeds them to both sides.

Whoever makes the choices (Hypothesis, or a seeded generator) decides everything: the same choices are the same play. What
was done is kept as text that can be run again without any chooser (``Play.script``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast

from native.codes import ResultCode as Code
from tests.model import admin_request as a
from tests.model import record as r
from tests.model.accounts import CLOSED, ISSUER, participant_of
from tests.model.adapter import Equal, ModelSubject, make_subject
from tests.model.genesis import SECOND_NS
from tests.model.hashes import sha256, sm3
from tests.model.keyring import can_sign, public_key
from tests.model.pendings import OPEN
from tests.model.record import Transfer, derive_claim, derive_refund
from tests.model.rule_play import RulePlay
from tests.model.rules import BREAKER, QUOTE
from tests.model.stage import (
    ALICE,
    ALICE_2,
    BANK,
    BOB,
    CAROL,
    CNY,
    DAVE,
    DOMAIN,
    HKD,
    ISSUER_ACCOUNT,
    ISSUER_P,
    KEYS,
    OTHER_BANK,
    Stage,
    account_on,
    genesis_document,
    suspense_on,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.model.pendings import Pending
    from tests.model.state import State

__all__ = ["GENESES", "Chooser", "Play"]

WINDOW_S = 8
GENESES: tuple[dict[str, int], ...] = (
    # Small bounds, so that each of them is met.
    {"ids_max": 24, "pendings_max": 7, "accounts_max": 10, "expire_per_batch_max": 2, "run_members_max": 4},
    {"ids_max": 400, "pendings_max": 60, "accounts_max": 40, "expire_per_batch_max": 1, "run_members_max": 6},
    {"ids_max": 60, "pendings_max": 12, "accounts_max": 12, "bucket_ns": 3 * SECOND_NS + 7, "suite": 2},
)

AMOUNTS = (1, 2, 10, 7, 100, 2**64, 2**64 - 1, 2**126, 2**127 - 1, 2**127, 2**128 - 1)
SECRETS = tuple(bytes([n]) * 32 for n in (0xA1, 0xA2, 0xA3))
SPARE_HERE = (account_on(0, BANK, 5), account_on(0, OTHER_BANK, 5))
SPARE_THERE = (account_on(1, BANK, 5), account_on(1, OTHER_BANK, 5))
HKD_ACCOUNT = account_on(0, BANK, 6)
HERE = (
    (ALICE, BOB, ALICE_2, ISSUER_ACCOUNT, *SPARE_HERE, HKD_ACCOUNT, suspense_on(0, BANK, CNY)),
    (CAROL, DAVE, *SPARE_THERE, suspense_on(1, OTHER_BANK, CNY)),
)
ALL_BITS = r.PAYER_POSTS | r.PAYEE_POSTS | r.PAYER_VOIDS | r.PAYEE_VOIDS


class Chooser(Protocol):
    """Makes every choice; 0 is always the plainest one."""

    def below(self, count: int) -> int:
        """A number from 0 to count - 1."""


class Play:
    """A stage, what was sent on it, and what may happen next."""

    def __init__(
        self,
        chooser: Chooser,
        *,
        genesis: dict[str, int],
        mode: str = "equal",
        over_shards: bool = False,
        rules: bool = False,
    ) -> None:
        """With ``over_shards`` there are runs over both shards too, and relay blocks that decide them.

        With ``rules`` quotes, thresholds, breakers and tiers are set, and what is held is released or rejected.
        """
        document = genesis_document(amount_max=2**127 - 1, window_s=WINDOW_S, lock_min_s=2, **genesis)
        self.script: list[str] = [f"stage = Stage(lambda d, s: make_subject({mode!r}, d, s), {document!r})"]
        self.choose = chooser
        self.stage = Stage(lambda d, s: make_subject(mode, d, s), document)
        self.sent: list[list[Transfer]] = [[], []]
        self.runs: list[list[list[Transfer]]] = [[], []]
        self.requests: list[tuple[a.AdminRequest, tuple[int, int], int]] = []
        self.over_shards = over_shards
        self.rules = RulePlay(self) if rules else None
        self.over: list[list[Transfer]] = []
        self.prepared: list[list[Transfer]] = []
        self.relay_blocks: list[tuple[int, tuple[bytes, ...], tuple[tuple[bytes, ...], ...]]] = []
        self.consumed = [0, 0]
        self.under_way: list[list[tuple[int, bytes]]] = [[], []]
        self.next_key = 100
        self.codes: dict[int, int] = {}
        self._furnish()
        if self.rules:
            self.rules.begin()

    # What happens.

    def step(self) -> None:
        """One step, of whatever kind."""
        acts = (
            (12, self.batch), (4, self.advance), (3, self.deliver), (2, self.relay), (3, self.administer), (2, self.seal),
            (1, self.checkpoint),
        )  # fmt: skip
        if self.over_shards:
            acts = (*acts, (9, self.run_over_shards), (4, self.relay))
        if self.rules:
            acts = (*acts, (6, self.rules.set_one), (6, self.rules.end_hold), (1, self.relay))
        index = self.choose.below(sum(weight for weight, _ in acts))
        for weight, act in acts:
            if index < weight:
                act()
                return
            index -= weight

    def batch(self) -> None:
        shard = self._shard()
        transfers: list[Transfer] = []
        for _ in range(1 + self.choose.below(6)):
            transfers += self._requests(shard)
        verdicts = [0 if self._rarely(20) else 1 for _ in transfers]
        self._send(shard, transfers, verdicts)

    def advance(self) -> None:
        """Time goes on, often to just before, at or just after an instant that matters."""
        now = self.stage.now
        instants = sorted({t for t in self._instants() if t > now})
        how = self.choose.below(8)
        if how < 4 or not instants:
            by = (1, SECOND_NS, 3 * SECOND_NS, WINDOW_S * SECOND_NS + 1, 0, 1, SECOND_NS, 1)[how]
            self._at(now + by)
        else:
            instant = instants[min(self.choose.below(3), len(instants) - 1)]
            self._at(max(now, instant + self.choose.below(3) - 1))

    def deliver(self) -> None:
        """Some or all of the messages of one shard arrive at the other."""
        source = self._shard()
        self._collect(source)
        waiting = self.under_way[source]
        if not waiting:
            return
        count = len(waiting) - self.choose.below(2) * self.choose.below(len(waiting))
        taken, self.under_way[source] = waiting[:count], waiting[count:]
        data = b"".join(message for _, message in taken)
        self._do(1 - source, f"apply_credits({DOMAIN << 8 | source}, {data!r}, {self.stage.now})")
        for code in self.stage.shards[1 - source].apply_credits(DOMAIN << 8 | source, data, self.stage.now):
            self._count(code)
        self._collect(1 - source)

    def relay(self) -> None:
        """A new relay block is final, or a shard consumes its next one."""
        if self.choose.below(2) == 0 or not self.relay_blocks:
            last = self.relay_blocks[-1][0] if self.relay_blocks else 0
            locks = sorted({p.due for state in self._states() for p in state.pendings.locks.values()})
            times = [self.stage.now, *(t + d for t in locks[:2] for d in (-1, 0, 1))]
            if self.over_shards:
                deadlines = sorted({half.due for state in self._states() for half in state.pendings.halves()})
                times += [t + d for t in deadlines[:2] for d in (-1, 0, -2, 1)]
            time = max(last, times[self.choose.below(len(times))])
            reveals = tuple(SECRETS[self.choose.below(len(SECRETS))] for _ in range(self.choose.below(3)))
            self.relay_blocks.append((time, reveals, self._decisions()))
        for shard in (0, 1):
            if self.consumed[shard] < len(self.relay_blocks) and not self._rarely(3):
                self._consume(shard)

    def _consume(self, shard: int) -> None:
        time, reveals, runs = self.relay_blocks[self.consumed[shard]]
        self.consumed[shard] += 1
        self._do(shard, f"apply_relay({self.consumed[shard]}, {time}, {reveals!r}, {self.stage.now}, {runs!r})")
        self.stage.shards[shard].apply_relay(self.consumed[shard], time, reveals, self.stage.now, runs)
        self._collect(shard)

    def _decisions(self) -> tuple[tuple[bytes, ...], ...]:
        """Some of the runs that were prepared before, as the relay demands, decided already or not."""
        recent = self.prepared[-6:]
        chosen = [run for run in recent if self.choose.below(3) == 0]
        if chosen and self._rarely(6):
            chosen.append(chosen[0])
        return tuple(tuple(member.pack() for member in run) for run in chosen)

    def run_over_shards(self) -> None:
        """A run that touches both shards is prepared on them, or refused by one; rarely one sent before."""
        if not self.relay_blocks and not self._rarely(8):
            self.relay()
        if self.over and self._rarely(6):
            members = self.over[self.choose.below(len(self.over))]
        else:
            members = self._run_over()
            self.over.append(members)
        touched = {self.stage.shard_of(a) for m in members for a in (m.debit_account, m.credit_account)}
        most = self._state(0).genesis.limits.run_members_max
        if len(touched) < 2 or not 2 <= len(members) <= most:
            return
        verdicts = [0 if self._rarely(30) else 1 for _ in members]
        shown = ", ".join(map(repr, members))
        self.script.append(f"stage.send_over({shown}, verdicts={verdicts})")
        answers = self.stage.send_over(*members, verdicts=verdicts)
        if all(answer.code == Code.PREPARED for answer in answers):
            self.prepared.append(members)
        for answer in answers:
            self._count(answer.code)

    def _run_over(self) -> list[Transfer]:
        members = []
        for _ in range(2 + self.choose.below(3)):
            shard = self.choose.below(2)
            kind = self._pick(r.PLAIN, r.PLAIN, r.PENDING, r.PLAIN)
            record = self._beginning(shard, kind, in_run=False)
            there = HERE[self.choose.below(2)]
            if not self._rarely(3):
                payee = there[self.choose.below(2)]
                record = record if payee == record.debit_account else replace(record, credit_account=payee)
            if self._rarely(40):
                record = self._malformed(record)
            if self._rarely(20):
                record = self._timed(record)
            if self._rarely(40):
                record = self._ending(shard, r.POST, in_run=True)
            members.append(record)
        if self._rarely(25):
            members[-1] = members[0]
        return [replace(m, flags=m.flags | r.LINKED) for m in members[:-1]] + [
            replace(members[-1], flags=members[-1].flags & ~r.LINKED)
        ]

    def seal(self) -> None:
        shard = self._shard()
        self._do(shard, f"seal({self.stage.now})")
        self.stage.shards[shard].seal(self.stage.now)

    def checkpoint(self) -> None:
        shard = self._shard()
        self._collect(shard)
        self._do(shard, f"seal({self.stage.now})")
        self.stage.shards[shard].seal(self.stage.now)
        self._do(shard, "round_trip()")
        self.stage.shards[shard].round_trip()

    def administer(self) -> None:
        """One or two admin requests; those that concern all shards go to all."""
        request, signers, verdicts, shards = self._admin()
        self.requests.append((request, signers, shards))
        for shard in (0, 1):
            if shards >> shard & 1:
                self._do(shard, f"apply_admin({request.pack()!r}, [{signers}], [{verdicts}], {self.stage.now})")
                answers = self.stage.shards[shard].apply_admin(request.pack(), [signers], [verdicts], self.stage.now)
                self._count(answers[0].code)

    def conserved(self) -> None:
        """What one shard sent and the other has not taken is in transit, to the unit (CHANNEL-2).

        Runs are decided alike once both have consumed the same relay blocks: what one half waits for, the other does.
        """
        for shard in (0, 1):
            while self.over_shards and self.consumed[shard] < len(self.relay_blocks):
                self._consume(shard)
        for source in (0, 1):
            halves = self._state(source).pendings.halves()
            apart = {h.digest for h in halves if not h.channel and h.transfer.kind == r.PLAIN} - {
                h.digest for h in halves if self.stage.shard_of(h.transfer.credit_account) == source
            }
            assert apart == {h.digest for h in self._state(1 - source).pendings.halves() if h.channel}, "halves match"
        for ledger in (CNY, HKD):
            for source in (0, 1):
                self._collect(source)
                out = self._sides(source, ledger)[1]
                back = self._sides(1 - source, ledger)[0]
                waiting = sum(
                    int.from_bytes(m[48:64], "little")
                    for _, m in self.under_way[source]
                    if int.from_bytes(m[12:16], "little") == ledger
                )
                assert out - back == waiting, "what is in transit is under way"

    # How it begins.

    def _furnish(self) -> None:
        s = self.stage
        for account, key in ((ISSUER_ACCOUNT, None), (ALICE, "bank"), (ALICE_2, "bank_2"), (BOB, "other")):
            self._open(account, key)
        for account, key in ((CAROL, "other"), (DAVE, "bank")):
            self._open(account, key)
        for account in (ALICE, ALICE_2, BOB, CAROL, DAVE):
            fields = {"limit_a": 1000, "limit_b": 3000 if account in (BOB, DAVE) else 0}
            request = s.request(a.ACCOUNT_LIMITS, subject=account, ledger=CNY, **fields)
            self._administer(request, (KEYS["issuer_a"], 0), s.shard_of(account))
        issue = {"debit_account": ISSUER_ACCOUNT, "credit_account": ALICE, "amount": 10_000}
        pending = s.pending(key_id=KEYS["issuer_a"], expires_at=s.now + WINDOW_S * SECOND_NS, **issue)
        self._send(
            0, [pending, replace(s.post(pending, key_id=KEYS["issuer_b"]), expires_at=pending.expires_at)], [1, 1]
        )

    def _open(self, account: int, key: str | None) -> None:
        participant = participant_of(account)
        registrar = {ISSUER_P: "issuer_registrar", BANK: "bank_registrar", OTHER_BANK: "other_registrar"}[participant]
        fields = {"participant": participant, "subject": account, "ledger": CNY, "key_id": KEYS[key] if key else 0}
        request = self.stage.request(a.ACCOUNT_OPEN, **fields)
        self._administer(request, (KEYS[registrar], 0), self.stage.shard_of(account))

    def ask(self, request: a.AdminRequest, signers: tuple[int, int], shards: int) -> None:
        """Send an admin request to the shards of these bits."""
        verdicts = (1, 1) if not self._rarely(25) else (1, 0)
        self.requests.append((request, signers, shards))
        for shard in (0, 1):
            if shards >> shard & 1:
                self._do(shard, f"apply_admin({request.pack()!r}, [{signers}], [{verdicts}], {self.stage.now})")
                answers = self.stage.shards[shard].apply_admin(request.pack(), [signers], [verdicts], self.stage.now)
                self._count(answers[0].code)
                self._collect(shard)

    def _administer(self, request: a.AdminRequest, signers: tuple[int, int], shard: int) -> None:
        self._do(shard, f"apply_admin({request.pack()!r}, [{signers}], [(1, 1)], {self.stage.now})")
        self.stage.shards[shard].apply_admin(request.pack(), [signers], [(1, 1)], self.stage.now)

    # Choosing.

    def _shard(self) -> int:
        return 1 if self.choose.below(4) == 3 else 0

    def _rarely(self, odds: int) -> bool:
        return self.choose.below(odds) == odds - 1

    def _pick(self, *options: int) -> int:
        return options[self.choose.below(len(options))]

    def state(self, shard: int) -> State:
        """The model's state of a shard."""
        return self._state(shard)

    def _states(self) -> list[State]:
        return [self._state(0), self._state(1)]

    def _state(self, shard: int) -> State:
        subject = self.stage.shards[shard]
        model = subject.model if isinstance(subject, Equal) else cast("ModelSubject", subject)
        return model.shard.state

    def _instants(self) -> list[int]:
        """Dues, expiries, the ends of windows and of buckets."""
        instants: list[int] = []
        for state in self._states():
            bucket_ns = state.genesis.limits.bucket_ns
            instants += [p.due for p in state.pendings.known.values() if p.due and p.ended == OPEN]
            numbers = [*state.ids.buckets, *state.pendings.forget]
            instants += [(number + 1) * bucket_ns for number in numbers]
            instants += [account.frozen_until for account in state.accounts.values() if account.frozen_until]
            instants += [rule.until for rule in state.rules.places if rule and rule.type in (QUOTE, BREAKER)]
        instants += [t.expires_at for sent in self.sent for t in sent[-20:] if t.expires_at < 2**62]
        return instants

    def _sides(self, shard: int, ledger: int) -> tuple[int, int]:
        id_ = 1 << 64 | ledger << 32 | DOMAIN << 8 | 1 - shard
        account = self._state(shard).accounts[id_]
        return account.debits_posted, account.credits_posted

    # Records.

    def _requests(self, shard: int) -> list[Transfer]:
        """One record, or the members of a run."""
        sent, runs = self.sent[shard], self.runs[shard]
        how = self.choose.below(24)
        if how >= 21:
            return self._run(shard)
        if how == 20 and runs:
            run = runs[self.choose.below(len(runs))]
            return run if self.choose.below(2) == 0 else [run[self.choose.below(len(run))]]
        if how == 19 and sent:
            return [sent[self.choose.below(len(sent))]]
        if how == 18 and sent:
            return [self._mutated(sent[self.choose.below(len(sent))])]
        if how == 17:
            return [self._malformed(self._record(shard))]
        return [self._record(shard)]

    def _run(self, shard: int) -> list[Transfer]:
        members = [self._record(shard, in_run=True) for _ in range(2 + self.choose.below(3))]
        if self._rarely(12):
            members[self.choose.below(len(members))] = members[0]
        run = [replace(m, flags=m.flags | r.LINKED) for m in members]
        if not self._rarely(20):
            run[-1] = members[-1]
        self.runs[shard].append(run)
        return run

    def _record(self, shard: int, *, in_run: bool = False) -> Transfer:
        kinds = (r.PLAIN, r.PENDING, r.POST, r.VOID, r.LOCK, r.PLAIN, r.POST, r.PENDING)
        kind = kinds[self.choose.below(len(kinds))]
        if not in_run and self._rarely(10):
            kind = self._pick(r.CANCEL, r.CLAIM, r.REFUND, r.CANCEL)
        if kind in (r.POST, r.VOID):
            record = self._ending(shard, kind, in_run=in_run)
        elif kind in (r.CLAIM, r.REFUND):
            record = self._derived(shard, kind)
        elif kind == r.CANCEL:
            record = self._cancel(shard)
        else:
            record = self._beginning(shard, kind, in_run=in_run)
        if not in_run and kind < r.CLAIM and self._rarely(12):
            record = self._timed(record)
        if record.kind <= r.VOID and self._rarely(15):
            record = replace(record, flags=record.flags | r.ATTACHMENT, binding=b"\x11" * 32)
        return record

    def _beginning(self, shard: int, kind: int, *, in_run: bool) -> Transfer:
        here, there = HERE[shard], HERE[1 - shard]
        payer = self._account(shard, here)
        if payer == ISSUER_ACCOUNT and not self._rarely(10):
            kind = r.PENDING
        local = in_run or self.choose.below(4) < 3
        payees = here if local and not self._rarely(40) else there
        payee = self._account(shard if payees is here else 1 - shard, payees)
        if payee == payer and not self._rarely(20):
            payee = here[1] if payer == here[0] else here[0]
        amount = self._amount(shard, payer, payee)
        record = self._basis(shard, payer, credit_account=payee, amount=amount, flags=kind)
        if kind == r.PENDING:
            until = self._pick(0, SECOND_NS, 1, 3 * SECOND_NS, WINDOW_S * SECOND_NS)
            bits = ALL_BITS if not self._rarely(4) else self.choose.below(16) << 7
            record = replace(record, flags=r.PENDING | bits, until=until)
        elif kind == r.LOCK:
            secret, with_sm3 = SECRETS[self.choose.below(len(SECRETS))], self.choose.below(2)
            until = self.stage.now + self._pick(2, 3, 6, 2) * SECOND_NS - (1 if self._rarely(10) else 0)
            flags = r.LOCK | (r.SM3_HASHLOCK if with_sm3 else 0)
            record = replace(record, flags=flags, until=until, binding=sm3(secret) if with_sm3 else sha256(secret))
        return self.rules.named(shard, record) if self.rules else record

    def _amount(self, shard: int, payer: int, payee: int) -> int:
        """Small, or all that a bound allows, or one more than that."""
        how = self.choose.below(16)
        if how < 11:
            return AMOUNTS[how % 5]
        if how == 11:
            return AMOUNTS[self.choose.below(len(AMOUNTS))]
        state = self._state(shard)
        debit, credit = state.accounts.get(payer), state.accounts.get(payee)
        rooms = [1]
        if debit:
            rooms.append(debit.credits_posted + debit.credit_limit - debit.debits_posted - debit.debits_pending)
        if credit and credit.balance_max:
            rooms.append(credit.balance_max - credit.credits_posted - credit.credits_pending + credit.debits_posted)
        if how == 15 and self._rarely(4):
            totals = state.totals[CNY]
            rooms = [2**127 - 1 - totals.debits_posted - totals.debits_pending]
        amount = rooms[-1 - self.choose.below(len(rooms))] + (1 if how == 14 else 0)
        return min(max(amount, 1), 2**128 - 1)

    def _account(self, shard: int, candidates: tuple[int, ...]) -> int:
        """Mostly one of the first two, or another one that is open; rarely any of all."""
        if not self._rarely(3):
            return candidates[self.choose.below(2)]
        accounts = self._state(shard).accounts
        open_ = [id_ for id_ in candidates if id_ in accounts and not accounts[id_].flags & CLOSED]
        chosen = open_ if open_ and not self._rarely(8) else candidates
        return chosen[self.choose.below(len(chosen))]

    def _basis(self, shard: int, payer: int, **fields: int) -> Transfer:
        """A record of this payer with the key that speaks for it, valid now; rarely with an id used before."""
        now = self.stage.now
        record = self.stage.transfer(debit_account=payer, key_id=self._key(shard, payer), **fields)
        account = self._state(shard).accounts.get(payer)
        ledger = account.ledger if account and not self._rarely(30) else CNY
        sent = self.sent[shard]
        id_ = sent[self.choose.below(len(sent))].id if sent and self._rarely(15) else record.id
        valid_s = self._pick(WINDOW_S, 2)
        return replace(
            record, id=id_ or 1, ledger=ledger, expires_at=now + self._pick(2, 1, 2, 0) * SECOND_NS, valid_for_s=valid_s
        )

    def _key(self, shard: int, payer: int) -> int:
        """The key that speaks for an account, the issuer's in turn; rarely another."""
        state = self._state(shard)
        if self._rarely(25):
            return self._pick(999, *KEYS.values())
        account = state.accounts.get(payer)
        keys = [key for key in state.registry.keys.values() if key.retired_at == 0]
        if account is None:
            return KEYS["bank"]
        if account.flags & ISSUER:
            mine = [k.id for k in keys if k.role == 1 and k.participant == participant_of(payer)]
        else:
            mine = [k.id for k in keys if k.role == 2 and k.lineage == account.key_lineage]
        return mine[self.choose.below(len(mine))] if mine else KEYS["bank"]

    def _ending(self, shard: int, kind: int, *, in_run: bool) -> Transfer:
        state = self._state(shard)
        known = list(state.pendings.known.values())
        open_ = [p for p in known if p.ended == OPEN and not p.is_lock]
        if in_run:
            open_ = [p for p in open_ if state.is_here(p.transfer.credit_account)]
        candidates = open_ if open_ and not self._rarely(8) else known
        if not candidates or not (open_ or self._rarely(3)):
            return self._beginning(shard, self._pick(r.PLAIN, r.PENDING), in_run=True)
        pending = candidates[self.choose.below(len(candidates))]
        return self._end_of(shard, pending, kind)

    def _end_of(self, shard: int, pending: Pending, kind: int) -> Transfer:
        was = pending.transfer
        amount = was.amount
        if kind == r.POST and amount > 1 and self.choose.below(3) == 2:
            amount -= 1
        if self._rarely(15):
            amount = (amount + 1) % 2**128
        fields = {"credit_account": was.credit_account, "amount": amount, "reference": was.id, "flags": kind}
        record = replace(self._basis(shard, was.debit_account, **fields), ledger=was.ledger)
        if self._rarely(25):
            record = replace(record, credit_account=HERE[shard][self.choose.below(4)])
        if self.choose.below(3) == 2:
            record = replace(record, key_id=self._payee_key(shard, was.credit_account))
        return record

    def _payee_key(self, shard: int, payee: int) -> int:
        role = 1 if payee == ISSUER_ACCOUNT else 2
        keys = self._state(shard).registry.keys.values()
        mine = [k.id for k in keys if k.role == role and k.participant == participant_of(payee) and not k.retired_at]
        return mine[self.choose.below(len(mine))] if mine else KEYS["bank"]

    def _derived(self, shard: int, kind: int) -> Transfer:
        state = self._state(shard)
        locks = [p for p in state.pendings.known.values() if p.is_lock]
        if not locks:
            return replace(self._beginning(shard, r.PLAIN, in_run=True), flags=kind)
        lock = locks[self.choose.below(len(locks))]
        suite = state.genesis.suite
        preimage = lock.preimage if lock.preimage and not self._rarely(4) else SECRETS[0]
        if kind == r.CLAIM:
            record = derive_claim(suite, lock.transfer, lock.digest, preimage)
        else:
            record = derive_refund(suite, lock.transfer, lock.digest)
        return replace(record, amount=(record.amount + 1) % 2**128) if self._rarely(5) else record

    def _cancel(self, shard: int) -> Transfer:
        payer = HERE[shard][self.choose.below(2)]
        sent = self.sent[shard]
        known = sent[self.choose.below(len(sent))].id if sent and self.choose.below(3) else 0
        reference = known or self.stage.next_id + 2 + self.choose.below(3)
        return self._basis(shard, payer, credit_account=0, amount=0, reference=reference, flags=r.CANCEL)

    def _timed(self, t: Transfer) -> Transfer:
        """Its validity moved to an edge."""
        now, valid_ns, window_ns = self.stage.now, t.valid_for_s * SECOND_NS, WINDOW_S * SECOND_NS
        edges = (now, now - 1, now + valid_ns, now + valid_ns + 1, now - window_ns, now - window_ns - 1, 2**63 - 1, 1)
        return replace(t, expires_at=edges[self.choose.below(len(edges))])

    def _mutated(self, t: Transfer) -> Transfer:
        """An earlier record with one field changed."""
        changes: tuple[dict[str, object], ...] = (
            {"amount": (t.amount + 1) % 2**128}, {"credit_account": DAVE}, {"user_data": t.user_data ^ 1}, {"code": t.code ^ 1},
            {"expires_at": min(t.expires_at + 1, 2**63 - 1)}, {"valid_for_s": 3}, {"until": (t.until + 1) % 2**64},
            {"ledger": HKD}, {"reference": (t.reference + 1) % 2**128}, {"flags": t.flags ^ r.PAYER_POSTS}, {"flags": t.flags ^ 1},
            {"key_id": KEYS["bank_2"]}, {"binding": b"\x22" * 32}, {"expires_at": self.stage.now + SECOND_NS},
        )  # fmt: skip
        return replace(t, **changes[self.choose.below(len(changes))])  # type: ignore[arg-type]

    def _malformed(self, t: Transfer) -> Transfer:
        changes: tuple[dict[str, object], ...] = (
            {"id": 0}, {"id": 2**128 - 1}, {"debit_account": 1}, {"credit_account": 0}, {"amount": 0}, {"amount": 2**127},
            {"reference": t.reference ^ 5}, {"expires_at": 0}, {"expires_at": 2**63}, {"until": 2**62}, {"until": 1},
            {"key_id": 0}, {"valid_for_s": 0}, {"valid_for_s": WINDOW_S + 1}, {"ledger": 978}, {"flags": t.flags | 1 << 12},
            {"flags": t.flags | r.BY_MANDATE}, {"flags": t.flags | r.SM3_HASHLOCK}, {"flags": 9},
            {"flags": t.flags ^ r.ATTACHMENT}, {"binding": bytes(32)}, {"binding": b"\x33" * 32},
            {"credit_account": t.debit_account}, {"debit_account": HERE[1][0]}, {"credit_account": 0xFFFFFFFF << 96},
        )  # fmt: skip
        return replace(t, **changes[self.choose.below(len(changes))])  # type: ignore[arg-type]

    # Administration.

    def _admin(self) -> tuple[a.AdminRequest, tuple[int, int], tuple[int, int], int]:
        """A request, its signers, their verdicts, and the shards it goes to, one bit each."""
        if self.requests and self._rarely(8):
            request, signers, shards = self.requests[self.choose.below(len(self.requests))]
            if self.choose.below(2):
                request = replace(request, reason=request.reason ^ 1, limit_a=request.limit_a ^ 1)
            return request, signers, self._possible(request, signers, (1, 1)), shards
        request, signers, shards = self._admin_request()
        if self._rarely(12):
            change: tuple[dict[str, object], ...] = (
                {"id": 0}, {"type": 12}, {"type": 0}, {"reason": 3}, {"expires_at": self.stage.now - 1}, {"valid_for_s": 0},
                {"valid_for_s": 3601}, {"expires_at": 2**63}, {"expires_at": self.stage.now + 7 * SECOND_NS, "valid_for_s": 2},
                {"ledger": HKD}, {"participant": 77}, {"limit_a": 2**128 - 1}, {"suite": 4},
                {"public_key": b"\x01" + bytes(63)},
            )  # fmt: skip
            request = replace(request, **change[self.choose.below(len(change))])  # type: ignore[arg-type]
        if self._rarely(12):
            signers = (self._pick(1, 3, 8, 999), self._pick(0, 2, 3, 1, a.NEW_KEY))
        verdicts = (0, 1) if self._rarely(20) else (1, 0) if self._rarely(20) else (1, 1)
        return request, signers, self._possible(request, signers, verdicts), shards

    @staticmethod
    def _possible(request: a.AdminRequest, signers: tuple[int, int], verdicts: tuple[int, int]) -> tuple[int, int]:
        """No signature of a new key holds when the body names a key that nobody can sign with."""
        if signers[1] == a.NEW_KEY and not can_sign(request.suite, request.public_key):
            return verdicts[0], 0
        return verdicts

    def _admin_request(self) -> tuple[a.AdminRequest, tuple[int, int], int]:
        shard = self._shard()
        account = HERE[shard][self.choose.below(len(HERE[shard]))]
        participant = participant_of(account)
        registrar = {ISSUER_P: 5, BANK: 8, OTHER_BANK: 11}[participant]
        here = 1 << shard
        kind = (5, 5, 6, 7, 8, 9, 11, 2, 3, 4, 1, 10, 9, 6)[self.choose.below(14)]
        make = self.stage.request
        if kind == a.ACCOUNT_OPEN:
            ledger = HKD if account == HKD_ACCOUNT else CNY
            key = 0 if account == ISSUER_ACCOUNT else self._account_key(participant)
            return (
                make(kind, participant=participant, subject=account, ledger=ledger, key_id=key, role=3),
                (registrar, 0),
                here,
            )
        if kind == a.ACCOUNT_LIMITS:
            limits = {"limit_a": self._pick(1000, 0, 2**127, 2**128 - 1), "limit_b": self._pick(0, 50, 2000, 12_000)}
            signer = KEYS["issuer_hkd"] if self._rarely(8) else KEYS["issuer_a"]
            return make(kind, subject=account, ledger=CNY, **limits), (signer, 0), here
        if kind in (a.ACCOUNT_FREEZE, a.ACCOUNT_UNFREEZE, a.ACCOUNT_CLOSE):
            until = self._pick(0, self.stage.now + 3 * SECOND_NS) if kind == a.ACCOUNT_FREEZE else 0
            account = self._empty(shard) if kind == a.ACCOUNT_CLOSE else account
            return make(kind, subject=account, ledger=CNY, reason=1, limit_a=until), (3, self._pick(1, 2)), here
        if kind == a.ACCOUNT_KEY_SET:
            key = self._account_key(participant)
            return make(kind, subject=account, ledger=CNY, key_id=key), (registrar, 1), here
        return self._admin_of_keys(kind, participant, registrar)

    def _admin_of_keys(
        self, kind: int, participant: int, registrar: int
    ) -> tuple[a.AdminRequest, tuple[int, int], int]:
        make, both = self.stage.request, 3
        fresh = {"suite": 1, "public_key": public_key(self.next_key - self.choose.below(2) * self.choose.below(2))}
        if kind == a.KEY_ADD:
            self.next_key += 1
            role = self._pick(2, 2, 3, 1, 7, 5, 0)
            signer = registrar if role in (1, 2, 3) else 1
            return (
                make(kind, participant=participant, role=role, **fresh),
                (signer, 2 if role in (1, 4, 5, 6) else 0),
                both,
            )
        if kind in (a.KEY_ROTATE, a.KEY_REVOKE):
            key = self._account_key(participant)
            if kind == a.KEY_REVOKE:
                # Rarely, or soon nobody could sign.
                kept = key if self._rarely(4) else 999
                return make(kind, participant=participant, key_id=kept), (registrar, 0), both
            self.next_key += 1
            signers = (registrar, 1) if self.choose.below(2) else (key, a.NEW_KEY)
            return make(kind, participant=participant, key_id=key, **fresh), signers, both
        if kind == a.PARTICIPANT_ADD:
            self.next_key += 1
            number = self._pick(30, 31, BANK, 0)
            return (
                make(kind, participant=number, subject=0x41, role=1 << 5, limit_a=3, limit_b=3, **fresh),
                (1, 0),
                both,
            )
        bounds = {"limit_a": self._pick(100, 2), "limit_b": self._pick(100, 4)}
        return make(a.QUOTA_SET, participant=participant, **bounds), (1, 0), both

    def _account_key(self, participant: int) -> int:
        keys = self._state(0).registry.keys.values()
        mine = [k.id for k in keys if k.role == 2 and k.participant == participant and not k.retired_at]
        return mine[self.choose.below(len(mine))] if mine else KEYS["bank"]

    def _empty(self, shard: int) -> int:
        """An account that could be closed, if there is one."""
        accounts = self._state(shard).accounts
        empty = [
            i for i in HERE[shard]
            if i in accounts and not accounts[i].flags & CLOSED and accounts[i].debits_posted == accounts[i].credits_posted
        ]  # fmt: skip
        return empty[self.choose.below(len(empty))] if empty else HERE[shard][0]

    # Doing.

    def _send(self, shard: int, transfers: Sequence[Transfer], verdicts: list[int]) -> None:
        shown = ", ".join(map(repr, transfers))
        self.script.append(f"stage.send({shown}, verdicts={verdicts}, shard={shard})")
        answers = self.stage.send(*transfers, verdicts=verdicts, shard=shard)
        for answer in answers:
            self._count(answer.code)
        self.sent[shard] += transfers
        self._collect(shard)

    def _collect(self, shard: int) -> None:
        self.under_way[shard] += self.stage.shards[shard].take_outgoing()

    def move_to(self, now: int) -> None:
        """Let it be this late, if it is not later."""
        self._at(max(self.stage.now, now))

    def _at(self, now: int) -> None:
        self.stage.now = now
        self.script.append(f"stage.now = {now}")

    def _do(self, shard: int, call: str) -> None:
        self.script.append(f"stage.shards[{shard}].{call}")

    def _count(self, code: int) -> None:
        self.codes[code] = self.codes.get(code, 0) + 1
