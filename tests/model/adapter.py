"""One interface over the model, the machine, and both side by side: what scenarios and comparisons drive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from native.codes import ResultCode as Code
from tests.model.genesis import ModelGenesis
from tests.model.log_record import HEAD_BYTES, LogHead
from tests.model.over_shards import decision_of
from tests.model.shard import ModelShard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.model.admin import AdminAnswer
    from tests.model.machine_subject import MachineSubject
    from tests.model.over_shards import Decision, Held
    from tests.model.transfers import Answer

__all__ = ["MODES", "Different", "Equal", "ModelSubject", "Subject", "machine_present", "make_subject"]

T = TypeVar("T")

MODES = ("model", "machine", "equal")


class Subject(Protocol):
    """One shard that log records are applied to."""

    def apply_batch(
        self, heads: bytes, binding_index: Sequence[int], bindings: bytes, verdicts: Sequence[int], now: int
    ) -> list[Answer]: ...
    def apply_admin(
        self, bodies: bytes, signers: Sequence[tuple[int, int]], verdicts: Sequence[tuple[int, int]], now: int
    ) -> list[AdminAnswer]: ...
    def apply_credits(self, peer: int, messages: bytes, now: int) -> list[Code]: ...
    def apply_relay(
        self, height: int, time: int, preimages: Sequence[bytes], now: int, runs: Sequence[Sequence[bytes]] = ()
    ) -> None: ...
    def hold_run(
        self, heads: bytes, binding_index: Sequence[int], bindings: bytes, verdicts: Sequence[int], now: int
    ) -> Held: ...
    def decide_run(self, decision: Decision, codes: Sequence[int], now: int) -> None: ...
    def seal(self, now: int) -> bytes: ...
    def state_root(self) -> bytes: ...
    def subtree_roots(self) -> dict[str, bytes]: ...
    def accounts(self) -> dict[int, bytes]: ...
    def take_outgoing(self) -> list[tuple[int, bytes]]: ...
    def check_invariants(self) -> list[str]: ...
    def round_trip(self) -> None: ...


class ModelSubject:
    """The model as a subject."""

    def __init__(self, document: bytes, shard: int) -> None:
        self.shard = ModelShard(ModelGenesis.from_document(document, shard >> 8), shard)
        self._taken = 0  # of the block's messages
        self._kept: list[tuple[int, bytes]] = []  # of earlier blocks, not taken yet
        self.apply_batch = self.shard.apply_batch
        self.apply_admin = self.shard.apply_admin
        self.apply_credits = self.shard.apply_credits
        self.apply_relay = self.shard.apply_relay
        self.hold_run = self.shard.hold_run
        self.state_root = self.shard.state_root
        self.subtree_roots = self.shard.subtree_roots
        self.accounts = self.shard.accounts
        self.check_invariants = self.shard.check_invariants

    def seal(self, now: int) -> bytes:
        """Messages not taken yet are kept: they left before the seal."""
        self._kept += self._new_outgoing()
        self._taken = 0
        return self.shard.seal(now)

    def decide_run(self, decision: Decision, codes: Sequence[int], now: int) -> None:
        """The codes are of the record that nobody keeps here."""
        assert decision == decision_of(codes), "the log says what was decided"
        self.shard.decide_run(decision, now)

    def take_outgoing(self) -> list[tuple[int, bytes]]:
        messages = [*self._kept, *self._new_outgoing()]
        self._kept = []
        self._taken = len(self.shard.state.block.outgoing)
        return sorted(messages, key=lambda each: (each[0], each[1][:8][::-1]))

    def _new_outgoing(self) -> list[tuple[int, bytes]]:
        return [(peer, message.pack()) for peer, message in self.shard.state.block.outgoing[self._taken :]]

    def round_trip(self) -> None:
        """The model keeps no checkpoints."""


class Different(AssertionError):
    """Model and machine disagree on ``what``."""

    def __init__(self, what: str, model: object, machine: object) -> None:
        super().__init__(f"{what}: the model says {model!r}, the machine {machine!r}")


class Equal:
    """Both at once: every answer, account, message and root must be the same.

    The machine goes first: its log record is the one that the model's step is of, so headers agree to the byte.
    """

    def __init__(self, model: ModelSubject, machine: MachineSubject, *, roots_each_step: bool = True) -> None:
        self.model = model
        self.machine = machine
        self._roots_each_step = roots_each_step

    def apply_batch(
        self, heads: bytes, binding_index: Sequence[int], bindings: bytes, verdicts: Sequence[int], now: int
    ) -> list[Answer]:
        return self._step("batch", lambda s: s.apply_batch(heads, binding_index, bindings, verdicts, now))

    def apply_admin(
        self, bodies: bytes, signers: Sequence[tuple[int, int]], verdicts: Sequence[tuple[int, int]], now: int
    ) -> list[AdminAnswer]:
        return self._step("admin", lambda s: s.apply_admin(bodies, signers, verdicts, now))

    def apply_credits(self, peer: int, messages: bytes, now: int) -> list[Code]:
        return self._step("credits", lambda s: s.apply_credits(peer, messages, now))

    def apply_relay(
        self, height: int, time: int, preimages: Sequence[bytes], now: int, runs: Sequence[Sequence[bytes]] = ()
    ) -> None:
        return self._step("relay block", lambda s: s.apply_relay(height, time, preimages, now, runs))

    def hold_run(
        self, heads: bytes, binding_index: Sequence[int], bindings: bytes, verdicts: Sequence[int], now: int
    ) -> Held:
        return self._same("held run", lambda s: s.hold_run(heads, binding_index, bindings, verdicts, now))

    def decide_run(self, decision: Decision, codes: Sequence[int], now: int) -> None:
        return self._step("run", lambda s: s.decide_run(decision, codes, now))

    def seal(self, now: int) -> bytes:
        return self._step("seal", lambda s: s.seal(now))

    def state_root(self) -> bytes:
        return self._same("state root", lambda s: s.state_root())

    def subtree_roots(self) -> dict[str, bytes]:
        return self._same("subtree roots", lambda s: s.subtree_roots())

    def accounts(self) -> dict[int, bytes]:
        return self._same("accounts", lambda s: s.accounts())

    def take_outgoing(self) -> list[tuple[int, bytes]]:
        return self._same("outgoing messages", lambda s: s.take_outgoing())

    def check_invariants(self) -> list[str]:
        return [*self.model.check_invariants(), *self.machine.check_invariants()]

    def round_trip(self) -> None:
        self.machine.round_trip()
        self._compare("round trip")

    def _step(self, step: str, act: Callable[[Subject], T]) -> T:
        by_machine = act(self.machine)
        self.model.shard.next_record(LogHead.unpack(self.machine.log[-1][:HEAD_BYTES]))
        by_model = act(self.model)
        if by_model != by_machine:
            raise Different(f"answer to a {step}", by_model, by_machine)
        self._compare(step)
        return by_model

    def _same(self, what: str, ask: Callable[[Subject], T]) -> T:
        model, machine = ask(self.model), ask(self.machine)
        if model != machine:
            raise Different(what, model, machine)
        return model

    def _compare(self, step: str) -> None:
        self._same(f"accounts after a {step}", lambda s: s.accounts())
        if self._roots_each_step:
            model, machine = self.model.subtree_roots(), self.machine.subtree_roots()
            if model != machine:
                names = [name for name, root in model.items() if machine[name] != root]
                raise Different(f"subtrees {names} after a {step}", model, machine)
            self._same(f"state root after a {step}", lambda s: s.state_root())
        if broken := self.check_invariants():
            raise Different(f"invariants after a {step}", [], broken)


def machine_present() -> bool:
    """Say whether the machine is built here."""
    try:
        import engine.machine  # noqa: F401
    except ImportError:
        return False
    return True


def make_subject(mode: str, document: bytes, shard: int) -> Subject:
    """A shard in its genesis state; ``mode`` is one of MODES."""
    if mode == "model":
        return ModelSubject(document, shard)
    from tests.model.machine_subject import MachineSubject

    machine = MachineSubject(document, shard)
    return machine if mode == "machine" else Equal(ModelSubject(document, shard), machine)
