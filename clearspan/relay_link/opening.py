"""Opens a node's line to the validators that its settings name: certificates, addresses, the store, the tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clearspan.pki import TlsFiles
from clearspan.relay_link.lines import LineSet
from clearspan.relay_link.link import RelayLink
from clearspan.relay_link.ports import LinkSettings
from clearspan.relay_link.receipts import ReceiptDesk
from clearspan.relay_link.store import AnchorStore
from clearspan.validator.addresses import AddressBook

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from clearspan.config import LoadedConfig
    from clearspan.metrics import NodeMetrics
    from shards.node import DomainNode

__all__ = ["ANCHORS_FOLDER", "link_to_validators"]

ANCHORS_FOLDER: Final = "relay"
"""Where a node's data directory keeps what it has of the relay; it can be fetched again."""
_MS_PER_S: Final = 1_000


def link_to_validators(
    loaded: LoadedConfig, node: DomainNode, tls: TlsFiles, metrics: NodeMetrics, stack: AsyncExitStack
) -> ReceiptDesk | None:
    """Offer headers to the validators of the settings and follow them; None where none are named.

    What it begins is ended by the stack, before the node is. Raises ConfigError, CertificateInvalid, DiskFull.
    """
    relay = loaded.config.relay
    if not relay.validators and not relay.addresses:
        return None
    speaks = tls
    if relay.certificate or relay.key:
        speaks = TlsFiles(loaded.resolve(relay.certificate), loaded.resolve(relay.key), tls.authority)
        speaks.read()
    book = AddressBook(loaded.resolve(relay.addresses)) if relay.addresses else None
    genesis = node.genesis
    store = AnchorStore(loaded.resolve(loaded.config.data.path) / ANCHORS_FOLDER, genesis.hash_suite)
    stack.callback(store.close)
    link = RelayLink(
        genesis,
        [each.shard for each in node.status().shards],
        node=node,
        store=store,
        lines=LineSet(speaks, targets=relay.validators, book=book),
        settings=LinkSettings(
            reconnect_s=relay.reconnect_ms / _MS_PER_S,
            stall_s=relay.stall_ms / _MS_PER_S,
            consume_s=relay.consume_ms / _MS_PER_S,
        ),
        figures=metrics,
    )
    stack.push_async_callback(link.stop)
    link.start()
    metrics.watch_relay(lambda: link.standing)
    return ReceiptDesk(genesis, node, store, link)
