"""The settlement state machine and its types: records, rules, log, blocks, proofs; pure but for the log's stores."""

from __future__ import annotations

__all__: list[str] = []
