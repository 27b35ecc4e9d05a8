"""The contract itself: what ships is what compiles, and its rules hold for native coin and for odd tokens."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from msgspec import structs

from bridge.evm import contract as contract_module
from bridge.evm.contract import ContractTerms, artifact, call_claim, call_lock, call_refund, call_state
from tests.evm import toolchain
from tests.evm.gas import measure
from tests.evm.world import PAYEE, PAYER, SECOND, STRANGER, EvmWorld, method, secret

TERMS_CALLS = {"claim": lambda terms: call_claim(terms, secret("one")), "refund": call_refund}


def test_shipped_bytecode_is_what_the_source_compiles_to(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The pinned compiler makes the shipped file anew, byte for byte."""
    if toolchain.compiler() is None:
        message = f"npm's solc is missing: run {toolchain.INSTALL}"
        pytest.fail(message) if request.config.getoption("--require-tools") else pytest.skip(message)
    assert toolchain.shipped_document(tmp_path / "settings.json") == toolchain.SHIPPED.read_text()


def test_artifact_belongs_to_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = json.loads(toolchain.SHIPPED.read_text())
    assert artifact().compiler == shipped["compiler"] and artifact().settings == toolchain.SETTINGS
    monkeypatch.setattr(contract_module, "_SOURCE", "HashTimeLock.json")
    with pytest.raises(ValueError, match="compiled from a source"):
        artifact.__wrapped__()


def test_nobody_owns_the_contract() -> None:
    """Every function that changes anything is one of the four; there is no way in for coin but a lock."""
    changing = {
        one["name"]
        for one in artifact().abi
        if one["type"] == "function" and one["stateMutability"] in {"payable", "nonpayable"}
    }
    assert changing == {"lock", "lockToken", "claim", "refund"}
    assert not [one for one in artifact().abi if one["type"] in {"receive", "fallback"}]
    assert b"\xf4" not in _opcodes(artifact().deployed_bytecode), "no DELEGATECALL"
    assert b"\xff" not in _opcodes(artifact().deployed_bytecode), "no SELFDESTRUCT"


def _opcodes(code: bytes) -> set[bytes]:
    """The instructions of a program, the data of PUSH left out."""
    found, position = set(), 0
    while position < len(code):
        opcode = code[position]
        found.add(bytes([opcode]))
        position += 1 + (opcode - 0x5F if 0x60 <= opcode <= 0x7F else 0)
    return found


def test_name_of_a_lock_is_the_contracts_own(world: EvmWorld) -> None:
    terms = world.terms(world.order())
    fields = "(bytes32,address,address,address,uint256,bytes32,uint64)"
    answer = world.node.call(world.contract, method(f"idOf({fields})") + encode([fields], [terms.fields()]))
    assert answer == terms.id


@pytest.mark.parametrize(
    "field", ["chain_id", "contract", "order_id", "payer", "payee", "token", "amount", "hashlock", "timelock"]
)
def test_every_field_changes_the_name(field: str) -> None:
    terms = ContractTerms(1, PAYEE.address, b"i" * 32, PAYER.address, PAYEE.address, STRANGER.address, 5, b"h" * 32, 9)
    value = getattr(terms, field)
    other = value + 1 if isinstance(value, int) else b"x" * 32 if isinstance(value, bytes) else "0x" + "11" * 20
    assert replace(terms, **{field: other}).id != terms.id


def lock_with(world: EvmWorld, order) -> int:
    data, value = call_lock(world.terms(order))
    return int(world.node.transact(order.payer, world.contract, data, value)["status"], 16)


def state(world: EvmWorld, order) -> int:
    return int.from_bytes(world.node.call(world.contract, call_state(world.terms(order).id)), "big")


def act(world: EvmWorld, verb: str, order, sender: str = STRANGER.address) -> int:
    return int(world.node.transact(sender, world.contract, TERMS_CALLS[verb](world.terms(order)))["status"], 16)


def test_instants_around_the_timelock(world: EvmWorld) -> None:
    """For every t in T-3..T+3 exactly one of claim and refund is open: claim before T, refund from T on."""
    orders = {}
    now = world.node.head()[1]
    timelock = now + 100
    for step in range(-3, 4):
        for verb in ("claim", "refund"):
            order = world.order("one", timelock_ns=timelock * SECOND, amount=1_000 + 10 * step + len(verb))
            orders[step, verb] = order
            assert lock_with(world, order)
    for step in range(-3, 4):
        names = {}
        for verb in ("claim", "refund"):
            call = {
                "from": STRANGER.address,
                "to": world.contract,
                "gas": "0x4c4b40",
                "data": "0x" + TERMS_CALLS[verb](world.terms(orders[step, verb])).hex(),
            }
            names[verb] = world.node("eth_sendTransaction", call)
        world.node.mine(at=timelock + step)
        done = {verb: int(world.node("eth_getTransactionReceipt", name)["status"], 16) for verb, name in names.items()}
        assert done == {"claim": int(step < 0), "refund": int(step >= 0)}, step


def test_changed_terms_name_no_lock(world: EvmWorld) -> None:
    """Whoever claims or refunds with any other field reaches no lock: payee and amount cannot be talked over."""
    order = world.order()
    assert lock_with(world, order)
    for change in (
        {"payee": STRANGER.address},
        {"amount": 999},
        {"payer": STRANGER.address},
        {"timelock_ns": order.timelock_ns + SECOND},
    ):
        other = structs.replace(order, **change)
        assert not act(world, "claim", other)
    assert state(world, order) == 1
    assert act(world, "claim", order) and world.balance(world.contract) == 0


