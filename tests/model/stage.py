"""A domain of two shards with a few institutions and accounts: where scenarios are played.

A scenario is written once and runs on whatever ``subject`` the stage is given: the model, the machine, or both at once.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.accounts import participant_of, suspense_account_id
from tests.model.admin_request import (
    ACCOUNT_CLOSE,
    ACCOUNT_FREEZE,
    ACCOUNT_LIMITS,
    ACCOUNT_OPEN,
    ACCOUNT_TIER,
    BREAKER_CLEAR,
    BREAKER_SET,
    HOLD_REJECT,
    HOLD_RELEASE,
    LEDGER_RULES,
    LEDGER_TIER,
    QUOTE_CLOSE,
    QUOTE_OPEN,
    AdminRequest,
)  # fmt: skip
from tests.model.genesis import SECOND_NS, slot_of
from tests.model.keyring import public_key
from tests.model.over_shards import together
from tests.model.record import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.model.adapter import Subject
    from tests.model.admin import AdminAnswer
    from tests.model.transfers import Answer

__all__ = [
    "ALICE", "ALICE_2", "BOB", "CAROL", "CNY", "DOMAIN", "EUR", "GENESIS_TIME", "HKD", "ISSUER_ACCOUNT", "KEYS", "Stage",
    "account_on", "genesis_document", "ids", "suspense_on",
]  # fmt: skip

DOMAIN = 5
CNY, HKD, EUR = 156, 344, 978  # EUR is no ledger of the domain
GENESIS_TIME = 1_800_000_000 * SECOND_NS
WINDOW_S = 60
LOCK_MIN_S = 20

OPERATOR, OPERATOR_2, SUPERVISOR_P, SUPERVISOR_2_P, ISSUER_P, ISSUER_HKD_P, BANK, OTHER_BANK = (
    1,
    2,
    3,
    4,
    10,
    11,
    20,
    21,
)

# name -> (key id, participant, role): the keys of the genesis, in order.
_KEY_ROWS = (
    ("operator", OPERATOR, 4), ("operator_2", OPERATOR_2, 4), ("supervisor", SUPERVISOR_P, 5), ("block", OPERATOR, 6),
    ("issuer_registrar", ISSUER_P, 3), ("issuer_a", ISSUER_P, 1), ("issuer_b", ISSUER_P, 1),
    ("bank_registrar", BANK, 3), ("bank", BANK, 2), ("bank_2", BANK, 2),
    ("other_registrar", OTHER_BANK, 3), ("other", OTHER_BANK, 2),
    ("issuer_hkd_registrar", ISSUER_HKD_P, 3), ("issuer_hkd", ISSUER_HKD_P, 1),
    ("supervisor_2", SUPERVISOR_2_P, 5),
)  # fmt: skip
KEYS = {name: number for number, (name, _, _) in enumerate(_KEY_ROWS, 1)}


@cache
def account_on(shard: int, participant: int, nth: int = 0, shards: int = 2) -> int:
    """The nth ordinary account id of a participant whose slot lies on the shard with this index."""
    serial = found = 0
    while True:
        serial += 1
        id_ = participant << 96 | serial
        if slot_of(id_) * shards // 4096 == shard:
            if found == nth:
                return id_
            found += 1


def suspense_on(shard: int, participant: int, ledger: int, shards: int = 2) -> int:
    """A participant's suspense account on the shard with this index (LEDGER-1)."""
    numbers = (suspense_account_id(participant, ledger, number) for number in count())
    return next(id_ for id_ in numbers if slot_of(id_) * shards // 4096 == shard)


ISSUER_ACCOUNT = account_on(0, ISSUER_P)
ALICE, ALICE_2 = account_on(0, BANK), account_on(0, BANK, 1)
BOB = account_on(0, OTHER_BANK)
CAROL = account_on(1, OTHER_BANK)
DAVE = account_on(1, BANK)

LIMITS = {
    "ids_max": 1000, "pendings_max": 100, "accounts_max": 60, "expire_per_batch_max": 4, "bucket_ns": SECOND_NS,
    "run_members_max": 8,
}  # fmt: skip


def genesis_document(
    *,
    suite: int = 1,
    amount_max: int = 10**18 - 1,
    shards: int = 2,
    window_s: int = WINDOW_S,
    lock_min_s: int = LOCK_MIN_S,
    time: int = GENESIS_TIME,
    **limits: int,
) -> bytes:
    """The canonical document of the stage's network."""

    def number(value: int) -> int | str:
        return value if value < 2**53 else str(value)

    ledgers = [
        {
            "ledger": ledger, "currency": currency, "scale": 2, "issuer": issuer, "amount_max": number(amount_max),
            "window_s": window_s, "lock_min_s": lock_min_s,
        }
        for ledger, currency, issuer in ((CNY, "CNY", ISSUER_P), (HKD, "HKD", ISSUER_HKD_P))
    ]  # fmt: skip
    keys = [
        {"participant": p, "role": role, "suite": 1, "public_key": public_key(n)[:32].hex()}
        for n, (_, p, role) in enumerate(_KEY_ROWS, 1)
    ]
    tree: dict[str, Any] = {
        "format": 1, "network": "stage", "random": "5a" * 32, "hash_suite": suite, "time": number(time),
        "domains": [
            {
                "domain": DOMAIN, "name": "stage", "shards": shards, "ledgers": ledgers, "keys": keys,
                "limits": {name: number(value) for name, value in (LIMITS | limits).items()},
            }
        ],
        "validators": [],
    }  # fmt: skip
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode("ascii")


def ids(answers: Sequence[Answer | AdminAnswer]) -> list[Code]:
    return [answer.code for answer in answers]


class Stage:
    """Two subjects, a clock, and short ways to say what happens to them."""

    def __init__(self, make: Callable[[bytes, int], Subject], document: bytes) -> None:
        genesis = json.loads(document)
        tree = genesis["domains"][0]
        self.document = document
        self.window_s = tree["ledgers"][0]["window_s"]
        self.shards = [make(document, DOMAIN << 8 | index) for index in range(tree["shards"])]
        self.now = int(genesis["time"]) + SECOND_NS
        self.relay_height = 0
        self.next_id = 100

    # Time and the road between shards.

    def later(self, seconds: float = 0, *, ns: int = 0) -> None:
        self.now += int(seconds * SECOND_NS) + ns

    def seal(self, shard: int = 0) -> bytes:
        return self.shards[shard].seal(self.now)

    def deliver(self) -> list[Code]:
        """Carry every message that left to its shard, until nothing is in transit."""
        codes: list[Code] = []
        while True:
            batches = [(i, out) for i, each in enumerate(self.shards) if (out := each.take_outgoing())]
            if not batches:
                return codes
            for source, out in batches:
                for target in sorted({peer for peer, _ in out}):
                    messages = b"".join(message for peer, message in out if peer == target)
                    codes += self.shards[target & 255].apply_credits(DOMAIN << 8 | source, messages, self.now)

    def relay(
        self,
        *preimages: bytes,
        time: int | None = None,
        shard: int | None = None,
        runs: Sequence[Sequence[Transfer]] = (),
    ) -> None:
        """Let the shards consume the next relay block, with a commit record for each of these runs."""
        self.relay_height += 1
        decided = [[member.pack() for member in run] for run in runs]
        for each in self.shards if shard is None else [self.shards[shard]]:
            each.apply_relay(self.relay_height, self.now if time is None else time, preimages, self.now, decided)

    # Building records.

    def transfer(self, **fields: Any) -> Transfer:
        self.next_id += 1
        basis = Transfer(
            id=self.next_id,
            debit_account=ALICE,
            credit_account=BOB,
            amount=10,
            expires_at=self.now + 30 * SECOND_NS,
            ledger=CNY,
            key_id=KEYS["bank"],
            valid_for_s=self.window_s,
        )
        return replace(basis, **fields)

    def plain(self, **fields: Any) -> Transfer:
        return self.transfer(**fields)

    def pending(self, flags: int = 0, **fields: Any) -> Transfer:
        return self.transfer(flags=r.PENDING | flags, **fields)

    def lock(self, hashlock: bytes, flags: int = 0, **fields: Any) -> Transfer:
        until = fields.pop("until", self.now + 25 * SECOND_NS)
        return self.transfer(flags=r.LOCK | flags, binding=hashlock, until=until, **fields)

    def post(self, of: Transfer, flags: int = 0, **fields: Any) -> Transfer:
        return self._end(of, r.POST | flags, fields)

    def void(self, of: Transfer, flags: int = 0, **fields: Any) -> Transfer:
        return self._end(of, r.VOID | flags, fields)

    def _end(self, of: Transfer, flags: int, fields: dict[str, Any]) -> Transfer:
        basis = {
            "debit_account": of.debit_account, "credit_account": of.credit_account, "amount": of.amount,
            "ledger": of.ledger, "reference": of.id, "key_id": of.key_id,
        }  # fmt: skip
        return self.transfer(flags=flags, **(basis | fields))

    def cancel(self, id_: int, **fields: Any) -> Transfer:
        basis = {"flags": r.CANCEL, "credit_account": 0, "amount": 0, "reference": id_}
        return self.transfer(**(basis | fields))

    def run(self, *members: Transfer) -> list[Transfer]:
        """The members with the linked bits that make them one run."""
        return [replace(m, flags=m.flags | r.LINKED) for m in members[:-1]] + [members[-1]]

    # Sending.

    def send(self, *transfers: Transfer, verdicts: Sequence[int] | None = None, shard: int = 0) -> list[Answer]:
        bound = [(i, t.binding) for i, t in enumerate(transfers) if any(t.binding)]
        return self.shards[shard].apply_batch(
            b"".join(t.head() for t in transfers),
            [i for i, _ in bound],
            b"".join(binding for _, binding in bound),
            list(verdicts or [1] * len(transfers)),
            self.now,
        )

    def send_over(self, *members: Transfer, verdicts: Sequence[int] | None = None) -> list[Answer]:
        """Send a run over shards: every shard that it touches prepares, then all do what they decided together."""
        bound = [(i, t.binding) for i, t in enumerate(members) if any(t.binding)]
        columns = (
            b"".join(t.head() for t in members), [i for i, _ in bound], b"".join(binding for _, binding in bound),
            list(verdicts or [1] * len(members)), self.now,
        )  # fmt: skip
        payees = {self.shard_of(t.credit_account) for t in members if t.kind == r.PLAIN}
        touched = [self.shards[index] for index in sorted({self.shard_of(t.debit_account) for t in members} | payees)]
        answers, decision = together([shard.hold_run(*columns) for shard in touched], len(members), self.now)
        for shard in touched:
            shard.decide_run(decision, [int(answer.code) for answer in answers], self.now)
        return answers

    def codes_over(self, *members: Transfer, verdicts: Sequence[int] | None = None) -> list[Code]:
        return ids(self.send_over(*members, verdicts=verdicts))

    def code(self, transfer: Transfer, verdict: int = 1, shard: int = 0) -> Code:
        return self.send(transfer, verdicts=[verdict], shard=shard)[0].code

    def codes(self, *transfers: Transfer, verdicts: Sequence[int] | None = None, shard: int = 0) -> list[Code]:
        return ids(self.send(*transfers, verdicts=verdicts, shard=shard))

    # Administration.

    def request(self, type_: int, **fields: Any) -> AdminRequest:
        self.next_id += 1
        basis = AdminRequest(id=self.next_id, type=type_, expires_at=self.now + 30 * SECOND_NS, valid_for_s=WINDOW_S)
        return replace(basis, **fields)

    def administer(
        self, request: AdminRequest, *signers: str | int, verdicts: tuple[int, int] = (1, 1), shard: int = 0
    ) -> AdminAnswer:
        numbers = [KEYS[signer] if isinstance(signer, str) else signer for signer in (*signers, 0, 0)][:2]
        return self.shards[shard].apply_admin(request.pack(), [(numbers[0], numbers[1])], [verdicts], self.now)[0]

    def everywhere(self, request: AdminRequest, *signers: str | int) -> AdminAnswer:
        """Types 1 to 4, 10, 15 and 18 to 20 go to every shard (ADMIN-5)."""
        answers = [self.administer(request, *signers, shard=index) for index in range(len(self.shards))]
        assert len(set(answers)) == 1, "every shard gives one answer"
        return answers[0]

    # Rules.

    def threshold(self, amount: int, hold_ns: int = 0, ledger: int = CNY) -> AdminAnswer:
        """Hold what reaches this amount, for so long."""
        fields = {"ledger": ledger, "limit_a": amount, "limit_b": hold_ns, "participant": SUPERVISOR_P}
        return self.everywhere(self.request(LEDGER_RULES, **fields), "operator", "supervisor")

    def end_hold(self, held: Transfer, *signers: str, releases: bool = True) -> AdminAnswer:
        """Release or reject a held transfer; by two supervisors unless told."""
        fields = {"subject": held.debit_account, "ledger": held.ledger, "limit_b": held.id, "reason": 1}
        request = self.request(HOLD_RELEASE if releases else HOLD_REJECT, **fields)
        return self.administer(
            request, *(signers or ("supervisor", "supervisor_2")), shard=self.shard_of(held.debit_account)
        )

    def quote(self, total: int, seconds: float = 20, account: int = ALICE, key: str = "bank", **fields: Any) -> int:
        """Open a quote; its id, which locks then name."""
        until = self.now + int(seconds * SECOND_NS)
        request = self.request(QUOTE_OPEN, subject=account, ledger=CNY, limit_a=total, limit_b=until, **fields)
        assert self.administer(request, key, shard=self.shard_of(account)).code == Code.CREATED
        return request.id

    def close_quote(self, quote: int, account: int = ALICE, key: str = "bank") -> AdminAnswer:
        request = self.request(QUOTE_CLOSE, subject=account, ledger=CNY, limit_b=quote)
        return self.administer(request, key, shard=self.shard_of(account))

    def breaker(self, kind: int, subject: int, grade: int, rate: int = 0, seconds: float = 20) -> AdminAnswer:
        """Set a breaker on every shard."""
        until = self.now + int(seconds * SECOND_NS)
        fields = {"subject": subject, "role": kind, "suite": grade, "reason": 7, "limit_a": rate, "limit_b": until}
        return self.everywhere(self.request(BREAKER_SET, **fields), "supervisor", "operator")

    def clear_breaker(self, kind: int, subject: int) -> AdminAnswer:
        fields = {"subject": subject, "role": kind, "reason": 8}
        return self.everywhere(self.request(BREAKER_CLEAR, **fields), "operator", "supervisor")

    def tier(self, number: int, action: int, most: int = 0, day: int = 0, count: int = 0) -> AdminAnswer:
        """Say what a tier of CNY may do."""
        fields = {"ledger": CNY, "role": number, "suite": action, "limit_a": most, "limit_b": day, "key_id": count}
        return self.everywhere(self.request(LEDGER_TIER, **fields), "operator", "supervisor")

    def wear(self, account: int, tier: int) -> AdminAnswer:
        """Put an account into a tier."""
        request = self.request(ACCOUNT_TIER, subject=account, ledger=CNY, role=tier)
        return self.administer(request, "issuer_a", shard=self.shard_of(account))

    # The usual set.

    def open(self, account: int, key: str | None = None, ledger: int = CNY, **fields: Any) -> AdminAnswer:
        participant = participant_of(account)
        registrar = {
            ISSUER_P: "issuer_registrar", ISSUER_HKD_P: "issuer_hkd_registrar", BANK: "bank_registrar",
            OTHER_BANK: "other_registrar",
        }[participant]  # fmt: skip
        request = self.request(
            ACCOUNT_OPEN,
            participant=participant,
            subject=account,
            ledger=ledger,
            key_id=KEYS[key] if key else 0,
            **fields,
        )
        return self.administer(request, registrar, shard=self.shard_of(account))

    def limits(self, account: int, credit_limit: int = 0, balance_max: int = 0) -> AdminAnswer:
        request = self.request(ACCOUNT_LIMITS, subject=account, ledger=CNY, limit_a=credit_limit, limit_b=balance_max)
        return self.administer(request, "issuer_a", shard=self.shard_of(account))

    def freeze(self, account: int, until: int = 0) -> AdminAnswer:
        request = self.request(ACCOUNT_FREEZE, subject=account, ledger=CNY, limit_a=until)
        return self.administer(request, "supervisor", "operator", shard=self.shard_of(account))

    def close(self, account: int) -> AdminAnswer:
        request = self.request(ACCOUNT_CLOSE, subject=account, ledger=CNY)
        return self.administer(request, "supervisor", "operator", shard=self.shard_of(account))

    def fund(self, account: int, amount: int) -> None:
        """Issue money: a pending by one issuer key, posted by another."""
        issued = self.pending(
            debit_account=ISSUER_ACCOUNT, credit_account=account, amount=amount, key_id=KEYS["issuer_a"]
        )
        assert self.codes(issued, self.post(issued, key_id=KEYS["issuer_b"])) == [
            Code.CREATED,
            Code.CREATED if self.shard_of(account) == 0 else Code.CREATED_IN_TRANSIT,
        ]
        self.deliver()

    def furnish(self, funds: int = 1000) -> Stage:
        """Open the usual accounts and give Alice money."""
        for account, key in ((ISSUER_ACCOUNT, None), (ALICE, "bank"), (ALICE_2, "bank_2"), (BOB, "other")):
            assert self.open(account, key).code == Code.CREATED
        assert self.open(CAROL, "other").code == Code.CREATED
        assert self.open(DAVE, "bank").code == Code.CREATED
        if funds:
            self.fund(ALICE, funds)
        return self

    # Looking.

    def shard_of(self, account: int) -> int:
        return slot_of(account) * len(self.shards) // 4096

    def balance(self, account: int, shard: int | None = None) -> tuple[int, int, int, int]:
        """debits pending and posted, credits pending and posted."""
        leaf = self.leaf(account, shard)
        fields = [int.from_bytes(leaf[start : start + 16], "little") for start in range(16, 80, 16)]
        return fields[0], fields[1], fields[2], fields[3]

    def leaf(self, account: int, shard: int | None = None) -> bytes:
        return self.shards[self.shard_of(account) if shard is None else shard].accounts()[account]
