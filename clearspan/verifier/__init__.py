"""Checking receipts without a node: the page for browsers, and the program for everybody else."""