@pytest.mark.parametrize(
    "change",
    [{"amount": 0}, {"payee": "0x" + "00" * 20}, {"payee": "contract"}, {"timelock_ns": 1_700_000_000 * SECOND}],
    ids=str,
)
def test_senseless_locks_are_refused(world: EvmWorld, change: dict) -> None:
    order = world.order()
    terms = world.terms(order)
    fields = {"timelock": change["timelock_ns"] // SECOND} if "timelock_ns" in change else dict(change)
    if fields.get("payee") == "contract":
        fields["payee"] = world.contract
    data, value = call_lock(replace(terms, **fields))
    assert int(world.node.transact(PAYER.address, world.contract, data, value)["status"], 16) == 0


def test_coin_cannot_be_sent_without_a_lock(world: EvmWorld) -> None:
    assert int(world.node.transact(PAYER.address, world.contract, b"", 5)["status"], 16) == 0
    order = world.order()
    data = call_claim(world.terms(order), secret("one"))
    assert int(world.node.transact(PAYER.address, world.contract, data, 5)["status"], 16) == 0


def test_greedy_payee_is_paid_once(world: EvmWorld, tokens: dict[str, bytes]) -> None:
    """A payee that calls back while it is paid reaches nothing; one that refuses its money gets none, and the payer his."""
    payee = world.deploy(tokens["GreedyPayee"] + encode(["address"], [world.contract]))
    first, second = world.order("one", payee=payee), world.order("one", payee=payee, amount=2_000)
    assert lock_with(world, first) and lock_with(world, second)
    for again in (call_claim(world.terms(first), secret("one")), call_claim(world.terms(second), secret("one"))):
        world.node.transact(
            STRANGER.address, payee, method("prepare(bytes,bool)") + encode(["bytes", "bool"], [again, False])
        )
        if state(world, first) == 1:
            assert act(world, "claim", first)
    assert int.from_bytes(world.node.call(payee, method("reached()")), "big") == 0
    assert world.balance(payee) == 1_000 and world.balance(world.contract) == 2_000
    world.node.transact(STRANGER.address, payee, method("prepare(bytes,bool)") + encode(["bytes", "bool"], [b"", True]))
    assert not act(world, "claim", second) and state(world, second) == 1
    world.node.mine(at=second.timelock_ns // SECOND)
    assert act(world, "refund", second) and world.balance(world.contract) == 0


@pytest.mark.parametrize(
    ("name", "taken"), [("PlainToken", True), ("WordlessToken", True), ("FeeToken", False), ("SilentToken", False)]
)
def test_tokens_and_their_habits(world: EvmWorld, tokens: dict[str, bytes], name: str, taken: bool) -> None:
    """A token that answers nothing is fine; one that delivers less, or answers false, is refused whole."""
    token = world.deploy(tokens[name])
    world.mint(token, PAYER.address, 5_000)
    order = world.order(token=token)
    assert bool(lock_with(world, order)) is taken
    assert world.balance(PAYER.address, token) == (4_000 if taken else 5_000)
    if taken:
        assert act(world, "claim", order) and world.balance(PAYEE.address, token) == 1_000


def test_token_with_hooks_cannot_reenter(world: EvmWorld, tokens: dict[str, bytes]) -> None:
    """A lock inside the taking of another lock's tokens is refused, so no amount is counted for two."""
    token = world.deploy(tokens["HookToken"])
    world.mint(token, PAYER.address, 5_000)
    world.node("anvil_setBalance", token, hex(10**18))
    world.mint(token, token, 5_000)
    inner = world.order("one", token=token, payer=token)
    data, _ = call_lock(world.terms(inner))
    world.node.transact(
        STRANGER.address, token, method("hook(address,bytes)") + encode(["address", "bytes"], [world.contract, data])
    )
    order = world.order("one", token=token)
    assert lock_with(world, order)
    assert int.from_bytes(world.node.call(token, method("reached()")), "big") == 0
    assert state(world, inner) == 0 and world.balance(world.contract, token) == 1_000


def test_address_without_code_is_no_token(world: EvmWorld) -> None:
    assert not lock_with(world, world.order(token=STRANGER.address))


def test_gas_stays_within_what_is_documented(world: EvmWorld, tokens: dict[str, bytes]) -> None:
    """docs/bridge-evm.md states these figures; a contract that costs more must say so there first."""
    page = (toolchain.CONTRACT.parent.parent.parent / "docs" / "bridge-evm.md").read_text()
    stated = {
        name: int(gas.replace(",", "")) for name, gas in re.findall(r"^\| ([a-z, ]+) \| ([\d,]+) \|$", page, re.M)
    }
    measured = measure(world, tokens["PlainToken"])
    assert stated.keys() == measured.keys()
    for name, gas in measured.items():
        assert gas <= stated[name] * 101 // 100 and stated[name] <= gas * 101 // 100, (name, gas, stated[name])


def test_event_and_error_names_are_the_contracts() -> None:
    """What the adapter listens for and translates is exactly what the interface declares."""
    events = {
        f"{one['name']}({','.join(field['type'] for field in one['inputs'])})"
        for one in artifact().abi
        if one["type"] == "event"
    }
    assert {keccak(text=event) for event in events} == {
        contract_module.LOCKED,
        contract_module.CLAIMED,
        contract_module.REFUNDED,
    }
    assert {one["name"] for one in artifact().abi if one["type"] == "error"} == set(contract_module._REFUSALS)
