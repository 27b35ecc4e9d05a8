"""A running bridge as callers see it: its service, its people's calls, its progress streams and its figures."""
