"""The vector files of the signature suites: how a case is written down and read back; no verdict is made here.

A file holds one case a line. `kind` names the class of the case in docs/spec/08-signatures.md; `accept` is the verdict of
the rule. A case has a message, or the digest e where no message leads to the case; `secret` stands where the signature
is the deterministic one. `zip215` and `ref10` say, for Ed25519, what two other rules make of the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
SUITES: Final = {1: "ed25519", 2: "sm2", 3: "p256"}
KEY_BYTES: Final = {1: 32, 2: 64, 3: 64}
SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a file."""

    name: str
    kind: str
    public_key: bytes
    signature: bytes
    message: bytes | None
    key_fault: str | None
    accept: bool
    digest: bytes | None = None
    secret: bytes | None = None
    zip215: bool | None = None
    ref10: bool | None = None
    file: str = ""

    def line(self) -> str:
        """Return the case as one line of JSON."""
        fields: dict[str, object] = {"name": self.name, "kind": self.kind, "public_key": self.public_key.hex()}
        fields["signature"] = self.signature.hex()
        for name, value in (("message", self.message), ("digest", self.digest), ("secret", self.secret)):
            if value is not None:
                fields[name] = value.hex()
        fields |= {"key_fault": self.key_fault, "accept": self.accept}
        for name, verdict in (("zip215", self.zip215), ("ref10", self.ref10)):
            if verdict is not None:
                fields[name] = verdict
        return json.dumps(fields)


def render(origin: str, cases: list[Case]) -> str:
    """Return the text of a file."""
    names = [case.name for case in cases]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, twice
    lines = ",\n".join(f"    {case.line()}" for case in cases)
    return f'{{\n  "origin": {json.dumps(origin)},\n  "cases": [\n{lines}\n  ]\n}}\n'


def load(suite: int) -> list[Case]:
    """Return all cases of a suite, file by file."""
    return [case for path in sorted((FOLDER / SUITES[suite]).glob("*.json")) for case in read(path)]


def read(path: Path) -> list[Case]:
    """Return the cases of one file."""
    cases = json.loads(path.read_text(encoding="ascii"))["cases"]
    return [_case(fields, path.stem) for fields in cases]


def _case(fields: dict[str, object], stem: str) -> Case:
    def data(name: str) -> bytes | None:
        return bytes.fromhex(str(fields[name])) if name in fields else None

    def flag(name: str) -> bool | None:
        return bool(fields[name]) if name in fields else None

    key, signature = data("public_key"), data("signature")
    assert key is not None
    assert signature is not None
    fault = fields["key_fault"]
    return Case(
        name=str(fields["name"]),
        kind=str(fields.get("kind", "edges")),
        public_key=key,
        signature=signature,
        message=data("message"),
        digest=data("digest"),
        secret=data("secret"),
        key_fault=None if fault is None else str(fault),
        accept=bool(fields["accept"]),
        zip215=flag("zip215"),
        ref10=flag("ref10"),
        file=stem,
    )
