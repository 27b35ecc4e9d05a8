"""The client process of the demonstration: a clearing house that registers, settles, and keeps what it was answered.

    python -m clearspan.demo.client NETWORK WORK PLAN PARENT_PID

It knows the network folder and the addresses of the nodes, and nothing of how these run: that one of them is killed it
notices by its silence, and sends the same bytes again. What it was answered goes to files of its own before anything
else is done with it (``load-<domain>.csak`` for the load, ``others-<domain>.csak``); what it tells its parent are lines
of JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from clearspan.acknowledgements import AcknowledgementFile
from clearspan.administration import MemberPlan
from clearspan.client import RetryPolicy
from clearspan.demo.children import end_with_parent, run_to_end, say
from clearspan.demo.files import settle_files
from clearspan.demo.kinds import KindsScript
from clearspan.demo.plan import EXAMPLES, DemoPlan
from clearspan.demo.receipts import fetch_receipts
from clearspan.errors import ClearspanError
from clearspan.iso20022 import read_directory
from clearspan.keys import ScryptCost
from clearspan.load import LoadOutcome, LoadPlan, drive, signed_batches
from clearspan.network import DEVELOPMENT_COST_N, Network
from clearspan.population import Crowd, DomainDesk, crowd_plans
from engine.codes import ResultCode, code_name
from engine.types import SigningSuite

if TYPE_CHECKING:
    from clearspan.client.results import BatchResult
    from clearspan.demo.kinds import Step
    from engine.batch import BatchColumns

__all__ = ["UnexpectedAnswer", "acknowledgement_path", "main"]

_WINDOW: Final = 6
"""Batches on their way at once to each node."""
_POLICY: Final = RetryPolicy(deadline_s=60.0, attempt_s=20.0, pause_max_s=0.25)
_EXPIRY_WAIT_S: Final = 20.0
_EXPIRY_POLL_S: Final = 0.1


class UnexpectedAnswer(ClearspanError):  # noqa: N818 - named as what it is, like the other refusals
    """A node answered one of the scripted transfers with another code than it must."""

    exit_code = 4

    def __init__(self, title: str, found: tuple[str, ...], expected: tuple[str, ...]) -> None:
        """Name the step and both lists of codes."""
        super().__init__(f"{title}: answered {', '.join(found)} where {', '.join(expected)} is due")


def acknowledgement_path(work: Path, domain: int, part: str) -> Path:
    """Return where the client keeps what a domain's node answered; part is ``load`` or ``others``."""
    return work / f"{part}-{domain}.csak"


@dataclass(slots=True)
class _Domain:
    """One domain as this client works in it."""

    desk: DomainDesk
    file: AcknowledgementFile
    load_file: AcknowledgementFile
    crowd: Crowd | None = None
    sm2: Crowd | None = None
    script: KindsScript | None = None
    batches: list[BatchColumns] = field(default_factory=list)
    answered: int = 0
    sent_again: int = 0
    already_decided: int = 0

    @property
    def number(self) -> int:
        return self.desk.domain.domain


