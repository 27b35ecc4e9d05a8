"""The bytes that liars make up for agreement: certificates, votes and proposals that are not what they say.

Each function returns what one liar could really make: it signs with its own keys alone, and for the rest it bends what
it heard.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from engine.refusals import EncodingError
from engine.relay_block import RelayBlock
from engine.types import VotePhase
from engine.validators import Certificate, CertificateSigner, Vote
from native.hashing import digest
from relay.messages import (
    CertificateMessage,
    Proposal,
    TimeoutCertificateMessage,
    TimeoutMessage,
    VoteMessage,
    decode_message,
)
from relay.timeouts import Timeout, TimeoutCertificate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from clearspan.simulation.relay.liars import LiarNode
    from engine.relay_block import RelayRecord
    from relay.messages import Message

__all__ = [
    "bent",
    "cartel",
    "commits",
    "forged_certificates",
    "fresh_proposal",
    "messages_of",
    "mutated_bytes",
    "old_messages",
    "old_set_votes",
    "overlong_certificates",
    "remade",
    "resigned",
    "wrong_network",
    "wrong_place",
]

_FAR: Final = 1 << 40


def remade(block: RelayBlock, records: Iterable[RelayRecord], suite: int, **changes: Any) -> RelayBlock:
    """Return a block with other records or header fields, its body root fitting."""
    header = block.header
    fields: dict[str, Any] = {
        "genesis_hash": header.genesis_hash,
        "height": header.height,
        "view": header.view,
        "time": header.time,
        "parent_hash": header.parent_hash,
        "set_id": header.set_id,
    }
    return RelayBlock.build(suite, records=list(records), **{**fields, **changes})


def resigned(liar: LiarNode, message: Proposal, block: RelayBlock) -> Proposal:
    """Return a proposal of another block in the same place, truly signed."""
    vote = replace(message.vote, block_hash=block.hash(liar.scene.parties.suite))
    return replace(message, vote=vote, signature=liar.vote(vote).signature, block=block.encode())


def fresh_proposal(liar: LiarNode, message: Proposal) -> Proposal:
    """Return a proposal of a new block where one that was prepared has to be proposed again."""
    core = liar.core
    assert core is not None
    block, sidecar = core.state.propose([], core.round.parent, message.vote.view, now=liar.now)
    return replace(resigned(liar, message, block), sidecar=sidecar.encode(), high=b"")


def commits(message: CertificateMessage) -> bool:
    """Say whether a certificate is one of votes to commit."""
    return int.from_bytes(message.certificate[6:8], "little") == VotePhase.COMMIT


def bent(liar: LiarNode, data: bytes) -> bytes:
    """Return bytes with one bit changed."""
    at = liar.chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << liar.chance.randrange(8)]) + data[at + 1 :]


def messages_of(liar: LiarNode) -> list[Message]:
    """Return what the liar heard that reads as a message, the newest first."""
    found = []
    for data in reversed(liar.heard):
        try:
            found.append(decode_message(data, liar.scene.parties.genesis.hash))
        except EncodingError:
            continue
    return found


def _certificates(liar: LiarNode) -> list[Certificate]:
    parts = []
    for message in messages_of(liar):
        if isinstance(message, CertificateMessage):
            parts.append(message.certificate)
        elif isinstance(message, Proposal | TimeoutMessage) and message.high:
            parts.append(message.high)
    return [each for each in (_read(Certificate, part) for part in parts[:4]) if each is not None]


def _timeout_certificates(liar: LiarNode) -> list[TimeoutCertificate]:
    parts = [each.certificate for each in messages_of(liar) if isinstance(each, TimeoutCertificateMessage)]
    parts += [each.timeout_certificate for each in messages_of(liar) if isinstance(each, Proposal)]
    return [each for each in (_read(TimeoutCertificate, part) for part in parts[:4] if part) if each is not None]


def _read(kind: Any, data: bytes) -> Any:
    try:
        return kind.decode(data)
    except EncodingError:
        return None


# Certificates.


def forged_certificates(liar: LiarNode) -> list[bytes]:
    """Return certificates that do not hold, each in a message where one is looked for."""
    core = liar.core
    assert core is not None
    made: list[Certificate] = []
    for true in _certificates(liar)[:2]:
        rows = true.signers
        fewer = rows[: max(1, len(rows) // 2)]
        other = VotePhase.COMMIT if true.phase is VotePhase.PREPARE else VotePhase.PREPARE
        made += [
            replace(true, signers=(*rows[:-1], replace(rows[-1], signature=bytes(64)))),
            replace(true, signers=fewer),
            replace(true, signers=(rows[0],) * len(rows)),
            replace(true, signers=rows[::-1]),
            replace(true, phase=other),
            replace(true, view=true.view + 1),
            replace(true, block_hash=liar.chance.randbytes(32)),
            replace(true, height=core.height),
            replace(true, set_id=true.set_id + 1),
        ]
    made.append(_own_certificate(liar))
    chosen = liar.chance.sample(made, min(3, len(made)))
    messages: list[Message] = [CertificateMessage(each.encode()) for each in chosen]
    for each in chosen[:1]:
        said = Timeout(core.validators.set_id, core.height, max(core.view, each.view), each.view + 1)
        messages.append(liar.timeout(said, each.encode()))
    messages += _forged_timeouts(liar)
    return [liar.encode(each) for each in messages]


def _own_certificate(liar: LiarNode) -> Certificate:
    """Return a certificate in which the liar signs for everybody."""
    core = liar.core
    assert core is not None
    vote = Vote(
        core.validators.set_id,
        core.height,
        core.view,
        liar.chance.choice((VotePhase.PREPARE, VotePhase.COMMIT)),
        liar.chance.randbytes(32),
        liar.now,
        bytes(32),
    )
    signature = liar.vote(vote).signature
    rows = tuple(
        CertificateSigner(index, vote.time, bytes(32), signature) for index in range(len(core.validators.members))
    )
    return Certificate(vote.phase, vote.set_id, vote.height, vote.view, vote.block_hash, rows)


def _forged_timeouts(liar: LiarNode) -> list[Message]:
    made = []
    for true in _timeout_certificates(liar)[:1]:
        rows = true.signers
        made += [
            replace(true, view=true.view + 1),
            replace(true, signers=rows[: max(1, len(rows) // 2)]),
            replace(true, signers=tuple(replace(each, high_view_plus_one=0) for each in rows)),
            replace(true, signers=(rows[0],) * len(rows)),
        ]
    return [TimeoutCertificateMessage(each.encode()) for each in made]


def overlong_certificates(liar: LiarNode) -> list[bytes]:
    """Return certificates with more rows than members, with an index past them, and with bytes past all bounds."""
    core = liar.core
    assert core is not None
    true = next(iter(_certificates(liar)), None) or _own_certificate(liar)
    count = len(core.validators.members)
    row = true.signers[0]
    more = tuple(replace(row, index=index) for index in range(count + liar.chance.choice((1, 5, 900))))
    made: list[Message] = [
        CertificateMessage(replace(true, height=core.height, signers=more).encode()),
        CertificateMessage(
            replace(true, height=core.height, signers=(*true.signers[:-1], replace(row, index=count))).encode()
        ),
        CertificateMessage(true.encode()[:72] + bytes(300_000)),
        CertificateMessage(true.encode() + bytes(112)),
        CertificateMessage(true.encode()[:64] + b"\xff\xff\xff\xff" + true.encode()[68:]),
        CertificateMessage(true.encode(), (bytes(20_000),)),
    ]
    return [liar.encode(each) for each in liar.chance.sample(made, 2)]


def cartel(liar: LiarNode) -> list[bytes]:
    """Return a proposal of a block that no rule allows, and a certificate of it by all liars: they hold a quorum."""
    core, scene = liar.core, liar.scene
    assert core is not None
    if core.height > 1 and core.round.parent is None:
        return []
    block, sidecar = core.state.propose([], core.round.parent, core.view, now=liar.now)
    bad = remade(block, block.records, scene.parties.suite, time=block.header.time + 7)
    validators = core.validators
    place = (validators.set_id, core.height, core.view)
    rows = []
    for index, member in enumerate(validators.members):
        number = scene.parties.owner[member.public_key]
        if number in scene.plan.lies:
            vote = Vote(*place, VotePhase.COMMIT, bad.hash(scene.parties.suite), liar.now, bytes(32))
            key = scene.parties.key_in(number, validators)
            assert key is not None
            rows.append(CertificateSigner(index, vote.time, bytes(32), scene.parties.sign_vote(key, vote)))
    certificate = Certificate(VotePhase.COMMIT, *place, bad.hash(scene.parties.suite), tuple(rows))
    vote = Vote(*place, VotePhase.PREPARE, bad.hash(scene.parties.suite), liar.now, bytes(32))
    leader = scene.parties.number_of(validators, core.round.leader(core.view))
    proposals = []
    if leader == liar.number:
        signed = liar.vote(vote)
        entered = core.round.entered.encode() if core.round.entered and core.view else b""
        proposals = [Proposal(liar.index, vote, signed.signature, bad.encode(), sidecar.encode(), entered)]
    made: list[Message] = [*proposals, CertificateMessage(certificate.encode())]
    return [liar.encode(each) for each in made]


# Votes and other messages in the wrong place.


def old_set_votes(liar: LiarNode) -> list[bytes]:
    """Return votes and timeouts of the set before, the set after and no set, under old keys and new ones."""
    core = liar.core
    assert core is not None
    made: list[bytes] = []
    for set_id in (core.validators.set_id - 1, core.validators.set_id + 1, 0):
        place = (max(set_id, 0), core.height, core.view)
        for key in liar.scene.parties.members[liar.number][-2:]:
            vote = Vote(*place, VotePhase.COMMIT, liar.chance.randbytes(32), liar.now, bytes(32))
            signature = liar.scene.parties.sign_vote(key, vote)
            made.append(liar.encode(VoteMessage(liar.index, vote, signature)))
            timeout = Timeout(*place, 0)
            signature = key.sign(liar.scene.checker.timeout_message(timeout))
            made.append(liar.encode(TimeoutMessage(liar.index, timeout, signature)))
    made += [
        liar.encode(CertificateMessage(replace(true, set_id=max(true.set_id - 1, 0)).encode()))
        for true in _certificates(liar)[:1]
    ]
    return liar.chance.sample(made, min(3, len(made)))


def wrong_place(liar: LiarNode) -> list[bytes]:
    """Return votes, timeouts and proposals of other heights and views, and in other members' names."""
    core, chance = liar.core, liar.chance
    assert core is not None
    set_id = core.validators.set_id
    height = chance.choice((0, 1, core.height - 1, core.height + 1, core.height + 2, core.height + _FAR, (1 << 64) - 1))
    view = chance.choice((0, core.view, core.view + 7, core.view + 8, core.view + _FAR, (1 << 64) - 2))
    vote = Vote(set_id, max(height, 0), view, VotePhase.PREPARE, chance.randbytes(32), liar.now, bytes(32))
    signed = liar.vote(vote)
    timeout = liar.timeout(Timeout(set_id, max(height, 0), view, 0))
    stranger = chance.choice((len(core.validators.members), 65_535))
    victim = chance.randrange(len(core.validators.members))
    commit = liar.vote(replace(vote, height=core.height, view=core.view, phase=VotePhase.COMMIT))
    made: list[Message] = [
        signed,
        timeout,
        replace(signed, index=stranger),
        replace(timeout, index=stranger),
        replace(commit, index=victim),
        replace(timeout, index=victim),
        replace(commit, statement=bytes(8)),
        replace(commit, vote=replace(commit.vote, executed_held=bytes([1]) * 32)),
    ]
    usurped = _usurped(liar)
    made += [usurped] * 3 if usurped is not None else []
    for message in messages_of(liar):
        if isinstance(message, Proposal):
            made += [
                replace(message, index=victim),
                replace(message, vote=replace(message.vote, height=max(height, 0), view=view)),
                replace(message, vote=replace(message.vote, phase=VotePhase.COMMIT)),
                replace(message, timeout_certificate=b"", high=b""),
                replace(message, sidecar=bytes(8)),
            ]
            break
    return [liar.encode(each) for each in chance.sample(made, 3)]


