"""Linked runs over shards: prepared on every shard that they touch, decided once by the relay, and nothing in between."""

from __future__ import annotations

from dataclasses import replace

import pytest

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.accounts import channel_account_id
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.genesis import SECOND_NS
from tests.model.hashes import run_prefix, sha256, tree_root
from tests.model.stage import ALICE, BANK, BOB, CAROL, CNY, DAVE, DOMAIN, KEYS, OTHER_BANK, account_on

PREPARED = [Code.PREPARED] * 2
THERE = DOMAIN << 8 | 1
HERE = DOMAIN << 8


@pytest.fixture
def ready(bank):  # noqa: F811 - the fixture
    """The usual stage after a first relay block, with money on both shards: Alice 900, Carol 100."""
    bank.send(bank.plain(credit_account=CAROL, amount=100))
    bank.deliver()
    bank.relay()
    return bank


def exchange(s, **fields):
    """Alice pays Carol 300, Carol pays Bob 40: each on another shard than her payee."""
    there = {"debit_account": CAROL, "key_id": KEYS["other"], "credit_account": BOB, "amount": 40}
    return s.run(s.plain(credit_account=CAROL, amount=300, **fields), s.plain(**there))


def digests(s, run):
    records = [member.pack() for member in run]
    prefix = run_prefix(1, sha256(s.document), records, min(member.expires_at for member in run))
    return [sha256(prefix + record) for record in records]


def leaf(s, digest, code):
    return digest + s.now.to_bytes(8, "little") + code.to_bytes(2, "little") + bytes(6)


def leaves_are(s, shard, *leaves):
    """The block that is sealed now holds these decisions and no others."""
    return s.seal(shard)[224:256] == tree_root(1, list(leaves))


def channel(s, shard):
    """The channel account's sides towards the other shard: debits pending and posted, credits pending and posted."""
    return s.balance(channel_account_id(CNY, DOMAIN << 8 | 1 - shard), shard)


def test_a_prepared_run_reserves_on_both_sides(ready):
    """LEDGER-90, LEDGER-93."""
    assert ready.codes_over(*exchange(ready)) == PREPARED
    assert ready.balance(ALICE) == (300, 100, 0, 1000)
    assert ready.balance(CAROL) == (40, 0, 300, 100)
    assert ready.balance(BOB) == (0, 0, 40, 0)
    assert channel(ready, 0) == (40, 0, 300, 100)
    assert channel(ready, 1) == (300, 100, 40, 0)


def test_a_commit_posts_every_half(ready):
    """LEDGER-94: and sends no credit message."""
    run = exchange(ready)
    ready.send_over(*run)
    ready.relay(runs=[run])
    assert ready.balance(ALICE) == (0, 400, 0, 1000)
    assert ready.balance(CAROL) == (0, 40, 0, 400)
    assert ready.balance(BOB) == (0, 0, 0, 40)
    assert [shard.take_outgoing() for shard in ready.shards] == [[], []]
    assert channel(ready, 0) == (0, 40, 0, 400)
    assert channel(ready, 1) == (0, 400, 0, 40)


@pytest.mark.parametrize(("after", "committed"), [(-1, True), (0, False), (1, False)])
def test_no_instant_belongs_to_both_or_neither(ready, after, committed):
    """LEDGER-94, LEDGER-95: a commit counts in a block with time below the deadline; at the deadline it is over."""
    run = exchange(ready)
    ready.send_over(*run)
    ready.relay(time=run[0].expires_at + after, runs=[run])
    assert ready.balance(BOB)[3] == (40 if committed else 0)
    assert ready.balance(ALICE) == ((0, 400, 0, 1000) if committed else (0, 100, 0, 1000))


def test_the_deadline_is_the_smallest_of_all_members(ready):
    """RECORD-2, LEDGER-95: also for the half whose own record would live longer."""
    members = exchange(ready)
    run = [members[0], replace(members[1], expires_at=ready.now + 5 * SECOND_NS)]
    assert ready.codes_over(*run) == PREPARED
    ready.relay(time=ready.now + 5 * SECOND_NS)
    assert ready.balance(ALICE) == (0, 100, 0, 1000)
    assert ready.balance(CAROL) == (0, 0, 0, 100)


def test_an_abort_releases_exactly_what_was_reserved(ready):
    """LEDGER-95."""
    before = [ready.balance(each) for each in (ALICE, BOB, CAROL)] + [channel(ready, shard) for shard in (0, 1)]
    run = exchange(ready)
    ready.send_over(*run)
    ready.relay(time=run[0].expires_at)
    after = [ready.balance(each) for each in (ALICE, BOB, CAROL)] + [channel(ready, shard) for shard in (0, 1)]
    assert after == before


