# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan version`: which version this is, and of what it is made."""

from __future__ import annotations

import platform
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
@click.option("--verbose", is_flag=True, help="Also kernel variant, formats and libraries.")
@json_option
def command(verbose: bool, as_json: bool) -> None:
    """Say which version this is; with --verbose also of what it is made."""
    output = Output(as_json=as_json)
    document: dict[str, object] = {"version": __version__}
    output.line(f"clearspan {__version__}")
    if verbose:
        from native.signatures import kernel_variant

        document |= {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "kernel": kernel_variant(),
            "formats": _FORMATS,
            "libraries": {name: _version_of(name) for name in _LIBRARIES},
        }
        output.line(f"python {platform.python_version()} on {platform.machine()}, kernel variant {kernel_variant()}")
        output.line("formats: " + ", ".join(f"{name} {number}" for name, number in _FORMATS.items()))
        output.line("libraries: " + ", ".join(f"{name} {_version_of(name)}" for name in _LIBRARIES))
    output.document(document)


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
