"""Hold cases (CASE-1 to -8): one end each, two pairs of eyes, a clock, and nothing lost."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.cases import (
    STEPS_MAX,
    CaseBook,
    CaseEntry,
    CaseKind,
    CaseOpened,
    CaseState,
    Step,
    decode_case_entry,
    encode_case_entry,
)
from bridge.refusals import BridgeCode, BridgeRefused
from engine.refusals import EncodingError

ENDS = {CaseState.RELEASED, CaseState.REJECTED, CaseState.EXPIRED}
A, B = "officer-a", "officer-b"


def case(number: int = 1, owner: int = 11, deadline: int = 1_000) -> CaseOpened:
    return CaseOpened(
        case_id=f"{number:032x}",
        kind=CaseKind.SCREENING,
        uetr="0a" * 16,
        message_hash="0b" * 32,
        owner=owner,
        opened_at=100,
        deadline=deadline,
        score=9_302,
        list_version=7,
        explanation=("9302 of 10000 by words",),
    )


def book(*cases: CaseOpened) -> CaseBook:
    made = CaseBook()
    for each in cases or (case(),):
        made.open(each)
    return made


def play(made: CaseBook, *steps: tuple[Step, str], at: int = 200, number: int = 1) -> CaseState:
    for step, officer in steps:
        made.step(f"{number:032x}", step, officer, at, "a reason")
    return made.case(f"{number:032x}").state


def refused(code: BridgeCode, call, *arguments) -> None:
    with pytest.raises(BridgeRefused) as caught:
        call(*arguments)
    assert caught.value.code is code, caught.value


RELEASE = ((Step.TAKE, A), (Step.PROPOSE_RELEASE, A), (Step.CONFIRM, B))


def test_a_release_and_a_rejection_take_two_officers() -> None:
    """One works and proposes, another confirms; the proposer cannot, nor can a bystander propose."""
    assert play(book(), *RELEASE) is CaseState.RELEASED
    assert play(book(), (Step.TAKE, A), (Step.PROPOSE_REJECT, A), (Step.CONFIRM, B)) is CaseState.REJECTED
    made = book()
    play(made, (Step.TAKE, A))
    refused(BridgeCode.APPROVAL_REQUIRED, play, made, (Step.PROPOSE_RELEASE, B))
    play(made, (Step.PROPOSE_RELEASE, A))
    refused(BridgeCode.APPROVAL_REQUIRED, play, made, (Step.CONFIRM, A))
    refused(BridgeCode.APPROVAL_REQUIRED, play, made, (Step.OBJECT, A))
    assert made.case(case().case_id).state is CaseState.RELEASE_PROPOSED


def test_one_person_with_two_certificates_has_two_eyes() -> None:
    """Whoever shares a user id, a serial number or a common name with the proposer decides nothing; nor after a restart."""
    anna = ("uid=anna", "cn=anna example")
    for second in (("cn=anna example",), ("uid=anna", "cn=a. example"), anna):
        for step in (Step.CONFIRM, Step.OBJECT):
            book = CaseBook()
            book.open(case())
            entries = [
                book.step(case().case_id, Step.TAKE, A, 200, names=anna),
                book.step(case().case_id, Step.PROPOSE_RELEASE, A, 201, "a namesake", names=anna),
            ]
            again = CaseBook()
            again.open(case())
            for entry in entries:
                again.apply(decode_case_entry(encode_case_entry(entry)))
            for each in (book, again):
                with pytest.raises(BridgeRefused) as caught:
                    each.step(case().case_id, step, B, 202, "seen", names=second)
                assert caught.value.code is BridgeCode.APPROVAL_REQUIRED
                assert "anna" in caught.value.text and each.case(case().case_id).state is CaseState.RELEASE_PROPOSED
            again.step(case().case_id, Step.OBJECT, B, 203, "another one", names=("uid=ben", "cn=ben example"))
            # Whoever objected proposes next, and the first one confirms: these are two persons as well.
            again.step(case().case_id, Step.PROPOSE_REJECT, B, 204, "no namesake", names=("uid=ben",))
            again.step(case().case_id, Step.CONFIRM, A, 205, names=anna)
            assert again.case(case().case_id).state is CaseState.REJECTED


def test_an_objection_hands_the_case_to_the_other_officer_and_eyes_stay_four() -> None:
    """After an objection the objector works on it, and again another one must confirm."""
    made = book()
    state = play(made, (Step.TAKE, A), (Step.PROPOSE_RELEASE, A), (Step.OBJECT, B), (Step.PROPOSE_REJECT, B))
    assert state is CaseState.REJECT_PROPOSED
    refused(BridgeCode.APPROVAL_REQUIRED, play, made, (Step.CONFIRM, B))
    assert play(made, (Step.CONFIRM, A)) is CaseState.REJECTED


@pytest.mark.parametrize("step", Step)
def test_what_the_table_does_not_have_is_illegal(step: Step) -> None:
    """In a new case only taking and noting are possible, and in an ended one nothing is."""
    made = book()
    if step not in (Step.TAKE, Step.NOTE):
        refused(BridgeCode.TERMS_MALFORMED, play, made, (step, A))
    ended = book()
    play(ended, *RELEASE)
    refused(BridgeCode.TERMS_MALFORMED, play, ended, (step, A))


def test_steps_have_an_officer_a_reason_and_a_bound() -> None:
    """Nobody, no reason, too late, too many notes, an unknown case."""
    made = book()
    refused(BridgeCode.TERMS_MALFORMED, made.step, case().case_id, Step.TAKE, "", 200, "")
    made.step(case().case_id, Step.TAKE, A, 200)
    refused(BridgeCode.TERMS_MALFORMED, made.step, case().case_id, Step.PROPOSE_RELEASE, A, 200, "")
    refused(BridgeCode.TERMS_MALFORMED, made.step, case().case_id, Step.NOTE, A, 1_000, "too late")
    refused(BridgeCode.SWAP_UNKNOWN, made.step, "0" * 32, Step.TAKE, A, 200)
    for _ in range(STEPS_MAX - 1):
        made.step(case().case_id, Step.NOTE, A, 200, "looked at it again")
    refused(BridgeCode.TERMS_MALFORMED, made.step, case().case_id, Step.NOTE, A, 200, "and again")


def test_the_clock_calls_at_half_time_and_ends_what_nobody_decided() -> None:
    """Undecided at half of its time a case is called out once; at its deadline it has expired, proposed or not."""
    made = book(case(1), case(2, deadline=2_000), case(3, deadline=900))
    play(made, *RELEASE, number=3)
    assert made.next_instant() == 500
    assert [each.opened.case_id[-1] for each in made.overdue(550)] == ["1"]
    assert made.overdue(550) == []
    play(made, (Step.TAKE, A), (Step.PROPOSE_RELEASE, A), number=1)
    assert [entry.case_id[-1] for entry in made.expire(1_000)] == ["1"]
    assert made.case(case(1).case_id).state is CaseState.EXPIRED
    assert made.expire(1_000) == [] and made.expire(999) == []
    refused(BridgeCode.TERMS_MALFORMED, play, made, (Step.CONFIRM, B))
    assert [each.opened.case_id[-1] for each in made.open_cases()] == ["2"]
    assert [entry.case_id[-1] for entry in made.expire(10**9)] == ["2"]
    assert made.overdue(10**9) == [] and made.next_instant() is None


def test_cases_are_listed_by_owner_and_forgotten_only_when_ended() -> None:
    """An owner sees his own by deadline; an open case cannot be let go of."""
    made = book(case(1, 11, 900), case(2, 12, 800), case(3, 11, 700))
    assert [each.opened.case_id[-1] for each in made.open_cases(11)] == ["3", "1"]
    refused(BridgeCode.TERMS_MALFORMED, made.forget, case(1).case_id)
    play(made, *RELEASE)
    made.forget(case(1).case_id)
    refused(BridgeCode.SWAP_UNKNOWN, made.case, case(1).case_id)


def test_an_id_that_comes_again_has_a_clock_of_its_own() -> None:
    """A forgotten case's deadline neither calls out nor ends a later case of the same id."""
    made = book(case(1, deadline=900))
    play(made, *RELEASE)
    made.forget(case(1).case_id)
    made.open(case(1, deadline=5_000))
    assert made.expire(900) == [] and made.overdue(900) == []
    assert len(made.expire(5_000)) == 1


