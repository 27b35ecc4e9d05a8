"""The chains on which a bridge serves legs: `chains.toml`, checked whole before anything starts.

    format = 1
    [[chain]]
    name = "besu"                       as corridors write it
    chain_id = 1337
    contract = "0x…"                    where HashTimeLock stands; its code is compared before it is used
    endpoints = ["https://node-a…", "https://node-b…"]
    key = "keys/besu.key"               made by clearspan chain key
    passphrase_file = "keys/passphrase"

It promises that what is left out is the careful choice: nodes are reached by TLS or on this machine unless that is
switched off by name, a state is final when 64 blocks lie on it, and fees have caps. The file may hold endpoints that
carry a secret of a node's operator, so only its owner may read it.
"""

from __future__ import annotations

import ipaddress
import json
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from clearspan.errors import ConfigError, KeyFileExposed, KeyFileInvalid
from clearspan.private_files import read_private

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["CHAINS_FILE", "ChainSection", "LoadedChains", "demand_endpoint", "read_chains", "render_chains"]

CHAINS_FILE: Final = "chains.toml"
_FORMAT: Final = 1
_FILE_BYTES_MAX: Final = 1 << 20
_GWEI: Final = 10**9
_Wei = Annotated[int, Meta(ge=0, le=2**62)]
_Address = Annotated[str, Meta(pattern="^0x[0-9a-fA-F]{40}$")]


class ChainSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One chain. Fees are wei for a unit of gas; no swap begins while its head is older than ``head_age_s_max``."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]{0,31}$")]
    chain_id: Annotated[int, Meta(ge=1, le=2**62)]
    contract: _Address
    endpoints: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=2_000)], ...], Meta(min_length=1, max_length=16)
    ]
    key: Annotated[str, Meta(min_length=1)]
    passphrase_file: Annotated[str, Meta(min_length=1)] = "keys/passphrase"  # noqa: S105 - a path
    book: str = ""
    genesis: Annotated[str, Meta(pattern="^(0x[0-9a-f]{64})?$")] = ""
    first_block: Annotated[int, Meta(ge=0)] = 0
    lookback_blocks: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    finality_depth: Annotated[int, Meta(ge=0, le=100_000)] = 64
    finality_tag: bool = False
    agreement: Annotated[int, Meta(ge=1, le=16)] = 1
    tick: Literal["s", "ms"] = "s"
    fee_cap: _Wei = 200 * _GWEI
    claim_fee_cap: _Wei = 2_000 * _GWEI
    priority_fee: _Wei = _GWEI
    bump_percent: Annotated[int, Meta(ge=13, le=1_000)] = 25
    stuck_blocks: Annotated[int, Meta(ge=1, le=1_000)] = 3
    timeout_s: Annotated[int, Meta(ge=1, le=120)] = 10
    poll_ms: Annotated[int, Meta(ge=50, le=600_000)] = 2_000
    head_age_s_max: Annotated[int, Meta(ge=1, le=86_400)] = 120
    plain_http: bool = False
    """Let endpoints on other machines be reached without TLS: who is in between reads and forges every answer."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    chain: Annotated[tuple[ChainSection, ...], Meta(max_length=16)] = ()


@dataclass(frozen=True, slots=True)
class LoadedChains:
    """Chains that were checked, and the folder to which their paths are relative."""

    chains: tuple[ChainSection, ...]
    directory: Path

    def resolve(self, path: str) -> Path:
        """Return a path of the file as it is used."""
        return self.directory / path


def read_chains(path: Path) -> LoadedChains:
    """Read and check the file. Raises ConfigError with the place of what is wrong, KeyFileExposed."""
    try:
        content = read_private(path, _FILE_BYTES_MAX)
    except KeyFileExposed as error:
        remedy = "where an endpoint in it holds a secret of its operator, have that renewed"
        raise KeyFileExposed(str(path), error.mode, remedy) from error
    except KeyFileInvalid as error:
        raise ConfigError(str(path), error.reason, "write it as docs/bridge-evm.md shows, mode 0600") from error
    try:
        found = msgspec.convert(tomllib.loads(content.decode("utf-8")), _File)
    except msgspec.ValidationError as error:
        raise ConfigError(str(path), str(error), "mend the value; docs/bridge-evm.md has the keys") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(path), str(error), "mend the line; the format is TOML 1.0 in UTF-8") from error
    if found.format != _FORMAT:
        raise ConfigError(str(path), f"format {found.format} is not known here", f"write format = {_FORMAT}")
    for at, chain in enumerate(found.chain):
        _check(f"{path}: chain[{at}]", chain)
    names = [each.name for each in found.chain]
    if len(set(names)) != len(names):
        raise ConfigError(str(path), f"a chain is named twice: {', '.join(names)}", "give each chain one section")
    # Two senders for one key would take each other's nonces.
    keys = [(each.chain_id, each.key) for each in found.chain]
    if len(set(keys)) != len(keys):
        raise ConfigError(str(path), "two sections use one key on one chain", "give each its own key")
    return LoadedChains(found.chain, path.resolve().parent)


def render_chains(chains: Iterable[ChainSection]) -> str:
    """Return the file's text with every key; ``read_chains`` reads the same from it."""
    lines = [
        "# Chains on which a Clearspan bridge serves legs. Paths are relative to this file.",
        f"format = {_FORMAT}",
    ]
    for chain in chains:
        lines += ["", "[[chain]]"]
        # Text, numbers, switches and lists of text are written alike in TOML and JSON.
        lines += [f"{key} = {json.dumps(value)}" for key, value in msgspec.to_builtins(chain).items()]
    return "\n".join([*lines, ""])


def _check(place: str, chain: ChainSection) -> None:
    """Check what the schema cannot say."""
    for at, endpoint in enumerate(chain.endpoints):
        demand_endpoint(f"{place}.endpoints[{at}]", endpoint, plain_http=chain.plain_http)
    if chain.agreement > len(chain.endpoints):
        reason = f"{chain.agreement} nodes cannot agree where {len(chain.endpoints)} are named"
        raise ConfigError(f"{place}.agreement", reason, "name more endpoints of different operators")
    if not chain.priority_fee <= chain.fee_cap <= chain.claim_fee_cap:
        reason = "priority_fee <= fee_cap <= claim_fee_cap must hold"
        raise ConfigError(f"{place}.fee_cap", reason, "raise the caps or lower the priority fee")
    if not chain.finality_depth and not chain.finality_tag:
        reason = "with a depth of 0 and without the chain's own tag every block would count as final"
        raise ConfigError(f"{place}.finality_depth", reason, "state a depth, or set finality_tag = true")


def demand_endpoint(place: str, endpoint: str, *, plain_http: bool) -> None:
    """Refuse an endpoint whose answers anybody in between could make; it is never shown, for it may hold a secret.

    Raises ConfigError.
    """
    try:
        parts = urlsplit(endpoint)
        host = parts.hostname or ""
        well_formed = parts.scheme in ("https", "http") and bool(host) and parts.port != 0
    except ValueError:
        well_formed, host, parts = False, "", urlsplit("")
    if not well_formed:
        raise ConfigError(place, "is no address of http or https", "write https://host:port/path")
    if parts.scheme == "http" and not plain_http and not _is_loopback(host):
        reason = "is reached without TLS, and whoever is in between could forge its answers"
        raise ConfigError(place, reason, "write https, or state plain_http = true for a network that is your own")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
