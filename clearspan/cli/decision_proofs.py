# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""The decision proof as a command shows it: what a shard's operator signed, before anything of it is final."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from clearspan.cli.output import Output
    from engine.block import Decision, DecisionProof
    from engine.genesis import Genesis
    from engine.types import SigningSuite

__all__ = ["check_decision_proof", "failed", "print_decision_proof"]

_NOT_FINAL: Final = (
    "This proves what the shard's operator signed. It is not final: finality needs the header in a relay block with a "
    "quorum certificate, which this proof does not carry."
)
_HEXADECIMAL: Final = re.compile(r"([0-9a-fA-F]{2})+")


def check_decision_proof(
    genesis: Genesis, proof: DecisionProof, block_key: str | None, digest: bytes | None
) -> Decision:
    """Check a proof with a genesis, or with a block key that came later; raises VerificationFailed."""
    from engine.refusals import GenesisRefused, ProofRefused
    from engine.types import Role, SigningSuite

    signed = proof.signed_header
    header = signed.header
    if header.genesis_hash != genesis.hash or header.hash_suite != genesis.hash_suite:
        raise failed("its header is of another network")
    try:
        domain = genesis.domain(genesis.domain_of_shard(header.shard))
    except GenesisRefused as error:
        raise failed(str(error)) from error
    if block_key is not None:
        public_key, suite = _named_key(block_key)
    else:
        key = domain.keys[signed.key_id - 1] if 0 < signed.key_id <= len(domain.keys) else None
        if key is None or key.role != Role.BLOCK:
            raise failed(
                f"key {signed.key_id} is no block key of the genesis; name the one that replaced it by --block-key"
            )
        public_key, suite = key.public_key, SigningSuite(key.suite)
    try:
        decision = proof.verify(suite, public_key)
    except ProofRefused as error:
        raise failed(str(error)) from error
    if digest is not None and decision.digest != digest:
        raise failed("it is of another record")
    return decision


def _named_key(text: str) -> tuple[bytes, SigningSuite]:
    """Return a public key given in hexadecimal, and the suite whose rule it keeps: no key keeps the rules of two."""
    from clearspan.errors import ConfigError
    from engine.genesis import public_key_bytes
    from engine.types import SigningSuite
    from native.errors import KeyRejected
    from native.signatures import KeyRegistry

    public_key = bytes.fromhex(text) if _HEXADECIMAL.fullmatch(text) else b""
    for suite in SigningSuite:
        if len(public_key) == public_key_bytes(suite):
            with suppress(KeyRejected):
                KeyRegistry().register(suite, public_key)
                return public_key, suite
    raise ConfigError("--block-key", "is no public key", "give 64 or 128 hexadecimal digits of the shard's block key")


def failed(reason: str) -> Exception:
    """Return what a receipt that does not hold is answered with."""
    from clearspan.errors import VerificationFailed

    return VerificationFailed("receipt", reason)


def print_decision_proof(output: Output, proof: DecisionProof, decision: Decision, more: dict[str, Any]) -> None:
    """Print what a proof says, and that it is not final."""
    from engine.codes import code_name

    header = proof.signed_header.header
    output.document(
        {
            **more,
            "digest": decision.digest.hex(),
            "code": code_name(decision.code),
            "number": decision.code,
            "time": decision.time,
            "shard": header.shard,
            "height": header.height,
            "header_hash": header.hash.hex(),
            "final": False,
            "note": _NOT_FINAL,
        }
    )
    output.line(f"{code_name(decision.code)}: record {decision.digest.hex()}")
    output.line(f"decided at {decision.time} ns by shard {header.shard}, block {header.height}, {header.hash.hex()}")
    for name, value in more.items():
        output.line(f"{name}: {value}")
    output.line(_NOT_FINAL)
