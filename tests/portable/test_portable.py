"""The kernels give the same answers on other machines: every vector on 64-bit Arm, without AVX, without AVX-512, and here."""

from __future__ import annotations

import pytest

from tests.portable.build import ARM, OWN, TARGETS, check, compiled, missing, run, sources, vectors


@pytest.fixture(scope="module")
def lines() -> str:
    return vectors()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("build", [OWN, ARM], ids=lambda build: build.name)
def test_every_vector_passes_under_every_variant(build, lines, tmp_path, need_tool) -> None:
    """One static program, built once, on each processor that it must run on; what ran is held against what must have."""
    targets = [target for target in TARGETS.values() if target.build is build]
    for tool in dict.fromkeys(tool for target in targets for tool in target.tools):
        need_tool(tool.program, tool.package)
    program = compiled(build, tmp_path)
    for target in targets:
        answers = check(target, program, lines)
        assert all(int(answer.split()[1]) == len(lines.splitlines()) for answer in answers), answers
    # The program sees a wrong verdict, a wrong digest, a wrong root and a wrong signature: one line of each kind, bent.
    for verb in ("item", "digest", "sign", "key", "hash", "merkle"):
        line = next(line for line in lines.splitlines() if line.startswith(f"{verb} "))
        with pytest.raises(AssertionError, match="wrong answer"):
            run(targets[0], program, _bent(line) + "\n")


def _bent(line: str) -> str:
    """Change the last word, which is what the kernels must answer."""
    front, _, last = line.rpartition(" ")
    if last in {"0", "1"}:
        return f"{front} {1 - int(last)}"
    if last.startswith("-"):
        return f"{front} {int(last) - 1}"
    return f"{front} {last[:-1]}{'0' if last[-1] != '0' else '1'}"


def test_every_kernel_and_every_suite_is_in(lines) -> None:
    """What is compiled is every C file of the kernels; the vectors reach each suite's verifying and signing, and each hash."""
    assert {path.parent.name for path in sources()} >= {
        "ed25519",
        "sm2",
        "p256",
        "sha2",
        "sm3",
        "merkle",
        "apply",
        "common",
    }
    words = {tuple(line.split()[:2]) for line in lines.splitlines()}
    assert {("item", suite) for suite in "123"} <= words
    assert {("key", suite) for suite in "123"} <= words
    assert {("sign", suite) for suite in "123"} <= words
    assert {("digest", suite) for suite in "23"} <= words
    assert {("hash", name) for name in ("sha256", "sha512", "sm3")} <= words
    assert {("merkle", suite) for suite in "12"} <= words
    for target in TARGETS.values():
        assert all(tool.package for tool in target.tools)
        assert isinstance(missing(target), list)
