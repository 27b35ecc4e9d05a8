"""Who a peer is and what it may call: the role URI of its certificate, and one table of roles and calls.

A role opens calls; it never replaces a signature. Every transfer and every admin request is signed by a key that the
ledger knows, so a role that is too wide can show too much but cannot move money. Rules on single accounts, the second
half of access, are the functions below the table; docs/api.md tells them in words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "PARTICIPANT_MAX",
    "URI_SCHEME",
    "BridgeRpc",
    "Identity",
    "IdentityInvalid",
    "PeerRole",
    "RelayRpc",
    "Rpc",
    "may_call",
]

URI_SCHEME: Final = "clearspan"
PARTICIPANT_MAX: Final = 2**32 - 2  # 0 and 2^32 - 1 are reserved (BYTES-8)
_URI = re.compile(r"clearspan://([a-z0-9-]{1,32})/([a-z-]{1,32})/([1-9][0-9]{0,9})")


@unique
class PeerRole(StrEnum):
    """What an institution is to the network, as its certificate says."""

    ISSUER = "issuer"
    BANK = "bank"
    CLEARING_HOUSE = "clearing-house"
    OPERATOR = "operator"
    SUPERVISOR = "supervisor"
    SCREENING = "screening"
    VALIDATOR = "validator"
    READER = "reader"


@unique
class Rpc(StrEnum):
    """Every call of the service by its name on the wire."""

    SUBMIT = "Submit"
    SUBMIT_STREAM = "SubmitStream"
    ADMINISTER = "Administer"
    LOOKUP_ACCOUNTS = "LookupAccounts"
    LOOKUP_TRANSFERS = "LookupTransfers"
    STATEMENT = "Statement"
    GET_DECISION_PROOF = "GetDecisionProof"
    STREAM_BLOCKS = "StreamBlocks"
    GET_STATUS = "GetStatus"
    GET_GENESIS = "GetGenesis"
    FOLLOW_LOG = "FollowLog"
    GET_RECEIPT = "GetReceipt"
    GET_BLOCK_RECEIPT = "GetBlockReceipt"
    GET_BALANCE_RECEIPT = "GetBalanceReceipt"
    GET_SET_CHANGES = "GetSetChanges"
    GET_OUTGOING = "GetOutgoing"
    INSPECT = "Inspect"


@unique
class RelayRpc(StrEnum):
    """Every call of a validator's service by its name on the wire."""

    EXCHANGE = "Exchange"
    SYNC = "Sync"
    OFFER = "Offer"
    OFFERS = "Offers"
    SUBMIT = "Submit"
    SUBMIT_MANY = "SubmitMany"
    BLOCKS = "Blocks"
    GET_STATUS = "GetStatus"


_ALL: Final = frozenset(PeerRole)
_SUBMITTERS: Final = frozenset({PeerRole.ISSUER, PeerRole.BANK, PeerRole.CLEARING_HOUSE})
_WATCHERS: Final = frozenset({PeerRole.OPERATOR, PeerRole.SUPERVISOR})

_VALIDATORS: Final = frozenset({PeerRole.VALIDATOR})
# A supervisor reads accounts and transfers by Inspect alone, which records each look.
_OPERATOR: Final = frozenset({PeerRole.OPERATOR})

