"""Envelopes of routes (TRAVEL-6, TRAVEL-8 to -12): each hop's supervisors read their own, and what is sealed is ordered.

Every company here is made up for these tests.
"""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import structs

from bridge.corridor import SupervisorKey
from bridge.ports import Outcome
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.screening import ListEntry, Screen, WatchList
from bridge.terms import SALT_BYTES, derive_secret, hash_preimage
from bridge.travel_route import (
    HopRule,
    PaymentParties,
    decode_parties,
    demand_part,
    demand_sheaf,
    join_sheaf,
    part_of,
    salt_hash,
    sheaf_hash,
    split_sheaf,
)
from bridge.travel_rule import (
    ENVELOPE_BYTES_MAX,
    EnvelopeRefusedError,
    Party,
    Recipient,
    Scheme,
    Seeds,
    TravelRuleData,
    open_envelope,
    recipients_of,
    seal,
)
from clearspan.bridging.journal.book import NoteKind
from clearspan.bridging.market.envelopes import papers_of
from clearspan.bridging.rules.compliance import Clearance, Screening
from engine.types import ZERO_HASH
from tests.behaviour.bridge_papers import CNY, HKD, PAYER, SECOND, THB, document
from tests.behaviour.bridging_world import PAYEE, World, play, refused

NAMES = ("Novamar Cement Industries", "Lanjiao Shipping")
PARTIES = PaymentParties(
    1,
    Party(NAMES[0], "CN-4711", PAYER, "CN", address="1 Harbour Road, Novamar"),
    Party(NAMES[1], "TH-0815", PAYEE, "TH"),
    "invoice 4711",
)


def secret(participant: int) -> bytes:
    return hashlib.sha256(b"supervisor %d" % participant).digest()


def supervisor(participant: int) -> SupervisorKey:
    public = X25519PrivateKey.from_private_bytes(secret(participant)).public_key().public_bytes_raw()
    return SupervisorKey(participant, 1, "x25519", public.hex())


def corridor(source: int, target: int, asks_from: str = "5000"):
    """A corridor between two ledgers, watched by the supervisor of each: 100 and the ledger's number."""
    screening = msgspec.structs.replace(
        document().screening,
        travel_rule_from=asks_from,
        supervisors=(supervisor(100 + source), supervisor(100 + target)),
    )
    return document(source, target, premium_volatility_ppb=0, screening=screening)


ROUTE = (corridor(CNY, HKD), corridor(HKD, THB))


def sealed_for(world: World, *hops) -> tuple[bytes, ...]:
    """Envelopes that were sealed elsewhere, for the recipients of each hop."""
    party = Party(NAMES[0], "1", PAYER, "CN", address="1 Harbour Road")
    data = TravelRuleData(1, "00" * 16, party, party, "100", "100", CNY, HKD, "00" * 32)
    return tuple(seal(data, each, world.genesis.hash, Seeds(b"a" * 32, (b"b" * 32, b"c" * 32))) for each in hops)


def test_each_hop_is_read_by_its_own_two_supervisors(tmp_path) -> None:
    """CNY to HKD to THB: the supervisor of CNY cannot open the second hop, nor that of THB the first; HKD's opens both."""

    async def body(world) -> None:
        order = world.order(10_000, hops=2, parties=PARTIES)
        swap = world.bridge().begin(order)
        await world.run()
        assert swap.outcome is Outcome.SETTLED, [moment.text for moment in swap.timeline]
        first, second = split_sheaf(swap.travel_rule, 2)
        network = world.genesis.hash
        readers = {}
        for number in (101, 102, 103):
            for hop, envelope in enumerate((first, second)):
                try:
                    data = open_envelope(envelope, network, supervisor(number).recipient(), secret(number))
                except EnvelopeRefusedError as error:
                    readers[number, hop] = error.reason
                else:
                    readers[number, hop] = data
        assert readers[101, 1] == readers[103, 0] == "recipient"
        found = {each for each in readers.values() if not isinstance(each, str)}
        assert len(found) == 1 and len(readers) - 2 == 4
        (data,) = found
        assert (data.originator, data.beneficiary, data.purpose) == (
            PARTIES.originator,
            PARTIES.beneficiary,
            "invoice 4711",
        )
        assert (int(data.amount_sent), int(data.amount_received)) == (10_000, swap.terms.legs[-1].amount)
        assert (data.source_ledger, data.target_ledger, data.uetr) == (CNY, THB, order.uetr.hex())

    play(tmp_path, body, ROUTE)


