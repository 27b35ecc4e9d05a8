"""What comes back from the service, as types: decisions, accounts, transfers, status.

A repeated request is answered `exists` or `id_already_failed` with the first decision's code. Results fold that: `code`
is always the outcome of the transfer, `answer` what this sending was answered. Columns stay arrays; a Result is made
only for the record that is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from clearspan.errors import Refused, VerificationFailed
from engine.codes import MEANINGS, CodeClass, ResultCode, code_name
from engine.credit import Credit
from engine.record import Account, Transfer, participant_of_account
from engine.refusals import EncodingError
from engine.types import ACCOUNT_BYTES, CREDIT_BYTES, HASH_BYTES, RECORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from clearspan.status import Refusal
    from clearspan.v1 import clearspan_pb2
    from engine.genesis import GenesisLedger

__all__ = [
    "NOT_FOUND",
    "AccountView",
    "AdminResult",
    "BatchResult",
    "NetworkStatus",
    "RelayView",
    "Result",
    "ShardView",
    "StatementPage",
    "TransferView",
    "account_views",
    "major_units",
    "transfer_views",
]

NOT_FOUND: Final = "not_found"
"""The name of the refusal of what is not there, or not yet."""
_REPEATS: Final = (int(ResultCode.EXISTS), int(ResultCode.ID_ALREADY_FAILED))
_VIEW_MISSING, _VIEW_WHOLE = 0, 1
_KIND_CREDIT: Final = 2
_DONE: Final = np.array([code for code, row in MEANINGS.items() if row.code_class is CodeClass.DONE], dtype=np.uint16)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one request.

    code: its outcome; answer: what this sending was answered; first_code: the first decision's code where the answer
    repeats it, else 0; time: when it was decided, ns; retried: the bytes were sent more than once.
    """

    code: int
    answer: int
    first_code: int
    time: int
    retried: bool

    @property
    def settled(self) -> bool:
        """Whether it has its effect (class done). It is durable then, and final only with a receipt."""
        return self.code_class is CodeClass.DONE

    @property
    def code_class(self) -> CodeClass:
        """What may be concluded: only after NO is a substitute safe. A code that is unknown here is ASK."""
        return MEANINGS[ResultCode(self.code)].code_class if self.code in MEANINGS else CodeClass.ASK

    @property
    def name(self) -> str:
        """The outcome's name."""
        return code_name(self.code)

    @property
    def next_step(self) -> str:
        """What to do now, in a sentence."""
        return MEANINGS[ResultCode(self.code)].next_step if self.code in MEANINGS else "Use a newer client."


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """The decisions of one batch in order; where it was not looked at, refusal is set and the columns are empty."""

    batch_id: bytes
    answers: NDArray[np.uint16]
    first_codes: NDArray[np.uint16]
    times: NDArray[np.uint64]
    durability: str
    attempts: int
    refusal: Refusal | None = None

    @property
    def codes(self) -> NDArray[np.uint16]:
        """The outcomes, n x u16: repeats replaced by the first decision's code."""
        return np.where(np.isin(self.answers, _REPEATS), self.first_codes, self.answers)

    @property
    def settled(self) -> NDArray[np.bool_]:
        """For each request whether it has its effect."""
        return np.isin(self.codes, _DONE)

    @property
    def settled_count(self) -> int:
        """How many have their effect."""
        return int(np.count_nonzero(self.settled))

    def __len__(self) -> int:
        """How many requests were decided."""
        return int(self.answers.size)

    def __getitem__(self, row: int) -> Result:
        """Return what became of one request."""
        answer, first = int(self.answers[row]), int(self.first_codes[row])
        code = first if answer in _REPEATS else answer
        return Result(code, answer, first, int(self.times[row]), self.attempts > 1)

    def __iter__(self) -> Iterator[Result]:
        """Iterate over all results; for batches of thousands use the columns."""
        return (self[row] for row in range(len(self)))

    def raise_for_refusal(self) -> None:
        """Raise Refused where the whole batch was refused."""
        if self.refusal is not None:
            raise refused(self.refusal)

    @classmethod
    def of_reply(
        cls, reply: clearspan_pb2.SubmitReply, count: int, attempts: int, refusal: Refusal | None
    ) -> BatchResult:
        """Read a reply to a batch of count records. Raises VerificationFailed for columns of another length."""
        expected = 0 if refusal is not None else count
        return cls(
            reply.batch_id,
            _column(reply.codes, "<u2", expected),
            _column(reply.first_codes, "<u2", expected),
            _column(reply.times, "<u8", expected),
            durability_name(reply.durability),
            attempts,
            refusal,
        )


