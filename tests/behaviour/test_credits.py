"""Credits between shards: applied once, in order; what cannot land comes back, and what comes back always lands."""

from __future__ import annotations

import pytest

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.accounts import SUSPENSE, channel_account_id
from tests.model.admin_request import ACCOUNT_KEY_SET
from tests.model.credits import CLAIM_MESSAGE, CREDIT_MESSAGE, RETURN_MESSAGE, Message
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.hashes import sha256, tree_root
from tests.model.stage import ALICE, BANK, CAROL, CNY, DAVE, DOMAIN, HKD, KEYS, OTHER_BANK, account_on, suspense_on

SHARD_0, SHARD_1 = DOMAIN << 8, DOMAIN << 8 | 1
SECRET = b"s" * 32
MISSING = account_on(1, OTHER_BANK, 8)


def in_transit(stage):
    """CHANNEL-2: what shard 0 sent and shard 1 has not taken yet."""
    out, back = channel_account_id(CNY, SHARD_1), channel_account_id(CNY, SHARD_0)
    return stage.balance(out, 0)[3] - stage.balance(back, 1)[1]


def message(stage, sequence, kind=CREDIT_MESSAGE, **fields):
    basis = {
        "code": 0, "ledger": CNY, "debit_account": ALICE, "credit_account": CAROL, "amount": 5, "user_data": 0,
        "digest": sha256(bytes([sequence])), "time": stage.now,
    }  # fmt: skip
    return Message(sequence=sequence, kind=kind, **(basis | fields)).pack()


def test_a_credit_is_in_transit_until_it_lands(bank):
    """CHANNEL-2."""
    assert bank.code(bank.plain(credit_account=CAROL, amount=70)) == Code.CREATED_IN_TRANSIT
    assert in_transit(bank) == 70
    bank.deliver()
    assert in_transit(bank) == 0


def test_a_message_carries_what_the_payee_needs(bank):
    """Spec 05, all fields."""
    sent = bank.plain(credit_account=CAROL, amount=70, user_data=99, code=3)
    assert bank.code(sent) == Code.CREATED_IN_TRANSIT
    ((peer, data),) = bank.shards[0].take_outgoing()
    got = Message.unpack(data)
    assert peer == SHARD_1
    assert (got.sequence, got.kind, got.code, got.ledger, got.amount) == (1, CREDIT_MESSAGE, 3, CNY, 70)
    assert (got.debit_account, got.credit_account, got.user_data, got.time) == (ALICE, CAROL, 99, bank.now)
    assert got.reason == 0


def test_a_credit_to_a_missing_account_returns(bank):
    """LEDGER-50."""
    assert bank.code(bank.plain(credit_account=MISSING, amount=70)) == Code.CREATED_IN_TRANSIT
    assert bank.deliver() == [Code.CREDIT_ACCOUNT_NOT_FOUND, Code.RETURNED]
    assert bank.balance(ALICE) == (0, 70, 0, 1070)
    assert in_transit(bank) == 0


def test_a_credit_to_a_closed_account_returns(bank):
    assert bank.close(CAROL).code == Code.CREATED
    assert bank.code(bank.plain(credit_account=CAROL)) == Code.CREATED_IN_TRANSIT
    assert bank.deliver() == [Code.CREDIT_ACCOUNT_CLOSED, Code.RETURNED]


def test_a_credit_to_an_account_of_another_ledger_returns(bank):
    other = account_on(1, OTHER_BANK, 4)
    assert bank.open(other, "other", ledger=HKD).code == Code.CREATED
    assert bank.code(bank.plain(credit_account=other)) == Code.CREATED_IN_TRANSIT
    assert bank.deliver() == [Code.CREDIT_ACCOUNT_OTHER_LEDGER, Code.RETURNED]


def test_a_credit_over_the_payee_s_limit_returns(bank):
    assert bank.limits(CAROL, balance_max=50).code == Code.CREATED
    assert bank.code(bank.plain(credit_account=CAROL, amount=51)) == Code.CREATED_IN_TRANSIT
    assert bank.deliver() == [Code.EXCEEDS_BALANCE_MAX, Code.RETURNED]
    assert bank.code(bank.plain(credit_account=CAROL, amount=50)) == Code.CREATED_IN_TRANSIT
    assert bank.deliver() == [Code.CREDITED]


def test_a_frozen_payee_is_credited(bank):
    assert bank.freeze(CAROL).code == Code.CREATED
    assert bank.code(bank.plain(credit_account=CAROL)) == Code.CREATED_IN_TRANSIT
    assert bank.deliver() == [Code.CREDITED]


def test_a_return_lands_whatever_the_payer_s_flags(bank):
    """LEDGER-50: also on a frozen account, and past its balance_max."""
    assert bank.code(bank.plain(credit_account=MISSING, amount=70)) == Code.CREATED_IN_TRANSIT
    assert bank.freeze(ALICE).code == bank.limits(ALICE, balance_max=1).code == Code.CREATED
    assert bank.deliver() == [Code.CREDIT_ACCOUNT_NOT_FOUND, Code.RETURNED]
    assert bank.balance(ALICE) == (0, 70, 0, 1070)


def test_a_return_to_a_closed_account_lands_in_suspense(bank):
    """LEDGER-50: in the name of the payer's participant."""
    assert bank.code(bank.plain(amount=930)) == Code.CREATED
    assert bank.code(bank.plain(credit_account=MISSING, amount=70)) == Code.CREATED_IN_TRANSIT
    assert bank.close(ALICE).code == Code.CREATED
    assert bank.deliver() == [Code.CREDIT_ACCOUNT_NOT_FOUND, Code.RETURNED]
    suspense = suspense_on(0, BANK, CNY)
    assert bank.balance(suspense, 0) == (0, 0, 0, 70)
    leaf = bank.leaf(suspense, 0)
    assert int.from_bytes(leaf[144:146], "little") == SUSPENSE
    assert bank.balance(ALICE) == (0, 1000, 0, 1000)


