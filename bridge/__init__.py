"""The bridge: both legs or none, between ledgers of different issuers.

Locks, claims and refunds are rules of the ledger (``engine``); quotes, corridors and the watcher that drives a
swap are built here, and reach ledgers only through ports.
"""
