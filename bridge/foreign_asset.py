"""An asset on a chain that is not ours, as corridors, quotes and plans name it: by a number, and accounts by a handle.

Quotes and plans write ledgers as numbers of 32 bits and accounts as 128 bits. A chain has neither, so a corridor says
which number stands for which asset on which chain, and which account there is which provider's; an account's handle is
a hash of its text. It promises that a quote that names a handle binds its provider to one account of a chain, and that
the two timelocks of a swap with a chain are whole seconds with the whole margin between them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec

from bridge.margins import HOME
from bridge.refusals import BridgeCode, BridgeRefused
from engine.record import participant_of_account
from engine.types import NS_PER_S, U32_MAX

if TYPE_CHECKING:
    from bridge.margins import Margins
    from bridge.terms import LegTerms, SwapTerms

__all__ = [
    "FOREIGN_LEDGER_FIRST",
    "ForeignAccount",
    "ForeignAsset",
    "Placed",
    "Timelocks",
    "account_handle",
    "ends_of",
    "payer_of",
    "place",
    "timelocks_of",
]

FOREIGN_LEDGER_FIRST: Final = 0xF000_0000
"""From here on a number in a corridor or quote names an asset on a chain; ledgers of a network are far below."""
ACCOUNTS_MAX: Final = 256
_HANDLE_PREFIX: Final = b"clearspan/foreign-account/1"

_Number = Annotated[int, msgspec.Meta(ge=1, le=U32_MAX)]
_ChainText = Annotated[str, msgspec.Meta(pattern="^[!-~]{1,96}$")]


class ForeignAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider's account on the chain, written as the chain writes it."""

    participant: _Number
    account: _ChainText


class ForeignAsset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One asset on one chain: ``asset`` empty is the chain's own coin; a minor unit is 10 to the minus ``scale``.

    ``ledger`` is the number that quotes give it; ``providers`` are the accounts from which providers lock and to which
    they are paid, by participant.
    """

    ledger: Annotated[int, msgspec.Meta(ge=FOREIGN_LEDGER_FIRST, le=U32_MAX - 1)]
    chain: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9.-]{0,31}$")]
    asset: Annotated[str, msgspec.Meta(pattern="^[!-~]{0,96}$")]
    code: Annotated[str, msgspec.Meta(pattern="^[A-Z][A-Z0-9]{1,10}$")]
    scale: Annotated[int, msgspec.Meta(ge=0, le=30)]
    providers: Annotated[tuple[ForeignAccount, ...], msgspec.Meta(min_length=1, max_length=ACCOUNTS_MAX)]

    def account_of(self, participant: int) -> str:
        """Return a provider's account. Raises BridgeRefused (corridor_provider_not_listed)."""
        for each in self.providers:
            if each.participant == participant:
                return each.account
        text = f"participant {participant} has no account on chain {self.chain}"
        raise BridgeRefused(BridgeCode.CORRIDOR_PROVIDER_NOT_LISTED, text)


class Placed(NamedTuple):
    """A leg as a quote names it: the number of ledger or asset, the accounts as numbers or handles."""

    ledger: int
    debit: int
    credit: int


class Timelocks(NamedTuple):
    """When the legs of a swap with a chain end, ns: those of our ledgers, and the chain's."""

    home_ns: int
    foreign_ns: int


def account_handle(account: str) -> int:
    """Return the 128 bits that stand for an account of a chain; two ways of writing its letters are one account."""
    data = _HANDLE_PREFIX + account.lower().encode("ascii")
    return int.from_bytes(hashlib.sha256(data).digest()[:16], "big") or 1


def place(leg: LegTerms, asset: ForeignAsset | None) -> Placed:
    """Return how a quote names a leg; ``asset`` is that of the corridor which the quote is for.

    Raises BridgeRefused (legs_do_not_match) for a leg on a chain, or an asset of it, that the corridor is not about.
    """
    if not leg.foreign:
        return Placed(leg.ledger, leg.debit_id, leg.credit_id)
    if asset is None or (leg.chain, leg.asset.lower()) != (asset.chain, asset.asset.lower()):
        text = f"the corridor is not about asset {leg.asset or 'coin'} of chain {leg.chain}"
        raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, text)
    return Placed(asset.ledger, account_handle(leg.debit_account), account_handle(leg.credit_account))


def payer_of(terms: SwapTerms) -> int:
    """Return the participant whose limits a swap counts against: the payer's; of money from a chain the payee's."""
    first, last = terms.legs[0], terms.legs[-1]
    return participant_of_account(last.credit_id if first.foreign else first.debit_id)


def ends_of(terms: SwapTerms) -> tuple[int, int]:
    """Return the accounts that a swap goes from and to, those on a chain by their handles."""
    first, last = terms.legs[0], terms.legs[-1]
    return (
        account_handle(first.debit_account) if first.foreign else first.debit_id,
        account_handle(last.credit_account) if last.foreign else last.credit_id,
    )


def timelocks_of(margins: Margins, chain: str, *, foreign_first: bool, now_ns: int, lock_s: int) -> Timelocks:
    """Return the timelocks of a swap whose earlier one lies ``lock_s`` ahead, rounded so that no margin shrinks.

    The leg that is claimed first ends first: that of our ledgers where the foreign leg is the payer's, else the foreign
    one. Chains count whole seconds, so an earlier foreign timelock is rounded down and a later one up. Raises
    BridgeRefused (corridor_unknown) for a chain that the margins do not state.
    """
    first_ns = now_ns + lock_s * NS_PER_S
    if foreign_first:
        later_ns = first_ns + margins.needed(HOME, chain)
        return Timelocks(first_ns, -(-later_ns // NS_PER_S) * NS_PER_S)
    foreign_ns = first_ns // NS_PER_S * NS_PER_S
    return Timelocks(foreign_ns + margins.needed(chain, HOME), foreign_ns)