def test_nobody_who_opens_an_envelope_can_compute_the_secret(tmp_path) -> None:
    """Before the reveal there is a hash of the salt and nothing more; the salt is shown when the secret is public."""

    async def body(world) -> None:
        swap = world.bridge().begin(world.order(10_000, parties=PARTIES))
        await world.run(hold_back=True)
        engine = world.engines[PAYER]
        sheaf, salt = papers_of(engine.store, swap.party)
        assert sheaf == swap.travel_rule and salt == b""
        data = open_envelope(sheaf, world.genesis.hash, supervisor(101).recipient(), secret(101))
        assert swap.outcome is None and len(bytes.fromhex(data.salt_hash)) == SALT_BYTES
        inside = derive_secret(bytes.fromhex(data.salt_hash), swap.terms.commitment(1))
        assert hash_preimage(swap.terms.hash_function, inside) != swap.terms.hashlock
        await world.run()
        assert swap.outcome is Outcome.SETTLED
        _, salt = papers_of(engine.store, swap.party)
        assert salt_hash(salt).hex() == data.salt_hash
        assert derive_secret(salt, swap.terms.commitment(1)) == swap.preimage
        assert papers_of(engine.store, b"n" * 32) == (b"", b"")

    play(tmp_path, body, ROUTE[:1])


def test_nothing_of_the_data_is_kept_in_the_open(tmp_path, capsys) -> None:
    """No name and no account stands in a journal, in a log line, in a status or in what providers are asked."""

    async def body(world) -> None:
        asked = []
        accept = world.accepting[SECOND].accept

        async def seen(questions, taker):
            asked.extend(each.SerializeToString() for each in questions)
            return await accept(questions, taker)

        world.accepting[SECOND].accept = seen
        swap = world.bridge().begin(world.order(10_000, hops=2, parties=PARTIES))
        await world.run()
        assert swap.outcome is Outcome.SETTLED and asked
        texts = [each.encode() for each in (*NAMES, "CN-4711", "TH-0815", "Harbour Road", "invoice 4711")]
        files = [path.read_bytes() for path in world.folder.rglob("*") if path.is_file()]
        output = capsys.readouterr()
        for text in texts:
            assert not any(text in each for each in (*files, *asked, output.out.encode(), output.err.encode()))

    play(tmp_path, body, ROUTE)


def test_data_about_others_than_those_of_the_order_are_refused(tmp_path) -> None:
    """Participants of both accounts and both names are compared, before anything is sealed, drawn or locked."""
    other = msgspec.structs.replace

    async def body(world) -> None:
        bridge = world.bridge()
        for parties, names in (
            (other(PARTIES, originator=other(PARTIES.originator, participant=12)), ("", "")),
            (other(PARTIES, beneficiary=other(PARTIES.beneficiary, participant=12)), ("", "")),
            (PARTIES, ("Somebody Else", "")),
            (PARTIES, (NAMES[0], "Somebody Else")),
        ):
            order = world.order(10_000, parties=parties)
            error = refused(BridgeCode.TRAVEL_RULE_MISMATCH, bridge.begin, order, names=names)
            assert not any(name in error.text for name in (*NAMES, "Somebody"))
        order = world.order(10_000, parties=PARTIES)
        (sealed,) = sealed_for(world, world.documents[0].recipients())
        refused(BridgeCode.TRAVEL_RULE_MISMATCH, bridge.begin, order, sealed)
        assert len(world.engines[PAYER].book) == 0
        assert bridge.begin(order, names=NAMES).travel_rule

    play(tmp_path, body, ROUTE[:1])


def test_the_names_of_the_data_are_screened(tmp_path) -> None:
    """An order that names nobody is held for a name in its data, once, however often it is sealed; and runs once."""
    listed = Screen(WatchList("invented", 7, (ListEntry("L01", (NAMES[1],)),)), 1)

    async def body(world) -> None:
        bridge = world.bridge()
        case_id = refused(BridgeCode.SCREENING_HOLD, bridge.begin, world.order(parties=PARTIES)).text.split()[-1]
        again = refused(BridgeCode.SCREENING_HOLD, bridge.begin, world.order(parties=PARTIES), names=NAMES)
        assert again.text.split()[-1] == case_id
        moved = msgspec.structs.replace(PARTIES, purpose="something else")
        assert refused(BridgeCode.SCREENING_HOLD, bridge.begin, world.order(parties=moved)).text.split()[-1] != case_id
        (sealed,) = sealed_for(world, world.documents[0].recipients())
        order = world.order(travel_rule_hash=sheaf_hash(1, [sealed]), uetr=b"e" * 16)
        clean = ("Clean Company", "Other Company")
        error = refused(BridgeCode.TRAVEL_RULE_MISMATCH, bridge.begin, order, sealed, names=clean)
        assert "cannot be compared" in error.text

    play(tmp_path, body, ROUTE[:1], screening=Screening(listed, 3))


