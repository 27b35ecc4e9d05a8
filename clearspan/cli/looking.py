# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""A supervisor's signed look at what a bridge keeps, made with the keys of the network's folder."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clearspan.cli.session import Session
    from clearspan.inspection import InspectKind
    from clearspan.v1 import bridge_pb2
    from engine.admin import AdminRequest
    from engine.types import AdminType

__all__ = ["look_of"]

_REASON = 1
_EXPIRES_AFTER_S = 600


def look_of(
    session: Session, speaker: str, ledger_name: str, kind: InspectKind, query: bytes, *, participant: int
) -> tuple[bridge_pb2.Look, str]:
    """Return the look of whoever speaks at the bridge of a participant, and the certificate to ask with.

    Raises ConfigError where the folder has no supervisor's key of the one who speaks.
    """
    from clearspan.administration import signed_columns
    from clearspan.cli.supervising import supervisor_keys
    from clearspan.errors import ConfigError
    from clearspan.inspection import query_digest
    from clearspan.pki import identity_of, load_certificate
    from clearspan.supervision import look
    from clearspan.v1 import bridge_pb2

    domain, ledger = session.ledger(ledger_name)
    genesis = session.network.genesis
    tls = session.certificate(domain.domain, speaker)
    who = identity_of(load_certificate(tls.certificate))
    keys = supervisor_keys(session.network.load_keys(domain.domain, who.participant))
    if not keys:
        reason = f"participant {who.participant} has no registered key of a supervisor in this folder"
        raise ConfigError("--as", reason, "speak as a supervisor of that ledger")
    request = look(
        _Maker(),
        subject=0,
        query_digest=query_digest(genesis.hash_suite, kind, query),
        reason=_REASON,
        ledger=ledger.ledger,
        participant=participant,
    )
    columns = signed_columns(genesis, [request], keys[:1])
    made = bridge_pb2.Look(
        request=request.encode(), key_id=keys[0].key_id, signature=columns.signatures[0, 0].tobytes()
    )
    return made, tls.certificate.stem


class _Maker:
    """Makes the request; nothing is sent from here: the bridge has the look recorded."""

    @staticmethod
    def request(kind: AdminType, **fields: int | bytes) -> AdminRequest:
        """Return a request with a new id, valid for some minutes."""
        from clearspan.signer import new_transfer_id
        from engine.admin import AdminRequest
        from engine.types import ADMIN_WINDOW_S, NS_PER_S

        return AdminRequest(
            id=new_transfer_id(),
            type=kind,
            expires_at=time.time_ns() + _EXPIRES_AFTER_S * NS_PER_S,
            valid_for_s=ADMIN_WINDOW_S,
            **fields,  # type: ignore[arg-type]  # the caller names fields of AdminRequest
        )
