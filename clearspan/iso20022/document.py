"""Bytes to an XML tree, safely: bounded size, bounded depth, no document type, no entity, no network.

Knows XML and where in an envelope a message stands; knows nothing of payments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from lxml import etree

from clearspan.iso20022.errors import IsoCode, IsoError
from clearspan.iso20022.types import NAMESPACE_PREFIX

__all__ = ["Envelope", "ReaderLimits", "local_name", "message_name", "namespace_of", "open_envelope", "parse", "shown"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DECLARED_ENCODING = re.compile(rb"<\?xml[^>]{0,100}?\sencoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_ENCODINGS = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})
_SHOWN_MAX = 160


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """How much a file may ask of the reader; past a bound it is refused before its payments are looked at.

    bytes_max: size of the file (the wire's own message limit). transactions_max: payments in it. depth_max: nested
    elements (a real message stays under 20). markup_max: count of "<", because a tree takes some 120 bytes of memory
    for each element however short its name.
    """

    bytes_max: int = 8 * 1024 * 1024
    transactions_max: int = 10_000
    depth_max: int = 64
    markup_max: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Envelope:
    """Where the parts stand: the Document element, and the AppHdr before it or None."""

    document: etree._Element
    header: etree._Element | None


def parse(data: bytes, limits: ReaderLimits) -> etree._Element:
    """Return the root element. Raises IsoError with an xml_ code; never reads anything but `data`."""
    if len(data) > limits.bytes_max:
        raise IsoError(IsoCode.XML_TOO_LARGE, f"the file has {len(data)} bytes, at most {limits.bytes_max} are read")
    data = data.removeprefix(_BYTE_ORDER_MARK)
    _check_encoding(data)
    # In UTF-8 these bytes are a document type and nothing else (a comment or CDATA section that quotes them is refused
    # with it). Looking before parsing means that no parser ever acts on one.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise IsoError(IsoCode.XML_DOCTYPE_REFUSED, "the file carries a document type or entity declaration")
    markup = data.count(b"<")
    if markup > limits.markup_max:
        raise IsoError(IsoCode.XML_TOO_LARGE, f"the file has {markup} tags, at most {limits.markup_max} are read")
    root = _parse_tree(data)
    if root.getroottree().docinfo.internalDTD is not None:
        raise IsoError(IsoCode.XML_DOCTYPE_REFUSED, "the file carries a document type")
    if _deeper_than(limits.depth_max)(root):
        raise IsoError(IsoCode.XML_TOO_DEEP, f"elements are nested more than {limits.depth_max} deep")
    return root


def open_envelope(root: etree._Element) -> Envelope:
    """Find the one Document, and its AppHdr if there is one, at the root or up to two levels inside a wrapper.

    The wrapper's own name and namespace differ from network to network and do not matter. Raises IsoError.
    """
    if local_name(root) == "Document":
        return Envelope(root, None)
    documents = [*root.iterfind("{*}Document"), *root.iterfind("*/{*}Document")]
    headers = [*root.iterfind("{*}AppHdr"), *root.iterfind("*/{*}AppHdr")]
    if not documents:
        raise IsoError(IsoCode.MESSAGE_UNSUPPORTED, f"no Document inside {shown(local_name(root))!r}")
    if len(documents) > 1 or len(headers) > 1:
        raise IsoError(
            IsoCode.ELEMENT_INVALID,
            f"{len(documents)} Documents and {len(headers)} AppHdrs in one file; one message to a file",
            next_step="send each message in a file of its own",
        )
    return Envelope(documents[0], headers[0] if headers else None)


def local_name(element: etree._Element) -> str:
    """Return the tag without its namespace."""
    return element.tag.rpartition("}")[2]


def namespace_of(element: etree._Element) -> str:
    """Return the namespace of the tag, "" where there is none."""
    return element.tag[1:].rpartition("}")[0] if element.tag.startswith("{") else ""


def shown(text: str) -> str:
    """Return text that is safe in a message and a log: one line, printable, of bounded length."""
    cut = text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cut)


def message_name(namespace: str) -> str:
    """Return the message definition that a namespace names ("pacs.008.001.08"), "" if it is none of ISO 20022."""
    return namespace.removeprefix(NAMESPACE_PREFIX) if namespace.startswith(NAMESPACE_PREFIX) else ""


def _check_encoding(data: bytes) -> None:
    declared = _DECLARED_ENCODING.match(data)
    if declared is not None and declared.group(1).lower() not in _ENCODINGS:
        raise IsoError(IsoCode.XML_MALFORMED, f"the file declares the encoding {declared.group(1).decode('ascii')}")


def _parse_tree(data: bytes) -> etree._Element:
    # Comments and processing instructions are dropped while parsing, so that text around them is one text: no
    # value can be cut short by a comment in its middle. The encoding is fixed, whatever a declaration says.
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
    )
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        text = shown(str(error.msg or "not well-formed"))
        code = IsoCode.XML_TOO_DEEP if text.startswith("Excessive depth") else IsoCode.XML_MALFORMED
        raise IsoError(code, text, where=f"line {error.lineno or 1}") from None


@lru_cache(maxsize=8)
def _deeper_than(depth_max: int) -> etree.XPath:
    # Walking level by level inside libxml2 is far cheaper than a visit of every element from here.
    return etree.XPath(f"boolean({'/*' * (depth_max + 1)})")