def test_the_threshold_is_that_of_the_leg_and_the_envelope_is_for_its_corridor(tmp_path) -> None:
    """A hop asks for its own amount in its own units; an envelope for somebody else is none, on both sides."""
    first, second = corridor(CNY, HKD, "100000000"), corridor(HKD, THB)

    async def body(world) -> None:
        bridge = world.bridge()
        # 4,800 buy 5,232: the second corridor asks, though the first amount is below its number.
        refused(BridgeCode.TRAVEL_RULE_MISSING, bridge.begin, world.order(4_800, hops=2))
        (right,) = sealed_for(world, second.recipients())
        (wrong,) = sealed_for(world, (Recipient(900, 1, Scheme.X25519, b"\x09" + bytes(31)), *second.recipients()[1:]))
        for shown, named in (
            (("", wrong), ("", wrong)),
            (("", right), ("", wrong)),
            (("", ""), ("", right)),
            ((right, ""), (right, "")),
            ((right, right), (right, right)),
        ):
            pair = [each or b"" for each in shown], [each or b"" for each in named]
            order = world.order(4_800, hops=2, travel_rule_hash=sheaf_hash(1, pair[1]))
            refused(BridgeCode.TRAVEL_RULE_MISSING, bridge.begin, order, join_sheaf(pair[0]))
        # Whose own bridge does not ask meets a provider who does.
        world.engines[PAYER].compliance.clear = lambda *_, **__: Clearance()
        sheaf = join_sheaf([b"", wrong])
        careless = bridge.begin(world.order(4_800, hops=2, travel_rule_hash=sheaf_hash(1, [b"", wrong])), sheaf)
        await world.run()
        assert any("sealed for" in moment.text for moment in careless.timeline)
        silent = bridge.begin(world.order(4_800, hops=2, uetr=b"c" * 16))
        await world.run()
        assert any("needs the data of payer and payee" in moment.text for moment in silent.timeline)
        assert len(world.engines[SECOND].book) == 0
        sheaf = join_sheaf([b"", right])
        order = world.order(4_800, hops=2, travel_rule_hash=sheaf_hash(1, [b"", right]), uetr=b"d" * 16)
        swap = bridge.begin(order, sheaf)
        await world.run()
        assert swap.outcome is Outcome.SETTLED

    play(tmp_path, body, (first, second))


def test_envelopes_are_asked_for_again_after_a_restart(tmp_path) -> None:
    """A payer that dies before the provider was asked still shows them, and the swap goes on."""

    async def body(world) -> None:
        swap = world.bridge().begin(world.order(10_000, hops=2, parties=PARTIES))
        world.silent = True
        await world.run()
        await world.close(PAYER)
        world.silent = False
        (restored,) = world.open(PAYER).book
        assert restored.travel_rule == swap.travel_rule != b""
        world.time_passes(3)
        await world.run()
        assert restored.outcome is Outcome.SETTLED
        assert any(note.kind == NoteKind.TRAVEL_RULE for note in world.engines[PAYER].store.notes_of(swap.party))

    play(tmp_path, body, ROUTE)


# Sheaves.


def rule(hop: int, hops: int, *, is_needed: bool = False) -> HopRule:
    return HopRule(hop, hops, ROUTE[0].recipients(), is_needed)


