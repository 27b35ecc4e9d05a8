"""The house keeps its own rules: what the sources, locks and documents may and may not hold."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FLOORS = ("native", "engine", "shards", "relay", "bridge", "clearspan")
TOP_LEVEL = {
    "pyproject.toml", "setup.py", "engine", "shards", "relay", "native", "bridge", "bench", "tests", "clearspan", "docs",
    "deploy", "examples", "Makefile", ".ci", "README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "requirements", ".gitignore",
}  # fmt: skip
# What a sans-IO core may not import. The shells are listed by name; everything else in these folders is a core.
FORBIDDEN_IN_CORES = {"time", "random", "uuid", "os", "socket", "asyncio", "threading", "secrets", "datetime"}
CORES = [
    "engine/types.py", "engine/codes.py", "engine/record.py", "engine/batch.py", "engine/admin.py", "engine/machine.py",
    "engine/header.py", "engine/block.py", "engine/credit.py", "engine/relay_block.py", "engine/invariants.py",
    "engine/replay.py", "engine/bodies.py", "engine/conservation.py", "engine/admin_step.py", "engine/admin_rules.py", "engine/admin_context.py", "engine/admin_compliance.py", "engine/rules.py", "engine/holds.py", "engine/block_receipt.py",
    "engine/validators.py", "engine/governance.py", "engine/evidence.py", "engine/anchorage.py", "engine/receipt.py",
    "shards/slots.py", "shards/domain.py",
    *(f"relay/{path.name}" for path in sorted((ROOT / "relay").glob("*.py"))),
    # The calendar asks the zones' data, which are of datetimes, and no clock.
    *(f"bridge/{path.name}" for path in sorted((ROOT / "bridge").glob("*.py")) if path.name != "calendar.py"),
]  # fmt: skip


def tracked(*patterns: str) -> list[Path]:
    """Files git tracks or would track, so that the test also holds before a commit."""
    output = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    return [ROOT / name for name in output.decode().split("\0") if name and (ROOT / name).is_file()]


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_top_level_is_fixed() -> None:
    """A stranger finds the rooms of the house and nothing else at the top."""
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert found <= TOP_LEVEL, sorted(found - TOP_LEVEL)
    assert set(FLOORS) <= found


def test_imports_point_one_way() -> None:
    """A floor imports only floors below it; shards and relay do not know each other; nothing imports tests or bench."""
    below = {
        "native": set(), "engine": {"native"}, "shards": {"engine", "native"}, "relay": {"engine", "native"},
        "bridge": {"relay", "engine", "native"}, "clearspan": set(FLOORS),
    }  # fmt: skip
    for floor, allowed in below.items():
        for path in tracked(f"{floor}/*.py"):
            ours = imports_of(path) & {*FLOORS, "bench", "tests"}
            assert ours <= allowed | {floor}, f"{path.relative_to(ROOT)} imports {sorted(ours - allowed - {floor})}"


@pytest.mark.parametrize("name", CORES)
def test_cores_know_no_clock_socket_or_chance(name: str) -> None:
    """The cores of production run in the simulator, so they are handed time and randomness."""
    path = ROOT / name
    assert path.exists(), f"{name} is named as a core and is gone: mend the list"
    assert not imports_of(path) & FORBIDDEN_IN_CORES


def test_locks_are_hashed_and_name_no_place() -> None:
    """The locks install the same bytes everywhere: every line hashed, no index, path or file of one machine."""
    for name in ("run.txt", "dev.txt"):
        text = (ROOT / "requirements" / name).read_text()
        for line in text.splitlines():
            assert not re.match(r"^(-|--)", line), line
            assert "file:" not in line and "://" not in line and " @ " not in line, line
        blocks = re.findall(r"^[A-Za-z0-9].*?(?=^[A-Za-z0-9]|\Z)", text, re.M | re.S)
        assert blocks and all("--hash=sha256:" in block for block in blocks)
        assert len(re.findall(r"^numpy==", text, re.M)) == 1


def test_no_unfinished_work() -> None:
    """What is not built is absent, not pretended."""
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError|mark\.xfail|pragma: no cover")
    for path in tracked("*.py", "*.pyx", "*.pyi", "*.c", "*.h", "*.proto"):
        if path == Path(__file__).resolve():
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert not marks.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"


def test_no_secret_and_no_generated_file_is_kept() -> None:
    """Keys stay out of the repository, and so does what a build writes."""
    for path in tracked():
        assert path.suffix not in {".pem", ".key", ".so", ".o", ".pyc", ".crt"}, path
        assert "_pb2" not in path.name, path
        if path.suffix in {".py", ".md", ".toml", ".json", ".txt", ".xml"}:
            assert "PRIVATE KEY-----" not in path.read_text().replace('"PRIVATE KEY-----"', ""), path


def test_no_float_near_money() -> None:
    """Amounts are integers from the wire to the kernel: no float literal, no float(), no Decimal in ledger code."""
    for floor in ("engine", "shards", "native"):
        for path in tracked(f"{floor}/*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, float):
                    assert _is_time(path, node), f"{path.relative_to(ROOT)}:{node.lineno}: a float literal"
                if isinstance(node, ast.Name) and node.id in {"Decimal", "float64"}:
                    pytest.fail(f"{path.relative_to(ROOT)}:{node.lineno}: {node.id}")


def _is_time(path: Path, node: ast.Constant) -> bool:
    """A float may only be a number of seconds in a shell, and its line says so."""
    line = path.read_text().splitlines()[node.lineno - 1]
    return str(path.relative_to(ROOT)) not in CORES and bool(
        re.search(r"_s\b|_s:|timeout|seconds", line, re.IGNORECASE)
    )


def test_every_module_says_what_it_promises() -> None:
    """The first line of a module is for its reader."""
    for floor in FLOORS:
        for path in tracked(f"{floor}/*.py"):
            assert ast.get_docstring(ast.parse(path.read_text())), f"{path.relative_to(ROOT)} has no docstring"


def test_every_extension_has_a_stub() -> None:
    """A kernel's binding is typed like any module."""
    for path in tracked("native/*.pyx"):
        assert path.with_suffix(".pyi").exists(), path.name


def test_changelog_and_documents_stand() -> None:
    """What a stranger looks for first is there and is not empty."""
    for name in (
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "SECURITY.md",
        "docs/architecture.md",
        "docs/what-it-is-not.md",
    ):
        assert len((ROOT / name).read_text()) > 500, name


def test_links_in_documents_lead_somewhere() -> None:
    """A relative link in a document names a file that exists."""
    for path in tracked("*.md"):
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", prose):
            assert (path.parent / target).exists() or (ROOT / target).exists(), (
                f"{path.relative_to(ROOT)} links to {target}"
            )