def test_a_case_is_opened_once() -> None:
    """Again the same is no change; other content under the same id, or a deadline in the past, is refused."""
    made = book()
    assert made.open(case()) is None
    refused(BridgeCode.DUPLICATE_SWAP, made.open, case(owner=12))
    refused(BridgeCode.TERMS_MALFORMED, made.open, case(2, deadline=100))


moves = st.tuples(
    st.integers(1, 2),
    st.sampled_from([*(step for step in Step if step is not Step.EXPIRE), Step.CONFIRM, "open", "clock"]),
    st.sampled_from(("its own", "another", "officer-c")),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(moves, min_size=6, max_size=40))
def test_no_case_is_lost_and_each_ends_once_with_four_eyes(script) -> None:
    """Random work: the encoded entries make the same book, an ended case never moves, two officers stand behind an end."""
    made, again, entries, ended = CaseBook(), CaseBook(), [], {}
    entries += [made.open(case(number, deadline=120 + number)) for number in (1, 2)]
    for at, (number, step, who) in enumerate(script, 101):
        own = made.case(f"{number:032x}").officer or A
        officer = {"its own": own, "another": B if own == A else A}.get(who, who)
        found: list[CaseEntry | None] = []
        try:
            if step == "open":
                found = [made.open(case(3, deadline=120))]
            elif step == "clock":
                found = list(made.expire(at))
            else:
                found = [made.step(f"{number:032x}", step, officer, at, "a reason")]
        except BridgeRefused:
            pass
        entries += [entry for entry in found if entry is not None]
        for each in (1, 2, 3):
            known = made.find(f"{each:032x}")
            if known is None:
                assert each == 3 and each not in ended
                continue
            assert ended.get(each, known.state) is known.state
            if known.state in ENDS:
                ended[each] = known.state
    for entry in entries:
        again.apply(decode_case_entry(encode_case_entry(entry)))
    for each in (1, 2, 3):
        key = f"{each:032x}"
        if key in {entry.case_id for entry in entries}:
            assert again.case(key) == made.case(key)
            steps = made.case(key).steps
            if made.case(key).state in (CaseState.RELEASED, CaseState.REJECTED):
                proposed = [s for s in steps if s.step in (Step.PROPOSE_RELEASE, Step.PROPOSE_REJECT)][-1]
                assert steps[-1].step is Step.CONFIRM and steps[-1].officer != proposed.officer
    assert again.open_cases() == made.open_cases()
    assert len(made.open_cases()) + len(ended) == len({entry.case_id for entry in entries})


def test_bytes_that_are_no_entry_are_refused() -> None:
    """Noise, unknown kinds and a field out of its bounds."""
    good = encode_case_entry(case())
    assert decode_case_entry(good) == case()
    for data in (b"", b"{}", b'{"type":"lost"}', good.replace(b"9302", b"93020"), b"[" * 99_999):
        with pytest.raises(EncodingError):
            decode_case_entry(data)
    assert msgspec.json.decode(good)["type"] == "opened"
