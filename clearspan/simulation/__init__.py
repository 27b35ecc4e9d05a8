"""Whole domains in simulated time, from a seed: the core of production with a clock, a disk and a network that fail.

``world`` makes parties, keys and requests; ``shards`` drives a domain through faults and checks it; ``command`` is the
command line. A run is a pure function of its seed.
"""
