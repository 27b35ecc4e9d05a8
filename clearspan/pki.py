"""Certificates for a network that has no authority of its own yet: one P-256 CA, servers, and clients with a role.

Made for development, tests and the demo; an institution brings certificates of its own authority and uses only the
loaders below. Keys here authenticate a connection and never sign a transfer: they are P-256 in PEM files of mode 0600,
signing keys live in `clearspan.keys`. Validity is short on purpose: AUTHORITY_DAYS and CERTIFICATE_DAYS.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clearspan.errors import CertificateInvalid, PkiExists
from clearspan.roles import URI_SCHEME, Identity, IdentityInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = [
    "AUTHORITY_DAYS",
    "CERTIFICATE_DAYS",
    "DevelopmentPki",
    "TlsFiles",
    "channel_credentials",
    "create_development_pki",
    "identity_of",
    "issue_certificate",
    "load_certificate",
    "names_of",
    "server_credentials",
    "spki_digest",
]

AUTHORITY_DAYS: Final = 365
CERTIFICATE_DAYS: Final = 30
# A certificate is valid a little before it is made, for peers whose clocks run behind.
_BACKDATED: Final = timedelta(minutes=5)
_NETWORK = re.compile(r"[a-z0-9-]{1,32}")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
# What a subject may call a person by.
_PERSON: Final = (("uid", NameOID.USER_ID), ("serial", NameOID.SERIAL_NUMBER), ("cn", NameOID.COMMON_NAME))
_PEM_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where one side of a connection finds its certificate, its key, and the authority that it trusts."""

    certificate: Path
    key: Path
    authority: Path

    def read(self) -> tuple[bytes, bytes, bytes]:
        """Return certificate chain, key and authority as PEM. Raises CertificateInvalid, naming the file."""
        chain, key, authority = (_read(path) for path in (self.certificate, self.key, self.authority))
        certificate = _parse_certificate(chain, self.certificate)
        _parse_certificate(authority, self.authority)
        try:
            private = serialization.load_pem_private_key(key, password=None)
        except (ValueError, TypeError) as error:
            raise CertificateInvalid(str(self.key), "no unencrypted PEM private key") from error
        # An Ed25519 certificate passes every check here and then fails each handshake, so it is named before.
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
            raise CertificateInvalid(str(self.key), "not a P-256 key, which TLS connections need here")
        if private.public_key() != certificate.public_key():
            raise CertificateInvalid(str(self.key), f"not the key of {self.certificate}")
        return chain, key, authority


@dataclass(frozen=True, slots=True)
class DevelopmentPki:
    """The directory of a development authority: ca.pem, ca.key, and a pair of files for each name issued."""

    path: Path
    network: str

    @property
    def authority(self) -> Path:
        """The authority's certificate, which every peer trusts."""
        return self.path / "ca.pem"

    def files(self, name: str) -> TlsFiles:
        """Return where the files of a name are, whether or not they were issued."""
        return TlsFiles(self.path / f"{name}.pem", self.path / f"{name}.key", self.authority)

    def issue_server(self, name: str, *, hosts: Iterable[str] = ()) -> TlsFiles:
        """Issue for a node: 127.0.0.1, localhost, its own name and any further hosts (names or addresses)."""
        return issue_certificate(self.path, name, hosts=("127.0.0.1", "localhost", name, *hosts), server=True)

    def issue_client(self, name: str, identity: Identity) -> TlsFiles:
        """Issue for a peer that calls the service in this role."""
        return issue_certificate(self.path, name, identity=identity, client=True)

    def issue_validator(self, name: str, identity: Identity) -> TlsFiles:
        """Issue for a validator, which both listens and calls."""
        hosts = ("127.0.0.1", "localhost", name)
        return issue_certificate(self.path, name, hosts=hosts, identity=identity, server=True, client=True)