@dataclass(frozen=True, slots=True, eq=False)
class AdminResult(BatchResult):
    """The decisions of admin requests; assigned holds the key id given to each new key, else 0 (n x u32)."""

    assigned: NDArray[np.uint32] | None = None

    @classmethod
    def of_admin_reply(cls, reply: clearspan_pb2.AdministerReply, count: int, attempts: int) -> AdminResult:
        """Read a reply to count requests. Raises VerificationFailed as of_reply does."""
        return cls(
            reply.batch_id,
            _column(reply.codes, "<u2", count),
            _column(reply.first_codes, "<u2", count),
            _column(reply.times, "<u8", count),
            durability_name(reply.durability),
            attempts,
            None,
            _column(reply.assigned, "<u4", count),
        )


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account as the caller may see it; without totals (whole is false) all totals and limits read 0."""

    account: Account
    currency: str
    scale: int
    whole: bool

    @property
    def id(self) -> int:
        """Its id."""
        return self.account.id

    @property
    def participant(self) -> int:
        """Whose it is."""
        return participant_of_account(self.account.id)

    @property
    def balance(self) -> int:
        """Posted credits less posted debits, in minor units; negative for an issuer."""
        return self.account.balance

    @property
    def available(self) -> int:
        """What a new debit may take, in minor units: the balance and credit limit, less what is reserved."""
        account = self.account
        return account.credits_posted + account.credit_limit - account.debits_posted - account.debits_pending

    @property
    def balance_text(self) -> str:
        """The balance for a person: 123456 at scale 2 is "1,234.56 CNY"."""
        return f"{major_units(self.balance, self.scale)} {self.currency}"


@dataclass(frozen=True, slots=True)
class TransferView:
    """A decision and where it stands: of a transfer, or of a credit that arrived from another shard (docs/spec/05).

    code is 0 for a credit of which the node's index keeps only that it arrived. durability is the node's word of now:
    synced, final or verified; a receipt proves it.
    """

    body: Transfer | Credit
    digest: bytes
    code: int
    time: int
    shard: int
    number: int
    index: int
    durability: str = "unspecified"

    @property
    def arrived(self) -> bool:
        """Whether it is a credit from another shard."""
        return isinstance(self.body, Credit)

    @property
    def settled(self) -> bool:
        """Whether it has its effect."""
        return self.code in MEANINGS and MEANINGS[ResultCode(self.code)].code_class is CodeClass.DONE

    @property
    def name(self) -> str:
        """The decision's name; "arrived" where only that is known of a credit."""
        return code_name(self.code) if self.code else "arrived"


@dataclass(frozen=True, slots=True)
class StatementPage:
    """A page of an account's transfers; `next` is empty where there is nothing more now."""

    transfers: tuple[TransferView, ...]
    next: bytes


@dataclass(frozen=True, slots=True)
class ShardView:
    """How one shard stands."""

    shard: int
    height: int
    log_number: int
    accounts: int
    last_time: int
    final_height: int = 0
    verified_height: int = 0


@dataclass(frozen=True, slots=True)
class RelayView:
    """The relay as a node has verified it: height, relay time (ns), what its shards consumed, whom it follows."""

    height: int
    time: int
    consumed_height: int
    set_id: int
    following: str


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """How a node stands."""

    domain: int
    network: str
    genesis_hash: bytes
    durability: str
    shards: tuple[ShardView, ...]
    software: str
    uptime_ms: int
    relay: RelayView | None = None

    @classmethod
    def of_reply(cls, reply: clearspan_pb2.GetStatusReply) -> NetworkStatus:
        """Read a reply."""
        shards = tuple(
            ShardView(
                each.shard,
                each.height,
                each.log_number,
                each.accounts,
                each.last_time,
                each.final_height,
                each.verified_height,
            )
            for each in reply.shards
        )
        relay = None
        if reply.HasField("relay"):
            found = reply.relay
            relay = RelayView(found.height, found.time, found.consumed_height, found.set_id, found.following)
        return cls(
            reply.domain,
            reply.network,
            reply.genesis_hash,
            durability_name(reply.durability),
            shards,
            reply.software,
            reply.uptime_ms,
            relay,
        )


