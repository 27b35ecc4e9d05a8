"""The relay chain: what members trust instead of trusting each other.

Block, certificate and proof types and their verification stand in ``engine.relay_block``; agreement itself
is built here, above ``engine`` and beside ``shards``, which it never imports.
"""
