"""Shards: which shard an account lives on, how a node's shards work together, and how they restart.

``domain`` is the pure core (values in, values out); ``node`` is the shell that gives it threads, a disk and a
clock. Nothing here knows gRPC, certificates or the relay.
"""
