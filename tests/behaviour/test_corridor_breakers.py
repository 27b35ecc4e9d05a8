"""Breakers of corridors (BREAK-1 to -6): proved decisions, an order, a grade, an end; nothing that has begun is asked."""

from __future__ import annotations

import ast
import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from bridge.corridor_breakers import NOTICE_BYTES, BreakerNotice, CorridorBreakers, notice_of
from bridge.refusals import BridgeCode, BridgeRefused
from clearspan.bridging.market.corridors import Corridors
from clearspan.bridging.rules.breaker_desk import BREAKER_ROWS, BreakerDesk, BreakerRows
from clearspan.bridging.rules.files import RuleFiles, breaker_file
from clearspan.errors import Unreachable
from engine.admin import AdminRequest
from engine.block_receipt import DecidedLeaf
from engine.prefix import PrefixType, record_digest, signing_prefix
from engine.refusals import EncodingError
from engine.types import AdminType, BreakerGrade, BreakerSubject
from native.codes import ResultCode
from tests.behaviour.bridge_papers import CNY, HKD, NOW, THB, S, document
from tests.behaviour.bridging_world import genesis

CORRIDOR = bytes(range(1, 17))
STOP = BreakerNotice(CORRIDOR, CNY, BreakerGrade.STOP, 4, 0, NOW, NOW + 100 * S)
SLOW = replace(STOP, grade=BreakerGrade.SLOW, rate=2)
CLEAR = replace(STOP, grade=None, expires_at=0, set_at=NOW + 1)


def refused(code: BridgeCode, call, *arguments) -> None:
    with pytest.raises(BridgeRefused) as caught:
        call(*arguments)
    assert caught.value.code is code, caught.value


def test_a_notice_is_64_bytes_and_survives_them() -> None:
    """Every changed byte is another notice or none."""
    for notice in (STOP, SLOW, replace(STOP, grade=BreakerGrade.HOLD, relay_height=9), CLEAR):
        assert len(notice.encode()) == NOTICE_BYTES and BreakerNotice.decode(notice.encode()) == notice
    for at in range(NOTICE_BYTES):
        changed = bytearray(SLOW.encode())
        changed[at] ^= 0x55
        try:
            assert BreakerNotice.decode(bytes(changed)).encode() == bytes(changed)
        except EncodingError:
            pass
    for data in (b"", STOP.encode()[:-1]):
        with pytest.raises(EncodingError):
            BreakerNotice.decode(data)


@pytest.mark.parametrize(
    "change",
    [{"corridor_id": bytes(16)}, {"reason": 0}, {"domain": 0}, {"expires_at": NOW}, {"rate": 1}, {"set_at": 0},
     {"grade": BreakerGrade.SLOW}, {"corridor_id": b"x"}, {"grade": None}],
)  # fmt: skip
def test_a_notice_without_reason_end_or_order_cannot_be_made(change: dict[str, object]) -> None:
    """A breaker says why, until when and in which order, and a rate only where it slows."""
    with pytest.raises(EncodingError):
        replace(STOP, **change)


def test_each_grade_does_what_it_says_until_its_end() -> None:
    """Stop refuses, hold holds, slow lets so many begin each second; at the end nothing stands."""
    for grade in (BreakerGrade.STOP, BreakerGrade.HOLD):
        breakers = CorridorBreakers()
        assert breakers.apply(replace(STOP, grade=grade))
        for now, stands in ((NOW, True), (NOW + 100 * S - 1, True), (NOW + 100 * S, False)):
            if grade is BreakerGrade.STOP and stands:
                refused(BridgeCode.CORRIDOR_CLOSED, breakers.begin, CORRIDOR, now)
            else:
                assert breakers.begin(CORRIDOR, now) is (stands and grade is BreakerGrade.HOLD)
            assert len(breakers.all_standing(now)) == stands
    slow = CorridorBreakers()
    slow.apply(SLOW)
    for now in (NOW, NOW + 5 * S):
        assert [slow.begin(CORRIDOR, now) for _ in range(2)] == [False, False]
        refused(BridgeCode.LIMITS_EXCEEDED, slow.begin, CORRIDOR, now)
    refused(BridgeCode.LIMITS_EXCEEDED, slow.begin, CORRIDOR, NOW)
    assert slow.begin(bytes(15) + b"\1", NOW) is False, "another corridor is not slowed"


