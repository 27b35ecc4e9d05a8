"""Checks a receipt with the standard library and the plain-Python twins alone: nothing built, nothing installed.

It follows docs/spec (01, 04, 07) and not the engine: what an auditor reads in one sitting. It gives the engine's
verdict on every receipt and is slow only where the curves are. ``python -m clearspan.verifier RECEIPT TRUST`` runs it.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from native.twins import ed25519, p256, sm2
from native.twins.hashing import digest, leaf_hash, node_hash

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Finding", "Refusal", "Trust", "read_trust", "verify_receipt"]

PAYER, PAYEE, BALANCE = 1, 2, 3
RECORD, DECISION, HEADER, RANGE, ANCHORED, ANCHOR_PATH, RELAY, CERTIFICATE, STATEMENTS, ACCOUNT = range(1, 11)
COMMIT: Final = 2
FORMS: Final = {PAYER: "payer's", PAYEE: "payee's", BALANCE: "balance"}
KINDS: Final = ("plain", "pending", "post", "void", "lock", "claim", "refund", "cancel")
# created, credited, claimed, credited to suspense: what proves to a payee that the money is his.
PAID: Final = frozenset({1, 4, 7, 9})
VERIFY: Final[dict[int, tuple[int, Callable[[bytes, bytes, bytes], bool]]]] = {
    1: (32, ed25519.verify),
    2: (64, sm2.verify),
    3: (64, p256.verify),
}


class Refusal(Exception):  # noqa: N818 - the same name in both programs
    """The receipt does not hold; ``step`` names where."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"{step}: {reason}")
        self.step, self.reason = step, reason