_MATRIX: Final[dict[Rpc, frozenset[PeerRole]]] = {
    Rpc.SUBMIT: _SUBMITTERS,
    Rpc.SUBMIT_STREAM: _SUBMITTERS,
    Rpc.ADMINISTER: _SUBMITTERS | _WATCHERS | {PeerRole.SCREENING},
    Rpc.LOOKUP_ACCOUNTS: _SUBMITTERS | _OPERATOR,
    Rpc.LOOKUP_TRANSFERS: _SUBMITTERS | _OPERATOR | {PeerRole.SCREENING},
    Rpc.STATEMENT: _SUBMITTERS | _OPERATOR,
    Rpc.GET_DECISION_PROOF: _ALL,
    Rpc.STREAM_BLOCKS: _ALL,
    Rpc.GET_STATUS: _ALL,
    Rpc.GET_GENESIS: _ALL,
    # A validator re-executes what the log holds, so it sees all of it.
    Rpc.FOLLOW_LOG: _VALIDATORS | {PeerRole.OPERATOR},
    # Knowing a digest proves to have held the record; a balance is its holder's.
    Rpc.GET_RECEIPT: _ALL,
    # Digests, codes and times of all: nothing of a record that its reader does not hold already.
    Rpc.GET_BLOCK_RECEIPT: _SUBMITTERS | _WATCHERS | _VALIDATORS,
    Rpc.GET_BALANCE_RECEIPT: _SUBMITTERS | _OPERATOR,
    Rpc.GET_SET_CHANGES: _ALL,
    # Between the nodes of one domain; what is handed out proves itself.
    Rpc.GET_OUTGOING: frozenset({PeerRole.OPERATOR}),
    Rpc.INSPECT: _WATCHERS,
}

# Apart, because calls of one name are equal strings.
_RELAY_MATRIX: Final[dict[RelayRpc, frozenset[PeerRole]]] = {
    RelayRpc.EXCHANGE: _VALIDATORS,
    RelayRpc.SYNC: _VALIDATORS,
    RelayRpc.OFFER: frozenset({PeerRole.OPERATOR}),
    RelayRpc.OFFERS: frozenset({PeerRole.OPERATOR}),
    RelayRpc.SUBMIT: _WATCHERS | _VALIDATORS,
    # Reveals only: who knows a preimage may say it.
    RelayRpc.SUBMIT_MANY: _SUBMITTERS | _WATCHERS | _VALIDATORS,
    RelayRpc.BLOCKS: _ALL,
    RelayRpc.GET_STATUS: _ALL,
}


@unique
class BridgeRpc(StrEnum):
    """Every call of a bridge's service by its name on the wire."""

    QUOTE = "Quote"
    ACCEPT = "Accept"
    FIND_ROUTE = "FindRoute"
    RUN = "Run"
    GET_SWAP = "GetSwap"
    LIST_SWAPS = "ListSwaps"
    STREAM_PROGRESS = "StreamProgress"
    LIST_CASES = "ListCases"
    GET_CASE = "GetCase"
    STEP_CASE = "StepCase"
    TAKE_BREAKER = "TakeBreaker"
    LIST_BREAKERS = "ListBreakers"
    ACKNOWLEDGE_ALARM = "AcknowledgeAlarm"
    GET_STATUS = "GetStatus"


# Whose bridge it is decides the rest: StepCase, the swaps and AcknowledgeAlarm are for the bridge's own participant.
_BRIDGE_MATRIX: Final[dict[BridgeRpc, frozenset[PeerRole]]] = {
    BridgeRpc.QUOTE: _SUBMITTERS,
    BridgeRpc.ACCEPT: _SUBMITTERS,
    BridgeRpc.FIND_ROUTE: _SUBMITTERS,
    BridgeRpc.RUN: _SUBMITTERS,
    BridgeRpc.GET_SWAP: _SUBMITTERS,
    BridgeRpc.LIST_SWAPS: _SUBMITTERS,
    BridgeRpc.STREAM_PROGRESS: _SUBMITTERS,
    # A supervisor's look is on the record of a ledger before anything is shown.
    BridgeRpc.LIST_CASES: _SUBMITTERS | {PeerRole.SUPERVISOR},
    BridgeRpc.GET_CASE: _SUBMITTERS | {PeerRole.SUPERVISOR},
    BridgeRpc.STEP_CASE: _SUBMITTERS,
    # Believed for a ledger's receipt, whoever carries it.
    BridgeRpc.TAKE_BREAKER: _SUBMITTERS | _WATCHERS,
    BridgeRpc.LIST_BREAKERS: _SUBMITTERS | _WATCHERS,
    BridgeRpc.ACKNOWLEDGE_ALARM: _SUBMITTERS,
    BridgeRpc.GET_STATUS: _SUBMITTERS | _WATCHERS,
}


