"""Chains that are not ours, served: their settings, keys, lines, and the reveals that a provider there must know."""
