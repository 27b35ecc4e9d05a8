"""Conservation and consistency of state, as lists of what does not hold: empty when all is well.

``check_invariants`` looks at one shard, ``check_domain`` at all shards of a domain; they change nothing. Tests, the
simulation and an audit share them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.invariants import invariant
from engine.record import channel_account_id
from engine.types import AccountFlag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.machine import ShardMachine

__all__ = ["check_domain", "check_invariants", "in_transit", "reserved_in_transit"]


def check_invariants(machine: ShardMachine) -> list[str]:
    """Return what does not hold on one shard: its accounts against its totals, its counts against its lists."""
    found = machine.check_kernel()
    sums: dict[int, list[int]] = {ledger.ledger: [0, 0, 0, 0] for ledger in machine.domain.ledgers}
    opened: dict[int, int] = {}
    for account in machine.accounts():
        sides = (account.debits_pending, account.debits_posted, account.credits_pending, account.credits_posted)
        sums[account.ledger] = [total + side for total, side in zip(sums[account.ledger], sides, strict=True)]
        if not account.flags & (AccountFlag.CHANNEL | AccountFlag.SUSPENSE):
            opened[account.id >> 96] = opened.get(account.id >> 96, 0) + 1
    for ledger, (debits_pending, debits_posted, credits_pending, credits_posted) in sums.items():
        if (debits_pending, debits_posted) != (credits_pending, credits_posted):
            found.append(f"ledger {ledger}: debits {debits_pending}, {debits_posted} are not its credits")
        if (debits_pending, debits_posted) != machine.totals(ledger):
            found.append(f"ledger {ledger}: accounts sum to {debits_pending}, {debits_posted}, not to its totals")
    return found + _check_parties(machine, opened)


def _check_parties(machine: ShardMachine, opened: dict[int, int]) -> list[str]:
    found = []
    held: dict[int, int] = {}
    for key in machine.parties.keys:
        held[key.participant] = held.get(key.participant, 0) + 1
    for participant in machine.parties.participants:
        if participant.keys != held.get(participant.number, 0):
            found.append(f"participant {participant.number}: counts {participant.keys} keys")
        if participant.accounts != opened.get(participant.number, 0):
            found.append(f"participant {participant.number}: counts {participant.accounts} accounts")
    return found


def in_transit(source: ShardMachine, destination: ShardMachine, ledger: int) -> int:
    """Return what has left one shard for another and has not arrived (CHANNEL-2); negative when the rule is broken."""
    sent = source.find_account(channel_account_id(ledger, destination.shard))
    arrived = destination.find_account(channel_account_id(ledger, source.shard))
    invariant(sent is not None and arrived is not None, "channel_accounts_exist", ledger=ledger)
    assert sent is not None
    assert arrived is not None
    return sent.credits_posted - arrived.debits_posted


def reserved_in_transit(source: ShardMachine, destination: ShardMachine, ledger: int) -> int:
    """Return what is reserved for another shard on the payers' side less what it counts on itself (LEDGER-93)."""
    payers = source.find_account(channel_account_id(ledger, destination.shard))
    payees = destination.find_account(channel_account_id(ledger, source.shard))
    invariant(payers is not None and payees is not None, "channel_accounts_exist", ledger=ledger)
    assert payers is not None
    assert payees is not None
    return payers.credits_pending - payees.debits_pending


def check_domain(machines: Iterable[ShardMachine]) -> list[str]:
    """Return what does not hold across all shards of a domain, that of each shard included.

    On every ledger what ordinary accounts hold more than they owe is missing elsewhere: in the issuer's accounts and
    in transit.
    """
    shards = list(machines)
    found = [f"shard {machine.shard}: {finding}" for machine in shards for finding in check_invariants(machine)]
    for ledger in shards[0].domain.ledgers:
        moving = 0
        for source in shards:
            for destination in shards:
                if source is destination:
                    continue
                amount = in_transit(source, destination, ledger.ledger)
                moving += amount
                if amount < 0:
                    found.append(f"ledger {ledger.ledger}: shard {destination.shard} got more than {source.shard} sent")
                if amount + reserved_in_transit(source, destination, ledger.ledger) < 0:
                    found.append(f"ledger {ledger.ledger}: shard {destination.shard} reserves more than {source.shard}")
        held = sum(
            account.balance
            for machine in shards
            for account in machine.accounts()
            if account.ledger == ledger.ledger and not account.flags & AccountFlag.CHANNEL
        )
        if held + moving:
            found.append(f"ledger {ledger.ledger}: balances and transit sum to {held + moving}")
    return found + _check_channels(shards)


def _check_channels(shards: list[ShardMachine]) -> list[str]:
    by_id = {machine.shard: machine for machine in shards}
    found = []
    for machine in shards:
        for peer in machine.peers:
            if peer not in by_id:
                continue
            sent, received = machine.channel(peer)[0], by_id[peer].channel(machine.shard)[1]
            if received > sent:
                found.append(f"channel {machine.shard} to {peer}: {received} received of {sent} sent")
    return found
