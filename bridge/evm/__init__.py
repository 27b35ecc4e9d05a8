"""A leg on an EVM chain: the contract, shipped compiled, and the adapter that drives it over JSON-RPC.

The adapter needs the extra ``evm`` (web3), and a bridge without a foreign chain never comes here. Unlike the rest of
``bridge`` this folder does I/O.

What web3 stands on lifts the interpreter's recursion limit a hundredfold as it is imported. With such a limit a deeply
nested answer of a node would overflow the stack and kill the process, where it is refused otherwise; so it is imported
here, before anything of this folder, and the limit put back.
"""

from __future__ import annotations

import contextlib
import importlib
import sys

_limit = sys.getrecursionlimit()
with contextlib.suppress(ModuleNotFoundError):
    importlib.import_module("web3")
sys.setrecursionlimit(_limit)
