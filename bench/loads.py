"""The named loads: parameters and a fixed seed each, so that a figure can be made again and compared.

``canonical`` gives the headline. Loads whose name begins with ``small-`` take seconds, and the tests run them: their
outcome hash must not change.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

__all__ = ["LOADS", "SettleLoad"]


@dataclass(frozen=True, slots=True)
class SettleLoad:
    """One load of the whole road: client, gRPC with mTLS, node, signatures, ledger, disk, answer.

    transfers: of one run, all domains together. open_batch_size: the batches under open-loop arrival are smaller,
    because a batch is answered as one. validators: how many run beside the nodes while finality is measured, 0 for
    none; final_seconds: how long each of its runs takes; seal_ms: between two seals of a shard; checkpoint_mib: log
    between two checkpoints, each of which holds the ledger up for as long as a copy of its state takes.
    """

    name: str
    title: str
    transfers: int
    domains: int = 1
    shards: int = 2
    batch_size: int = 2_048
    open_batch_size: int = 512
    open_percent: int = 70
    window: int = 8
    banks: int = 8
    accounts: int = 1_024
    keys_per_bank: int = 64
    hot_accounts: int = 0
    sm2: bool = False
    verify_threads: int = 2
    seal_ms: int = 100
    checkpoint_mib: int = 1_024
    validators: int = 4
    final_seconds: int = 5
    seed: int = 1

    def parameters(self) -> dict[str, Any]:
        """Return what decides the load, for the report."""
        return {name: value for name, value in asdict(self).items() if name != "title"}

    def changed(
        self,
        *,
        transfers: int | None = None,
        domains: int | None = None,
        shards: int | None = None,
        batch_size: int | None = None,
        seal_ms: int | None = None,
        validators: int | None = None,
        final_seconds: int | None = None,
    ) -> SettleLoad:
        """Return the load with some parameters changed; None leaves one as it is."""
        return replace(
            self,
            transfers=transfers or self.transfers,
            domains=domains or self.domains,
            shards=shards or self.shards,
            batch_size=batch_size or self.batch_size,
            seal_ms=seal_ms or self.seal_ms,
            validators=self.validators if validators is None else validators,
            final_seconds=final_seconds or self.final_seconds,
        )


_CANONICAL: Final = SettleLoad(
    "canonical", "1,024 accounts of 8 banks with 512 keys, random pairs, batches of 2,048, two shards", 100_000
)
_ALL: Final = (
    _CANONICAL,
    replace(_CANONICAL, name="large-batch", title="the same in batches of 8,192", batch_size=8_192),
    replace(
        _CANONICAL, name="small-batch", title="the same in batches of 128", batch_size=128, transfers=40_000, window=16
    ),
    replace(_CANONICAL, name="hot", title="four accounts take part in every transfer", hot_accounts=4),
    replace(_CANONICAL, name="sm2", title="all signed with SM2 keys", sm2=True),
    replace(_CANONICAL, name="one-shard", title="one shard: nothing crosses", shards=1),
    replace(_CANONICAL, name="three-domains", title="three domains, one node process each", domains=3),
    SettleLoad(
        "small-settle",
        "a small size of the canonical load, for the tests",
        1_500,
        batch_size=128,
        open_batch_size=64,
        accounts=64,
        banks=2,
        keys_per_bank=4,
        final_seconds=1,
    ),
    SettleLoad(
        "small-hot",
        "a small size of the hot load",
        900,
        batch_size=128,
        open_batch_size=64,
        accounts=32,
        banks=2,
        keys_per_bank=2,
        validators=0,
        hot_accounts=4,
    ),
    SettleLoad(
        "small-sm2",
        "a small size of the SM2 load",
        900,
        batch_size=128,
        open_batch_size=64,
        accounts=32,
        banks=2,
        keys_per_bank=2,
        validators=0,
        sm2=True,
    ),
)
LOADS: Final = {load.name: load for load in _ALL}