def test_decisions_count_once_and_in_order() -> None:
    """A later one replaces, an older or repeated one changes nothing; a clearing one cannot be undone by replaying."""
    breakers = CorridorBreakers()
    assert breakers.apply(STOP) and not breakers.apply(STOP)
    assert breakers.apply(CLEAR)
    assert not breakers.apply(STOP) and breakers.begin(CORRIDOR, NOW) is False
    assert breakers.standing(CORRIDOR, NOW) is None
    at_once = replace(STOP, set_at=CLEAR.set_at)
    assert breakers.apply(at_once) and not breakers.apply(CLEAR), "of one instant the stricter one counts"
    many = CorridorBreakers()
    for number in range(1, 257):
        many.apply(replace(STOP, corridor_id=number.to_bytes(16, "big")))
    refused(BridgeCode.LIMITS_EXCEEDED, many.apply, replace(STOP, corridor_id=b"\xff" * 16))


@pytest.mark.parametrize(
    "change", [{"expires_at": STOP.expires_at + 1}, {"reason": STOP.reason + 1}], ids=["end", "reason"]
)
def test_of_two_of_one_instant_all_hold_the_same(change: dict[str, int]) -> None:
    """Alike but for the end or the reason: whichever is heard first, the later end or the higher reason stands."""
    other = replace(STOP, **change)
    for first, second in ((STOP, other), (other, STOP)):
        breakers = CorridorBreakers()
        breakers.apply(first)
        breakers.apply(second)
        assert breakers.standing(CORRIDOR, NOW) == other


def test_of_two_domains_the_strictest_counts_and_each_lifts_its_own() -> None:
    """Slow at two rates is the lower one; who did not set a breaker cannot clear it."""
    breakers = CorridorBreakers()
    breakers.apply(SLOW)
    breakers.apply(replace(SLOW, domain=HKD, rate=1))
    assert breakers.begin(CORRIDOR, NOW) is False
    refused(BridgeCode.LIMITS_EXCEEDED, breakers.begin, CORRIDOR, NOW)
    breakers.apply(replace(STOP, set_at=NOW + 1))
    assert breakers.apply(replace(CLEAR, domain=HKD, set_at=NOW + 2))
    refused(BridgeCode.CORRIDOR_CLOSED, breakers.begin, CORRIDOR, NOW)
    assert [each.domain for each in breakers.all_standing(NOW)] == [CNY]
    breakers.apply(replace(CLEAR, set_at=NOW + 2))
    assert breakers.all_standing(NOW) == ()


# What a bridge believes.

PAPER = document()
HEIGHT = 40
BODY = AdminRequest(
    7, AdminType.BREAKER_SET, NOW + S, 60, subject=int(PAPER.id, 16), role=BreakerSubject.CORRIDOR,
    suite=BreakerGrade.STOP, reason=4, limit_b=NOW + 100 * S,
)  # fmt: skip


class Node:
    """A node that proves what its ledger decided, by digest."""

    def __init__(self, decided: dict[bytes, int]) -> None:
        self.decided, self.client, self.verified = decided, self, True

    async def final_blocks(self, shard: int, height: int, **_: object) -> object:
        if height < HEIGHT:
            raise Unreachable("a node of the test", "has let go of it")
        leaves = {digest: DecidedLeaf(digest, code, NOW) for digest, code in self.decided.items()}
        if height > HEIGHT or not leaves:
            return height, []
        block = SimpleNamespace(
            among=lambda wanted: [leaves[each] for each in wanted if each in leaves],
            anchorage=SimpleNamespace(relay_height=12),
        )
        return height + 1, [block]


def desk(tmp_path: Path, decided: dict[bytes, int]) -> tuple[BreakerDesk, BreakerRows, list[int]]:
    corridors = Corridors(tmp_path / "corridors")
    corridors.book.add(PAPER.record(1))
    rows, commits = BreakerRows(CorridorBreakers()), []

    async def committed() -> None:
        commits.append(len(rows.take()))

    ledgers = {each: Node(decided) for each in (CNY, HKD, THB)}
    return BreakerDesk(genesis(), corridors, rows, ledgers, committed), rows, commits


def digest_of(request: AdminRequest) -> bytes:
    made = genesis()
    return record_digest(1, signing_prefix(1, PrefixType.ACCOUNT, made.hash), request.encode())


