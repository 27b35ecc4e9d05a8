"""Certificates: what is issued, what is refused at reading, and that TLS keys are never signing keys."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clearspan.config import LimitsSection
from clearspan.errors import CertificateInvalid, PkiExists
from clearspan.pki import (
    AUTHORITY_DAYS,
    CERTIFICATE_DAYS,
    create_development_pki,
    identity_of,
    issue_certificate,
    load_certificate,
    names_of,
    spki_digest,
)
from clearspan.roles import Identity, IdentityInvalid, PeerRole
from clearspan.service.access import AccessList
from clearspan.service.peers import PeerTable

BANK = Identity("testnet", PeerRole.BANK, 20)


@pytest.fixture
def pki(tmp_path: Path):
    return create_development_pki(tmp_path / "tls", "testnet")


def test_keys_are_readable_by_their_owner_alone(pki) -> None:
    files = pki.issue_client("bank", BANK)
    assert stat.S_IMODE(pki.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert stat.S_IMODE((pki.path / "ca.key").stat().st_mode) == 0o600


def test_an_authority_is_never_overwritten(pki) -> None:
    with pytest.raises(PkiExists):
        create_development_pki(pki.path, "testnet")


def test_validity_is_short_and_begins_before_now(pki) -> None:
    now = datetime.now(UTC)
    files = pki.issue_client("bank", BANK)
    for path, days in ((files.certificate, CERTIFICATE_DAYS), (pki.authority, AUTHORITY_DAYS)):
        certificate = load_certificate(path)
        assert certificate.not_valid_before_utc < now
        assert timedelta(days=days - 1) < certificate.not_valid_after_utc - now <= timedelta(days=days, minutes=1)


def test_a_server_may_only_serve_and_a_client_only_call(pki) -> None:
    usages = {}
    for name, files in {
        "server": pki.issue_server("node"),
        "client": pki.issue_client("bank", BANK),
        "validator": pki.issue_validator("v1", Identity("testnet", PeerRole.VALIDATOR, 70)),
    }.items():
        extension = load_certificate(files.certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        usages[name] = set(extension.value)
    assert usages == {
        "server": {ExtendedKeyUsageOID.SERVER_AUTH},
        "client": {ExtendedKeyUsageOID.CLIENT_AUTH},
        "validator": {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH},
    }


def test_a_server_answers_to_loopback_and_its_name(pki) -> None:
    certificate = load_certificate(pki.issue_server("node.cny", hosts=("10.0.0.7",)).certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "node.cny"}
    assert {str(each) for each in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "10.0.0.7"}


def test_the_role_is_read_back_from_the_certificate(pki) -> None:
    certificate = load_certificate(pki.issue_client("bank", BANK).certificate)
    assert identity_of(certificate) == BANK
    assert len(spki_digest(certificate)) == 32


def test_a_subject_names_its_person_alike_whatever_the_key_and_the_spelling(pki) -> None:
    """User id, serial number and common name; a certificate that is renewed names the same person."""

    def named(**names: str) -> tuple[str, ...]:
        oids = {"uid": NameOID.USER_ID, "serial": NameOID.SERIAL_NUMBER, "cn": NameOID.COMMON_NAME}
        attributes = [x509.NameAttribute(oids[kind], text) for kind, text in names.items()]
        return names_of(SimpleNamespace(subject=x509.Name(attributes)))

    assert named(cn="Anna  Example", uid="ANNA", serial="7") == ("uid=anna", "serial=7", "cn=anna example")
    assert named(cn="\uff21nna \u2163") == ("cn=anna iv",), "other forms of the same letters"
    assert named() == ()
    first, second = (issue_certificate(pki.path, "anna", identity=BANK, client=True) for _ in range(2))
    assert (
        names_of(load_certificate(first.certificate)) == names_of(load_certificate(second.certificate)) == ("cn=anna",)
    )


def test_a_peer_is_who_his_certificate_names(pki) -> None:
    """One key under another name is another peer: what the old one was called is not believed of the new one."""
    table = PeerTable("testnet", AccessList(), LimitsSection())
    files = issue_certificate(pki.path, "anna", identity=BANK, client=True)
    pem = files.certificate.read_bytes()
    peer = table.authenticate({"x509_pem_cert": [pem]})
    assert peer.names == ("cn=anna",)
    assert table.authenticate({"x509_pem_cert": [pem]}) is peer
    peer.names = ("cn=ben",)
    assert table.authenticate({"x509_pem_cert": [pem]}).names == ("cn=anna",)


def test_a_certificate_without_a_role_has_no_identity(pki) -> None:
    certificate = load_certificate(pki.issue_server("node").certificate)
    with pytest.raises(IdentityInvalid, match="0 role URIs"):
        identity_of(certificate)


@pytest.mark.parametrize(
    "uri",
    [
        "clearspan://testnet/bank/020",
        "clearspan://testnet/bank/0",
        "clearspan://testnet/bank/4294967295",
        "clearspan://testnet/king/20",
        "clearspan://testnet/bank/20/",
        "clearspan://testnet/bank/20\n",
        "clearspan://TESTNET/bank/20",
        "clearspan:///bank/20",
        "https://testnet/bank/20",
        "clearspan://testnet/bank/２０",
    ],
)
def test_only_the_canonical_uri_is_an_identity(uri: str) -> None:
    with pytest.raises(IdentityInvalid):
        Identity.parse(uri)


def test_every_role_survives_its_uri() -> None:
    for role in PeerRole:
        identity = Identity("net-1", role, 7)
        assert Identity.parse(identity.uri) == identity


def test_an_identity_of_another_network_is_not_issued(pki) -> None:
    with pytest.raises(ValueError, match="network"):
        pki.issue_client("bank", Identity("othernet", PeerRole.BANK, 20))


@pytest.mark.parametrize("name", ["ca", "", "../x", "a/b", "Upper", "x" * 64])
def test_names_that_could_leave_the_directory_are_refused(pki, name: str) -> None:
    with pytest.raises(ValueError):
        issue_certificate(pki.path, name, client=True)


def test_an_ed25519_tls_key_is_refused_before_any_handshake(pki) -> None:
    """Goal: the one kind of certificate that passes every check and fails every handshake is named at once."""
    files = pki.issue_client("bank", BANK)
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files.key.write_bytes(pem)
    with pytest.raises(CertificateInvalid, match="P-256"):
        files.read()


def test_a_key_of_another_certificate_is_refused(pki) -> None:
    files = pki.issue_client("bank", BANK)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files.key.write_bytes(pem)
    with pytest.raises(CertificateInvalid, match="not the key of"):
        files.read()


def test_a_missing_or_foreign_file_is_named(pki) -> None:
    files = pki.issue_client("bank", BANK)
    files.certificate.write_text("no certificate")
    with pytest.raises(CertificateInvalid, match="bank.pem"):
        files.read()
    files.certificate.unlink()
    with pytest.raises(CertificateInvalid, match="bank.pem"):
        files.read()