def test_an_aborted_run_is_never_committed(ready):
    run = exchange(ready)
    ready.send_over(*run)
    ready.relay(time=run[0].expires_at)
    ready.relay(time=run[0].expires_at, runs=[run])
    assert ready.balance(BOB) == (0, 0, 0, 0)


def test_a_second_commit_is_harmless(ready):
    run = exchange(ready)
    ready.send_over(*run)
    ready.relay(runs=[run, run])
    ready.relay(runs=[run])
    assert ready.balance(BOB) == (0, 0, 0, 40)


def test_shards_that_consume_late_decide_alike(ready):
    """LEDGER-94: each in order, whatever its own clock says."""
    run = exchange(ready)
    ready.send_over(*run)
    ready.relay(shard=0, runs=[run])
    ready.later(3600)
    ready.relay_height -= 1
    ready.relay(shard=1, time=run[0].expires_at - 1, runs=[run])
    assert ready.balance(CAROL) == (0, 40, 0, 400)
    assert ready.balance(BOB) == (0, 0, 0, 40)


def test_leaves_of_the_payer_s_and_the_payee_s_side(ready):
    """LEDGER-97: prepared and committed where the payer is, prepared_credit and credited where the payee is."""
    for shard in (0, 1):
        ready.seal(shard)
    run = exchange(ready)
    first, second = digests(ready, run)
    ready.send_over(*run)
    assert leaves_are(ready, 0, leaf(ready, first, Code.PREPARED), leaf(ready, second, Code.PREPARED_CREDIT))
    assert leaves_are(ready, 1, leaf(ready, first, Code.PREPARED_CREDIT), leaf(ready, second, Code.PREPARED))
    ready.relay(runs=[run])
    assert leaves_are(ready, 0, leaf(ready, first, Code.COMMITTED), leaf(ready, second, Code.CREDITED))
    assert leaves_are(ready, 1, leaf(ready, first, Code.CREDITED), leaf(ready, second, Code.COMMITTED))


def test_leaves_of_a_payment_within_one_shard(ready):
    """LEDGER-97: its one half says both."""
    run = ready.run(
        ready.plain(), ready.plain(debit_account=CAROL, key_id=KEYS["other"], credit_account=DAVE, amount=5)
    )
    ready.send_over(*run)
    ready.seal()
    ready.relay(runs=[run])
    first = digests(ready, run)[0]
    assert leaves_are(ready, 0, leaf(ready, first, Code.COMMITTED), leaf(ready, first, Code.CREDITED))


def test_leaves_of_an_abort(ready):
    """LEDGER-97: where the payer is, and only there."""
    run = exchange(ready)
    ready.send_over(*run)
    for shard in (0, 1):
        ready.seal(shard)
    ready.relay(time=run[0].expires_at)
    first, second = digests(ready, run)
    assert leaves_are(ready, 0, leaf(ready, first, Code.ABORTED))
    assert leaves_are(ready, 1, leaf(ready, second, Code.ABORTED))


# Pendings in a run.


def with_pending(s, **fields):
    """A pending of Alice for Carol, and a payment of Carol's that binds it to the other shard."""
    bits = r.PAYER_POSTS | r.PAYEE_POSTS | r.PAYER_VOIDS
    pending = s.pending(bits, credit_account=CAROL, amount=300, **fields)
    return s.run(pending, s.plain(debit_account=CAROL, key_id=KEYS["other"], credit_account=DAVE, amount=5))


def test_a_committed_pending_is_open_and_its_time_begins(ready):
    """LEDGER-94: its timeout counts from the commit."""
    run = with_pending(ready, until=10 * SECOND_NS)
    assert ready.codes_over(*run) == PREPARED
    ready.later(8)
    ready.relay(runs=[run])
    assert ready.balance(ALICE) == (300, 100, 0, 1000)
    ready.later(9)
    ready.seal()
    assert ready.balance(ALICE)[0] == 300
    ready.later(1)
    ready.seal()
    assert ready.balance(ALICE) == (0, 100, 0, 1000)


def test_a_committed_pending_is_posted_like_any_other(ready):
    """LEDGER-94: its payee is remote, so the post sends a credit."""
    run = with_pending(ready)
    ready.send_over(*run)
    ready.relay(runs=[run])
    assert ready.code(ready.post(run[0])) == Code.CREATED_IN_TRANSIT
    assert ready.deliver() == [Code.CREDITED]
    assert ready.balance(CAROL)[3] == 400