class _Client:
    """The work of the process, step by step."""

    def __init__(self, network: Network, work: Path, plan: DemoPlan) -> None:
        self._network = network
        self._work = work
        self._plan = plan
        self._domains: list[_Domain] = []

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            for domain in self._network.genesis.domains:
                file, load_file = (
                    stack.enter_context(
                        AcknowledgementFile(
                            acknowledgement_path(self._work, domain.domain, part), self._network.genesis
                        )
                    )
                    for part in ("others", "load")
                )
                desk = DomainDesk(self._network, domain.domain, policy=_POLICY, recorder=file)
                self._domains.append(_Domain(await stack.enter_async_context(desk), file, load_file))
            say("phase", title="registering, issuing money")
            await self._each(self._register)
            say("phase", title="settling the ISO 20022 files")
            await self._each(self._files)
            say("phase", title="holds, posts, voids, linked runs")
            await self._each(self._kinds)
            say("phase", title="signing the load")
            await self._each(self._sign)
            say("phase", title="settling the load")
            began = time.monotonic_ns()
            await self._each(self._load)
            elapsed_ns = time.monotonic_ns() - began
            say("phase", title="waiting for an expiry")
            await self._each(self._expire)
            say("phase", title="waiting for finality, fetching receipts")
            for each in self._domains:
                await self._final(each)
            self._report(elapsed_ns)

    async def _each(self, work: object) -> None:
        assert callable(work)
        async with asyncio.TaskGroup() as tasks:
            for domain in self._domains:
                tasks.create_task(work(domain))

    async def _register(self, domain: _Domain) -> None:
        """Add the issuer, the banks of the example files with their accounts, and the banks of the load; fund all."""
        plan, desk = self._plan, domain.desk
        await desk.add_issuer()
        directory = read_directory((EXAMPLES / "directory.toml").read_bytes())
        banks = [each for each in directory.participants if each.ledger == desk.ledger.ledger]
        members = await desk.desk.add_members([MemberPlan(bank.number, bank.bic) for bank in banks])
        wanted = [(member, account) for member, bank in zip(members, banks, strict=True) for account in bank.accounts]
        await desk.desk.open_many(wanted)
        await desk.fund([account for _, account in wanted], directory.opening_balance)
        desk.keep(members)
        payers = self._folder(domain, "payers")
        for member in members:
            member.ring.save(
                payers / f"{member.number}.key", self._network.passphrase(), ScryptCost(n=DEVELOPMENT_COST_N)
            )
        plans = crowd_plans(self._network, domain.number, plan.banks, keys=plan.keys_per_bank)
        domain.crowd = await desk.add_crowd(plans, plan.accounts_per_bank, plan.funds_each)
        plans = crowd_plans(self._network, domain.number, 1, keys=plan.keys_per_bank, suite=SigningSuite.SM2)
        domain.sm2 = await desk.add_crowd(plans, plan.accounts_per_bank, plan.funds_each)

    def _folder(self, domain: _Domain, name: str) -> Path:
        """Return a folder of one domain: the keys of its payers, or its signed files."""
        path = self._work / f"{name}-{domain.number}"
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    async def _files(self, domain: _Domain) -> None:
        """Let the payers sign and the clearing house submit; keep what was answered."""
        forged = domain.number == len(self._domains)
        keys, work = self._folder(domain, "payers"), self._folder(domain, "files")
        answers = await settle_files(self._network, domain.number, keys, work, forged=forged)
        for entry in answers.acknowledgements:
            domain.file.append(entry)
        say("files", domain=domain.number, payments=answers.payments, repeated=answers.repeated)

    async def _kinds(self, domain: _Domain) -> None:
        assert domain.crowd is not None
        plan = self._plan
        signer = domain.desk.signer(domain.crowd)
        script = KindsScript(self._network.genesis, domain.crowd, signer, plan.window_s, plan.hold_timeout_ms)
        domain.script = script
        for step in script.steps():
            await self._step(domain, step)

    async def _step(self, domain: _Domain, step: Step) -> None:
        """Submit a step and demand the codes that it says."""
        assert domain.crowd is not None
        batch = domain.desk.signer(domain.crowd).sign(domain.number, step.transfers)
        result = await domain.desk.submit(batch)
        found = tuple(code_name(code) for code in result.codes.tolist())
        if found != step.codes:
            raise UnexpectedAnswer(step.title, found, step.codes)

    async def _sign(self, domain: _Domain) -> None:
        """Sign the whole load before its clock starts; a few batches are signed with SM2 keys."""
        assert domain.crowd is not None
        assert domain.sm2 is not None
        plan, now = self._plan, time.time_ns()
        for crowd, count in (
            (domain.sm2, plan.sm2_per_ledger),
            (domain.crowd, plan.per_ledger - plan.sm2_per_ledger),
        ):
            load = LoadPlan(
                domain.number, count, plan.batch_size, valid_for_s=plan.window_s, seed=plan.seed + domain.number
            )
            signer = domain.desk.signer(crowd)
            domain.batches += await asyncio.to_thread(signed_batches, load, crowd.accounts, signer, now)

    async def _load(self, domain: _Domain) -> None:
        """Settle the load. Batches without an answer are sent again, the same bytes, until each has one."""
        left = domain.batches

        def answered(batch: BatchColumns, result: BatchResult) -> None:
            domain.answered += batch.count
            if result.attempts > 1 or batch.batch_id in again:
                domain.sent_again += batch.count
                domain.already_decided += int((result.answers == ResultCode.EXISTS).sum())
            say("progress", domain=domain.number, answered=domain.answered, of=self._plan.per_ledger)

        again: set[bytes] = set()
        while left:
            outcome = await self._drive(domain, left, answered)
            left = [*outcome.unanswered, *outcome.unsent]
            again |= {batch.batch_id for batch in outcome.unanswered}
            if left:
                # Raises when the node stays away for as long as the policy waits.
                await domain.desk.clearing_house.status()

    async def _drive(self, domain: _Domain, batches: list[BatchColumns], answered: object) -> LoadOutcome:
        assert callable(answered)
        return await drive(
            domain.desk.clearing_house,
            batches,
            window=_WINDOW,
            acknowledgements=domain.load_file,
            answered=answered,
            stop_at_failure=True,
        )

    async def _expire(self, domain: _Domain) -> None:
        """Wait until the sweep has released the hold, then try to post it all the same."""
        assert domain.script is not None
        account = domain.script.expiring.debit_account
        give_up = time.monotonic() + _EXPIRY_WAIT_S
        while True:
            (view,) = await domain.desk.operator.accounts([account])
            assert view is not None
            if view.account.debits_pending == 0:
                break
            if time.monotonic() > give_up:
                raise UnexpectedAnswer("the hold that nobody posts", ("still pending",), ("expired by timeout",))
            await asyncio.sleep(_EXPIRY_POLL_S)
        await self._step(domain, domain.script.late_post())
        say("expired", domain=domain.number)

    async def _final(self, domain: _Domain) -> None:
        """Pay until it is final, one ledger after the other, so that the times are of finality and not of waiting."""
        assert domain.script is not None

        async def submit(step: Step) -> None:
            await self._step(domain, step)

        found = await fetch_receipts(domain.desk, domain.script, self._work, submit)
        say(
            "final",
            domain=domain.number,
            settled_ms=found.settled_ms,
            final_ms=found.final_ms,
            relay_height=found.relay_height,
        )

    def _report(self, elapsed_ns: int) -> None:
        keys = {
            domain.number: sorted({int(key) for key in domain.sm2.accounts.key_ids})
            for domain in self._domains
            if domain.sm2 is not None
        }
        killed = next(domain for domain in self._domains if domain.number == self._plan.killed)
        say(
            "done",
            load_elapsed_ns=elapsed_ns,
            sent_again=killed.sent_again,
            already_decided=killed.already_decided,
            sm2_key_ids=keys,
        )


def main(arguments: list[str]) -> None:
    """Do the work; the exit code says whether it was done."""
    network, work, plan, parent = arguments
    end_with_parent(int(parent))
    client = _Client(Network.load(Path(network)), Path(work), DemoPlan.decode(plan))
    run_to_end(client.run())


if __name__ == "__main__":
    main(sys.argv[1:])