@dataclass(frozen=True, slots=True)
class Trust:
    """Who may vote: a genesis document, or a set that a light client followed to."""

    suite: int
    genesis_hash: bytes
    set_id: int
    first_height: int
    members: tuple[tuple[int, int, bytes], ...]  # power, signing suite, public key

    @property
    def power(self) -> int:
        """The power of all members."""
        return sum(power for power, _, _ in self.members)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a receipt that holds proves. ``what`` is the transfer, or the account of a balance, field by field."""

    form: str
    what: dict[str, int | str]
    code: int
    time: int
    shard: int
    height: int
    relay_height: int
    relay_time: int
    power: int
    state: str


class _Reader:
    """Fields one after the other; what is missing or left over refuses the receipt."""

    def __init__(self, data: bytes, step: str) -> None:
        self.data, self.step, self.at = data, step, 0

    def take(self, count: int) -> bytes:
        found = self.data[self.at : self.at + count]
        _demand(len(found) == count, self.step, "the bytes end too early")
        self.at += count
        return found

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def zeros(self, count: int) -> None:
        _demand(not any(self.take(count)), self.step, "padding that is not zero")

    def magic(self, magic: bytes) -> None:
        _demand(self.take(6) == magic + b"\1\0", self.step, f"it is no {magic.decode()} of version 1")

    def path(self, width: int = 8) -> tuple[int, int, list[bytes]]:
        index, count, entries = self.number(width), self.number(width), self.number(4)
        _demand(entries <= 64, self.step, "a path of more than 64 hashes")
        return index, count, [self.take(32) for _ in range(entries)]

    def end(self) -> None:
        _demand(self.at == len(self.data), self.step, "bytes are left over")


def _demand(holds: bool, step: str, reason: str) -> None:
    if not holds:
        raise Refusal(step, reason)


def read_trust(document: bytes) -> Trust:
    """Read a genesis (its hash is that of these bytes) or a trust document; raises Refusal."""
    try:
        tree: dict[str, Any] = json.loads(document)
        is_genesis = "domains" in tree
        suite = int(tree["hash_suite"])
        rows = tree["validators"] if is_genesis else tree["members"]
        members = tuple((int(row["power"]), int(row["suite"]), bytes.fromhex(row["public_key"])) for row in rows)
        _demand(bool(members) and suite in (1, 2), "trust", "no validators, or an unknown hash suite")
        _demand(
            all(each in VERIFY and len(key) == VERIFY[each][0] for _, each, key in members),
            "trust",
            "a key that no suite has",
        )
        if is_genesis:
            return Trust(suite, digest(suite, document), 1, 1, members)
        first_height = int(tree["first_height"])
        return Trust(suite, bytes.fromhex(tree["genesis_hash"]), int(tree["set_id"]), first_height, members)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refusal("trust", f"neither a genesis nor a trust document ({error})") from error


def verify_receipt(data: bytes, trust: Trust) -> Finding:
    """Follow a receipt from its record or account to the certificate; raises Refusal at the first step that fails."""
    form, sections = _sections(data)
    header = _header(sections[HEADER], trust)
    anchored = _anchored(sections[ANCHORED], trust)
    _demand(header["shard"] == anchored["shard"], "header", "the anchored header is of another shard")
    code, time = 0, header["time"]
    if form == BALANCE:
        what = _account(sections[ACCOUNT], header, trust.suite)
    else:
        what, code, time = _decision(sections, header, form, trust)
    _check_range(sections.get(RANGE), header, anchored, trust.suite)
    relay = _relay_header(sections[RELAY], trust)
    index = _check_anchor(sections, relay, trust.suite)
    certificate, power = _check_certificate(sections[CERTIFICATE], relay, trust)
    # Header records follow the parent's certificate, which every relay block but the first begins with.
    seen = _verified_power(sections.get(STATEMENTS), certificate, trust, index - (relay["height"] > 1))
    state = "verified" if seen > (trust.power - 1) // 3 else "anchored"
    return Finding(
        form=FORMS[form], what=what, code=code, time=time, shard=header["shard"], height=header["height"],
        relay_height=relay["height"], relay_time=relay["time"], power=power, state=state,
    )  # fmt: skip


def _sections(data: bytes) -> tuple[int, dict[int, bytes]]:
    reader = _Reader(data, "receipt")
    reader.magic(b"CSRC")
    form = reader.number(2)
    _demand(form in FORMS, "receipt", "its form is unknown")
    own = {ACCOUNT} if form == BALANCE else {RECORD, DECISION}
    needed = own | {HEADER, ANCHORED, ANCHOR_PATH, RELAY, CERTIFICATE}
    found: dict[int, bytes] = {}
    last = 0
    while reader.at < len(data):
        tag = reader.number(2)
        reader.zeros(2)
        _demand(tag > last and tag in needed | {RANGE, STATEMENTS}, "receipt", "a section out of order or place")
        found[tag], last = reader.take(reader.number(4)), tag
    _demand(needed <= found.keys(), "receipt", "a section is missing")
    return form, found


def _header(data: bytes, trust: Trust) -> dict[str, Any]:
    reader = _Reader(data, "header")
    reader.magic(b"CSBH")
    suite, shard, _, height = reader.number(2), reader.number(4), reader.number(4), reader.number(8)
    reader.take(16)  # first and last log number
    time = reader.number(8)
    reader.take(20)  # consumed relay height and time, slot map version
    channels, ledgers = reader.number(2), reader.number(2)
    decisions, _, accounts = reader.number(8), reader.number(8), reader.number(8)
    genesis = reader.take(32)
    reader.take(96)  # parent, hashes of the first and last record
    decisions_root, state_root, _, headers_root = (reader.take(32) for _ in range(4))
    reader.zeros(64)
    for _ in range(channels):
        reader.take(4)
        reader.zeros(4)
        reader.take(16)
    for _ in range(ledgers):
        reader.take(4)
        reader.zeros(4)
        reader.take(64)
        reader.zeros(8)
    reader.end()
    _demand((suite, genesis) == (trust.suite, trust.genesis_hash), "header", "it is of another network")
    return {
        "bytes": data, "shard": shard, "height": height, "time": time, "decisions": decisions, "accounts": accounts,
        "decisions_root": decisions_root, "state_root": state_root, "headers_root": headers_root,
    }  # fmt: skip


def _anchored(data: bytes, trust: Trust) -> dict[str, Any]:
    reader = _Reader(data, "header")
    header = reader.take(reader.number(4))
    reader.take(68)  # key id and signature: the quorum checked them before it voted
    reader.end()
    return _header(header, trust)


def _follow(suite: int, leaf: bytes, path: tuple[int, int, list[bytes]], step: str) -> bytes:
    """Return the root that a leaf hash leads to (RFC 9162, 2.1.3.2)."""
    at, last = path[0], path[1] - 1
    _demand(at <= last, step, "the index is not below the count")
    for beside in path[2]:
        _demand(last > 0, step, "the path is too long")
        if at & 1 or at == last:
            leaf = node_hash(suite, beside, leaf)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            leaf = node_hash(suite, leaf, beside)
        at, last = at >> 1, last >> 1
    _demand(last == 0, step, "the path is too short")
    return leaf


def _decision(
    sections: dict[int, bytes], header: dict[str, Any], form: int, trust: Trust
) -> tuple[dict[str, int | str], int, int]:
    record, suite = sections[RECORD], trust.suite
    _demand(len(record) == 192, "record", "192 bytes are asked for")
    reader = _Reader(sections[DECISION], "decision")
    reader.magic(b"CSDP")
    reader.zeros(2)
    leaf = reader.take(48)
    path = reader.path()
    reader.end()
    name, time, code, padding = struct.unpack("<32sQH6s", leaf)
    _demand(name == digest(suite, record[160:] + record[:160]), "record", "the decision is on another record")
    # Decisions on administration stand in the same tree: read as a transfer, such a request would say anything.
    request = digest(suite, b"clearspan/account/1" + trust.genesis_hash)
    _demand(record[160:] != request, "record", "it is a request of administration and no transfer")
    _demand(not any(padding), "decision", "padding that is not zero")
    _demand(form != PAYEE or code in PAID, "form", f"code {code} is no proof of payment")
    _demand(path[1] == header["decisions"], "decision", "the header counts other decisions")
    reached = _follow(suite, leaf_hash(suite, leaf), path, "decision")
    _demand(reached == header["decisions_root"], "decision", "the leaf does not lead to the root")
    return _transfer(record[:160]), code, time


def _transfer(record: bytes) -> dict[str, int | str]:
    reader = _Reader(record, "record")
    wide = ("id", "debit_account", "credit_account", "amount", "reference", "user_data")
    found: dict[str, int | str] = {name: reader.number(16) for name in wide}
    for name, size in (("expires_at", 8), ("until", 8), ("ledger", 4), ("key_id", 4), ("valid_for_s", 4), ("code", 2)):
        found[name] = reader.number(size)
    flags = reader.number(2)
    _demand(flags & 15 < len(KINDS) and flags < 1 << 12, "record", "flags that no record has")
    return {**found, "kind": KINDS[flags & 15], "flags": flags, "binding": reader.take(32).hex()}


def _account(data: bytes, header: dict[str, Any], suite: int) -> dict[str, int | str]:
    reader = _Reader(data, "account")
    leaf = reader.take(160)
    path, state = reader.path(), reader.path()
    reader.end()
    _demand(path[1] == header["accounts"], "account", "the header counts other accounts")
    root = _follow(suite, leaf_hash(suite, leaf), path, "account")
    _demand(state[:2] == (0, 10), "state", "accounts are the first of ten subtrees")
    reached = _follow(suite, leaf_hash(suite, b"accounts".ljust(16, b"\0") + root), state, "state")
    _demand(reached == header["state_root"], "state", "the accounts' root does not lead to the state root")
    fields = _Reader(leaf, "account")
    wide = ("id", "debits_pending", "debits_posted", "credits_pending", "credits_posted", "credit_limit",
            "balance_max", "user_data")  # fmt: skip
    found: dict[str, int | str] = {name: fields.number(16) for name in wide}
    for name, size in (("opened_at", 8), ("ledger", 4), ("key_lineage", 4), ("flags", 2), ("code", 2)):
        found[name] = fields.number(size)
    fields.zeros(4)
    return {**found, "frozen_until": fields.number(8)}


def _check_range(data: bytes | None, header: dict[str, Any], anchored: dict[str, Any], suite: int) -> None:
    if data is None:
        _demand(header["bytes"] == anchored["bytes"], "range", "the anchored header is another one, without a path")
        return
    reader = _Reader(data, "range")
    path = reader.path()
    reader.end()
    expected = header["height"] - 1, anchored["height"] - 1
    _demand(path[:2] == expected, "range", "the path is for another height")
    reached = _follow(suite, leaf_hash(suite, digest(suite, header["bytes"])), path, "range")
    _demand(reached == anchored["headers_root"], "range", "the header does not lead to the root of earlier ones")


def _relay_header(data: bytes, trust: Trust) -> dict[str, Any]:
    reader = _Reader(data, "relay block")
    reader.magic(b"CSRB")
    reader.zeros(2)
    height, view, time = reader.number(8), reader.number(8), reader.number(8)
    reader.take(32)  # parent
    set_id, genesis, root, count = reader.number(8), reader.take(32), reader.take(32), reader.number(4)
    reader.zeros(12)
    reader.end()
    _demand(genesis == trust.genesis_hash, "relay block", "it is of another network")
    _demand(set_id == trust.set_id, "stale_trust", f"set {set_id}, where set {trust.set_id} is known")
    return {"hash": digest(trust.suite, data), "height": height, "view": view, "time": time, "set": set_id,
            "root": root, "count": count}  # fmt: skip


def _check_anchor(sections: dict[int, bytes], relay: dict[str, Any], suite: int) -> int:
    """Demand that the anchored header is a record of the relay block; return its index."""
    reader = _Reader(sections[ANCHOR_PATH], "anchor")
    path = reader.path(4)
    reader.end()
    signed = sections[ANCHORED]
    record = struct.pack("<HHI", 1, 1, len(signed)) + signed
    _demand(path[1] == relay["count"], "anchor", "the relay block counts other records")
    reached = _follow(suite, leaf_hash(suite, record), path, "anchor")
    _demand(reached == relay["root"], "anchor", "the anchored header is no record of the relay block")
    return path[0]


def _check_certificate(data: bytes, relay: dict[str, Any], trust: Trust) -> tuple[list[tuple[int, bytes]], int]:
    """Demand a quorum's commit votes for the block; return (member, statement hash) of each, and the power."""
    reader = _Reader(data, "certificate")
    reader.magic(b"CSQC")
    phase, set_id, height, view = reader.number(2), reader.number(8), reader.number(8), reader.number(8)
    block, count = reader.take(32), reader.number(4)
    reader.zeros(4)
    _demand(phase == COMMIT, "certificate", "votes to prepare make nothing final")
    found = (set_id, height, block) == (relay["set"], relay["height"], relay["hash"]) and view >= relay["view"]
    _demand(found, "certificate", "it certifies another block")
    _demand(height >= trust.first_height, "certificate", "its height is before the set's first")
    prefix = digest(trust.suite, b"clearspan/vote/1" + trust.genesis_hash)
    votes, power, last = [], 0, -1
    for _ in range(count):
        index = reader.number(2)
        reader.zeros(6)
        time, statement, signature = reader.take(8), reader.take(32), reader.take(64)
        _demand(last < index < len(trust.members), "certificate", "member indexes out of order or range")
        power, last = power + trust.members[index][0], index
        message = struct.pack("<QQQHHI32s8s32s", set_id, height, view, COMMIT, 0, 0, block, time, statement)
        votes.append((index, statement, signature, prefix + message))
    reader.end()
    _demand(3 * power > 2 * trust.power, "certificate", f"power {power} of {trust.power} is no quorum")
    for index, _, signature, message in votes:
        _, suite, key = trust.members[index]
        holds = VERIFY[suite][1](key, signature, message)
        _demand(holds, "certificate", f"the signature of member {index} does not hold")
    return [(index, statement) for index, statement, _, _ in votes], power


def _verified_power(data: bytes | None, votes: list[tuple[int, bytes]], trust: Trust, bit: int) -> int:
    """Return the power of those who say that they executed and hold the anchored height."""
    if data is None:
        return 0
    reader = _Reader(data, "statements")
    count = reader.number(4)
    reader.zeros(4)
    _demand(count > 0, "statements", "the section is empty")
    power, seen = 0, set()
    for _ in range(count):
        encoded = reader.take(reader.number(4))
        statement = _Reader(encoded, "statements")
        headers = statement.number(4)
        statement.zeros(4)
        executed, held = (statement.number((headers + 7) // 8) for _ in range(2))
        statement.end()
        name = digest(trust.suite, encoded)
        signers = [index for index, signed in votes if signed == name]
        _demand(name not in seen and bool(signers), "statements", "one stands twice, or nobody signed it")
        _demand(0 <= bit < headers and max(executed, held) < 1 << headers, "statements", "it speaks of other headers")
        seen.add(name)
        if executed >> bit & held >> bit & 1:
            power += sum(trust.members[index][0] for index in signers)
    reader.end()
    return power
