"""Fraud claims: what this validator's re-execution contradicts, signed, sent round and gathered until a quorum says it.

It promises that this validator signs only what it found itself, that signatures are counted once each and only of the
set in force, and that a claim which nobody shares stays a mark. What it keeps for others is bounded.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import structlog

from clearspan.client.relay import RelayClient
from clearspan.errors import Refused, Unreachable
from engine.evidence import FraudClaim, claim_of
from engine.genesis import plain_key
from engine.governance import Approval, governance_message
from engine.relay_block import evidence_record
from engine.types import RelayRecordType
from native.signatures import verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from clearspan.pki import TlsFiles
    from clearspan.validator.evidence import EvidenceDesk
    from clearspan.validator.standing import Validator
    from engine.header import Header
    from engine.relay_block import RelayRecord
    from engine.validators import ValidatorSet
    from relay.ports import Member

__all__ = ["ClaimDesk"]

_CLAIMS_MAX: Final = 64
_PAUSE_S: Final = 0.5
_PAUSE_MAX_S: Final = 8.0
_CALL_S: Final = 2.0
_log = structlog.get_logger("clearspan.validator")


@dataclass(slots=True)
class _Gathered:
    """One claim: whether this validator makes it too, and the signatures under it by public key."""

    claim: FraudClaim
    own: bool = False
    signatures: dict[bytes, bytes] = field(default_factory=dict)


class ClaimDesk:
    """One validator's; ``run`` is the task. ``examine`` is asked to look into a claim that others make."""

    def __init__(self, validator: Validator, member: Member | None, desk: EvidenceDesk, tls: TlsFiles) -> None:
        """Begin with none. Without a member nothing is signed, and others' claims are not gathered."""
        self._validator, self._member, self._desk, self._tls = validator, member, desk, tls
        self._claims: dict[bytes, _Gathered] = {}
        self._news = asyncio.Event()
        self.examine: Callable[[FraudClaim], None] = lambda _: None

    @property
    def open(self) -> int:
        """How many claims are neither confirmed nor settled."""
        return len(self._claims)

    def make(self, final: Header, own: Header) -> None:
        """Claim that a final header is not what the shard's log gives."""
        claim = claim_of(final, own)
        gathered = self._gathered(claim)
        if gathered is None or gathered.own or self._member is None:
            return
        gathered.own = True
        gathered.signatures[self._member.public_key] = self._member.sign(self._message(claim))
        _log.error("fraud_claimed", shard=claim.shard, height=claim.height, header=claim.header_hash.hex()[:16])
        rows = self._rows(gathered)
        if rows:
            self._desk.add(replace(claim, approvals=rows))
        self._news.set()

    def hear(self, record: RelayRecord) -> None:
        """Take a claim that another validator made: its signatures, and the question whether it is true."""
        claim = record.evidence()
        if not isinstance(claim, FraudClaim) or self._settled(claim) or self._member is None:
            return
        validators = self._in_force()
        signed = self._valid(claim, validators)
        if not signed:
            return
        plain = replace(claim, approvals=())
        known = plain.body() in self._claims
        gathered = self._gathered(plain)
        if gathered is None:
            return
        news = signed.keys() - gathered.signatures.keys()
        gathered.signatures.update(signed)
        if not known:
            self.examine(plain)
        if news:
            self._news.set()

    async def run(self) -> None:
        """Offer and send round what this validator claims, with all signatures that are known, until it is settled."""
        pause = _PAUSE_S
        while True:
            try:
                async with asyncio.timeout(pause if self._claims else None):
                    await self._news.wait()
                pause = _PAUSE_S
            except TimeoutError:
                pause = min(2 * pause, _PAUSE_MAX_S)
            self._news.clear()
            self._forget()
            for gathered in [each for each in self._claims.values() if each.own]:
                await self._say(gathered)

    async def _say(self, gathered: _Gathered) -> None:
        rows = self._rows(gathered)
        if not rows:
            return
        claim = replace(gathered.claim, approvals=rows)
        record = evidence_record(claim)
        if self._in_force().is_quorum(self._in_force().power_of(each.index for each in rows)):
            _log.error("fraud_confirmed", shard=claim.shard, height=claim.height, approvals=len(rows))
            self._desk.add(claim)
        await self._validator.shell.offer(record, "evidence")
        book = self._validator.addresses
        own_key = self._member.public_key if self._member is not None else b""
        keys = [member.public_key for member in self._in_force().members if member.public_key != own_key]
        targets = [target for key in keys if (target := book.target(key)) is not None]
        await asyncio.gather(*(self._tell(target, record) for target in targets))

    async def _tell(self, target: str, record: RelayRecord) -> None:
        try:
            async with RelayClient(target, self._tls, timeout_s=_CALL_S) as client:
                await client.submit(record)
        except (Refused, Unreachable) as error:
            _log.debug("claim_not_told", target=target, reason=str(error))

    # What is kept.

    def _gathered(self, claim: FraudClaim) -> _Gathered | None:
        """Return where a claim is gathered; None when too many are open."""
        body = claim.body()
        if body not in self._claims:
            self._forget()
            if len(self._claims) >= _CLAIMS_MAX or self._settled(claim):
                return None
            self._claims[body] = _Gathered(claim)
        return self._claims[body]

    def _forget(self) -> None:
        self._claims = {body: each for body, each in self._claims.items() if not self._settled(each.claim)}

    def _settled(self, claim: FraudClaim) -> bool:
        """Whether the chain has no use for a claim: the shard is suspended, was resumed since, or is verified there."""
        entry = self._validator.state.shards.get(claim.shard)
        if entry is None or entry.suspended or claim.epoch < entry.epoch_min:
            return True
        return claim.height <= entry.verified_height

    # Signatures.

    def _in_force(self) -> ValidatorSet:
        state = self._validator.state
        return state.set_at(state.height + 1)

    def _message(self, claim: FraudClaim) -> bytes:
        genesis = self._validator.genesis
        return governance_message(genesis.hash_suite, genesis.hash, RelayRecordType.EVIDENCE, claim.body())

    def _rows(self, gathered: _Gathered) -> tuple[Approval, ...]:
        members = enumerate(self._in_force().members)
        signed = gathered.signatures
        return tuple(Approval(at, signed[each.public_key]) for at, each in members if each.public_key in signed)

    def _valid(self, claim: FraudClaim, validators: ValidatorSet) -> dict[bytes, bytes]:
        """Return the signatures under a claim that hold, by public key."""
        message, found = self._message(claim), {}
        for row in claim.approvals:
            if row.index < len(validators.members):
                member = validators.members[row.index]
                plain = plain_key(member.suite, member.public_key)
                if plain is not None and verify(member.suite, plain, row.signature, message):
                    found[member.public_key] = row.signature
        return found
