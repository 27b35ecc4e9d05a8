"""What else verifies and hashes: the libraries that a user would pick instead, as contenders on the same items."""

from __future__ import annotations

from bench.peers.crypto_mb import CryptoMb, PeerMissingError
from bench.peers.libraries import hash_peers, verify_peers

__all__ = ["CryptoMb", "PeerMissingError", "hash_peers", "verify_peers"]
