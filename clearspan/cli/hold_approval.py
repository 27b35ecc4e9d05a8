# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""A decision on a hold that two supervisors sign at two places: one writes half of it to a file, the other sends it.

It promises that what is shown to the second is read from the very bytes that he signs, and that no key leaves the place
where it is kept.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import click

from clearspan.cli.options import IN_FILE, as_option, json_option, network_option, timeout_option
from clearspan.cli.output import Output

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.administration import RingKey
    from clearspan.cli.session import Session
    from engine.admin import AdminRequest
    from engine.genesis import Genesis
    from engine.types import AdminType

__all__ = ["APPROVED_WITHIN_S", "HalfSigned", "LateRequests", "approve", "half_signed", "supervisor_key"]

APPROVED_WITHIN_S: Final = 3_540
"""How long a decision that was signed once may wait for its second signature: an hour less a minute for clocks."""
_FORMAT: Final = 1
_FILE_BYTES_MAX: Final = 16_384


@dataclass(frozen=True, slots=True)
class HalfSigned:
    """A request of one domain and the first of its two signatures."""

    genesis_hash: bytes
    domain: int
    request: AdminRequest
    key_id: int
    signature: bytes

    def encode(self) -> str:
        """Return the JSON document."""
        tree = {
            "format": _FORMAT,
            "genesis_hash": self.genesis_hash.hex(),
            "domain": self.domain,
            "request": self.request.encode().hex(),
            "key_id": self.key_id,
            "signature": self.signature.hex(),
        }
        return json.dumps(tree, indent=1) + "\n"

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a document. Raises ConfigError for one that is none."""
        from clearspan.errors import ConfigError
        from engine.admin import AdminRequest
        from engine.refusals import EncodingError
        from engine.types import HASH_BYTES, SIGNATURE_BYTES

        try:
            if len(data) > _FILE_BYTES_MAX:
                raise ValueError("larger than 16 KiB")  # noqa: TRY301 - one place turns all of it into one error
            tree = json.loads(data)
            if tree["format"] != _FORMAT:
                raise ValueError(f"format {tree['format']!r}")  # noqa: TRY301
            found = cls(
                bytes.fromhex(tree["genesis_hash"]),
                int(tree["domain"]),
                AdminRequest.decode(bytes.fromhex(tree["request"])),
                int(tree["key_id"]),
                bytes.fromhex(tree["signature"]),
            )
            if (len(found.genesis_hash), len(found.signature)) != (HASH_BYTES, SIGNATURE_BYTES):
                raise ValueError("the length of its hash or signature")  # noqa: TRY301
        except (ValueError, KeyError, TypeError, RecursionError, EncodingError) as error:
            reason = f"is no decision that was signed once: {error}"
            raise ConfigError("file", reason, "make one: clearspan hold release … --out FILE") from error
        return found


class LateRequests:
    """Makes requests that stay valid until a second person had time to read them."""

    def request(self, kind: AdminType, **fields: int | bytes) -> AdminRequest:
        """Return a request of a type with these fields, a new id, and ``APPROVED_WITHIN_S`` of validity."""
        from clearspan.signer import new_transfer_id
        from engine.admin import AdminRequest
        from engine.types import ADMIN_WINDOW_S, NS_PER_S

        return AdminRequest(
            id=new_transfer_id(),
            type=kind,
            expires_at=time.time_ns() + APPROVED_WITHIN_S * NS_PER_S,
            valid_for_s=ADMIN_WINDOW_S,
            **fields,  # type: ignore[arg-type]  # the caller names fields of AdminRequest
        )


def supervisor_key(session: Session, domain: int, speaker: str) -> RingKey:
    """Return the key of the supervisor that a certificate is of. Raises ConfigError where the folder has none."""
    from clearspan.administration import RingKey
    from clearspan.errors import ConfigError
    from clearspan.pki import identity_of, load_certificate
    from engine.types import Role

    who = identity_of(load_certificate(session.certificate(domain, speaker).certificate)).participant
    ring = session.network.load_keys(domain, who)
    for index, info in enumerate(ring):
        if info.role == Role.SUPERVISOR and info.key_id:
            return RingKey(ring, index)
    reason = f"participant {who} has no registered key of a supervisor in this folder"
    raise ConfigError("--as", reason, "speak as one of the domain's two: --as supervisor, --as regulator")


def half_signed(genesis: Genesis, domain: int, request: AdminRequest, key: RingKey) -> HalfSigned:
    """Sign a request with the first of its two keys."""
    from clearspan.administration import signed_columns

    columns = signed_columns(genesis, [request], [key])
    return HalfSigned(genesis.hash, domain, request, key.key_id, columns.signatures[0, 0].tobytes())


@click.command("approve")
@click.argument("file", type=IN_FILE)
@as_option("regulator")
@timeout_option
@network_option
@json_option
def approve(*, file: Path, speaker: str, timeout_s: float, network_path: Path | None, as_json: bool) -> int:
    """Sign FILE as the second supervisor and send it; exit code 1 when the ledger refuses it.

    FILE is what another participant's supervisor wrote with --out. Read what is printed: it is what you sign.
    """
    from clearspan.cli.session import Session
    from clearspan.errors import ConfigError

    session = Session.open(network_path, timeout_s)
    half = HalfSigned.decode(file.read_bytes())
    genesis = session.network.genesis
    if half.genesis_hash != genesis.hash:
        raise ConfigError(str(file), "is of another network", "name a decision of this network")
    if half.domain not in {each.domain for each in genesis.domains}:
        raise ConfigError(
            str(file), f"is of domain {half.domain}, which there is not", "name a decision of this network"
        )
    document = _document(session, half)
    output = Output(as_json=as_json)
    output.line(document["says"])
    asyncio.run(_send(session, half, speaker))
    output.document(document)
    output.line("both supervisors have signed, and the ledger has taken it")
    return 0


def _document(session: Session, half: HalfSigned) -> dict[str, Any]:
    from clearspan.iso20022.accounts import format_account

    request = half.request
    ledger = session.ledger_of(request.ledger).currency
    what = request.type_name.removeprefix("hold_")
    transfer, account = f"{request.limit_b:032x}", format_account(request.subject)
    says = f"{what} of transfer {transfer} of account {account} on {ledger}, reason {request.reason}"
    return {"decision": what, "transfer": transfer, "account": account, "ledger": ledger, "says": says}


async def _send(session: Session, half: HalfSigned, speaker: str) -> None:
    """Add the second signature and send. Raises RequestRefused, ConfigError for another request than a hold's."""
    import numpy as np

    from clearspan.administration import RequestRefused, signed_columns
    from clearspan.errors import ConfigError
    from engine.admin import AdminColumns
    from engine.codes import ResultCode
    from engine.types import AdminType

    if half.request.type not in (AdminType.HOLD_RELEASE, AdminType.HOLD_REJECT):
        raise ConfigError("file", f"is a request of type {half.request.type_name}", "only holds are approved here")
    key = supervisor_key(session, half.domain, speaker)
    own = signed_columns(session.network.genesis, [half.request], [key])
    key_ids = np.array([[half.key_id, key.key_id]], dtype=np.uint32)
    first = np.frombuffer(half.signature, dtype=np.uint8)
    signatures = np.stack([first, own.signatures[0, 0]])[np.newaxis]
    async with session.connect(half.domain, speaker) as client:
        reply = await client.administer(AdminColumns(own.bodies, key_ids, np.ascontiguousarray(signatures)))
    (code,) = reply.codes.tolist()
    if code != ResultCode.CREATED:
        raise RequestRefused(half.request.type_name, code)
