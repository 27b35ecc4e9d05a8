"""The bridge as a process: swaps of one participant driven over nodes, validators and the bridges of others.

    config      bridge.toml
    process     everything put together; `clearspan bridge run`
    engine      events in, actions out: the machines of `bridge/` between the journal and the lines
    store       the journal on the disk, many entries to one sync
    ledgers     locks to nodes in batches, final decisions back
    relay       reveals to validators, final blocks back
    peers       the bridges of others
    service     what the bridge is asked

What a swap may do and when is decided in `bridge/`, which knows no socket, no disk and no clock; here is what it needs.
"""

from __future__ import annotations
