"""A chain for the bridges of a development network: corridors to it and back, each bank's key and settings there.

It promises that keys are new and private, and that corridors state one chain's margins on one machine, measured there
and not for a real network. For development and tests; a real bridge's `chains.toml` is written by its operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bridge.corridor import (
    CorridorDocument,
    Limits,
    MarginPart,
    MarginParts,
    MarginRules,
    Screening,
    SupervisorKey,
)
from bridge.desk_book import Tier
from bridge.foreign_asset import account_handle
from bridge.rates import Rounding
from clearspan.administration import ISSUER_SERIAL
from clearspan.bridging.chains.config import CHAINS_FILE, ChainSection, render_chains
from clearspan.bridging.settings.offers import (
    OFFERS_FILE,
    OfferedAccount,
    OfferedPair,
    Offers,
    read_offers,
    render_offers,
)
from clearspan.bridging.staging.folder import bridge_folder
from clearspan.founding import issuer_of, regulator_of, supervisor_of
from clearspan.keys import read_passphrase
from clearspan.private_files import ScryptCost, write_private
from engine.record import ordinary_account_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.foreign_asset import ForeignAsset
    from bridge.rates import Rate
    from clearspan.bridging.chains.key import ChainKey
    from clearspan.bridging.staging.banks import StagedMargins
    from clearspan.network import Network

__all__ = ["chain_corridors", "offer_on_chain", "put_chain"]

_MS: Final = 1_000_000
_MOST: Final = "1" + "0" * 30
# A development network's passphrase stands beside its keys: a costly derivation would protect nothing.
_QUICK: Final = ScryptCost(n=1 << 12)


def chain_corridors(
    network: Network, ledger: int, asset: ForeignAsset, *, home: StagedMargins, chain: StagedMargins, lock_s: int = 60
) -> tuple[CorridorDocument, CorridorDocument]:
    """Return the corridors from a ledger to an asset on a chain and back, with wide limits, open at all hours.

    ``chain`` gives the parts of the chain's side alone; what no side owns is taken from ``home``.
    """
    basis = "stated for a network and a chain on one machine"

    def part(milliseconds: int) -> MarginPart:
        return MarginPart(milliseconds * _MS, basis)

    def side(parts: StagedMargins) -> MarginParts:
        return MarginParts(part(parts.finality_ms), part(parts.watching_ms), part(parts.submission_ms))

    domain, _ = network.ledger(str(ledger))
    remainder = f"{ordinary_account_id(issuer_of(domain.domain), ISSUER_SERIAL):032x}"
    supervisors = tuple(_envelope_key(each) for each in (supervisor_of(domain.domain), regulator_of(domain.domain)))
    rules = MarginRules(
        side(home), part(home.skew_ms), part(home.failover_ms), part(home.stall_ms), {asset.chain: side(chain)}
    )

    def corridor(source: int, target: int) -> CorridorDocument:
        return CorridorDocument(
            format=1,
            id=f"{source << 32 | target:032x}",
            version=1,
            source_ledger=source,
            target_ledger=target,
            suspended=False,
            calendars=(),
            limits=Limits("1", _MOST, _MOST, _MOST, "UTC"),
            fees=(),
            roundings=(int(Rounding.DOWN),),
            remainder_source_account=remainder,
            remainder_target_account=remainder,
            providers=tuple(each.participant for each in asset.providers),
            hash_functions=("sha256",),
            lock_s=lock_s,
            quote_s=3_600,
            premium_volatility_ppb=0,
            margins=rules,
            screening=Screening(9_000, _MOST, supervisors),
            approval_note="Above the threshold of a ledger both supervisors approve before a lock stands.",
            foreign=asset,
        )

    return corridor(ledger, asset.ledger), corridor(asset.ledger, ledger)


def put_chain(network: Network, participant: int, section: ChainSection, key: ChainKey) -> None:
    """Give a bridge's folder a key on a chain and the settings of it; the section's own key path is used."""
    folder = bridge_folder(network, participant)
    key.save(folder / section.key, read_passphrase(folder / "keys" / "passphrase"), _QUICK)
    write_private(folder / CHAINS_FILE, render_chains((section,)).encode("utf-8"))


def offer_on_chain(
    network: Network,
    participant: int,
    asset: ForeignAsset,
    inventory: int,
    rates: Mapping[tuple[int, int], Rate],
) -> None:
    """Let a provider offer an asset of a chain: its account there, what it may promise, rates by (source, target)."""
    path = bridge_folder(network, participant) / OFFERS_FILE
    offers = read_offers(path)
    account = OfferedAccount(asset.ledger, account_handle(asset.account_of(participant)), 0, inventory)
    pairs = tuple(
        OfferedPair(source, target, (Tier(1, rate.numerator, rate.denominator),))
        for (source, target), rate in rates.items()
    )
    path.write_text(render_offers(Offers((*offers.accounts, account), (*offers.pairs, *pairs))), encoding="utf-8")


def _envelope_key(participant: int) -> SupervisorKey:
    """Return a key for envelopes whose secret nobody keeps: below the corridor's bound nothing is sealed."""
    public = X25519PrivateKey.generate().public_key().public_bytes_raw()
    return SupervisorKey(participant, 1, "x25519", public.hex())
