"""Mutated clearing files: whatever the bytes, the reader answers with a message or an IsoError, in bounded time.

Seeded mutants of the example files, in bytes and in elements, and bytes that Hypothesis makes up. A message that is
read must be one that the rest of the edge can work with: it is written, read and reported again.
"""

from __future__ import annotations

import random
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from clearspan.iso20022 import (
    IsoError,
    Message,
    Outcome,
    OutcomeStatus,
    instructions,
    read,
    refusal_report,
    status_report,
)
from clearspan.iso20022.writer import payments

EXAMPLES = Path(__file__).parents[2] / "examples" / "iso20022"
SEED = 20260105
MUTANTS = 1_500
MUTANTS_NIGHTLY = 200_000
# A mutant is a file of some 3 KiB, which takes well under a millisecond; this bound is for a busy machine.
MUTANT_S_MAX = 1.0
AT = datetime(2026, 1, 5, tzinfo=UTC)

TOKENS = [
    b"<", b">", b"&", b"]]>", b"<!--", b"-->", b"<![CDATA[", b"<?x?>", b"<!DOCTYPE a>", b"&#0;", b"&#x41;", b"&lt;", b"\x00",
    b"\xff", b"\xef\xbb\xbf", b"</CdtTrfTxInf>", b"<CdtTrfTxInf>", b"<x:y/>", b'xmlns=""', b'xmlns="urn:x"', b"0" * 5000,
    b"<a>" * 300, b"\r\n\t ", b"-", b"9" * 20, b".", b"\xf0\x9f\x92\xb0", b"\xed\xa0\x80", b"&e;", b"%e;", b" a='1' a='2'",
]  # fmt: skip
VALUES = [
    "", " ", "0", "-1", "1e400", "NaN", "9" * 18, "9" * 40, "0.01", "00000.10", "1.", ".1", "1,0", "\u0661", "\u202e", "2026-02-30",
    "2026-01-05T24:00:00", "2026-01-05T09:00:00+99:00", "0000-00-00", "DE00", "f" * 32, "0" * 32, "é" * 35, "x" * 100_000, "\n",
    "8a562c67-ca16-48ba-b074-65581be6f002", "pacs.009.001.08", "CLRG", "SHAR", "true", "CODU", "💰", "a\tb",
]  # fmt: skip


def originals() -> list[bytes]:
    """The small example files, good and broken, and the first large one with all but two of its payments cut out."""
    small = [path.read_bytes() for path in sorted(EXAMPLES.rglob("*.xml")) if path.stat().st_size < 5000]
    large = (EXAMPLES / "hkd-03-institutions.xml").read_text(encoding="utf-8")
    transfers = re.findall(r"  <CdtTrfTxInf>.*?</CdtTrfTxInf>\n", large, re.DOTALL)
    for transfer in transfers[2:]:
        large = large.replace(transfer, "")
    large = large.replace("<NbOfTxs>24<", "<NbOfTxs>2<")
    return [*small, re.sub(r"<CtrlSum>.*</CtrlSum>", "", large).encode()]


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(out) + 1)
        choice = rng.randrange(6)
        if choice == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif choice == 1:
            del out[at : at + rng.choice((1, 2, 10, 200))]
        elif choice == 2:
            out[at:at] = rng.choice(TOKENS)
        elif choice == 3:
            out[at:at] = out[rng.randrange(len(out) + 1) :][: rng.choice((1, 20, 400))]
        elif choice == 4:
            out[at : at + 1] = bytes([rng.randrange(256)])
        else:
            del out[at:]
        if not out:
            break
    return bytes(out)


def mutate_elements(data: bytes, rng: random.Random) -> bytes:
    """Change the tree and not the bytes, so that mutants get past the parser."""
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError:
        return mutate_bytes(data, rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        elements = [element for element in root.iter("*") if element is not root]
        if not elements:
            break
        target, other = rng.choice(elements), rng.choice(elements)
        parent = target.getparent()
        assert parent is not None
        choice = rng.randrange(7)
        if choice == 0:
            parent.remove(target)
        elif choice == 1:
            parent.insert(rng.randrange(len(parent) + 1), etree.fromstring(etree.tostring(target, with_tail=False)))
        elif choice == 2:
            parent.insert(rng.randrange(len(parent) + 1), etree.fromstring(etree.tostring(other, with_tail=False)))
        elif choice == 3:
            target.text = rng.choice(VALUES)
        elif choice == 4:
            target.tag = other.tag
        elif choice == 5:
            target.set(rng.choice(("Ccy", "a")), rng.choice(("CNY", "JPY", "XTS", "", "usd")))
        else:
            target.tag = "{urn:x}Nm"
    return etree.tostring(root, encoding="UTF-8")


def check(data: bytes) -> Message | IsoError:
    """Read, and carry what comes of it through the rest of the edge; only IsoError may stop it."""
    start = time.perf_counter()
    try:
        message = read(data)
        outcomes = [Outcome(payment.index, OutcomeStatus.PENDING) for payment in message.payments]
        assert status_report(message, outcomes, created_at=AT)
        assert payments(message.kind, message.message_id, AT, message.payments)
        instructions(message)
        result: Message | IsoError = message
    except IsoError as error:
        assert etree.fromstring(refusal_report(error, created_at=AT)) is not None
        assert len(str(error)) < 5000
        result = error
    assert time.perf_counter() - start < MUTANT_S_MAX
    return result


def sweep(count: int, seed: int) -> None:
    rng = random.Random(seed)
    files = originals()
    for number in range(count):
        mutant = (mutate_bytes, mutate_elements)[number % 2](rng.choice(files), rng)
        try:
            check(mutant)
        except BaseException:
            print(f"mutant {number} of seed {seed}: {mutant!r}")
            raise


def test_mutants_are_read_or_refused():
    sweep(MUTANTS, SEED)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_many_mutants_are_read_or_refused():
    seed = time.time_ns() % 2**32
    print(f"seed {seed}")
    sweep(MUTANTS_NIGHTLY, seed)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data):
    assert isinstance(check(data), IsoError)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=30))
def test_any_markup_is_refused(tokens):
    assert isinstance(check(b"".join(tokens)), IsoError)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.text(max_size=60),
    st.sampled_from(("EndToEndId", "UETR", "IntrBkSttlmAmt", "Nm", "MsgId", "CreDtTm", "BICFI", "Id")),
)
def test_any_text_in_any_element_is_read_or_refused(text, name):
    """Text as a person might put it, escaped: values reach the checks of their element."""
    root = etree.fromstring((EXAMPLES / "cny-04-customer-cbpr.xml").read_bytes())
    element = next(child for child in root.iter(f"{{*}}{name}") if len(child) == 0)
    try:
        element.text = text
    except ValueError:
        return
    check(etree.tostring(root, encoding="UTF-8"))