def envelopes(count: int) -> list[bytes]:
    network = bytes(32)
    party = Party(NAMES[0], "1", PAYER, "CN", address="1 Harbour Road")
    data = TravelRuleData(1, "00" * 16, party, party, "100", "100", CNY, HKD, "00" * 32)
    made = []
    for number in range(count):
        seeds = Seeds(*(hashlib.sha256(b"%d %d" % (number, 0)).digest(), (b"b" * 32, b"c" * 32)))
        made.append(seal(data, ROUTE[0].recipients(), network, seeds))
    return made


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_a_part_belongs_to_its_hop_and_to_no_other(hops: int) -> None:
    """Every part fits its own place under the hash of all; another hop's, a changed one and noise fit nowhere."""
    made = envelopes(hops)
    named = sheaf_hash(1, made)
    demand_sheaf(1, bytes(32), named, join_sheaf(made), [rule(hop, hops, is_needed=True) for hop in range(hops)])
    for hop in range(hops):
        part = part_of(1, made, hop)
        demand_part(1, bytes(32), named, part, rule(hop, hops, is_needed=True))
        for at in range(0, len(part), 97):
            changed = bytearray(part)
            changed[at] ^= 1
            with pytest.raises(BridgeRefused) as caught:
                demand_part(1, bytes(32), named, bytes(changed), rule(hop, hops))
            assert caught.value.code is BridgeCode.TRAVEL_RULE_MISSING
        for other in (b"", b"noise", part[:-1], part + b"\0", part_of(1, made, (hop + 1) % hops) + b"", made[hop] * 2):
            if other == part:
                continue
            with pytest.raises(BridgeRefused):
                demand_part(1, bytes(32), named, other, rule(hop, hops))
        with pytest.raises(BridgeRefused):
            demand_part(1, bytes(32), ZERO_HASH, part, rule(hop, hops))
    # Whoever sees one part sees of the other hops nothing but hashes.
    if hops > 1:
        assert recipients_of(made[1], bytes(32)) and made[1] not in part_of(1, made, 0)


def test_a_hop_that_asks_for_nothing_may_go_without() -> None:
    """One envelope of three: the other hops are shown hashes and no envelope; where one is asked for it is missed."""
    made = [b"", *envelopes(1), b""]
    named = sheaf_hash(1, made)
    assert split_sheaf(join_sheaf(made), 3) == tuple(made)
    for hop in range(3):
        demand_part(1, bytes(32), named, part_of(1, made, hop), rule(hop, 3))
    with pytest.raises(BridgeRefused, match="needs the data"):
        demand_part(1, bytes(32), named, part_of(1, made, 0), rule(0, 3, is_needed=True))
    nothing = [b"", b"", b""]
    assert sheaf_hash(1, nothing) == ZERO_HASH and part_of(1, nothing, 1) == b""
    demand_sheaf(1, bytes(32), ZERO_HASH, b"", [rule(hop, 3) for hop in range(3)])


def test_a_sheaf_has_bounds() -> None:
    """Lengths past the end, another count, too many bytes: refused before anything is hashed."""
    made = envelopes(2)
    good = join_sheaf(made)
    for data, hops in (
        (good, 3),
        (good[:-1], 2),
        (good + b"\0", 2),
        (b"\xff" * 40, 2),
        (bytes(ENVELOPE_BYTES_MAX + 9), 1),
        (bytes(3 * (ENVELOPE_BYTES_MAX + 4) + 1), 3),
    ):
        with pytest.raises(BridgeRefused) as caught:
            split_sheaf(data, hops)
        assert caught.value.code is BridgeCode.TERMS_MALFORMED


def test_parties_from_outside_are_checked() -> None:
    """Noise, unknown fields, no originator that can be told apart, names and data beyond their bounds."""
    good = msgspec.json.encode(PARTIES)
    assert decode_parties(good) == PARTIES
    nobody = msgspec.json.encode(
        {**msgspec.to_builtins(PARTIES), "originator": {"name": "N", "account": "1", "participant": 1, "country": "CN"}}
    )
    for data, code in (
        (b"", BridgeCode.TERMS_MALFORMED),
        (b"[" * 99_999, BridgeCode.TERMS_MALFORMED),
        (b"[" * 9_999, BridgeCode.TERMS_MALFORMED),
        (good[:-1] + b',"more":1}', BridgeCode.TERMS_MALFORMED),
        (good.replace(b'"CN"', b'"china"'), BridgeCode.TERMS_MALFORMED),
        (good.replace(NAMES[0].encode(), b"x" * 600), BridgeCode.TERMS_MALFORMED),
        (good.replace(NAMES[0].encode(), b"\xff\xfe"), BridgeCode.TERMS_MALFORMED),
        (nobody, BridgeCode.TRAVEL_RULE_MISSING),
    ):
        with pytest.raises(BridgeRefused) as caught:
            decode_parties(data)
        assert caught.value.code is code
    assert structs.replace(order_like(), parties=PARTIES).papers(1) == PARTIES.digest(1)


def order_like():
    from clearspan.bridging.market.order import Order  # noqa: PLC0415 - named where it is used once

    return Order(bytes(16), 1, 2, 3, False, ())