def refused(refusal: Refusal) -> Refused:
    """Return the exception of a refusal."""
    wait = refusal.retry_after_ms / 1000 if refusal.retry_after_ms else None
    return Refused(refusal.number, refusal.name, refusal.message, refusal.next_step, wait)


def account_views(
    reply: clearspan_pb2.LookupAccountsReply, count: int, ledgers: Mapping[int, GenesisLedger]
) -> list[AccountView | None]:
    """Read accounts in the order asked for, None where there is none. Raises VerificationFailed for a wrong shape."""
    views = _column(reply.views, "u1", count)
    if len(reply.accounts) != count * ACCOUNT_BYTES:
        raise VerificationFailed("reply", f"{len(reply.accounts)} bytes of accounts for {count} ids")
    found: list[AccountView | None] = []
    for row, view in enumerate(views.tolist()):
        if view == _VIEW_MISSING:
            found.append(None)
            continue
        account = Account.decode(reply.accounts[row * ACCOUNT_BYTES : (row + 1) * ACCOUNT_BYTES])
        ledger = ledgers.get(account.ledger)
        currency, scale = (ledger.currency, ledger.scale) if ledger is not None else ("", 0)
        found.append(AccountView(account, currency, scale, view == _VIEW_WHOLE))
    return found


def transfer_views(columns: clearspan_pb2.TransferColumns) -> list[TransferView]:
    """Read all rows of transfer columns. Raises VerificationFailed where their lengths disagree."""
    count = len(columns.records) // RECORD_BYTES
    if len(columns.records) % RECORD_BYTES or len(columns.digests) != count * HASH_BYTES:
        raise VerificationFailed("reply", "columns of transfers disagree in length")
    numbers = zip(
        _column(columns.codes, "<u2", count).tolist(),
        _column(columns.times, "<u8", count).tolist(),
        _column(columns.shards, "<u4", count).tolist(),
        _column(columns.numbers, "<u8", count).tolist(),
        _column(columns.indexes, "<u4", count).tolist(),
        map(durability_name, columns.durability or bytes(count)),
        strict=True,
    )
    kinds = _column(columns.kinds, "u1", count).tolist()
    return [
        TransferView(
            _body(kinds[row], columns.records[row * RECORD_BYTES : (row + 1) * RECORD_BYTES]),
            columns.digests[row * HASH_BYTES : (row + 1) * HASH_BYTES],
            *each,
        )
        for row, each in enumerate(numbers)
    ]


def _body(kind: int, record: bytes) -> Transfer | Credit:
    try:
        return Credit.decode(record[:CREDIT_BYTES]) if kind == _KIND_CREDIT else Transfer.decode(record)
    except EncodingError as error:
        raise VerificationFailed("reply", str(error)) from error


def major_units(minor: int, scale: int) -> str:
    """Write minor units in major ones with grouped digits, exactly: -123456 at scale 2 is "-1,234.56"."""
    whole, fraction = divmod(abs(minor), 10**scale)
    point = f".{fraction:0{scale}d}" if scale else ""
    return f"{'-' if minor < 0 else ''}{whole:,}{point}"


def durability_name(number: int) -> str:
    """Return a reply's durability by name."""
    return _DURABILITY.get(number, "unspecified")


_DURABILITY: Final = {1: "synced", 2: "replicated", 3: "final", 4: "verified"}


def _column(data: bytes, dtype: str, count: int) -> NDArray[Any]:
    size = np.dtype(dtype).itemsize
    if len(data) != count * size:
        raise VerificationFailed("reply", f"a column of {len(data)} bytes where {count} x {size} are asked for")
    return np.frombuffer(data, dtype=dtype)