def test_a_prepared_pending_cannot_be_ended(ready):
    """LEDGER-96: there is no pending yet, and after an abort there never was one to end."""
    run = with_pending(ready)
    ready.send_over(*run)
    assert ready.code(ready.post(run[0])) == Code.PENDING_NOT_FOUND
    assert ready.code(ready.void(run[0])) == Code.PENDING_NOT_FOUND
    ready.relay(time=run[0].expires_at)
    assert ready.code(ready.void(run[0])) == Code.PENDING_ALREADY_VOIDED


def test_a_prepared_transfer_is_no_pending(ready):
    """LEDGER-96: neither before nor after its commit."""
    run = exchange(ready)
    ready.send_over(*run)
    assert ready.code(ready.void(run[0])) == Code.PENDING_NOT_FOUND
    ready.relay(runs=[run])
    assert ready.code(ready.void(run[0])) == Code.PENDING_NOT_FOUND


# Nothing stops a commit.


def test_a_freeze_after_the_prepare_stops_nothing(ready):
    """LEDGER-94."""
    run = exchange(ready)
    ready.send_over(*run)
    ready.freeze(ALICE)
    ready.freeze(CAROL)
    ready.limits(CAROL, balance_max=1)
    ready.relay(runs=[run])
    assert ready.balance(CAROL) == (0, 40, 0, 400)


def test_accounts_of_a_prepared_run_are_not_closed(ready):
    run = exchange(ready)
    ready.send_over(*run)
    assert [ready.close(each).code for each in (ALICE, BOB, CAROL)] == [Code.ACCOUNT_HAS_PENDINGS] * 3


def test_what_is_reserved_cannot_be_spent(ready):
    """LEDGER-93."""
    ready.send_over(*exchange(ready))
    assert ready.code(ready.plain(amount=601)) == Code.INSUFFICIENT_FUNDS
    assert ready.code(ready.plain(amount=600)) == Code.CREATED


def test_money_on_its_way_in_is_not_there_yet(ready):
    """LEDGER-93: a member cannot spend what an earlier one brings."""
    through = {"debit_account": CAROL, "key_id": KEYS["other"], "credit_account": BOB, "amount": 101}
    run = ready.run(ready.plain(credit_account=CAROL, amount=300), ready.plain(**through))
    assert ready.codes_over(*run) == [Code.LINKED_EVENT_FAILED, Code.INSUFFICIENT_FUNDS]


# Refusals.


def test_one_refusal_takes_all_back_on_every_shard(ready):
    """LEDGER-92: the member refused is burnt where its payer is; the others are free."""
    run = exchange(ready, expires_at=ready.now + 20 * SECOND_NS)
    poor = [run[0], replace(run[1], amount=101)]
    assert ready.codes_over(*poor) == [Code.LINKED_EVENT_FAILED, Code.INSUFFICIENT_FUNDS]
    assert ready.balance(ALICE) == (0, 100, 0, 1000)
    assert ready.balance(CAROL) == (0, 0, 0, 100)
    assert ready.codes_over(*poor) == [Code.LINKED_EVENT_FAILED, Code.ID_ALREADY_FAILED]
    assert ready.codes_over(run[0], replace(run[1], id=77)) == PREPARED


def test_a_refusal_of_the_payee_s_shard_burns_the_payer_s_id(ready):
    """LEDGER-92: the id lives where the payer is, and the bytes never execute, even when the account is opened."""
    missing = account_on(1, OTHER_BANK, 8)
    run = exchange(ready)
    run[0] = replace(run[0], credit_account=missing)
    assert ready.codes_over(*run) == [Code.CREDIT_ACCOUNT_NOT_FOUND, Code.LINKED_EVENT_FAILED]
    ready.open(missing, "other")
    assert ready.codes_over(*run) == [Code.ID_ALREADY_FAILED, Code.LINKED_EVENT_FAILED]
    assert ready.balance(missing) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"balance_max": 350}, Code.EXCEEDS_BALANCE_MAX),
        ({"closed": True}, Code.CREDIT_ACCOUNT_CLOSED),
    ],
)
def test_what_the_payee_s_shard_refuses(ready, change, code):
    """LEDGER-91."""
    if "balance_max" in change:
        ready.limits(DAVE, balance_max=250)
    else:
        ready.close(DAVE)
    run = ready.run(
        ready.plain(credit_account=DAVE, amount=300),
        ready.plain(debit_account=CAROL, key_id=KEYS["other"], credit_account=BOB, amount=4),
    )
    assert ready.codes_over(*run) == [code, Code.LINKED_EVENT_FAILED]
    assert ready.balance(ALICE) == (0, 100, 0, 1000)


