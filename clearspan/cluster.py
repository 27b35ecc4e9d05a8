"""An embedded development cluster: the nodes and validators of a network's folder as child processes.

It promises that nothing of a cluster outlives the process that started it, not even one that was killed.

    network = create_network(Path("clearspan-network"), ("CNY", "HKD", "THB"))
    with Cluster(network, validators=4) as cluster:
        cluster.kill(1)
        cluster.restart(1)
        cluster.validators.kill(91)
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from clearspan.children import ChildFailed, Children
from clearspan.founding import (
    DEFAULT_CURRENCIES,
    create_network,
    issuer_of,
    operator_of,
    regulator_of,
    supervisor_of,
    temporary_network,
)
from clearspan.validator.folder import validator_config, validator_entries, validator_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from clearspan.network import Network, NodeAddress

__all__ = [
    "DEFAULT_CURRENCIES",
    "Cluster",
    "ClusterFailed",
    "ValidatorFailed",
    "Validators",
    "create_network",
    "issuer_of",
    "operator_of",
    "regulator_of",
    "supervisor_of",
    "temporary_network",
]


class ClusterFailed(ChildFailed):
    """A node of the cluster did not start, or ended by itself; ``log`` holds what it said."""

    def __init__(self, domain: int, reason: str, log: Path, exit_code: int = 5) -> None:
        """Name the domain, the reason and the log; exit_code is the node's own where it ended."""
        super().__init__(f"node of domain {domain}", reason, log, exit_code)
        self.domain = domain


class ValidatorFailed(ChildFailed):
    """A validator of the cluster did not start, or ended by itself; ``log`` holds what it said."""

    def __init__(self, participant: int, reason: str, log: Path, exit_code: int = 5) -> None:
        """Name the participant, the reason and the log; exit_code is the validator's own where it ended."""
        super().__init__(f"validator of participant {participant}", reason, log, exit_code)
        self.participant = participant


class Validators:
    """Validators of a network as child processes, by participant. Use it from one thread that lives as long."""

    def __init__(self, network: Network, count: int | None = None, flags: Sequence[str] = ()) -> None:
        """Prepare to run the first ``count`` validators of the folder, or all.

        flags are further flags of `clearspan validator run`; ``extra`` has more for one participant's next start.
        """
        self.network = network
        self.participants = tuple(entry.participant for entry in validator_entries(network)[:count])
        self.extra: dict[int, Sequence[str]] = {}
        self._flags = tuple(flags)
        self._ports: dict[int, int] = {}
        self._children = Children(self._command, self.log, ValidatorFailed)

    def run_in(self, prefix: Callable[[int], Sequence[str]]) -> None:
        """Run each from now on behind these words, such as those that put it into a network namespace."""
        self._children.prefix = prefix

    def __enter__(self) -> Self:
        """Start all."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all, whatever happened."""
        self.stop()

    def start(self, participants: Sequence[int] | None = None) -> None:
        """Start all, or these, side by side and wait until each answers. Raises ValidatorFailed; then none runs."""
        chosen = self.participants if participants is None else tuple(participants)
        self._children.start(chosen)
        for participant in chosen:
            self._ports[participant] = self.address(participant).port

    def address(self, participant: int) -> NodeAddress:
        """Return where a running validator listens. Raises KeyError for one that does not run."""
        return self._children.address(participant)

    def log(self, participant: int) -> Path:
        """Return the file of a validator's standard error."""
        return validator_folder(self.network, participant) / "validator.log"

    def data(self, participant: int) -> Path:
        """Return a validator's data directory."""
        return validator_folder(self.network, participant) / "data"

    def is_running(self, participant: int) -> bool:
        """Say whether a validator's process lives."""
        return self._children.is_running(participant)

    def send_signal(self, participant: int, which: signal.Signals) -> None:
        """Send a validator a signal that does not end it, such as SIGSTOP."""
        self._children.send_signal(participant, which)

    def kill(self, participant: int, which: signal.Signals = signal.SIGKILL) -> int:
        """Send a validator a signal that ends it and wait for its end; return its exit code."""
        return self._children.kill(participant, which)

    def restart(self, participant: int) -> NodeAddress:
        """Start a validator again, at the port it had. Raises ValidatorFailed."""
        return self._children.restart(participant)

    def stop(self) -> None:
        """End all. Safe to call twice."""
        self._children.stop()

    def _command(self, participant: int) -> list[str]:
        command = ["validator", "run", "--config", str(validator_config(self.network, participant)), *self._flags]
        if participant in self._ports:
            command += ["--validator-port", str(self._ports[participant])]
        return [*command, *self.extra.get(participant, ())]


class Cluster:
    """The nodes of a network, and as many of its validators as are asked for, as child processes.

    Use it from one thread, which must live as long as they do.
    """

    def __init__(
        self,
        network: Network,
        domains: Sequence[int] | None = None,
        flags: Sequence[str] = (),
        *,
        validators: int = 0,
        validator_flags: Sequence[str] = (),
    ) -> None:
        """Prepare to run the nodes of some or all domains; flags are further flags of `clearspan node run`."""
        self.network = network
        self.validators = Validators(network, validators, validator_flags)
        self._domains = tuple(domains or (domain.domain for domain in network.genesis.domains))
        self._flags = tuple(flags)
        self._ports: dict[int, int] = {}
        self._nodes = Children(self._command, self.log, ClusterFailed)

    def __enter__(self) -> Self:
        """Start all."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all, whatever happened."""
        self.stop()

    def start(self) -> None:
        """Start validators, then nodes, and wait until each is ready. Raises ClusterFailed or ValidatorFailed."""
        with ExitStack() as stack:
            stack.callback(self.stop)
            self.validators.start()
            self._nodes.start(self._domains)
            for domain in self._domains:
                self._ports[domain] = self.address(domain).port
            stack.pop_all()

    def address(self, domain: int) -> NodeAddress:
        """Return where a running node listens. Raises KeyError for one that does not run."""
        return self._nodes.address(domain)

    def log(self, domain: int) -> Path:
        """Return the file of a node's standard error."""
        return self.network.node_folder(domain) / "node.log"

    def data(self, domain: int) -> Path:
        """Return a node's data directory."""
        return self.network.node_folder(domain) / "data"

    def is_running(self, domain: int) -> bool:
        """Say whether a node's process lives."""
        return self._nodes.is_running(domain)

    def kill(self, domain: int, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a node a signal that ends it and wait for its end; return its exit code (negative: by a signal)."""
        return self._nodes.kill(domain, number)

    def restart(self, domain: int) -> NodeAddress:
        """Start a node again, at the port it had, so that clients find it. Raises ClusterFailed."""
        found = self._nodes.restart(domain)
        self._ports[domain] = found.port
        return found

    def stop(self) -> None:
        """End all nodes, then all validators: asked first, killed where that takes too long. Safe to call twice."""
        self._nodes.stop()
        self.validators.stop()

    def _command(self, domain: int) -> list[str]:
        command = ["node", "run", "--config", str(self.network.node_config(domain)), *self._flags]
        if domain in self._ports:
            command += ["--node-port", str(self._ports[domain])]
        return command
