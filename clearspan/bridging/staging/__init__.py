"""Bridges of a development network: folders, banks and chains for the demo, the tests and the benches."""
