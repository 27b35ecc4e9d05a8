"""What the commands about swaps share: a client of a participant's bridge, with that participant's certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearspan.bridging.settings.directory import BRIDGES_FILE, BridgeDirectory
from clearspan.bridging.staging.folder import bridge_tls_name
from clearspan.client.bridge import BridgeClient
from clearspan.errors import ConfigError
from clearspan.pki import TlsFiles

if TYPE_CHECKING:
    from clearspan.cli.session import Session

__all__ = ["bridge_client", "the_bridge"]


def bridge_client(
    session: Session, participant: int, directory: BridgeDirectory | None = None, certificate: str = ""
) -> BridgeClient:
    """Return a client of a participant's bridge, with the bridge's own certificate or another of the folder tls.

    Raises ConfigError where nobody knows where it listens.
    """
    network = session.network
    found = directory or BridgeDirectory(network.path / BRIDGES_FILE)
    target = found.target(participant)
    if target is None:
        path = network.path / "bridges" / str(participant) / "bridge.toml"
        next_step = f"start it: clearspan bridge run --config {path}"
        raise ConfigError(f"bridge of participant {participant}", "it does not run, or is not known here", next_step)
    folder, name = network.path / "tls", certificate or bridge_tls_name(participant)
    if not (folder / f"{name}.pem").is_file():
        raise ConfigError(str(folder), f"holds no certificate {name}", "ask the participant for its own bridge")
    tls = TlsFiles(folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem")
    return BridgeClient(target, tls, timeout_s=session.timeout_s)


def the_bridge(session: Session, participant: int | None) -> int:
    """Return the participant whose bridge is meant: the one named, or the only one that provides nothing."""
    if participant is not None:
        return participant
    entries = BridgeDirectory(session.network.path / BRIDGES_FILE).entries
    payers = [each.participant for each in entries if not each.provides]
    if len(payers) == 1:
        return payers[0]
    known = ", ".join(str(each.participant) for each in entries) or "none"
    raise ConfigError("--participant", f"bridges known here: {known}", "name the participant whose bridge is asked")