def test_the_first_refusal_in_order_is_told(ready):
    """LEDGER-92: whichever shard it is on; of one member the payer's side first."""
    late = exchange(ready)
    both = [replace(late[0], amount=5000), replace(late[1], amount=5000)]
    assert ready.codes_over(*both) == [Code.INSUFFICIENT_FUNDS, Code.LINKED_EVENT_FAILED]
    missing = [replace(late[0], id=501, amount=5000, credit_account=account_on(1, BANK, 9)), replace(late[1], id=502)]
    assert ready.codes_over(*missing) == [Code.INSUFFICIENT_FUNDS, Code.LINKED_EVENT_FAILED]


def test_a_bad_signature_burns_nothing(ready):
    run = exchange(ready)
    assert ready.codes_over(*run) and ready.balance(ALICE)[0] == 300
    other = exchange(ready)
    answers = ready.send_over(*other, verdicts=[1, 0])
    assert [each.code for each in answers] == [Code.LINKED_EVENT_FAILED, Code.INVALID_SIGNATURE]
    assert ready.codes_over(*other) == PREPARED


@pytest.mark.parametrize("kind", ["post", "void", "lock"])
def test_only_plain_and_pending_go_over_shards(ready, kind):
    """LEDGER-90."""
    run = exchange(ready)
    of = ready.pending()
    ready.send(of)
    member = ready.lock(sha256(b"s" * 32)) if kind == "lock" else getattr(ready, kind)(of)
    run = ready.run(run[0], member, run[1])
    assert ready.codes_over(*run) == [Code.LINKED_EVENT_FAILED, Code.KIND_FLAG_NOT_ALLOWED, Code.LINKED_EVENT_FAILED]


def test_without_a_relay_nobody_would_decide(bank):  # noqa: F811
    """LEDGER-91: open, so that it may be sent again."""
    run = bank.run(bank.plain(credit_account=CAROL), bank.plain())
    assert bank.codes_over(*run) == [Code.LINKED_RUN_SPANS_SHARDS] * 2
    bank.relay()
    assert bank.codes_over(*run) == PREPARED


def test_a_deadline_that_relay_time_has_passed_is_expired(ready):
    """LEDGER-91: relay time may be ahead of a shard's."""
    run = exchange(ready)
    ready.relay(time=run[0].expires_at)
    assert ready.codes_over(*run) == [Code.EXPIRED, Code.LINKED_EVENT_FAILED]


def test_a_payer_s_shard_alone_sees_that_it_is_too_late(ready):
    """LEDGER-91 e: no payee is on another shard than its payer."""
    there = {"debit_account": CAROL, "key_id": KEYS["other"], "credit_account": DAVE, "amount": 4}
    run = ready.run(ready.plain(), ready.plain(**there))
    ready.relay(time=run[0].expires_at)
    assert ready.codes_over(*run) == [Code.EXPIRED, Code.LINKED_EVENT_FAILED]


def test_a_payee_s_shard_alone_sees_that_it_is_too_late(ready):
    """LEDGER-91 e: it has consumed a block that the payer's shard has not; the payer hears a no, with its leaf."""
    run = ready.run(ready.plain(), ready.plain(credit_account=CAROL))
    ready.relay(time=run[0].expires_at, shard=1)
    ready.seal()
    assert ready.codes_over(*run) == [Code.LINKED_EVENT_FAILED, Code.EXPIRED]
    assert ready.balance(ALICE)[0] == 0
    assert leaves_are(ready, 0, leaf(ready, digests(ready, run)[1], Code.EXPIRED))


def test_the_total_of_the_payee_s_shard_has_its_bound(opened):  # noqa: F811
    """LEDGER-91, LEDGER-3: there too, although nothing would move before the commit."""
    s = opened(amount_max=2**127 - 1).furnish()
    s.fund(CAROL, 2**126)
    there = {"debit_account": CAROL, "key_id": KEYS["other"], "credit_account": DAVE}
    assert s.code(s.plain(**there, amount=2**126 - 2), shard=1) == Code.CREATED
    s.relay()
    assert s.codes_over(*s.run(s.plain(amount=1), s.plain(credit_account=CAROL, amount=2))) == [
        Code.LINKED_EVENT_FAILED, Code.OVERFLOWS_LEDGER_TOTAL,
    ]  # fmt: skip
    assert s.codes_over(*s.run(s.plain(amount=1), s.plain(credit_account=CAROL, amount=1))) == PREPARED


