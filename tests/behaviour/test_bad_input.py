"""Bad input over the whole road: real mTLS, real service, real node, real disk. Coded refusals; nothing half applied."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest

from clearspan.config import flags, load_config, parse_config
from clearspan.errors import ConfigError
from clearspan.pki import channel_credentials, create_development_pki, issue_certificate
from clearspan.roles import Identity, PeerRole
from clearspan.service.server import SERVICE_NAME
from clearspan.simulation.world import World
from clearspan.status import Refusal, refusal_of_details
from clearspan.v1 import clearspan_pb2 as pb
from engine.codes import ResultCode
from engine.data_directory import DataDirectory
from engine.errors import DirectoryInUse
from engine.record import Transfer
from engine.types import NS_PER_S
from tests.behaviour.faulty import DECIDED, real_edge, run

SUBMIT = f"/{SERVICE_NAME}/Submit"
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]


@pytest.fixture
def world() -> World:
    return World.make(13, banks=3, accounts=2)


async def ask(target: str, credentials, content: bytes, timeout_s: float | None = 20, method: str = SUBMIT):
    """Return (reply bytes, None) or (None, refusal)."""
    async with grpc.aio.secure_channel(target, credentials, options=OPTIONS) as channel:
        try:
            return await channel.unary_unary(method)(content, timeout=timeout_s), None
        except grpc.aio.AioRpcError as error:
            return None, refusal_of_details(error.code(), error.details(), error.trailing_metadata())


def test_payloads_that_cannot_be_read_are_refused_whole(tmp_path: Path, world: World) -> None:
    """Each gets a code and a next step, burns nothing, and the same good batch settles at the end."""

    async def scenario() -> None:
        async with real_edge(tmp_path, world) as e:
            house = e.credentials()
            good = e.harness.payments()
            whole = e.request(good)
            wire = whole.SerializeToString()
            other_records = good.heads.tobytes() * 600
            cases: list[tuple[str, bytes, str]] = [
                ("no bytes", b"", "version_unsupported"),
                ("cut in the middle of a field", wire[: len(wire) // 2], "batch_malformed"),
                ("cut by one byte", wire[:-1], "batch_malformed"),
                ("no protobuf", b"\xff" * 64, "batch_malformed"),
                ("a length that is not there", b"\x22\xff\xff\xff\x7f" + wire, "batch_malformed"),
                ("unknown version", e.request(good, version=2).SerializeToString(), "version_unsupported"),
                ("version 2^32-1", e.request(good, version=2**32 - 1).SerializeToString(), "version_unsupported"),
                ("another domain", e.request(good, domain=2).SerializeToString(), "domain_not_found"),
                ("domain 2^32-1", e.request(good, domain=2**32 - 1).SerializeToString(), "domain_not_found"),
                ("heads of 127 bytes", e.request(good, heads=whole.heads[:-1]).SerializeToString(), "batch_malformed"),
                ("one signature less", e.request(good, signatures=whole.signatures[:-64]), "batch_malformed"),
                ("no signatures", e.request(good, signatures=b""), "batch_malformed"),
                ("one head less", e.request(good, heads=whole.heads[:-128]), "batch_malformed"),
                ("no records", e.request(good, heads=b"", signatures=b""), "batch_empty"),
                ("9,600 records", e.request(good, heads=other_records, signatures=bytes(64 * 9_600)), "batch_too_large"),
                ("a binding without index", e.request(good, bindings=b"\x01" * 32), "batch_malformed"),
                ("an index past the end", e.request(good, binding_index=b"\xff" * 4, bindings=b"\x01" * 32), "batch_malformed"),
                ("indexes that fall", e.request(good, binding_index=b"\x01\0\0\0\0\0\0\0", bindings=b"\x01" * 64), "batch_malformed"),
                ("a batch id of 15", e.request(good, batch_id=bytes(15)), "batch_malformed"),
                ("9 MiB on 8 MiB", e.request(good, heads=bytes(9 << 20)), "resource_exhausted"),
                ("8 MiB of zeros", e.request(good, heads=bytes((8 << 20) - 4096)), "batch_too_large"),
            ]  # fmt: skip
            for name, content, expected in cases:
                sent = content if isinstance(content, bytes) else content.SerializeToString()
                _, refusal = await ask(e.target, house, sent)
                assert refusal is not None, name
                assert refusal.name == expected or (
                    expected == "batch_too_large" and refusal.name == "batch_malformed"
                ), (
                    name,
                    refusal,
                )
                assert not refusal.retried, name
                if refusal.number:
                    assert refusal.next_step, name
                    assert refusal.code_class == "open", name
            reply, refusal = await ask(e.target, house, wire)
            assert refusal is None
            codes = set(pb.SubmitReply.FromString(reply).codes[::2])
            assert codes <= {int(code) for code in DECIDED}

    run(scenario())


def broken_records(world: World, now: int) -> dict[str, tuple[Transfer, ResultCode]]:
    """One record for each way in which a record alone can be wrong, and the code that answers it."""
    ring = world.accounts
    (debit, key), (credit, _) = ring[0], ring[3]

    def one(**fields: object) -> Transfer:
        return replace(world.transfer(debit, credit, 5, key, now), **fields)

    return {
        "reserved flag bits": (one(flags=1 << 15), ResultCode.RESERVED_FLAG_SET),
        "unknown ledger": (one(ledger=999), ResultCode.LEDGER_NOT_FOUND),
        "amount of zero": (one(amount=0), ResultCode.AMOUNT_MUST_NOT_BE_ZERO),
        "id of zero": (one(id=0), ResultCode.ID_MUST_NOT_BE_ZERO),
        "id of ones": (one(id=2**128 - 1), ResultCode.ID_MUST_NOT_BE_MAX),
        "an unknown key": (one(key_id=77_777), ResultCode.KEY_NOT_FOUND),
        "one account on both sides": (one(credit_account=debit), ResultCode.ACCOUNTS_MUST_DIFFER),
        "an unknown payee": (one(credit_account=credit + 40), ResultCode.CREATED_IN_TRANSIT),
        "expired": (one(expires_at=now - 30 * NS_PER_S), ResultCode.EXPIRED),
        "valid too long": (one(valid_for_s=86_401), ResultCode.VALID_FOR_EXCEEDS_WINDOW),
        "too early": (one(expires_at=now + 3_600 * NS_PER_S), ResultCode.TOO_EARLY),
    }


def test_records_that_are_wrong_cost_only_themselves(tmp_path: Path, world: World) -> None:
    """One batch holds every kind of wrong record between good ones; each has its own code, the good ones settle."""

    async def scenario() -> None:
        async with real_edge(tmp_path, world) as e:
            now = e.harness.clock()
            total = await e.harness.total()
            ring = world.accounts
            good = [world.transfer(ring[i][0], ring[i + 1][0], 1, ring[i][1], now) for i in range(3)]
            wrong = broken_records(world, now)
            records = [good[0], *(record for record, _ in wrong.values()), good[1], good[2]]
            request = e.request(world.signed(records))
            signatures = bytearray(request.signatures)
            signatures[-64] ^= 1  # the last good one, with one bit of its signature changed
            request.signatures = bytes(signatures)
            reply, refusal = await ask(e.target, e.credentials(), request.SerializeToString())
            assert refusal is None
            codes = memoryview(pb.SubmitReply.FromString(reply).codes).cast("H").tolist()
            assert {codes[0], codes[-2]} <= DECIDED
            assert codes[-1] == ResultCode.INVALID_SIGNATURE
            names = dict(zip(wrong, codes[1:-2], strict=True))
            same_shard = {ResultCode.CREDIT_ACCOUNT_NOT_FOUND, ResultCode.CREATED_IN_TRANSIT}
            for name, (_, code) in wrong.items():
                if name == "an unknown payee":
                    assert names[name] in same_shard, name
                elif code is not None:
                    assert names[name] == code, (name, ResultCode(names[name]).name)
            assert await e.harness.total() == total
            # The changed signature burnt nothing: the same record with its own signature settles.
            reply, _ = await ask(e.target, e.credentials(), e.request(world.signed([good[2]])).SerializeToString())
            assert memoryview(pb.SubmitReply.FromString(reply).codes).cast("H").tolist()[0] in DECIDED

    run(scenario())


def test_whoever_proves_nothing_reaches_nothing(tmp_path: Path, world: World) -> None:
    """Wrong certificate, role, authority, network, time, or none at all: refused, and the node saw nothing."""

    async def scenario() -> None:
        async with real_edge(tmp_path, world) as e:
            wire = e.request(e.harness.payments()).SerializeToString()
            pki, root = e.pki, e.pki.authority.read_bytes()
            identity = Identity("simulation", PeerRole.CLEARING_HOUSE, 9)
            other = create_development_pki(tmp_path / "other", "simulation").issue_client("house", identity)
            expired = issue_certificate(
                pki.path,
                "expired",
                identity=identity,
                client=True,
                valid_for=timedelta(days=1),
                now=datetime.now(UTC) - timedelta(days=3),
            )
            nameless = issue_certificate(pki.path, "nameless", hosts=("localhost",), client=True)
            unavailable, denied = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED
            rows = {
                "no certificate": (grpc.ssl_channel_credentials(root), unavailable),
                "another authority": (
                    grpc.ssl_channel_credentials(root, other.key.read_bytes(), other.certificate.read_bytes()),
                    unavailable,
                ),
                "expired": (channel_credentials(expired), unavailable),
                "no role": (channel_credentials(nameless), grpc.StatusCode.UNAUTHENTICATED),
                "a role that may not submit": (e.credentials(PeerRole.READER), denied),
                "another bank's accounts": (e.credentials(PeerRole.BANK, 4_242), denied),
            }
            before = [shard.log_number for shard in e.harness.node.status().shards]
            entries = e.harness.node._recovered.core.machines
            decided = [machine.ledger.id_count for machine in entries.values()]
            for name, (credentials, status) in rows.items():
                _, refusal = await ask(e.target, credentials, wire, timeout_s=3)
                assert isinstance(refusal, Refusal), name
                assert refusal.status is status, (name, refusal)
            async with grpc.aio.insecure_channel(e.target) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary(SUBMIT)(wire, timeout=3)
                assert caught.value.code() is unavailable
            assert [machine.ledger.id_count for machine in entries.values()] == decided
            assert all(s.log_number >= n for s, n in zip(e.harness.node.status().shards, before, strict=True))

    run(scenario())


def test_a_call_without_a_deadline_gets_the_servers(tmp_path: Path, world: World) -> None:
    """Nobody waits for ever: the wait ends with a code that says to ask again, and asking again finds the decision."""

    async def scenario() -> None:
        import threading

        async with real_edge(tmp_path, world, rpc_deadline_ms=200) as e:
            gate = threading.Event()
            e.harness.stores.before = lambda number: gate.wait(20)
            wire = e.request(e.harness.payments()).SerializeToString()
            _, refusal = await ask(e.target, e.credentials(), wire, timeout_s=None)
            assert (refusal.name, refusal.retried) == ("deadline_exceeded", True)
            gate.set()
            reply, _ = await ask(e.target, e.credentials(), wire)
            codes = set(memoryview(pb.SubmitReply.FromString(reply).codes).cast("H").tolist())
            assert codes == {ResultCode.EXISTS}

    run(scenario())


def test_other_calls_with_odd_arguments_are_answered_with_a_code(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        async with real_edge(tmp_path, world) as e:
            operator = e.credentials(PeerRole.OPERATOR, 1)
            account = world.accounts[0][0].to_bytes(16, "little")
            statement = pb.StatementRequest(version=1, domain=1, account=account, limit=5)
            cases = [
                ("Statement", statement, {"after": bytes(12)}, None),
                ("Statement", statement, {"after": b"\xff" * 12}, None),
                ("Statement", statement, {"after": bytes(11)}, "batch_malformed"),
                ("Statement", statement, {"limit": 2**32 - 1}, "batch_too_large"),
                ("Statement", statement, {"account": b"\xff" * 16}, None),
                ("LookupTransfers", pb.LookupTransfersRequest(version=1, domain=1), {"digests": b"\xff" * 32}, None),
                ("LookupAccounts", pb.LookupAccountsRequest(version=1, domain=1), {"ids": b"\xff" * 16}, None),
                ("LookupAccounts", pb.LookupAccountsRequest(version=1, domain=1), {"ids": bytes(16)}, None),
                (
                    "GetDecisionProof",
                    pb.GetDecisionProofRequest(version=1, domain=1),
                    {"digest": bytes(32)},
                    "not_found",
                ),
                ("GetStatus", pb.GetStatusRequest(), {"version": 2**32 - 1}, "version_unsupported"),
            ]
            for rpc, template, fields, expected in cases:
                request = type(template)()
                request.CopyFrom(template)
                for name, value in fields.items():
                    setattr(request, name, value)
                _, refusal = await ask(e.target, operator, request.SerializeToString(), method=f"/{SERVICE_NAME}/{rpc}")
                assert (refusal.name if refusal else None) == expected, (rpc, fields, refusal)
            blocks = pb.StreamBlocksRequest(version=1, domain=1, shard=0x100, from_height=2**64 - 1)
            async with grpc.aio.secure_channel(e.target, operator) as channel:
                method = channel.unary_stream(f"/{SERVICE_NAME}/StreamBlocks")
                assert [each async for each in method(blocks.SerializeToString())] == []
            _, refusal = await ask(e.target, operator, b"", method=f"/{SERVICE_NAME}/Nothing")
            assert refusal.status is grpc.StatusCode.UNIMPLEMENTED

    run(scenario())


def test_a_second_node_on_the_same_directory_is_told_who_holds_it(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        async with real_edge(tmp_path, world) as e:
            with pytest.raises(DirectoryInUse) as caught:
                DataDirectory(e.harness.path, kind="node", genesis_hash=world.genesis.hash)
            assert caught.value.pid > 0
            reply, _ = await ask(e.target, e.credentials(), e.request(e.harness.payments()).SerializeToString())
            assert reply

    run(scenario())


def test_an_unknown_key_of_the_settings_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('format = 1\n[node]\ngenesis = "g"\ndomain = 1\n[limits]\nmesage_bytes_max = 3\n')
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.path == "limits.mesage_bytes_max"
    assert caught.value.next_step
    with pytest.raises(ConfigError):
        parse_config(b"format = 1\n" + b"[a" * 100_000)


def test_the_page_of_limits_is_true(repository_root: Path) -> None:
    """Every default of a setting on the page is the default, every test that it names exists, every bound is on it."""
    page = (repository_root / "docs" / "limits.md").read_text()
    defaults = {f"{flag.section}.{flag.key}": flag.default for flag in flags()}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    for row in rows:
        named = [name for name in re.findall(r"`([a-z_.0-9]+)`", row[0]) if name in defaults]
        values = [value.strip() for value in row[1].split(",")]
        for name, value in zip(named, values, strict=False):
            assert value == str(defaults[name]), name
        for file, _, test in (
            name.partition("::") for name in re.findall(r"`(test_[a-z0-9_]+\.py(?:::[a-z0-9_]+)?)`", row[3])
        ):
            found = list((repository_root / "tests").rglob(file))
            assert found, file
            assert not test or f"def {test}(" in found[0].read_text(), (file, test)
    for name in defaults:
        section, _, key = name.partition(".")
        if section == "limits" and name != "limits.retry_after_ms" or key.endswith(("_max", "reserve_bytes")):
            assert f"`{name}`" in page, name
