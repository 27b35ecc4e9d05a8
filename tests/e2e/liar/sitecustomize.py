"""An operator that lies: a node's shard seals headers of a state root that its log does not give, while a file exists.

Imported by the interpreter before the program, so that the node is the real one in everything else.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from engine import machine

_SHARD = 256
_truth = machine.ShardMachine._header


def _lie(self):
    header = _truth(self)
    if self.shard == _SHARD and Path(os.environ["CLEARSPAN_TEST_LIE"]).exists():
        return replace(header, state_root=bytes(each ^ 0xFF for each in header.state_root))
    return header


machine.ShardMachine._header = _lie
