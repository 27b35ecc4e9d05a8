"""Who takes part: the genesis of a run, everybody's keys, the sets that follow, and where the chain begins.

Keys are real and derived from labels, so that a run needs no secrets; a run may begin at the genesis or at a made-up
height just below a checkpoint, as if all that came before had been pruned.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from engine.development import DEVELOPMENT_TIME, DevelopmentKey, development_key
from engine.genesis import Genesis, GenesisDomain, GenesisKey, GenesisLedger, GenesisValidator, padded_key
from engine.governance import Approval, governance_message
from engine.refusals import CertificateRefused
from engine.relay_block import RelayHeader
from engine.types import NS_PER_S, Role, SigningSuite, VotePhase
from engine.validators import Certificate, CertificateSigner, Validator, ValidatorSet, Vote, vote_message
from native.hashing import digest
from relay.entries import KeyBook, Parameters
from relay.state import RelayState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clearspan.simulation.relay.plan import Plan
    from engine.relay_block import RelayRecord
    from engine.types import RelayRecordType
    from relay.entries import BlockKey

__all__ = ["DOMAINS", "START", "Parties", "key_of"]

START: Final = DEVELOPMENT_TIME
DOMAINS: Final = (1, 2)
SHARDS: Final = 2
_EPOCH: Final = 2
_PARTICIPANT: Final = 9001


@lru_cache(maxsize=1024)
def key_of(label: str, participant: int, suite: int, key_id: int = 0) -> DevelopmentKey:
    """Return a key by its label: one for all runs of a process."""
    return development_key(b"simulation", label, participant=participant, role=Role.BLOCK, suite=suite, key_id=key_id)


class _KnownKeys(KeyBook):
    """Block keys that check each signature once in a run: every validator of it is offered the same headers."""

    def __init__(self) -> None:
        super().__init__()
        self._verdicts: dict[tuple[int, bytes, bytes, bytes], bool] = {}

    def holds(self, keys: Sequence[BlockKey], signatures: Sequence[bytes], messages: Sequence[bytes]) -> list[bool]:
        """Return for each signature whether it holds under its key."""
        names = [
            (key.suite, key.public_key, signature, message)
            for key, signature, message in zip(keys, signatures, messages, strict=True)
        ]
        new = [at for at, name in enumerate(names) if name not in self._verdicts]
        verdicts = super().holds([keys[at] for at in new], [signatures[at] for at in new], [messages[at] for at in new])
        self._verdicts.update(zip((names[at] for at in new), verdicts, strict=True))
        return [self._verdicts[name] for name in names]


class Parties:
    """The keys of one run. ``members`` by number: each one's keys, the newest last; ``owner`` finds who holds a key."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.suite = plan.hash_suite
        self.members: list[list[DevelopmentKey]] = []
        self.owner: dict[bytes, int] = {}
        self.block_keys = {domain: key_of(f"block/{domain}/1", 100 * domain + 1, 1, 1) for domain in DOMAINS}
        for index, suite in enumerate(plan.suites):
            self.new_member(suite, index)
        first = tuple(keys[0] for keys in self.members)
        self.genesis = Genesis(
            network="simulation",
            random=digest(1, b"simulation %d" % plan.seed),
            time=START,
            domains=tuple(self._domain(domain) for domain in DOMAINS),
            validators=tuple(
                GenesisValidator(key.participant, power, key.suite, key.public_key)
                for key, power in zip(first, plan.powers, strict=True)
            ),
            hash_suite=plan.hash_suite,
        )
        self.begin = replace(RelayState.begin(self.genesis), keys=_KnownKeys())
        self.base = self._base(plan.base_height)

    def _domain(self, domain: int) -> GenesisDomain:
        key = self.block_keys[domain]
        return GenesisDomain(
            domain=domain,
            name=f"D{domain}",
            shards=SHARDS,
            ledgers=(GenesisLedger(domain, f"C{domain}", 2, 100 * domain + 2),),
            keys=(GenesisKey(key.participant, key.role, key.suite, key.public_key),),
        )

    def new_member(self, suite: int, number: int) -> None:
        """Let somebody take part who was not there before."""
        assert number == len(self.members)
        self.members.append([])
        self.new_key(number, suite)

    def new_key(self, number: int, suite: int) -> DevelopmentKey:
        """Give a member a further key."""
        keys = self.members[number]
        key = key_of(f"validator/{number}/{len(keys)}", _PARTICIPANT + number, suite)
        keys.append(key)
        self.owner[padded_key(key.public_key)] = number
        return key

    def number_of(self, validators: ValidatorSet, index: int) -> int:
        """Return which member stands at an index of a set."""
        return self.owner[validators.members[index].public_key]

    def key_in(self, number: int, validators: ValidatorSet) -> DevelopmentKey | None:
        """Return the key with which a member stands in a set, None where it does not."""
        standing = {member.public_key for member in validators.members}
        return next((key for key in self.members[number] if padded_key(key.public_key) in standing), None)

    def sign_vote(self, key: DevelopmentKey, vote: Vote) -> bytes:
        """Return a vote's signature."""
        return key.sign(vote_message(self.suite, self.genesis.hash, vote))

    def approvals(self, kind: RelayRecordType, body: bytes, validators: ValidatorSet) -> tuple[Approval, ...]:
        """Return a quorum's approvals of a body."""
        message = governance_message(self.suite, self.genesis.hash, kind, body)
        rows, power = [], 0
        for index, member in enumerate(validators.members):
            key = self.key_in(self.owner[member.public_key], validators)
            assert key is not None
            rows.append(Approval(index, key.sign(message)))
            power += member.power
            if 3 * power > 2 * validators.power:
                break
        return tuple(rows)

    # Sets that follow.

    def changed_set(self, latest: ValidatorSet, first_height: int, change: str, spare: Iterable[int]) -> ValidatorSet:
        """Return the set after ``latest``; what would break its own rules or F changes keys alone.

        ``spare`` are members whose going leaves the others a quorum without the liars and the restored.
        """
        members = list(latest.members)
        if change == "add":
            number = len(self.members)
            self.new_member(int(SigningSuite.ED25519), number)
            members.append(_member(self.members[number][-1], members[0].power))
        elif change == "remove":
            gone = [at for at, each in enumerate(members) if self.owner[each.public_key] in spare]
            members = [each for at, each in enumerate(members) if at not in gone[:1]]
        elif change == "reweigh":
            members = [replace(each, power=each.power * 2 + at % 2) for at, each in enumerate(members)]
        made = self._allowed(latest, first_height, members)
        if made is not None:
            return made
        rotated = [
            _member(self.new_key(self.owner[each.public_key], each.suite), each.power) if at % 2 == 0 else each
            for at, each in enumerate(latest.members)
        ]
        return ValidatorSet(latest.set_id + 1, first_height, tuple(rotated))

    def _allowed(self, latest: ValidatorSet, first_height: int, members: Sequence[Validator]) -> ValidatorSet | None:
        if tuple(members) == latest.members:
            return None
        try:
            made = ValidatorSet(latest.set_id + 1, first_height, tuple(members))
        except CertificateRefused:
            return None
        lying = sum(each.power for each in members if self.owner[each.public_key] in self.plan.lies)
        away = sum(each.power for each in members if self.owner[each.public_key] == self.plan.restored)
        fits = lying <= (made.power - 1) // 3 and 3 * (made.power - lying - away) > 2 * made.power
        return made if fits else None

    def approved(self, record: RelayRecord, body: bytes, validators: ValidatorSet) -> tuple[Approval, ...]:
        """Return a quorum's approvals for a record that was made without."""
        return self.approvals(record.type, body, validators)

    # Where the chain begins.

    def _base(self, height: int) -> RelayState:
        """Return the state after ``height``: the genesis', or one with a made-up block below it, truly certified."""
        if not height:
            return self.begin
        validators = self.begin.sets[0]
        header = RelayHeader(
            height=height,
            view=0,
            time=START + NS_PER_S,
            parent_hash=digest(self.suite, b"before"),
            set_id=1,
            genesis_hash=self.genesis.hash,
            body_root=digest(self.suite, b"body"),
            record_count=1,
        )
        rows = []
        for index, keys in enumerate(self.members):
            vote = Vote(1, height, 0, VotePhase.COMMIT, header.hash(self.suite), header.time, bytes(32))
            rows.append(CertificateSigner(index, vote.time, vote.executed_held, self.sign_vote(keys[0], vote)))
        certificate = Certificate(VotePhase.COMMIT, 1, height, 0, header.hash(self.suite), tuple(rows))
        certificate.verify(self.suite, self.genesis.hash, validators)
        return replace(
            self.begin,
            height=height,
            time=header.time,
            tip_hash=header.hash(self.suite),
            header=header,
            parameters=Parameters(epoch_length=_EPOCH),
            certificate=certificate,
        )


def _member(key: DevelopmentKey, power: int) -> Validator:
    return Validator(key.participant, key.suite, power, padded_key(key.public_key))