def test_a_proved_decision_counts_and_is_durable_before_it_is_answered(tmp_path: Path) -> None:
    """Its instant is the ledger's, its height the relay's; the same again changes nothing; a restart knows it."""
    made, rows, commits = desk(tmp_path, {digest_of(BODY): ResultCode.CREATED})
    notice, fresh = asyncio.run(made.take(CNY, HEIGHT, BODY.encode()))
    assert fresh and commits == [1] and (notice.set_at, notice.relay_height, notice.domain) == (NOW, 12, CNY)
    refused(BridgeCode.CORRIDOR_CLOSED, rows.breakers.begin, PAPER.id_bytes, NOW)
    assert asyncio.run(made.take(CNY, HEIGHT, BODY.encode())) == (notice, False)
    for height in (HEIGHT - 1, HEIGHT + 1, 0):
        with pytest.raises(BridgeRefused) as caught:
            asyncio.run(made.take(CNY, height, BODY.encode()))
        assert caught.value.code is BridgeCode.BREAKER_UNPROVED, "another block proves nothing of it"
    again = BreakerRows(CorridorBreakers())
    again.restore([(BREAKER_ROWS, notice.encode())])
    assert again.breakers.standing(PAPER.id_bytes, NOW) == notice


@pytest.mark.parametrize(
    ("domain", "change", "code", "wanted"),
    [
        (CNY, {}, None, BridgeCode.BREAKER_UNPROVED),
        (CNY, {}, ResultCode.SIGNER_ROLE_NOT_ALLOWED, BridgeCode.APPROVAL_REQUIRED),
        (CNY, {}, ResultCode.KEY_NOT_IN_FORCE, BridgeCode.APPROVAL_REQUIRED),
        (THB, {}, ResultCode.CREATED, BridgeCode.APPROVAL_REQUIRED),
        (9, {}, ResultCode.CREATED, BridgeCode.APPROVAL_REQUIRED),
        (CNY, {"subject": 99}, ResultCode.CREATED, BridgeCode.CORRIDOR_UNKNOWN),
        (CNY, {"role": BreakerSubject.REFERENCE}, ResultCode.CREATED, BridgeCode.TERMS_MALFORMED),
        (CNY, {"type": AdminType.LOOK}, ResultCode.CREATED, BridgeCode.TERMS_MALFORMED),
        (CNY, {"suite": 9}, ResultCode.CREATED, BridgeCode.TERMS_MALFORMED),
    ],
)
def test_what_no_ledger_of_the_corridor_decided_changes_nothing(tmp_path: Path, domain, change, code, wanted) -> None:
    """Nobody's word is enough: not for another corridor, another domain, a refused request or an unproved one."""
    request = replace(BODY, **change)
    made, rows, _ = desk(tmp_path, {} if code is None else {digest_of(request): code})
    with pytest.raises(BridgeRefused) as caught:
        asyncio.run(made.take(domain, HEIGHT, request.encode()))
    assert caught.value.code is wanted, caught.value
    assert rows.breakers.all_standing(NOW) == ()
    with pytest.raises(BridgeRefused):
        asyncio.run(made.take(CNY, HEIGHT, b"short"))


def test_a_file_is_a_messenger_like_any_other(tmp_path: Path) -> None:
    """One that cannot be read or was refused is left; one that is not proved yet is asked about again."""
    decided: dict[bytes, int] = {}
    made, rows, _ = desk(tmp_path, decided)
    folder = tmp_path / "breakers"
    folder.mkdir()
    files = RuleFiles(made, lambda _: None, folder=folder, names=None, suite=1)
    (folder / "broken").write_bytes(breaker_file(CNY, HEIGHT, BODY.encode()) + b"more")
    (folder / "one").write_bytes(breaker_file(CNY, HEIGHT, BODY.encode()))
    assert asyncio.run(files.look()) == 0
    decided[digest_of(BODY)] = ResultCode.CREATED
    assert asyncio.run(files.look()) == 0, "it is not asked about at once again"
    files._later["one"] = 0.0
    assert [asyncio.run(files.look()) for _ in range(2)] == [1, 0]
    assert len(rows.breakers.all_standing(NOW)) == 1


def test_a_clearing_request_clears() -> None:
    """It has no end and no grade; its reason is kept."""
    clear = replace(BODY, type=AdminType.BREAKER_CLEAR, suite=0, limit_b=0)
    notice = notice_of(clear, CNY, NOW + 5)
    assert (notice.grade, notice.expires_at, notice.reason) == (None, 0, 4)


def test_what_drives_claims_and_refunds_asks_no_breaker(repository_root: Path) -> None:
    """No module that runs a swap once it has begun knows breakers, hours, limits, screening or cases."""
    edge = {"corridor_breakers", "calendar", "usage", "screening", "edge", "cases", "patterns", "corridor"}
    for name in ("swap", "party", "acceptance", "watcher", "terms", "journal", "margins", "ports"):
        tree = ast.parse((repository_root / "bridge" / f"{name}.py").read_text())
        found = {
            node.module.removeprefix("bridge.")
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bridge.")
        }
        assert not found & edge, name