def _usurped(liar: LiarNode) -> Proposal | None:
    """Return a proposal in a view that somebody else leads."""
    core = liar.core
    assert core is not None
    entered = core.round.entered
    if (core.height > 1 and core.round.parent is None) or (core.view and entered is None):
        return None
    block, sidecar = core.state.propose([], core.round.parent, core.view, now=liar.now)
    name = block.hash(liar.scene.parties.suite)
    vote = Vote(core.validators.set_id, core.height, core.view, VotePhase.PREPARE, name, liar.now, bytes(32))
    shown = entered.encode() if entered is not None and core.view else b""
    return Proposal(liar.index, vote, liar.vote(vote).signature, block.encode(), sidecar.encode(), shown)


def wrong_network(liar: LiarNode) -> list[bytes]:
    """Return what was heard with another genesis, magic, version or kind."""
    if not liar.heard:
        return []
    data = liar.chance.choice(liar.heard)
    made = [
        data[:8] + digest(1, b"another genesis") + data[40:],
        b"CSRX" + data[4:],
        data[:4] + b"\x02\x00" + data[6:],
        data[:6] + bytes([liar.chance.randrange(10, 256), 0]) + data[8:],
        data[:40],
        b"",
    ]
    return liar.chance.sample(made, 2)


def mutated_bytes(liar: LiarNode) -> list[bytes]:
    """Return what was heard with bits changed, cut short, grown, or joined with something else."""
    chance, made = liar.chance, []
    for data in chance.sample(liar.heard, min(3, len(liar.heard))):
        if not data:
            continue
        choice = chance.randrange(5)
        if choice == 0:
            made.append(bent(liar, data))
        elif choice == 1:
            made.append(data[: chance.randrange(len(data))])
        elif choice == 2:
            made.append(data + chance.randbytes(chance.randrange(1, 64)))
        elif choice == 3:
            other = chance.choice(liar.heard)
            at = chance.randrange(len(data))
            made.append(data[:at] + other[at:])
        else:
            at = chance.randrange(len(data))
            made.append(data[:at] + chance.randbytes(8) + data[at + 8 :])
    return made


def old_messages(liar: LiarNode) -> list[bytes]:
    """Return what others sent some time ago."""
    return liar.chance.sample(liar.heard, min(4, len(liar.heard)))