def create_development_pki(path: Path, network: str, *, now: datetime | None = None) -> DevelopmentPki:
    """Make a new authority for one network in a directory of mode 0700; its key signs nothing but certificates.

    Raises PkiExists when the directory holds one, ValueError for a network's name outside [a-z0-9-]{1,32}.
    """
    if _NETWORK.fullmatch(network) is None:
        message = f"a network's name is [a-z0-9-]{{1,32}}, not {network[:40]!r}"
        raise ValueError(message)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    if (path / "ca.key").exists() or (path / "ca.pem").exists():
        raise PkiExists(str(path))
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, network),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{network} development authority"),
        ]
    )
    builder = _builder(name, name, key.public_key(), timedelta(days=AUTHORITY_DAYS), now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(authority=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    _write_pair(path / "ca.pem", path / "ca.key", builder.sign(key, hashes.SHA256()), key)
    return DevelopmentPki(path, network)


def issue_certificate(
    path: Path,
    name: str,
    *,
    hosts: Iterable[str] = (),
    identity: Identity | None = None,
    server: bool = False,
    client: bool = False,
    valid_for: timedelta = timedelta(days=CERTIFICATE_DAYS),
    now: datetime | None = None,
) -> TlsFiles:
    """Issue `name`.pem and `name`.key beside the authority in `path`; files of that name are replaced.

    hosts become DNS names or addresses, the identity its role URI. Whether the key may serve, call, or both stands in
    the extended key usage, so a server's certificate opens no calls. Raises CertificateInvalid for a broken authority,
    ValueError for a name outside [a-z0-9.-] or an identity of another network.
    """
    if _NAME.fullmatch(name) is None or name == "ca":
        message = f"a certificate's name is [a-z0-9.-], at most 63 characters, and not 'ca': {name[:40]!r}"
        raise ValueError(message)
    authority, authority_key = _load_authority(path)
    network = str(authority.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)
    if identity is not None and identity.network != network:
        message = f"the authority is of network {network!r}, the identity of {identity.network!r}"
        raise ValueError(message)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, network), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    builder = _builder(subject, authority.subject, key.public_key(), valid_for, now)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(authority=False), critical=True)
    usages = [ExtendedKeyUsageOID.SERVER_AUTH] * server + [ExtendedKeyUsageOID.CLIENT_AUTH] * client
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    names: list[x509.GeneralName] = [_general_name(host) for host in dict.fromkeys(hosts)]
    names += [x509.UniformResourceIdentifier(identity.uri)] if identity is not None else []
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    files = TlsFiles(path / f"{name}.pem", path / f"{name}.key", path / "ca.pem")
    _write_pair(files.certificate, files.key, builder.sign(authority_key, hashes.SHA256()), key)
    return files


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials that demand a client certificate of the authority, and take renewed files without a restart.

    The files are looked at on every handshake and read when one has changed; a set that does not fit together (half of
    a renewal) leaves the one before in force. Raises CertificateInvalid when the first set is no good.
    """
    initial = files.read()
    stamp = [_stamp(files)]

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        newest = _stamp(files)
        if newest == stamp[0]:
            return None
        try:
            renewed = files.read()
        except CertificateInvalid:
            return None
        stamp[0] = newest
        return _configuration(renewed)

    # None means "as before", which the stubs do not know.
    return grpc.dynamic_ssl_server_credentials(
        _configuration(initial),
        fetch,  # type: ignore[arg-type]
        require_client_authentication=True,
    )


def channel_credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    """Return credentials of a client: its certificate, and trust in that one authority only."""
    chain, key, authority = files.read()
    return grpc.ssl_channel_credentials(root_certificates=authority, private_key=key, certificate_chain=chain)


def load_certificate(path: Path) -> x509.Certificate:
    """Read the first certificate of a PEM file. Raises CertificateInvalid."""
    return _parse_certificate(_read(path), path)


def spki_digest(certificate: x509.Certificate) -> bytes:
    """Return SHA-256 of the subject public key info: what access lists name, the same over renewals of one key."""
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).digest()


def identity_of(certificate: x509.Certificate) -> Identity:
    """Return the one identity that a certificate names. Raises IdentityInvalid for none, several, or a wrong one."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        reason = "no usable subject alternative name"
        raise IdentityInvalid(reason) from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    own = [uri for uri in uris if uri.startswith(f"{URI_SCHEME}:")]
    if len(own) != 1:
        reason = f"{len(own)} role URIs where one is demanded"
        raise IdentityInvalid(reason)
    return Identity.parse(own[0])


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return what the subject calls who holds the certificate: user id, serial number and common name, as far as given.

    In a form that is the same for the same words, as ``kind=value``. Renewed certificates of one person share them.
    """
    found = []
    for kind, oid in _PERSON:
        for each in certificate.subject.get_attributes_for_oid(oid):
            words = unicodedata.normalize("NFKC", str(each.value)).casefold().split()
            found.append(f"{kind}={' '.join(words)}")
    return tuple(found)


def _configuration(pem: tuple[bytes, bytes, bytes]) -> grpc.ServerCertificateConfiguration:
    chain, key, authority = pem
    return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=authority)


def _stamp(files: TlsFiles) -> tuple[int, ...]:
    try:
        return tuple(path.stat().st_mtime_ns for path in (files.certificate, files.key, files.authority))
    except OSError:
        return ()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_PEM_BYTES_MAX + 1)
    except OSError as error:
        raise CertificateInvalid(str(path), error.strerror or "cannot be read") from error
    if len(content) > _PEM_BYTES_MAX:
        raise CertificateInvalid(str(path), "larger than 1 MiB")
    return content


def _parse_certificate(pem: bytes, path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise CertificateInvalid(str(path), "no PEM certificate") from error


def _load_authority(path: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    files = TlsFiles(path / "ca.pem", path / "ca.key", path / "ca.pem")
    chain, key, _ = files.read()
    private = serialization.load_pem_private_key(key, password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):  # read() has looked already; this tells the type checker
        raise CertificateInvalid(str(files.key), "not a P-256 key")
    return x509.load_pem_x509_certificate(chain), private


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, valid_for: timedelta, now: datetime | None
) -> x509.CertificateBuilder:
    start = now if now is not None else datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=start - _BACKDATED,
        not_valid_after=start + valid_for,
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_pair(
    certificate_path: Path, key_path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(key_path, pem, 0o600)
    _write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write beside and rename: a reader sees the old file or the new one, and the mode holds from the first byte."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
