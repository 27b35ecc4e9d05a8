"""From a connection to a peer: its certificate read once, its role, and how much of the limits it uses now.

A peer is a certificate key (SPKI), so that an institution with two certificates has two shares and one with many
connections has one. Certificates are kept parsed in a bounded cache; validity is looked at on every call, because a
connection may outlive its certificate.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc
from cryptography import x509

from clearspan.pki import identity_of, names_of, spki_digest
from clearspan.roles import Identity, IdentityInvalid
from clearspan.status import refuse
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clearspan.config import LimitsSection
    from clearspan.service.access import AccessList

__all__ = ["Peer", "PeerTable"]

# 4,096 certificates of some 2 KiB are 8 MiB; more institutions than that only parse more often.
_CACHE_COUNT_MAX: Final = 4_096
_CERTIFICATE_BYTES_MAX: Final = 64 << 10


class _Holder(NamedTuple):
    """What a certificate says of who holds it."""

    identity: Identity
    spki: bytes
    expires_at: datetime
    names: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Peer:
    """One certificate key and what it uses of its limits now."""

    identity: Identity
    spki: bytes
    expires_at: datetime
    names: tuple[str, ...] = ()
    """What the certificate's subject calls who holds it (``clearspan.pki.names_of``)."""
    rpcs: int = 0
    streams: int = 0
    batches: int = 0

    @property
    def name(self) -> str:
        """How the peer is written in logs."""
        return f"{self.identity.role}/{self.identity.participant}"


@dataclass(slots=True)
class PeerTable:
    """All peers that were seen; knows the network, the access list and the limits."""

    network: str
    access: AccessList
    limits: LimitsSection
    _certificates: OrderedDict[bytes, _Holder] = field(default_factory=OrderedDict)
    _peers: dict[bytes, Peer] = field(default_factory=dict)

    def authenticate(self, auth_context: Mapping[str, Iterable[bytes]], now: datetime | None = None) -> Peer:
        """Return the peer behind a connection. Raises CallRefused (role_refused).

        Without a certificate that names a role of this network: UNAUTHENTICATED. Not let in: PERMISSION_DENIED.
        """
        identity, spki, expires_at, names = self._certificate(auth_context)
        if identity.network != self.network:
            raise _unauthenticated("the certificate is of another network")
        if (now if now is not None else datetime.now(UTC)) >= expires_at:
            raise _unauthenticated("the certificate has expired since the connection was made")
        if not self.access.admits(spki):
            raise refuse(ResultCode.ROLE_REFUSED, "the certificate's key is not let in here")
        peer = self._peers.get(spki)
        if peer is None or (peer.identity, peer.names) != (identity, names):
            # A key that comes with another role is another peer; calls in progress keep the object they began with.
            peer = self._peers[spki] = Peer(identity, spki, expires_at, names)
        return peer

    def enter(self, peer: Peer, *, stream: bool) -> None:
        """Count a call in. Raises CallRefused (overloaded) at the peer's limits."""
        if peer.rpcs >= self.limits.peer_rpcs_max:
            raise self._overloaded("too many calls of this certificate at once")
        if stream and peer.streams >= self.limits.peer_streams_max:
            raise self._overloaded("too many streams of this certificate at once")
        peer.rpcs += 1
        peer.streams += stream

    def leave(self, peer: Peer, *, stream: bool) -> None:
        """Count a call out."""
        peer.rpcs -= 1
        peer.streams -= stream
        self.forget(peer)

    def enter_batch(self, peer: Peer) -> None:
        """Count a batch in. Raises CallRefused (overloaded) at the peer's limit."""
        if peer.batches >= self.limits.peer_batches_max:
            raise self._overloaded("too many batches of this certificate at once")
        peer.batches += 1

    def leave_batch(self, peer: Peer) -> None:
        """Count a batch out: when it is decided, even if nobody waits for it any more."""
        peer.batches -= 1
        self.forget(peer)

    def forget(self, peer: Peer) -> None:
        """Drop what is known of a peer that uses nothing now."""
        if not peer.rpcs and not peer.batches and self._peers.get(peer.spki) is peer:
            del self._peers[peer.spki]

    def _overloaded(self, message: str) -> Exception:
        return refuse(ResultCode.OVERLOADED, message, retry_after_ms=self.limits.retry_after_ms)

    def _certificate(self, auth_context: Mapping[str, Iterable[bytes]]) -> _Holder:
        pem = next(iter(auth_context.get("x509_pem_cert", ())), b"")
        if not pem or len(pem) > _CERTIFICATE_BYTES_MAX:
            raise _unauthenticated("no client certificate")
        found = self._certificates.get(pem)
        if found is not None:
            self._certificates.move_to_end(pem)
            return found
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            found = _Holder(
                identity_of(certificate),
                spki_digest(certificate),
                certificate.not_valid_after_utc,
                names_of(certificate),
            )
        except IdentityInvalid as error:
            raise _unauthenticated(f"the certificate names no role: {error.reason}") from error
        except ValueError as error:
            raise _unauthenticated("the certificate cannot be read") from error
        self._certificates[pem] = found
        if len(self._certificates) > _CACHE_COUNT_MAX:
            self._certificates.popitem(last=False)
        return found


def _unauthenticated(message: str) -> Exception:
    return refuse(ResultCode.ROLE_REFUSED, message, status=grpc.StatusCode.UNAUTHENTICATED)