def test_a_claim_never_returns(bank):
    """LEDGER-50: kind claim lands in suspense in the payee's name, once registered and then again."""
    suspense = suspense_on(1, OTHER_BANK, CNY)
    for total in (60, 120):
        assert bank.code(bank.lock(sha256(SECRET), credit_account=MISSING, amount=60)) == Code.CREATED
        bank.relay(SECRET)
        assert bank.deliver() == [Code.CREDITED_TO_SUSPENSE]
        assert bank.balance(suspense, 1) == (0, 0, 0, total)


def test_a_claim_over_the_payee_s_limit_lands_in_suspense(bank):
    assert bank.limits(CAROL, balance_max=50).code == Code.CREATED
    assert bank.code(bank.lock(sha256(SECRET), credit_account=CAROL, amount=60)) == Code.CREATED
    bank.relay(SECRET)
    assert bank.deliver() == [Code.CREDITED_TO_SUSPENSE]
    assert bank.balance(CAROL) == (0, 0, 0, 0)


def test_many_messages_in_one_record(bank):
    """CHANNEL-1: in sequence, mixed kinds."""
    messages = [
        message(bank, 1),
        message(bank, 2, credit_account=MISSING),
        message(bank, 3, CLAIM_MESSAGE, credit_account=DAVE),
        message(bank, 4, CLAIM_MESSAGE, credit_account=MISSING),
    ]
    codes = bank.shards[1].apply_credits(SHARD_0, b"".join(messages), bank.now)
    assert codes == [Code.CREDITED, Code.CREDIT_ACCOUNT_NOT_FOUND, Code.CREDITED, Code.CREDITED_TO_SUSPENSE]
    ((peer, back),) = bank.shards[1].take_outgoing()
    answer = Message.unpack(back)
    assert (peer, answer.sequence, answer.kind, answer.reason) == (
        SHARD_0, 1, RETURN_MESSAGE, Code.CREDIT_ACCOUNT_NOT_FOUND,
    )  # fmt: skip
    assert answer.digest == sha256(b"\2")


@pytest.mark.parametrize("sequence", [0, 2, 3])
def test_a_gap_or_repeat_stops_the_machine(bank, sequence):
    """LEDGER-50: a broken log is no refusal."""
    with pytest.raises(Exception, match=r"(?i)sequence|message|number"):
        bank.shards[1].apply_credits(SHARD_0, message(bank, sequence), bank.now)


def test_a_message_taken_twice_stops_the_machine(bank):
    bank.shards[1].apply_credits(SHARD_0, message(bank, 1), bank.now)
    with pytest.raises(Exception, match=r"(?i)sequence|message|number"):
        bank.shards[1].apply_credits(SHARD_0, message(bank, 1), bank.now)


def test_money_in_suspense_is_moved_by_its_owner(bank):
    """LEDGER-1, ADMIN type 11: the account is routed to its shard, and a key line is given to it."""
    assert bank.code(bank.lock(sha256(SECRET), credit_account=MISSING, amount=60)) == Code.CREATED
    bank.relay(SECRET)
    assert bank.deliver() == [Code.CREDITED_TO_SUSPENSE]
    suspense = suspense_on(1, OTHER_BANK, CNY)
    out = bank.plain(debit_account=suspense, credit_account=CAROL, amount=60, key_id=KEYS["other"])
    assert bank.code(out, shard=1) == Code.KEY_NOT_AUTHORISED
    request = bank.request(ACCOUNT_KEY_SET, subject=suspense, ledger=CNY, key_id=KEYS["other"])
    assert bank.administer(request, "other_registrar", "operator", shard=1).code == Code.CREATED
    assert bank.code(out, shard=1) == Code.CREATED
    assert bank.balance(CAROL) == (0, 0, 0, 60)


def test_messages_of_a_block_stand_in_order_of_peer_and_sequence(opened):
    """BLOCK: the outgoing root of a shard with two peers, whose messages left by turns."""
    stage = opened(shards=3)
    alice = account_on(0, BANK, shards=3)
    assert stage.open(alice, "bank").code == stage.limits(alice, credit_limit=100).code == Code.CREATED
    payees = [account_on(index, OTHER_BANK, shards=3) for index in (2, 1, 2, 1)]
    transfers = [stage.plain(debit_account=alice, credit_account=payee, amount=1) for payee in payees]
    assert stage.codes(*transfers) == [Code.CREATED_IN_TRANSIT] * 4
    outgoing = stage.shards[0].take_outgoing()
    assert [(peer & 255, Message.unpack(data).sequence) for peer, data in outgoing] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert stage.seal(0)[288:320] == tree_root(1, [data for _, data in outgoing])


def test_sequences_go_on_across_blocks(bank):
    for _ in range(3):
        assert bank.code(bank.plain(credit_account=CAROL, amount=1)) == Code.CREATED_IN_TRANSIT
        assert bank.deliver() == [Code.CREDITED]
        bank.seal(0)
        bank.seal(1)
    assert bank.code(bank.pending(r.PAYER_POSTS, credit_account=CAROL)) == Code.CREATED


def test_a_payer_elsewhere_may_be_unknown_here(bank):
    """A return for an account that does not exist lands in its participant's suspense account."""
    data = message(bank, 1, RETURN_MESSAGE, debit_account=account_on(1, BANK, 9), reason=136)
    assert bank.shards[1].apply_credits(SHARD_0, data, bank.now) == [Code.RETURNED]
    assert bank.balance(suspense_on(1, BANK, CNY), 1) == (0, 0, 0, 5)
