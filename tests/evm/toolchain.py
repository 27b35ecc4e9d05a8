"""The node and the compiler behind the EVM tests: where they are found, how they are run, and what ships.

`python -m tests.evm.toolchain install` fetches the pinned packages (npm ci) into tests/evm/node_modules;
`python -m tests.evm.toolchain compile` writes bridge/evm/HashTimeLock.json anew.
The node's binary is pinned for Linux on x86-64; elsewhere the tests that need it skip, and the compiler's run.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONTRACT = HERE.parent.parent / "bridge" / "evm" / "HashTimeLock.sol"
SHIPPED = CONTRACT.with_suffix(".json")
# Old enough that the EVM chains of banks run it (no PUSH0, no transient storage), and no metadata, so that the
# bytecode depends on nothing but source, settings and compiler.
SETTINGS = {
    "evmVersion": "paris",
    "optimizer": {"enabled": True, "runs": 1000},
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
}
INSTALL = "python -m tests.evm.toolchain install"


def modules() -> Path:
    """Where npm put the packages: CLEARSPAN_EVM_NODE_MODULES, or node_modules beside this file."""
    return Path(os.environ.get("CLEARSPAN_EVM_NODE_MODULES", HERE / "node_modules"))


def anvil() -> Path | None:
    """The node's binary (npm's @foundry-rs/anvil), or None where it is not installed."""
    system = {"Linux": "linux", "Darwin": "darwin"}.get(platform.system(), "win32")
    machine = "arm64" if platform.machine() in {"aarch64", "arm64"} else "amd64"
    found = modules() / "@foundry-rs" / f"anvil-{system}-{machine}" / "bin" / "anvil"
    return found if found.exists() else None


def compiler() -> Path | None:
    """The compiler's package, or None where it or node is not installed."""
    found = modules() / "solc"
    return found if found.exists() and shutil.which("node") else None


def install() -> None:
    """Fetch exactly what package-lock.json names; no package's script is run."""
    target = modules().parent
    target.mkdir(parents=True, exist_ok=True)
    if target != HERE:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, target / name)
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=target, check=True, timeout=300)


def compile_files(settings_file: Path, *sources: Path, rough: bool = False) -> dict:
    """Compile sources together with the pinned compiler: {compiler, contracts: {file: {name: ...}}}.

    Rough is fast: not optimized, and warnings are passed over.
    """
    settings_file.write_text(json.dumps({**SETTINGS, "optimizer": {"enabled": False}} if rough else SETTINGS))
    done = subprocess.run(
        [
            "node", str(HERE / "compile.mjs"), str(modules()), str(settings_file),
            "lax" if rough else "strict", *map(str, sources),
        ],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if done.returncode:
        raise ValueError(done.stderr)
    return json.loads(done.stdout)


def shipped_document(settings_file: Path) -> str:
    """The text of the shipped artifact as the compiler makes it now."""
    made = compile_files(settings_file, CONTRACT)
    contract = made["contracts"][CONTRACT.name]["HashTimeLock"]
    document = {
        "contract": "HashTimeLock",
        "source": CONTRACT.name,
        "source_sha256": hashlib.sha256(CONTRACT.read_bytes()).hexdigest(),
        "compiler": f"solc {made['compiler']}",
        "settings": SETTINGS,
        **contract,
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def main(verb: str) -> None:
    """Install the packages, or write the shipped artifact."""
    if verb == "install":
        install()
    elif verb == "compile":
        settings = SHIPPED.with_suffix(".settings")
        try:
            SHIPPED.write_text(shipped_document(settings))
        finally:
            settings.unlink(missing_ok=True)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
