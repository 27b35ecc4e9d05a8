"""Each rule of the contract is broken on purpose, and an attack that the rule forbids then succeeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evm import toolchain
from tests.evm.attacks import ATTACKS
from tests.evm.world import EvmWorld

# Name: the text of the rule, what stands in its place, and the attack that must see it.
MUTANTS = {
    "claim_at_the_timelock": ("if (block.timestamp >= terms.timelock) revert TooLate();", "if (block.timestamp > terms.timelock) revert TooLate();", "claim_at_timelock"),
    "claim_any_time": ("if (block.timestamp >= terms.timelock) revert TooLate();", "", "claim_at_timelock"),
    "refund_early": ("if (block.timestamp < terms.timelock) revert TooEarly();", "", "refund_before_timelock"),
    "refund_one_late": ("if (block.timestamp < terms.timelock) revert TooEarly();", "if (block.timestamp <= terms.timelock) revert TooEarly();", "no_refund_at_timelock"),
    "any_preimage": ("if (sha256(abi.encodePacked(preimage)) != terms.hashlock) revert PreimageMismatch();", "", "claim_with_wrong_preimage"),
    "other_hash": ("sha256(abi.encodePacked(preimage))", "keccak256(abi.encodePacked(preimage))", "no_claim_with_right_preimage"),
    "claim_twice": ("state[id] = CLAIMED;", "", "claim_twice"),
    "refund_twice": ("state[id] = REFUNDED;", "", "refund_twice"),
    "pay_the_caller": ("_pay(terms.payee, terms.token, terms.amount);", "_pay(msg.sender, terms.token, terms.amount);", "claim_for_oneself"),
    "refund_the_caller": ("_pay(terms.payer, terms.token, terms.amount);", "_pay(msg.sender, terms.token, terms.amount);", "refund_to_oneself"),
    "id_is_a_name": ("return keccak256(abi.encode(block.chainid, address(this), terms));", "return terms.orderId;", "claim_with_other_terms"),
    "lock_again": ("if (state[id] != ABSENT) revert AlreadyLocked();", "", "lock_twice"),
    "born_refundable": ("if (terms.timelock <= block.timestamp) revert TimelockPassed();", "", "lock_in_the_past"),
    "nothing_locked": ("if (terms.amount == 0) revert AmountZero();", "", "lock_nothing"),
    "short_token": ("if (Token(token).balanceOf(address(this)) != before + amount) revert AmountShort();", "", "lock_with_fee_token"),
    "silent_token": ("if (!done || (answer.length != 0 && !abi.decode(answer, (bool)))) revert TokenRefused();", "if (!done) revert TokenRefused();", "claim_pays_nothing_of_a_silent_token"),
    "unpaid_claim": ("if (!paid) revert PaymentRefused();", "", "claim_that_pays_nobody"),
    "no_guard": ("if (guard != FREE) revert Reentered();", "", "one_amount_for_two_locks"),
}  # fmt: skip


@pytest.fixture(scope="module")
def mutants(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tokens: dict) -> dict[str, bytes]:
    """The bytecode of each mutant, all compiled at once, and of the contract as it is."""
    folder = tmp_path_factory.mktemp("mutants")
    source = toolchain.CONTRACT.read_text()
    files = []
    for name, (rule, instead, _) in {"none": ("", "", ""), **MUTANTS}.items():
        assert name == "none" or source.count(rule) == 1, name
        files.append(folder / f"{name}.sol")
        files[-1].write_text(source.replace(rule, instead) if rule else source)
    made = toolchain.compile_files(folder / "settings.json", *files, rough=True)
    return {Path(name).stem: bytes.fromhex(one["HashTimeLock"]["bytecode"]) for name, one in made["contracts"].items()}


@pytest.mark.parametrize("name", MUTANTS)
def test_broken_rule_is_seen(name: str, world: EvmWorld, mutants: dict[str, bytes], tokens: dict[str, bytes]) -> None:
    world.contract = world.deploy(mutants[name])
    assert ATTACKS[MUTANTS[name][2]](world, tokens), "the attack fails even without the rule, so it proves nothing"


@pytest.mark.parametrize("attack", ATTACKS)
def test_contract_withstands(attack: str, world: EvmWorld, tokens: dict[str, bytes]) -> None:
    assert not ATTACKS[attack](world, tokens)
