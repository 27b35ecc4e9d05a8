"""The rules that guard money, checked always: ``invariant`` stops the process whatever the interpreter's flags are."""

from __future__ import annotations

from engine.refusals import InvariantBroken

__all__ = ["invariant"]


def invariant(condition: object, name: str, **context: object) -> None:
    """Stop unless the condition holds: raises InvariantBroken with the rule's name and what it was asked of."""
    if not condition:
        raise InvariantBroken(name, context)
