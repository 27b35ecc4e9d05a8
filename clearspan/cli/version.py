# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan version`: which version this is, and of what it is made."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import click

from clearspan import __version__
from clearspan.cli.options import json_option
from clearspan.cli.output import Output

__all__ = ["command"]

_LIBRARIES = ("numpy", "cryptography", "lmdb", "grpcio", "protobuf", "uvloop", "msgspec", "click", "lxml")
# Name of each format that is written or spoken, and its version.
_FORMATS = {
    "genesis": 1,
    "record": 1,
    "batch file": 1,
    "log record": 1,
    "block header": 1,
    "decision proof": 1,
    "checkpoint": 1,
    "node.toml": 1,
    "service": 1,
}


@click.command("version")
@click.option("--verbose", is_flag=True, help="Also kernels, formats and libraries.")
@json_option
def command(verbose: bool, as_json: bool) -> None:
    """Say which version this is; with --verbose also of what it is made."""
    output = Output(as_json=as_json)
    document: dict[str, object] = {"version": __version__}
    output.line(f"clearspan {__version__}")
    if verbose:
        kernels = _kernels()
        document |= {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "kernel": kernels.used,
            "kernels": {
                "built": kernels.built,
                "cpu": kernels.cpu,
                "key_bytes": kernels.key_bytes,
                "table_bytes": kernels.table_bytes,
                "table_bytes_max": kernels.table_bytes_max,
            },
            "formats": _FORMATS,
            "libraries": {name: _version_of(name) for name in _LIBRARIES},
        }
        output.line(f"python {platform.python_version()} on {platform.machine()}, kernel variant {kernels.used}")
        output.line(
            f"kernel variants built: {', '.join(kernels.built)}; the CPU offers {', '.join(kernels.cpu) or 'none'}"
        )
        output.line("bytes of a registered key: " + _sizes(kernels.key_bytes))
        output.line(f"bytes of its table: {_sizes(kernels.table_bytes)}; all tables at most {kernels.table_bytes_max}")
        output.line("formats: " + ", ".join(f"{name} {number}" for name, number in _FORMATS.items()))
        output.line("libraries: " + ", ".join(f"{name} {_version_of(name)}" for name in _LIBRARIES))
    output.document(document)


@dataclass(frozen=True, slots=True)
class _Kernels:
    """What verifies signatures here: variants by name, sizes in bytes by the name of the suite."""

    used: str
    built: tuple[str, ...]
    cpu: tuple[str, ...]
    key_bytes: dict[str, int]
    table_bytes: dict[str, int]
    table_bytes_max: int


def _kernels() -> _Kernels:
    from native import signatures

    suites = {
        "ed25519": signatures.SUITE_ED25519,
        "sm2": signatures.SUITE_SM2,
        "p256": signatures.SUITE_P256,
    }
    registry = signatures.KeyRegistry
    return _Kernels(
        used=signatures.kernel_variant(),
        built=signatures.kernel_variants(),
        cpu=signatures.cpu_features(),
        key_bytes={name: registry.bytes_per_key(suite) for name, suite in suites.items()},
        table_bytes={name: registry.table_bytes_per_key(suite) for name, suite in suites.items()},
        table_bytes_max=signatures.TABLE_BYTES_MAX,
    )


def _sizes(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
