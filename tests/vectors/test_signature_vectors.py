"""Every written case of every signature suite gets its verdict: alone, in batches, at every level, with every hint.

Requirements SIG-1 to SIG-15 of docs/spec/08-signatures.md. The files come from the generators beside this module.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections import Counter, defaultdict
from pathlib import Path
from typing import Final

import nacl.exceptions
import nacl.signing
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from native import signatures
from native.errors import KeyRejected, ShapeError
from native.signatures import KeyRegistry, SigningKeys
from native.twins import ed25519 as ed25519_twin
from native.twins import p256 as p256_twin
from native.twins import sm2 as sm2_twin
from tests.native.kernels import library
from tests.native.kernels.library import FAKED, REAL, Items
from tests.vectors import make_ed25519, make_weierstrass
from tests.vectors.signature_files import FOLDER, SIGNATURE_BYTES, SUITES, Case, load, read

SPEC: Final = Path(__file__).parents[2] / "docs" / "spec" / "08-signatures.md"
TWINS: Final = {1: ed25519_twin, 2: sm2_twin, 3: p256_twin}
CASES: Final = {suite: load(suite) for suite in SUITES}
# Enough honest items beside the cases to have a batch decided by its sum and not item by item; with hints that takes more.
BESIDE: Final = 64
BESIDE_HINTED: Final = 320
LEVELS: Final = (0, 1, 2)


def shaped(suite: int) -> list[Case]:
    """Cases with a signature of the right length."""
    return [case for case in CASES[suite] if len(case.signature) == SIGNATURE_BYTES]


def groups(suite: int, *, digests: bool = False) -> list[list[Case]]:
    """Cases under good keys, by the length of their messages: one batch has one length. Digests are of one length too."""
    by_length: dict[int, list[Case]] = defaultdict(list)
    for case in shaped(suite):
        if case.key_fault is None and (case.message is None) is digests:
            by_length[len(case.message or b"")].append(case)
    return list(by_length.values())


class Honest:
    """Good items of one suite and one length of messages, to stand beside cases."""

    def __init__(self, suite: int, stride: int, count: int = BESIDE, keys: int = 5) -> None:
        """Sign them all."""
        signing = SigningKeys()
        for i in range(keys):
            signing.register(suite, hashlib.sha256(b"beside %d" % i).digest())
        self.public_keys = [signing.public_key(i % keys) for i in range(count)]
        messages = hashlib.shake_128(b"beside").digest(count * stride)
        made = bytearray(64 * count)
        signatures.sign_batch(signing, struct.pack(f"={count}I", *(i % keys for i in range(count))), messages, made)
        self.messages = [messages[stride * i : stride * i + stride] for i in range(count)]
        self.signatures = [bytes(made[64 * i : 64 * i + 64]) for i in range(count)]


def product_batch(suite: int, items: Items, hints: bytes | None = None) -> tuple[list[bool], bytes]:
    """Verify through the binding, keys registered once each."""
    registry = KeyRegistry()
    index = {key: registry.register(suite, key) for key in dict.fromkeys(items.public_keys)}
    out, hints_out = bytearray(b"\xee" * len(items)), bytearray(b"\xee" * (32 * len(items)))
    failed = signatures.verify_batch(
        registry,
        struct.pack(f"={len(items)}I", *(index[key] for key in items.public_keys)),
        b"".join(items.signatures),
        b"".join(items.messages),
        out,
        hints=hints,
        hints_out=hints_out,
    )
    assert failed == out.count(0)
    assert failed + out.count(1) == len(items)
    return [verdict == 1 for verdict in out], bytes(hints_out)


def wrong(cases: list[Case], got: list[bool]) -> list[str]:
    """Names of the cases whose verdict is not the written one."""
    return [case.name for case, verdict in zip(cases, got, strict=True) if verdict is not case.accept]


def fault_of(suite: int, key: bytes) -> str | None:
    """The reason with which a registry refuses a key."""
    try:
        KeyRegistry().register(suite, key)
    except KeyRejected as refused:
        return refused.reason
    return None


@pytest.mark.parametrize("suite", SUITES, ids=SUITES.values())
def test_each_case_alone_gets_its_verdict_and_its_key_the_fault(suite: int) -> None:
    """SIG-1 to SIG-9: single verification and registration, and the refusal of other lengths."""
    for case in CASES[suite]:
        assert fault_of(suite, case.public_key) == case.key_fault, case.name
        if len(case.signature) != SIGNATURE_BYTES:
            assert not case.accept
            with pytest.raises(ShapeError):
                signatures.verify(suite, case.public_key, case.signature, case.message or b"")
        elif case.message is not None:
            got = signatures.verify(suite, case.public_key, case.signature, case.message)
            assert got is case.accept, case.name


@pytest.mark.parametrize("suite", SUITES, ids=SUITES.values())
def test_each_batch_of_cases_gets_their_verdicts(suite: int) -> None:
    """SIG-10: all cases of one length in one batch, alone and among honest items; then again with the hints it made."""
    for cases in groups(suite):
        message_bytes = len(cases[0].message or b"")
        beside = Honest(suite, message_bytes, BESIDE_HINTED)
        for honest in (0, BESIDE, BESIDE_HINTED):
            # Honest items before and after the cases, so that halves of both kinds are met.
            half = honest // 2
            items = Items(
                (*beside.public_keys[:half], *(case.public_key for case in cases), *beside.public_keys[half:honest]),
                (*beside.signatures[:half], *(case.signature for case in cases), *beside.signatures[half:honest]),
                (*beside.messages[:half], *(case.message or b"" for case in cases), *beside.messages[half:honest]),
            )
            first, hints = product_batch(suite, items)
            second, again = product_batch(suite, items, hints)
            assert wrong(cases, first[half : half + len(cases)]) == []
            assert first == second
            assert all(first[:half] + first[half + len(cases) :])
            assert hints == again, "the hints of a batch do not depend on those it was given"


@pytest.mark.parametrize("suite", SUITES, ids=SUITES.values())
def test_each_good_case_with_its_secret_is_signed_as_written(suite: int) -> None:
    """SIG-15: signatures are deterministic; alone and in lanes they are the written bytes."""
    cases = [case for case in CASES[suite] if case.secret is not None]
    assert len(cases) >= 24
    for case in cases:
        assert case.secret is not None
        assert case.message is not None
        assert signatures.public_key(suite, case.secret) == case.public_key
        assert signatures.sign(suite, case.secret, case.message) == case.signature, case.name
        keys, made = SigningKeys(), bytearray(64 * 20)
        keys.register(suite, case.secret)
        signatures.sign_batch(keys, bytes(4 * 20), case.message * 20, made)
        assert made == case.signature * 20, case.name


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("suite", SUITES, ids=SUITES.values())
def test_the_c_entries_give_the_verdicts_at_every_level(suite: int, level: int) -> None:
    """SIG-11: single cases at the C entries, those that only a chosen digest reaches included, with real and faked hashes."""
    real, faked = library.kernels(REAL), library.kernels(FAKED)
    for kernels in (real, faked):
        kernels.set_variant(level)
    try:
        for case in shaped(suite):
            expected = case.key_fault or case.accept
            if case.message is not None:
                assert real.verify(suite, case.public_key, case.signature, case.message) == expected, case.name
            else:
                assert case.digest is not None
                assert real.verify_digest(suite, case.public_key, case.signature, case.digest) == expected, case.name
                assert faked.verify(suite, case.public_key, case.signature, case.digest) == expected, case.name
    finally:
        for kernels in (real, faked):
            kernels.set_variant(2)


def hint_forms(suite: int, cases: list[Case], own: bytes) -> dict[str, bytes | None]:
    """Hints that anybody could have written, from none to the right ones with one wrong."""
    count = len(cases)
    prime = {1: ed25519_twin.P, 2: sm2_twin.FIELD, 3: p256_twin.FIELD}[suite]
    order = "little" if suite == 1 else "big"
    values = [int.from_bytes(own[32 * i : 32 * i + 32], order) for i in range(count)]
    return {
        "none": None,
        "zeros": bytes(32 * count),
        "own": own,
        "ones": b"\xff" * (32 * count),
        "the prime": prime.to_bytes(32, order) * count,
        "negated": b"".join(((prime - value) % prime).to_bytes(32, order) for value in values),
        "not reduced": b"".join(
            (value + prime if value + prime < 2**256 else value).to_bytes(32, order) for value in values
        ),
        "shifted by one item": own[32:] + own[:32],
        "reversed": own[::-1],
        "one off": b"".join((value ^ 1).to_bytes(32, order) for value in values),
        "random": hashlib.shake_128(own).digest(32 * count),
        "every other": b"".join(own[32 * i : 32 * i + 32] if i % 2 else bytes(32) for i in range(count)),
        "every other wrong": b"".join(own[32 * i : 32 * i + 32] if i % 2 else b"\1" * 32 for i in range(count)),
    }


@pytest.mark.parametrize("digests", [False, True], ids=["messages", "digests"])
@pytest.mark.parametrize("suite", SUITES, ids=SUITES.values())
def test_no_hint_and_no_table_changes_a_verdict(suite: int, digests: bool) -> None:
    """SIG-13: every case in batches at the C entry, digests with faked hashes, with every form of hints, tables or not.

    Each batch is asked for twice: the cases alone, and with good cases again and again behind them, whose right hints make
    it worth a sum.
    """
    kernels = library.kernels(FAKED if digests else REAL)
    if not kernels.batch_available(suite):
        pytest.skip("this CPU runs no lanes")
    for cases in groups(suite, digests=digests):
        good = [case for case in cases if case.accept]
        for behind in ([], (good * BESIDE_HINTED)[:BESIDE_HINTED]):
            together = cases + behind
            items = Items(
                tuple(case.public_key for case in together),
                tuple(case.signature for case in together),
                tuple((case.digest if digests else case.message) or b"" for case in together),
            )
            got, own = kernels.verify_batch(suite, items)
            assert wrong(together, got) == []
            for number, (name, hints) in enumerate(hint_forms(suite, cases, own[: 32 * len(cases)]).items()):
                given = None if hints is None else hints + own[32 * len(cases) :]
                got, again = kernels.verify_batch(suite, items, hints=given, tables=number % 2 == 0)
                assert wrong(together, got) == [], name
                assert again == own, name


@pytest.mark.parametrize("digests", [False, True], ids=["messages", "digests"])
@pytest.mark.parametrize("suite", SUITES, ids=SUITES.values())
def test_hints_are_the_coordinate_of_r_and_only_for_good_items(suite: int, digests: bool) -> None:
    """SIG-14: x of R for Ed25519, y of R for the others, zeros for bad items and where x of R lies in [n, p)."""
    kernels = library.kernels(FAKED if digests else REAL)
    if not kernels.batch_available(suite):
        pytest.skip("this CPU runs no lanes")
    for cases in groups(suite, digests=digests):
        items = Items(
            tuple(case.public_key for case in cases),
            tuple(case.signature for case in cases),
            tuple((case.digest if digests else case.message) or b"" for case in cases),
        )
        _, own = kernels.verify_batch(suite, items)
        for i, case in enumerate(cases):
            assert own[32 * i : 32 * i + 32] in _hints_allowed(suite, case), case.name


@pytest.mark.parametrize("tables", [False, True])
@pytest.mark.parametrize("suite", [2, 3], ids=["sm2", "p256"])
def test_sums_that_meet_a_term_halfway_are_good_all_the_same(suite: int, tables: bool) -> None:
    """SIG-10: a G + b Q with Q = G or its opposite and a small b: some partial sum is the next term, or what undoes it.

    Lanes that add by an inverse cannot add these; each of 384 b meets another term of three a.
    """
    kernels = library.kernels(FAKED)
    if not kernels.batch_available(suite):
        pytest.skip("this CPU runs no lanes")
    curve = make_weierstrass.CURVES[SUITES[suite]]
    n, prime = curve.order, curve.prime
    twice = curve.add(curve.generator, curve.generator)
    x, y = curve.generator
    found: dict[bytes, tuple[bytes, bytes]] = {}
    for a in (1, curve.number("halfway"), 2**255 % n):
        point = curve.multiply(a + 1, curve.generator)
        for b in range(1, 257, 2):
            assert point is not None
            # The same sum with the opposite key, for the other sign of b.
            for key, factor in (((x, y), b), ((x, prime - y), n - b)):
                r, s, e = curve.solve_sum(point, a, factor)
                if curve.in_range(r, s):
                    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
                    public_key = key[0].to_bytes(32, "big") + key[1].to_bytes(32, "big")
                    found[signature + public_key] = (public_key, e.to_bytes(32, "big"))
            point = curve.add(point, twice)
    assert len(found) > 700
    items = Items(
        tuple(key for key, _ in found.values()), tuple(both[:64] for both in found), tuple(e for _, e in found.values())
    )
    alone = [
        kernels.verify(suite, *item) for item in zip(items.public_keys, items.signatures, items.messages, strict=True)
    ]
    assert all(verdict is True for verdict in alone)
    got, hints = kernels.verify_batch(suite, items, tables=tables)
    assert got == alone
    got, _ = kernels.verify_batch(suite, items, tables=tables, hints=hints)
    assert got == alone


def _hints_allowed(suite: int, case: Case) -> tuple[bytes, ...]:
    """The hints that a case may have: one number, in either of two signs where the twin does not say which."""
    if not case.accept:
        return (bytes(32),)
    if suite == 1:
        point = ed25519_twin.decode(case.signature[:32])
        assert point is not None
        return (point.x.to_bytes(32, "little"),)
    twin = TWINS[suite]
    r = int.from_bytes(case.signature[:32], "big")
    if suite == 2:
        e = int.from_bytes(
            case.digest or sm2_twin.sm3(sm2_twin.z_value(case.public_key) + (case.message or b"")), "big"
        )
        x = (r - e) % twin.ORDER
    else:
        x = r
    square = (x**3 - 3 * x + twin.CURVE_B) % twin.FIELD
    y = pow(square, (twin.FIELD + 1) // 4, twin.FIELD)
    if "in [n, p)" in case.kind or "in [n, p)" in case.name or y * y % twin.FIELD != square:
        return (bytes(32),)
    return (y.to_bytes(32, "big"), (twin.FIELD - y).to_bytes(32, "big"))


# --- The files themselves. ---


@pytest.mark.parametrize("name", make_ed25519.FILES)
def test_ed25519_files_are_what_their_generator_writes(name: str) -> None:
    """Golden bytes with their origin: every verdict by the twin and by known logarithms, computed anew."""
    assert (FOLDER / "ed25519" / f"{name}.json").read_text(encoding="ascii") == make_ed25519.text_of(name)


@pytest.mark.nightly
@pytest.mark.parametrize("name", make_weierstrass.CURVES)
def test_weierstrass_files_are_what_their_generator_writes(name: str) -> None:
    """The same for SM2 and P-256, which take eight seconds each."""
    assert (FOLDER / name / "families.json").read_text(encoding="ascii") == make_weierstrass.text_of(name)


@pytest.mark.parametrize("suite", [2, 3], ids=["sm2", "p256"])
def test_the_twin_gives_the_written_verdicts(suite: int) -> None:
    """SIG-11: every sixth case through the plain twin in each run; all of them when the files are made."""
    twin = TWINS[suite]
    for case in shaped(suite)[::6]:
        assert twin.key_check(case.public_key) == case.key_fault, case.name
        if case.message is not None:
            assert twin.verify(case.public_key, case.signature, case.message) is case.accept, case.name
        else:
            assert twin.verify_digest(case.public_key, case.signature, case.digest) is case.accept, case.name


def test_the_files_hold_every_class_that_the_specification_counts() -> None:
    """The table of 08-signatures.md, line by line: suite, file, class, how many are accepted and how many rejected."""
    rows = re.findall(r"^\| (\w+) \| (\w+) \| ([^|]+?) \| (\d+) \| (\d+) \|", SPEC.read_text(encoding="utf-8"), re.M)
    stated = {
        (suite, file, kind): (int(good), int(bad)) for suite, file, kind, good, bad in rows if suite in SUITES.values()
    }
    counted: Counter[tuple[str, str, str, bool]] = Counter()
    for suite, name in SUITES.items():
        for case in CASES[suite]:
            counted[name, case.file, case.kind, case.accept] += 1
    found = {key[:3]: (counted[*key[:3], True], counted[*key[:3], False]) for key in counted}
    assert stated == found


# --- What other verifiers make of the same bytes. ---


def _accepted_by_openssl(case: Case) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(case.public_key).verify(case.signature, case.message or b"")
    except (InvalidSignature, ValueError):
        return False
    return True


def _accepted_by_libsodium(case: Case) -> bool:
    try:
        nacl.signing.VerifyKey(case.public_key).verify(case.message or b"", case.signature)
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.CryptoError, ValueError):
        return False
    return True


@pytest.mark.parametrize(
    ("file", "ours", "zip215", "openssl", "libsodium"),
    [("low_order", 16, 826, 208, 43), ("grid", 0, 196, 12, 0), ("speccheck", 0, 9, 5, 1)],
)
def test_other_rules_part_from_ours_as_the_specification_says(
    file: str, ours: int, zip215: int, openssl: int, libsodium: int
) -> None:
    """The counts that show why the rule is written down; `ref10` in the files is what OpenSSL does."""
    cases = read(FOLDER / "ed25519" / f"{file}.json")
    assert sum(case.accept for case in cases) == ours
    assert sum(bool(case.zip215) for case in cases) == zip215
    by_openssl = [_accepted_by_openssl(case) for case in cases]
    assert [bool(case.ref10) for case in cases] == by_openssl
    assert sum(by_openssl) == openssl
    assert sum(_accepted_by_libsodium(case) for case in cases) == libsodium
    # What our rule accepts is accepted by ZIP 215 too.
    assert all(case.zip215 for case in cases if case.accept)


def test_p256_differs_from_another_library_only_in_high_s() -> None:
    """SIG-8: OpenSSL, which has no low-s rule, accepts what we accept and, besides, only good equations with a high s."""
    high_accepted = 0
    for case in shaped(3):
        if case.key_fault is not None:
            continue
        numbers = ec.EllipticCurvePublicNumbers(
            int.from_bytes(case.public_key[:32], "big"), int.from_bytes(case.public_key[32:], "big"), ec.SECP256R1()
        )
        r, s = int.from_bytes(case.signature[:32], "big"), int.from_bytes(case.signature[32:], "big")
        digest = case.digest if case.message is None else hashlib.sha256(case.message).digest()
        assert digest is not None
        try:
            numbers.public_key().verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(hashes.SHA256())))
            accepted = True
        except InvalidSignature:
            accepted = False
        if accepted and not case.accept:
            assert s > p256_twin.ORDER // 2, case.name
            normalised = case.signature[:32] + (p256_twin.ORDER - s).to_bytes(32, "big")
            assert library.kernels().verify_digest(3, case.public_key, normalised, digest) is True
            high_accepted += 1
        else:
            assert accepted is case.accept, case.name
    assert high_accepted >= 5