class IdentityInvalid(ValueError):  # noqa: N818 - named as what it is, like the other refusals
    """A certificate names no role here: `reason` says why, in words that are safe to log."""

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Identity:
    """One peer: its network, its role there, and the number of the participant that it speaks for."""

    network: str
    role: PeerRole
    participant: int

    @property
    def uri(self) -> str:
        """The subject alternative name that says the same."""
        return f"{URI_SCHEME}://{self.network}/{self.role}/{self.participant}"

    @classmethod
    def parse(cls, uri: str) -> Identity:
        """Read a role URI. Raises IdentityInvalid for anything that `uri` would not write."""
        match = _URI.fullmatch(uri)
        if match is None:
            reason = "the URI is not clearspan://<network>/<role>/<participant>"
            raise IdentityInvalid(reason)
        network, role, participant = match.groups()
        if role not in _ALL:
            reason = "unknown role"
            raise IdentityInvalid(reason)
        if int(participant) > PARTICIPANT_MAX:
            reason = "reserved participant number"
            raise IdentityInvalid(reason)
        return cls(network, PeerRole(role), int(participant))

    # Rules on single accounts. All take numpy columns, so that a batch costs a comparison and not a loop.

    @property
    def sees_all(self) -> bool:
        """Operator and supervisor see every account and every transfer of the domain."""
        return self.role in _WATCHERS

    def may_submit(
        self,
        debit_participants: npt.NDArray[np.uint32],
        credit_participants: npt.NDArray[np.uint32],
        ends_pending: npt.NDArray[np.bool_],
    ) -> bool:
        """Whether every record of a batch may come from this peer; all three columns are of length n.

        A clearing house submits for anybody. Issuer and bank submit what debits their own accounts, and what ends a
        pending towards their own (a payee's post or void names the payer's account as debit account).
        """
        if self.role is PeerRole.CLEARING_HOUSE:
            return True
        own = debit_participants == self.participant
        own |= ends_pending & (credit_participants == self.participant)
        return bool(own.all())

    def may_administer(
        self, participants: npt.NDArray[np.uint32], subjects: npt.NDArray[np.uint32], sets_limits: npt.NDArray[np.bool_]
    ) -> bool:
        """Whether every admin request may come from this peer.

        participants: the field of the body; subjects: the participant in the subject's account id, 0 where the type
        has none; sets_limits: account_limits, which an issuer sends for accounts of others on its ledger.
        """
        if self.sees_all:
            return True
        own = (participants == self.participant) | ((participants == 0) & (subjects == self.participant))
        if self.role is PeerRole.ISSUER:
            own |= sets_limits
        return bool(own.all())

    def may_read_accounts(self, participants: npt.NDArray[np.uint32]) -> bool:
        """Whether the accounts of these participants may be asked for at all (a clearing house gets no totals)."""
        if self.sees_all or self.role is PeerRole.CLEARING_HOUSE:
            return True
        return bool((participants == self.participant).all())

    def sees_totals(self, participants: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        """For each account, whether its totals and limits are shown."""
        return np.full(participants.shape, fill_value=True) if self.sees_all else participants == self.participant

    def may_read_statement(self, participant: int) -> bool:
        """Whether the statement of an account of that participant may be read."""
        return self.sees_all or participant == self.participant

    def sees_transfer(self, debit_participant: int, credit_participant: int) -> bool:
        """Whether a transfer found by its digest is shown; knowing a digest proves to have held the record."""
        if self.sees_all or self.role in {PeerRole.CLEARING_HOUSE, PeerRole.SCREENING}:
            return True
        return self.participant in {debit_participant, credit_participant}


def may_call(role: PeerRole, rpc: Rpc | RelayRpc | BridgeRpc) -> bool:
    """Whether the table opens this call to this role."""
    if isinstance(rpc, BridgeRpc):
        return role in _BRIDGE_MATRIX[rpc]
    return role in (_RELAY_MATRIX[rpc] if isinstance(rpc, RelayRpc) else _MATRIX[rpc])
