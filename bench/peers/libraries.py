"""Stock libraries as contenders: one Python call for each item, because that is all that they offer.

Keys are loaded and signatures put into each library's own form beforehand; only verifying is timed.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bench.peers.crypto_mb import CryptoMb, PeerMissingError
from bench.timing import Contender, Timing, timed

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.signed import SignedItems

__all__ = ["hash_peers", "verify_peers"]


def verify_peers(items: SignedItems) -> tuple[list[Contender], dict[str, str], dict[str, bytes]]:
    """Return the peers of a scheme, the missing ones with the reason, and verdicts of each on the first items."""
    contenders, missing, verdicts = [], {}, {}
    for name, maker in _VERIFIERS[items.scheme].items():
        try:
            check = maker(items)
        except ImportError:
            missing[name] = "not installed"
            continue
        contenders.append(Contender(name, len(items), partial(_one_by_one, check), divisible=True))
        verdicts[name] = bytes(check(i) for i in range(min(_COMPARED, len(items))))
    try:
        verifier = CryptoMb().prepared(items)
        verdicts["crypto_mb"] = verifier(len(items))
        contenders.append(Contender("crypto_mb", len(items), partial(_together, verifier)))
    except PeerMissingError as error:
        missing["crypto_mb"] = error.reason
    return contenders, missing, verdicts


def hash_peers(suite: str, rows: bytes, row_bytes: int) -> tuple[list[Contender], dict[str, str]]:
    """Return whoever else hashes rows with a suite, and the missing ones with the reason."""
    count = len(rows) // row_bytes
    contenders, missing = [], {}
    if suite in hashlib.algorithms_available:
        each = [rows[start : start + row_bytes] for start in range(0, len(rows), row_bytes)]
        contenders.append(Contender("hashlib", count, partial(_digests, suite, each), divisible=True))
    else:
        missing["hashlib"] = f"this Python's OpenSSL has no {suite}"
    if suite == "sm3":
        try:
            library = CryptoMb()
            library.sm3(rows, row_bytes)
            contenders.append(Contender("crypto_mb", count, partial(_sm3, library, rows, row_bytes)))
        except PeerMissingError as error:
            missing["crypto_mb"] = error.reason
    return contenders, missing


# As many as the slowest of them verifies in a fraction of a second.
_COMPARED: Final = 4


def _one_by_one(check: Callable[[int], bool], items: int, passes: int) -> Timing:
    def work() -> None:
        for i in range(items):
            check(i)

    return timed(work, items, passes)


def _together(verifier: Callable[[int], bytes], items: int, passes: int) -> Timing:
    return timed(partial(verifier, items), items, passes)


def _digests(suite: str, rows: list[bytes], items: int, passes: int) -> Timing:
    new = hashlib.sha256 if suite == "sha256" else partial(hashlib.new, suite)

    def work() -> None:
        for row in rows[:items]:
            new(row).digest()

    return timed(work, items, passes)


def _sm3(library: CryptoMb, rows: bytes, row_bytes: int, items: int, passes: int) -> Timing:
    return timed(partial(library.sm3, rows[: items * row_bytes], row_bytes), items, passes)


def _columns(items: SignedItems) -> tuple[list[int], list[bytes], list[bytes]]:
    numbers = [int(number) for number in items.key_numbers()]
    return numbers, [row.tobytes() for row in items.spoiled], [row.tobytes() for row in items.messages]


def _cryptography_ed25519(items: SignedItems) -> Callable[[int], bool]:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    keys = [Ed25519PublicKey.from_public_bytes(key.tobytes()) for key in items.public_keys]
    numbers, signatures, messages = _columns(items)

    def check(i: int) -> bool:
        try:
            keys[numbers[i]].verify(signatures[i], messages[i])
        except InvalidSignature:
            return False
        return True

    return check


def _pynacl(items: SignedItems) -> Callable[[int], bool]:
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    keys = [VerifyKey(key.tobytes()) for key in items.public_keys]
    numbers, signatures, messages = _columns(items)

    def check(i: int) -> bool:
        try:
            keys[numbers[i]].verify(messages[i], signatures[i])
        except BadSignatureError:
            return False
        return True

    return check


def _gmssl(items: SignedItems) -> Callable[[int], bool]:
    from gmssl.sm2 import CryptSM2

    keys = [CryptSM2(private_key="", public_key=key.tobytes().hex()) for key in items.public_keys]
    numbers, signatures, messages = _columns(items)
    hexes = [signature.hex() for signature in signatures]

    def check(i: int) -> bool:
        return bool(keys[numbers[i]].verify_with_sm3(hexes[i], messages[i]))

    return check


def _gmssl_pyx(items: SignedItems) -> Callable[[int], bool]:
    import gmssl_pyx

    keys = [key.tobytes() for key in items.public_keys]
    numbers, signatures, messages = _columns(items)
    encoded = [_to_der(signature) for signature in signatures]

    def check(i: int) -> bool:
        return bool(gmssl_pyx.sm2_verify(keys[numbers[i]], messages[i], encoded[i]))

    return check


def _cryptography_p256(items: SignedItems) -> Callable[[int], bool]:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    curve, algorithm = ec.SECP256R1(), ec.ECDSA(SHA256())
    keys = [ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + key.tobytes()) for key in items.public_keys]
    numbers, signatures, messages = _columns(items)
    encoded = [_to_der(signature) for signature in signatures]

    def check(i: int) -> bool:
        try:
            keys[numbers[i]].verify(encoded[i], messages[i], algorithm)
        except InvalidSignature:
            return False
        return True

    return check


def _to_der(signature: bytes) -> bytes:
    body = b"".join(_der_integer(int.from_bytes(half, "big")) for half in (signature[:32], signature[32:]))
    return b"\x30" + bytes([len(body)]) + body


def _der_integer(number: int) -> bytes:
    content = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes([len(content)]) + content


_VERIFIERS: Final[dict[str, dict[str, Callable[[Any], Callable[[int], bool]]]]] = {
    "ed25519": {"cryptography": _cryptography_ed25519, "pynacl": _pynacl},
    "sm2": {"gmssl": _gmssl, "gmssl-pyx": _gmssl_pyx},
    "p256": {"cryptography": _cryptography_p256},
}
