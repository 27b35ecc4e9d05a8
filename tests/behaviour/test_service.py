"""The service over real mTLS: who may call what, what is refused before it is looked at, and what a refusal says."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
import structlog
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from structlog.testing import capture_logs

from clearspan.config import LimitsSection
from clearspan.errors import ConfigError, PortInUse
from clearspan.pki import channel_credentials, create_development_pki, issue_certificate, load_certificate, spki_digest
from clearspan.roles import Identity, PeerRole, Rpc, may_call
from clearspan.service import AccessList, SettlementServer
from clearspan.service.server import SERVICE_NAME
from clearspan.status import refusal_of_details
from clearspan.v1 import clearspan_pb2 as pb
from engine.admin import AdminRequest
from engine.batch import BatchColumns
from engine.errors import DiskFull
from engine.types import AdminType, TransferKind
from native.codes import ResultCode
from shards.errors import NodeFailed, Overloaded, ShuttingDown
from tests.behaviour.fakes import (
    BANK,
    DOMAIN,
    HOUSE,
    ISSUER,
    NETWORK,
    OTHER_BANK,
    PARTICIPANTS,
    SHARD,
    FakeNode,
    bank_account,
    edge,
    transfer,
    until,
)

OK, DENIED, UNAUTHENTICATED = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED


def run(coroutine):
    async def bounded():
        async with asyncio.timeout(30):
            await coroutine

    asyncio.run(bounded())


def submit_request(*transfers, **fields) -> pb.SubmitRequest:
    batch = BatchColumns.from_transfers(DOMAIN, bytes(16), transfers or [transfer(1, bank_account(1), bank_account(2))])
    request = pb.SubmitRequest(
        version=1,
        domain=DOMAIN,
        batch_id=batch.batch_id,
        heads=batch.heads.tobytes(),
        signatures=batch.signatures.tobytes(),
        binding_index=batch.binding_index.tobytes(),
        bindings=batch.bindings.tobytes(),
    )
    for name, value in fields.items():
        setattr(request, name, value)
    return request


def admin_request(*requests: AdminRequest) -> pb.AdministerRequest:
    count = len(requests)
    return pb.AdministerRequest(
        version=1,
        domain=DOMAIN,
        bodies=b"".join(request.encode() for request in requests),
        signer_key_ids=bytes(8 * count),
        signatures=bytes(128 * count),
    )


REQUESTS = {
    Rpc.SUBMIT: submit_request(),
    Rpc.ADMINISTER: admin_request(AdminRequest(1, AdminType.KEY_ADD, 10**18, 60, participant=BANK)),
    Rpc.LOOKUP_ACCOUNTS: pb.LookupAccountsRequest(version=1, domain=DOMAIN, ids=bank_account().to_bytes(16, "little")),
    Rpc.LOOKUP_TRANSFERS: pb.LookupTransfersRequest(version=1, domain=DOMAIN, digests=bytes(32)),
    Rpc.STATEMENT: pb.StatementRequest(
        version=1, domain=DOMAIN, account=bank_account().to_bytes(16, "little"), limit=10
    ),
    Rpc.GET_DECISION_PROOF: pb.GetDecisionProofRequest(version=1, domain=DOMAIN, digest=bytes(32)),
    Rpc.GET_STATUS: pb.GetStatusRequest(version=1),
    Rpc.GET_GENESIS: pb.GetGenesisRequest(version=1),
}
REPLIES = {rpc: getattr(pb, f"{rpc}Reply") for rpc in REQUESTS}


async def ask(target: str, credentials: grpc.ChannelCredentials, rpc: Rpc, request, timeout_s: float = 10):
    """Return (reply, None) or (None, refusal)."""
    content = request if isinstance(request, bytes) else request.SerializeToString()
    async with grpc.aio.secure_channel(target, credentials, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            reply = await channel.unary_unary(f"/{SERVICE_NAME}/{rpc}")(content, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            return None, refusal_of_details(error.code(), error.details(), error.trailing_metadata())
    return REPLIES[rpc].FromString(reply), None


def credentials_of(e, role: PeerRole, participant: int | None = None) -> grpc.ChannelCredentials:
    return channel_credentials(e.files(role, participant))


class Forged(Identity):
    """Passes for an identity of this network at the authority and names another in the certificate."""

    @property
    def uri(self) -> str:
        return "clearspan://othernet/bank/20"


# Who may call.


def test_every_role_may_call_what_the_table_says_and_nothing_else(tmp_path: Path) -> None:
    """Goal: the matrix is what the service does. Method: every role makes every unary call, one connection each."""

    async def test() -> None:
        async with edge(tmp_path) as e:
            for role in PeerRole:
                for rpc, request in REQUESTS.items():
                    _, refusal = await ask(e.target, credentials_of(e, role), rpc, request)
                    name = refusal.name if refusal else "ok"
                    if not may_call(role, rpc):
                        assert (name, refusal.status) == ("role_refused", DENIED), (role, rpc)
                        assert refusal.number == ResultCode.ROLE_REFUSED
                    elif name == "role_refused":  # the call is open to the role, and this account is not its own
                        assert "may not call" not in refusal.message
                        assert (role, rpc) in {
                            (PeerRole.ISSUER, Rpc.SUBMIT),
                            (PeerRole.ISSUER, Rpc.ADMINISTER),
                            (PeerRole.ISSUER, Rpc.LOOKUP_ACCOUNTS),
                            (PeerRole.ISSUER, Rpc.STATEMENT),
                            (PeerRole.CLEARING_HOUSE, Rpc.ADMINISTER),
                            (PeerRole.CLEARING_HOUSE, Rpc.STATEMENT),
                            (PeerRole.SCREENING, Rpc.ADMINISTER),
                        }

    run(test())


def test_connections_that_prove_nothing_are_refused(tmp_path: Path) -> None:
    """Goal: the access table of connections. Method: one certificate or lack of it for each row."""

    async def test() -> None:
        identity = Identity(NETWORK, PeerRole.BANK, BANK)
        other = create_development_pki(tmp_path / "other", NETWORK)
        async with edge(tmp_path / "tls") as e:
            pki, root = e.pki, e.pki.authority.read_bytes()
            past = datetime.now(UTC) - timedelta(days=3)
            expired = issue_certificate(
                pki.path, "expired", identity=identity, client=True, valid_for=timedelta(days=1), now=past
            )
            future = issue_certificate(
                pki.path, "future", identity=identity, client=True, now=datetime.now(UTC) + timedelta(days=1)
            )
            foreign = other.issue_client("bank", identity)
            rows = {
                "no certificate": grpc.ssl_channel_credentials(root_certificates=root),
                "other authority": grpc.ssl_channel_credentials(
                    root, foreign.key.read_bytes(), foreign.certificate.read_bytes()
                ),
                "expired": channel_credentials(expired),
                "not yet valid": channel_credentials(future),
                "server's certificate": channel_credentials(pki.files("node")),
            }
            for row, credentials in rows.items():
                _, refusal = await ask(e.target, credentials, Rpc.GET_STATUS, REQUESTS[Rpc.GET_STATUS], timeout_s=3)
                assert refusal is not None, row
                assert refusal.status is grpc.StatusCode.UNAVAILABLE, (row, refusal)
            async with grpc.aio.insecure_channel(e.target) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary(f"/{SERVICE_NAME}/GetStatus")(b"", timeout=3)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            # A client that trusts another authority does not talk to this server either.
            files = e.files(PeerRole.BANK)
            wrong_root = grpc.ssl_channel_credentials(
                other.authority.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes()
            )
            _, refusal = await ask(e.target, wrong_root, Rpc.GET_STATUS, REQUESTS[Rpc.GET_STATUS], timeout_s=3)
            assert refusal.status is grpc.StatusCode.UNAVAILABLE
            assert e.node.submitters == []

    run(test())


def test_a_certificate_without_a_role_of_this_network_is_unauthenticated(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:
            nameless = issue_certificate(e.pki.path, "nameless", hosts=("localhost",), client=True)
            _, refusal = await ask(e.target, channel_credentials(nameless), Rpc.GET_STATUS, REQUESTS[Rpc.GET_STATUS])
            assert (refusal.status, refusal.name) == (UNAUTHENTICATED, "role_refused")
            # The authority of a network with another name may sign for this one's server by mistake: the name decides.
            stranger = issue_certificate(
                e.pki.path, "stranger", identity=Forged(NETWORK, PeerRole.BANK, 20), client=True
            )
            _, refusal = await ask(e.target, channel_credentials(stranger), Rpc.GET_STATUS, REQUESTS[Rpc.GET_STATUS])
            assert (refusal.status, refusal.name) == (UNAUTHENTICATED, "role_refused")
            assert "another network" in refusal.message

    run(test())


def test_the_access_list_is_read_again_without_a_restart(tmp_path: Path) -> None:
    async def test() -> None:
        access = tmp_path / "access.txt"
        access.write_text("# nobody is named yet\n")
        async with edge(tmp_path / "tls", access=access) as e:
            bank, house = e.files(PeerRole.BANK), e.files(PeerRole.CLEARING_HOUSE)
            digest = spki_digest(load_certificate(bank.certificate)).hex()
            outcomes = []
            for number, content in enumerate(
                ("# everybody\n", f"deny {digest} left the network\n", f"allow {digest}\n", "allow not-hex\n"), start=1
            ):
                access.write_text(content)
                os.utime(access, ns=(number, number))
                row = []
                for files in (bank, house):
                    _, refusal = await ask(
                        e.target, channel_credentials(files), Rpc.GET_STATUS, REQUESTS[Rpc.GET_STATUS]
                    )
                    row.append(refusal.status if refusal else OK)
                outcomes.append(tuple(row))
            assert outcomes == [(OK, OK), (DENIED, OK), (OK, DENIED), (OK, DENIED)]  # a bad file changes nothing

    run(test())


def test_a_bad_access_list_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "access.txt"
    path.write_text("permit everyone\n")
    with pytest.raises(ConfigError, match="line 1"):
        AccessList(path)
    with pytest.raises(ConfigError):
        AccessList(tmp_path / "missing.txt")


# What one may see and send.


def test_a_bank_submits_what_touches_its_own_accounts(tmp_path: Path) -> None:
    own, other = bank_account(), bank_account(1, OTHER_BANK)
    post = TransferKind.POST
    cases = [
        ("own debit", transfer(1, own, other), True),
        ("other's debit", transfer(2, other, own), False),
        ("payee posts", replace(transfer(3, other, own), flags=post, reference=9), True),
        ("stranger posts", replace(transfer(4, other, bank_account(2, OTHER_BANK)), flags=post, reference=9), False),
    ]

    async def test() -> None:
        async with edge(tmp_path) as e:
            for name, record, allowed in cases:
                _, refusal = await ask(
                    e.target,
                    credentials_of(e, PeerRole.BANK),
                    Rpc.SUBMIT,
                    submit_request(transfer(99, own, other), record),
                )
                assert (refusal is None) is allowed, name
                # A clearing house carries anybody's: every record is signed by its payer.
                _, refusal = await ask(
                    e.target, credentials_of(e, PeerRole.CLEARING_HOUSE), Rpc.SUBMIT, submit_request(record)
                )
                assert refusal is None
            assert set(e.node.submitters) == {BANK, HOUSE}

    run(test())


def test_admin_requests_come_from_the_participant_concerned(tmp_path: Path) -> None:
    account = bank_account()
    other = bank_account(1, OTHER_BANK)
    bank, issuer, operator = PeerRole.BANK, PeerRole.ISSUER, PeerRole.OPERATOR
    cases = [
        (bank, AdminRequest(1, AdminType.KEY_ADD, 1, 60, participant=BANK), True),
        (bank, AdminRequest(1, AdminType.KEY_ADD, 1, 60, participant=OTHER_BANK), False),
        (bank, AdminRequest(1, AdminType.ACCOUNT_KEY_SET, 1, 60, subject=account), True),
        (bank, AdminRequest(1, AdminType.ACCOUNT_KEY_SET, 1, 60, subject=other), False),
        (bank, AdminRequest(1, AdminType.ACCOUNT_LIMITS, 1, 60, subject=other), False),
        (issuer, AdminRequest(1, AdminType.ACCOUNT_LIMITS, 1, 60, subject=other), True),
        (issuer, AdminRequest(1, AdminType.ACCOUNT_FREEZE, 1, 60, subject=other), False),
        (operator, AdminRequest(1, AdminType.ACCOUNT_FREEZE, 1, 60, subject=other), True),
        (operator, AdminRequest(1, AdminType.PARTICIPANT_ADD, 1, 60, participant=99), True),
    ]

    async def test() -> None:
        async with edge(tmp_path) as e:
            for role, request, allowed in cases:
                reply, refusal = await ask(
                    e.target, credentials_of(e, role), Rpc.ADMINISTER, admin_request(request, request)
                )
                assert (refusal is None) is allowed, (role, request)
                if allowed:
                    assert reply.assigned == b"\x09\0\0\0\x0a\0\0\0"

    run(test())


def test_accounts_and_statements_are_their_owners(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:
            e.node.open_account(BANK, 1, posted=700)
            ids = bank_account().to_bytes(16, "little")
            missing = bank_account(77).to_bytes(16, "little")
            lookup = pb.LookupAccountsRequest(version=1, domain=DOMAIN, ids=ids + missing)
            views = {}
            for role in (PeerRole.BANK, PeerRole.CLEARING_HOUSE, PeerRole.OPERATOR):
                reply, _ = await ask(e.target, credentials_of(e, role), Rpc.LOOKUP_ACCOUNTS, lookup)
                views[role] = (list(reply.views), any(reply.accounts[16:112]), any(reply.accounts[:16]))
            assert views == {
                PeerRole.BANK: ([1, 0], True, True),
                PeerRole.CLEARING_HOUSE: ([2, 0], False, True),
                PeerRole.OPERATOR: ([1, 0], True, True),
            }
            # A supervisor's look is recorded: Inspect, and no other call, shows him accounts.
            _, refusal = await ask(e.target, credentials_of(e, PeerRole.SUPERVISOR), Rpc.LOOKUP_ACCOUNTS, lookup)
            assert (refusal.status, refusal.name) == (DENIED, "role_refused")
            for rpc in (Rpc.LOOKUP_ACCOUNTS, Rpc.STATEMENT):
                request = lookup if rpc is Rpc.LOOKUP_ACCOUNTS else REQUESTS[rpc]
                _, refusal = await ask(e.target, credentials_of(e, PeerRole.BANK, OTHER_BANK), rpc, request)
                assert (refusal.status, refusal.name) == (DENIED, "role_refused")

    run(test())


def test_a_transfer_is_shown_to_its_sides_and_is_unknown_to_others(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:
            entry = e.node.add_entry(bank_account(), bank_account(1, OTHER_BANK), 5)
            request = pb.LookupTransfersRequest(version=1, domain=DOMAIN, digests=entry.digest + bytes(32))
            for role, participant, found in (
                (PeerRole.BANK, BANK, 1),
                (PeerRole.BANK, OTHER_BANK, 1),
                (PeerRole.BANK, 22, 0),
                (PeerRole.ISSUER, ISSUER, 0),
                (PeerRole.CLEARING_HOUSE, HOUSE, 1),
                (PeerRole.SCREENING, PARTICIPANTS[PeerRole.SCREENING], 1),
            ):
                reply, _ = await ask(e.target, credentials_of(e, role, participant), Rpc.LOOKUP_TRANSFERS, request)
                assert list(reply.found) == [found, 0], (role, participant)
                assert (reply.transfers.records[:160] == entry.record) is bool(found)
                assert len(reply.transfers.records) == 320

    run(test())


# What is refused before it is looked at.

WHOLE = submit_request()
MALFORMED = [
    ("no message", b"\xff\xff\xff", ResultCode.BATCH_MALFORMED),
    ("truncated", WHOLE.SerializeToString()[:-1], ResultCode.BATCH_MALFORMED),
    ("a length of 2 GiB", b"\x22\xff\xff\xff\xff\x07", ResultCode.BATCH_MALFORMED),
    ("wrong wire type", b"\x0d\x01\x00\x00\x00" + WHOLE.SerializeToString()[2:], ResultCode.VERSION_UNSUPPORTED),
    ("no version", submit_request(version=0), ResultCode.VERSION_UNSUPPORTED),
    ("later version", submit_request(version=2), ResultCode.VERSION_UNSUPPORTED),
    ("other domain", submit_request(domain=2), ResultCode.DOMAIN_NOT_FOUND),
    ("version before domain", submit_request(version=9, domain=2), ResultCode.VERSION_UNSUPPORTED),
    ("empty", submit_request(heads=b"", signatures=b""), ResultCode.BATCH_EMPTY),
    ("heads cut", submit_request(heads=WHOLE.heads[:-1]), ResultCode.BATCH_MALFORMED),
    ("signatures missing", submit_request(signatures=b""), ResultCode.BATCH_MALFORMED),
    ("signatures too many", submit_request(signatures=bytes(128)), ResultCode.BATCH_MALFORMED),
    ("short batch id", submit_request(batch_id=bytes(15)), ResultCode.BATCH_MALFORMED),
    ("index without binding", submit_request(binding_index=bytes(4)), ResultCode.BATCH_MALFORMED),
    ("index cut", submit_request(binding_index=b"\0\0\0", bindings=b"\1" * 32), ResultCode.BATCH_MALFORMED),
    ("index too high", submit_request(binding_index=b"\1\0\0\0", bindings=b"\1" * 32), ResultCode.BATCH_MALFORMED),
    ("index twice", submit_request(binding_index=bytes(8), bindings=b"\1" * 64), ResultCode.BATCH_MALFORMED),
    ("binding of zeros", submit_request(binding_index=bytes(4), bindings=bytes(32)), ResultCode.BATCH_MALFORMED),
    (
        "too many",
        submit_request(heads=bytes(128 * 8193), signatures=bytes(64 * 8193)),
        ResultCode.BATCH_TOO_LARGE,
    ),
]


def test_malformed_batches_never_reach_the_node(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:
            bank = credentials_of(e, PeerRole.BANK)
            for name, request, code in MALFORMED:
                _, refusal = await ask(e.target, bank, Rpc.SUBMIT, request)
                assert (refusal.name, refusal.number) == (code.name.lower(), int(code)), name
                assert refusal.next_step, name
                assert refusal.code_class == "open"
            assert e.node.batches == []
            reply, _ = await ask(e.target, bank, Rpc.SUBMIT, WHOLE)  # and the service lives
            assert reply.codes == b"\x01\0"

    run(test())


def test_other_requests_of_a_wrong_shape_are_refused(tmp_path: Path) -> None:
    cases = [
        (Rpc.LOOKUP_ACCOUNTS, {"ids": b""}, "batch_empty"),
        (Rpc.LOOKUP_ACCOUNTS, {"ids": bytes(17)}, "batch_malformed"),
        (Rpc.LOOKUP_ACCOUNTS, {"ids": bytes(16 * 8193)}, "batch_too_large"),
        (Rpc.LOOKUP_TRANSFERS, {"digests": bytes(31)}, "batch_malformed"),
        (Rpc.STATEMENT, {"account": bytes(15)}, "batch_malformed"),
        (Rpc.STATEMENT, {"after": bytes(65)}, "batch_malformed"),
        (Rpc.STATEMENT, {"after": b"short"}, "batch_malformed"),
        (Rpc.STATEMENT, {"limit": 0}, "batch_too_large"),
        (Rpc.STATEMENT, {"limit": 1001}, "batch_too_large"),
        (Rpc.GET_DECISION_PROOF, {"digest": b""}, "batch_malformed"),
        (Rpc.GET_DECISION_PROOF, {}, "not_found"),
        (Rpc.ADMINISTER, {"signatures": b""}, "batch_malformed"),
        (Rpc.ADMINISTER, {"bodies": b""}, "batch_empty"),
        (Rpc.ADMINISTER, {"batch_id": bytes(3)}, "batch_malformed"),
        (Rpc.GET_STATUS, {"version": 7}, "version_unsupported"),
        (Rpc.GET_GENESIS, {"version": 7}, "version_unsupported"),
        (Rpc.STATEMENT, {"domain": 7}, "domain_not_found"),
    ]

    async def test() -> None:
        async with edge(tmp_path) as e:
            for rpc, fields, name in cases:
                request = type(REQUESTS[rpc])()
                request.CopyFrom(REQUESTS[rpc])
                for key, value in fields.items():
                    setattr(request, key, value)
                _, refusal = await ask(e.target, credentials_of(e, PeerRole.BANK), rpc, request)
                assert refusal is not None and refusal.name == name, (rpc, fields, refusal)

    run(test())


# What a refusal says, and what it does not.


def test_what_the_node_raises_becomes_its_code(tmp_path: Path) -> None:
    cases = [
        (Overloaded(9, 8, 250), "overloaded", grpc.StatusCode.RESOURCE_EXHAUSTED, 250),
        (ShuttingDown("x"), "shutting_down", grpc.StatusCode.UNAVAILABLE, 50),
        (NodeFailed("x"), "shutting_down", grpc.StatusCode.UNAVAILABLE, 50),
        (DiskFull("/data", 0), "disk_full", grpc.StatusCode.RESOURCE_EXHAUSTED, 50),
        (ValueError("secret path /root/x"), "internal", grpc.StatusCode.INTERNAL, 0),
    ]

    async def test() -> None:
        async with edge(tmp_path) as e:
            for error, name, status, wait in cases:
                e.node.failure, e.node.failures = error, 1
                _, refusal = await ask(e.target, credentials_of(e, PeerRole.BANK), Rpc.SUBMIT, WHOLE)
                assert (refusal.name, refusal.status, refusal.retry_after_ms) == (name, status, wait)
                assert "secret" not in refusal.message

    run(test())


def test_a_log_line_names_the_call_and_no_payload(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:
            structlog.reset_defaults()
            with capture_logs() as lines:
                await ask(e.target, credentials_of(e, PeerRole.BANK), Rpc.SUBMIT, submit_request(batch_id=b"\n" * 16))
                await ask(e.target, credentials_of(e, PeerRole.READER), Rpc.SUBMIT, WHOLE)
            calls = [line for line in lines if line["event"] == "call"]
            assert [(line["rpc"], line["peer"], line["outcome"]) for line in calls] == [
                ("Submit", "bank/20", "ok"),
                ("Submit", calls[1]["peer"], "role_refused"),
            ]
            assert calls[0]["batch"] == "0a" * 16
            assert calls[0]["count"] == 1
            assert set(calls[0]) <= {
                "event", "log_level", "rpc", "peer", "spki", "outcome", "took_us", "batch", "count",
            }  # fmt: skip
            assert all("\n" not in str(value) for line in lines for value in line.values())

    run(test())


# Streams, health, start and stop.


def test_a_stream_answers_in_order_and_survives_bad_batches(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:
            requests = [
                submit_request(transfer(number, bank_account(1), bank_account(2)), sequence=number)
                for number in range(1, 30)
            ]
            requests[4] = submit_request(domain=9, sequence=5)
            requests[9] = submit_request(transfer(1, bank_account(1, OTHER_BANK), bank_account(2)), sequence=10)
            async with grpc.aio.secure_channel(e.target, credentials_of(e, PeerRole.BANK)) as channel:
                call = channel.stream_stream(f"/{SERVICE_NAME}/SubmitStream")(
                    iter([request.SerializeToString() for request in requests] + [b"\xff"])
                )
                replies = [pb.SubmitReply.FromString(content) async for content in call]
            assert [reply.sequence for reply in replies[:-1]] == list(range(1, 30))
            refused = {reply.sequence: reply.refusal.name for reply in replies if reply.HasField("refusal")}
            assert refused == {5: "domain_not_found", 10: "role_refused", 0: "batch_malformed"}
            assert all(reply.codes == b"\x01\0" for reply in replies if not reply.HasField("refusal"))
            assert len(e.node.batches) == 27

    run(test())


def test_blocks_are_streamed_from_a_height(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:
            e.node.add_blocks(4)
            async with grpc.aio.secure_channel(e.target, credentials_of(e, PeerRole.READER)) as channel:
                method = channel.unary_stream(f"/{SERVICE_NAME}/StreamBlocks")
                request = pb.StreamBlocksRequest(version=1, domain=DOMAIN, shard=SHARD, from_height=2)
                got = [
                    pb.StreamBlocksReply.FromString(each).signed_header
                    async for each in method(request.SerializeToString())
                ]
                assert got == e.node.headers[1:]
                for fields, name in (({"shard": 1}, "not_found"), ({"from_height": 0}, "batch_malformed")):
                    wrong = pb.StreamBlocksRequest(version=1, domain=DOMAIN, shard=SHARD, from_height=1)
                    for key, value in fields.items():
                        setattr(wrong, key, value)
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await anext(aiter(method(wrong.SerializeToString())))
                    error = caught.value
                    assert refusal_of_details(error.code(), error.details(), error.trailing_metadata()).name == name

    run(test())


def test_health_and_reflection_are_for_peers_with_a_role(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:
            nameless = issue_certificate(e.pki.path, "nameless", hosts=("localhost",), client=True)
            for files, allowed in ((e.files(PeerRole.READER), True), (nameless, False)):
                async with grpc.aio.secure_channel(e.target, channel_credentials(files)) as channel:
                    check = channel.unary_unary(
                        "/grpc.health.v1.Health/Check", response_deserializer=health_pb2.HealthCheckResponse.FromString
                    )
                    for service in ("", SERVICE_NAME):
                        request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
                        try:
                            assert (await check(request)).status == health_pb2.HealthCheckResponse.SERVING
                            assert allowed
                        except grpc.aio.AioRpcError as error:
                            assert error.code() is UNAUTHENTICATED
                            assert not allowed
                    listing = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
                    call = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
                    try:
                        content = await anext(aiter(call(iter([listing]))))
                        reply = reflection_pb2.ServerReflectionResponse.FromString(content)
                        assert SERVICE_NAME in {each.name for each in reply.list_services_response.service}
                        assert allowed
                    except grpc.aio.AioRpcError as error:
                        assert error.code() is UNAUTHENTICATED
                        assert not allowed

    run(test())


def test_a_port_has_one_owner(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:
            second = SettlementServer(e.node, e.pki.files("node"), port=e.server.port)
            with pytest.raises(PortInUse) as caught:
                await second.start()
            assert (caught.value.host, caught.value.port) == ("127.0.0.1", e.server.port)
            away = SettlementServer(e.node, e.pki.files("node"), host="192.0.2.1", port=1)
            with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
                await away.start()
        with socket.socket() as probe:  # and after the stop it is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", e.server.port))

    run(test())


def test_a_stop_answers_what_was_taken_and_refuses_what_comes(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:
            bank = credentials_of(e, PeerRole.BANK)
            e.node.gate.clear()
            taken = asyncio.create_task(ask(e.target, bank, Rpc.SUBMIT, WHOLE))
            await until(lambda: e.node.in_node)
            async with grpc.aio.secure_channel(e.target, bank) as channel:
                submit = channel.unary_unary(f"/{SERVICE_NAME}/Submit")
                check = channel.unary_unary(
                    "/grpc.health.v1.Health/Check", response_deserializer=health_pb2.HealthCheckResponse.FromString
                )
                await check(b"")
                stopping = asyncio.create_task(e.server.stop(5))
                while (await check(b"")).status == health_pb2.HealthCheckResponse.SERVING:
                    pass
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await submit(WHOLE.SerializeToString())
                error = caught.value
                refusal = refusal_of_details(error.code(), error.details(), error.trailing_metadata())
                assert refusal.name == "shutting_down"
                assert refusal.retried
                e.node.gate.set()
                reply, _ = await taken
                assert reply.codes == b"\x01\0"
                await stopping
        assert len(e.node.batches) == 1

    run(test())


def test_renewed_certificates_are_taken_without_a_restart(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:

            def presented() -> bytes:
                context = ssl.create_default_context(cafile=str(e.pki.authority))
                files = e.files(PeerRole.READER)
                context.load_cert_chain(files.certificate, files.key)
                context.set_alpn_protocols(["h2"])
                with socket.create_connection(("127.0.0.1", e.server.port), 5) as plain:
                    with context.wrap_socket(plain, server_hostname="localhost") as secure:
                        return secure.getpeercert(binary_form=True)

            loop = asyncio.get_running_loop()
            first = await loop.run_in_executor(None, presented)
            e.pki.issue_server("node")
            second = await loop.run_in_executor(None, presented)
            (e.pki.path / "node.pem").write_text("half of a renewal")
            third = await loop.run_in_executor(None, presented)
            assert first != second == third

    run(test())


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_tls_is_refused(tmp_path: Path, version: str) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:

            def shake() -> str | None:
                context = ssl.create_default_context(cafile=str(e.pki.authority))
                files = e.files(PeerRole.READER)
                context.load_cert_chain(files.certificate, files.key)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
                    context.set_ciphers("ALL:@SECLEVEL=0")
                with socket.create_connection(("127.0.0.1", e.server.port), 5) as plain:
                    with context.wrap_socket(plain, server_hostname="localhost") as secure:
                        return secure.version()

            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.get_running_loop().run_in_executor(None, shake)

    run(test())


def test_the_limits_have_room_for_a_whole_batch() -> None:
    batch = pb.SubmitRequest(
        version=1,
        domain=2**24 - 1,
        batch_id=bytes(16),
        heads=bytes(128 * 8192),
        signatures=bytes(64 * 8192),
        binding_index=bytes(4 * 8192),
        bindings=bytes(32 * 8192),
        sequence=2**63,
    )
    assert batch.ByteSize() < LimitsSection().message_bytes_max
    assert FakeNode().domain == DOMAIN
