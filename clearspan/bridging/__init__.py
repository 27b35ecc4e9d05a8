"""The bridge as a process: swaps of one participant driven over nodes, validators and the bridges of others.

    process     everything put together; `clearspan bridge run`
    serving     what callers, people and monitors ask of a running bridge
    staging     bridges of a development network, for demo, tests and benches
    swaps       events in, actions out: the machines of `bridge/` between the journal and the lines
    rules       what a swap is asked before it runs; the cases of people
    chains      chains that are not ours, served
    market      corridors, desks, quotes, routes, the terms of swaps, premiums
    lines       to nodes, to the relay, to the bridges of others
    journal     entries on the disk, many to one sync, and the book of what runs
    settings    bridge.toml, offers, keys, the directory of bridges

Each imports only what stands below it.

What a swap may do and when is decided in `bridge/`, which knows no socket, no disk and no clock; here is what it needs.
"""

from __future__ import annotations