@pytest.mark.parametrize(("limit", "code"), [("ids_max", Code.WINDOW_FULL), ("pendings_max", Code.PENDINGS_FULL)])
def test_a_run_asks_for_all_its_room_first(opened, limit, code):  # noqa: F811
    """LEDGER-91: two ids and four halves, of which three stand on shard 0."""
    s = opened(**{limit: 4}).furnish()
    s.relay()
    s.send(s.plain(credit_account=CAROL))
    s.deliver()
    if limit == "pendings_max":
        s.send(s.pending())
    back = s.plain(debit_account=CAROL, key_id=KEYS["other"])
    run = s.run(s.plain(credit_account=CAROL), s.plain(credit_account=CAROL), back)
    assert s.codes_over(*run)[0] == code
    assert s.balance(ALICE)[0] == (1 if limit == "pendings_max" else 0) * 10


# Repeats.


def test_a_repeat_says_what_became_of_it(ready):
    """LEDGER-96: prepared while nobody knows, then how it ended; the time is that of the preparation."""
    run = exchange(ready)
    prepared_at = ready.now
    ready.send_over(*run)
    ready.later(1)
    assert [tuple(each) for each in ready.send_over(*run)] == [(Code.EXISTS, Code.PREPARED, prepared_at)] * 2
    ready.relay(runs=[run])
    assert [tuple(each) for each in ready.send_over(*run)] == [(Code.EXISTS, Code.COMMITTED, prepared_at)] * 2


def test_a_repeat_of_an_aborted_run_is_a_no(ready):
    """LEDGER-96: burnt for ever; every member hears it."""
    run = exchange(ready)
    ready.send_over(*run)
    ready.relay(time=run[0].expires_at)
    answers = ready.send_over(*run)
    assert [(each.code, each.first_code) for each in answers] == [(Code.ID_ALREADY_FAILED, Code.ABORTED)] * 2
    ready.later(29)
    assert ready.codes_over(*run) == [Code.ID_ALREADY_FAILED] * 2


def test_another_record_under_a_prepared_id_is_refused(ready):
    run = exchange(ready)
    ready.send_over(*run)
    assert ready.code(replace(run[0], flags=0, amount=1)) == Code.EXISTS_WITH_DIFFERENT_FLAGS
    assert ready.code(ready.cancel(run[0].id)) == Code.CANCEL_TOO_LATE


def test_one_record_twice_in_a_run_is_refused(ready):
    """LEDGER-89."""
    run = exchange(ready)
    twice = [run[0], run[0], run[1]]
    assert ready.codes_over(*twice) == [
        Code.LINKED_EVENT_FAILED, Code.EXISTS_WITH_DIFFERENT_RUN, Code.LINKED_EVENT_FAILED,
    ]  # fmt: skip


def test_an_id_is_forgotten_with_its_half(ready):
    """LEDGER-96: as long as the id is known its half is, however late the relay decides."""
    run = exchange(ready)
    ready.send_over(*run)
    ready.later(90)
    assert ready.codes_over(*run) == [Code.EXISTS] * 2
    ready.later(1)
    assert ready.codes_over(*run) == [Code.TOO_OLD, Code.LINKED_EVENT_FAILED]
    assert (
        ready.code(replace(with_pending(ready)[0], id=run[0].id, flags=r.PENDING))
        == Code.EXISTS_WITH_DIFFERENT_EXPIRES_AT
    )
    assert ready.balance(ALICE)[0] == 300
    ready.relay(time=run[0].expires_at - 1, runs=[run])
    assert ready.balance(BOB)[3] == 40


# What is kept.


def test_a_state_with_halves_survives_a_checkpoint(ready):
    """CHECK-1: undecided, committed and aborted ones."""
    runs = [with_pending(ready), exchange(ready), exchange(ready, expires_at=ready.now + 3 * SECOND_NS)]
    for run in runs:
        assert ready.codes_over(*run) == PREPARED
    for index in (0, 1):
        ready.seal(index)
        ready.shards[index].round_trip()
    ready.relay(time=ready.now + 2 * SECOND_NS, runs=runs[1:2])
    ready.relay(time=ready.now + 3 * SECOND_NS)
    for index in (0, 1):
        ready.seal(index)
        ready.shards[index].round_trip()
    ready.relay(time=ready.now + 3 * SECOND_NS, runs=runs[:1])
    assert ready.balance(ALICE) == (300, 400, 0, 1000)
    assert ready.balance(BOB)[3] == 40


def test_halves_are_swept_by_no_timeout(ready):
    """LEDGER-95: a clock of the shard never ends one."""
    run = exchange(ready)
    ready.send_over(*run)
    ready.later(100_000)
    for index in (0, 1):
        ready.seal(index)
    assert ready.balance(ALICE)[0] == 300
