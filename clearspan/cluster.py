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
from functools import partial
from typing import TYPE_CHECKING, Self

from clearspan.children import ChildFailed
from clearspan.fleet import Fleet
from clearspan.founding import (
    DEFAULT_CURRENCIES,
    create_network,
    issuer_of,
    operator_of,
    regulator_of,
    supervisor_of,
    temporary_network,
)
from clearspan.validator.folder import validator_entries, validator_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
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


class Validators(Fleet):
    """Validators of a network as child processes, by participant."""

    def __init__(self, network: Network, count: int | None = None, flags: Sequence[str] = ()) -> None:
        """Prepare to run the first ``count`` validators of the folder, or all; flags are those of `validator run`."""
        self.network = network
        self.participants = tuple(entry.participant for entry in validator_entries(network)[:count])
        super().__init__(
            "validator",
            self.participants,
            partial(validator_folder, network),
            failure=ValidatorFailed,
            flags=flags,
        )


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
        chosen = tuple(domains or (domain.domain for domain in network.genesis.domains))
        self.nodes = Fleet("node", chosen, network.node_folder, failure=ClusterFailed, flags=flags)

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
            self.nodes.start()
            stack.pop_all()

    def address(self, domain: int) -> NodeAddress:
        """Return where a running node listens. Raises KeyError for one that does not run."""
        return self.nodes.address(domain)

    def log(self, domain: int) -> Path:
        """Return the file of a node's standard error."""
        return self.nodes.log(domain)

    def data(self, domain: int) -> Path:
        """Return a node's data directory."""
        return self.nodes.data(domain)

    def is_running(self, domain: int) -> bool:
        """Say whether a node's process lives."""
        return self.nodes.is_running(domain)

    def kill(self, domain: int, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a node a signal that ends it and wait for its end; return its exit code (negative: by a signal)."""
        return self.nodes.kill(domain, number)

    def restart(self, domain: int) -> NodeAddress:
        """Start a node again, at the port it had, so that clients find it. Raises ClusterFailed."""
        return self.nodes.restart(domain)

    def stop(self) -> None:
        """End all nodes, then all validators: asked first, killed where that takes too long. Safe to call twice."""
        self.nodes.stop()
        self.validators.stop()
