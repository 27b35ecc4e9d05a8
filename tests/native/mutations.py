"""Breaks the signature kernels on purpose, one rule at a time, and says which tests see it; writes the rows of MUTATIONS.md.

    python -m tests.native.mutations             all of them, about half a minute each
    python -m tests.native.mutations hint        those whose name contains the word
    python -m tests.native.mutations --sample 3  so many of them, drawn at random; the seed is printed

The tree is copied and built elsewhere; nothing here is changed. A mutation that no test sees fails the run.
"""

from __future__ import annotations

import argparse
import os
import random
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MUTATIONS", "Mutation", "main"]

ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    "native",
    "tests/native",
    "tests/vectors",
    "tests/conftest.py",
    "tests/__init__.py",
    "pyproject.toml",
    "setup.py",
)
FLAGS = ("-std=c11", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-DCYTHON_CCOMPLEX=0", "-w")
PREBUILT = "docs/spec/08-signatures.md"


@dataclass(frozen=True, slots=True)
class Mutation:
    """In `file`, `old` (found once) becomes `new`; `rule` says which requirement that breaks; `variant` runs the tests."""

    name: str
    rule: str
    file: str
    old: str
    new: str
    variant: str = ""


ED, ED8 = "native/ed25519", "native/ed25519/avx512ifma"
WS, WS8 = "native/weierstrass", "native/weierstrass/avx512ifma"
MUTATIONS = (
    # --- Ed25519: keys. ---
    Mutation(
        "keys of small order are taken for mixed ones", "SIG-2", f"{ED}/reference.c",
        "return CS_ED25519_SMALL_ORDER;", "",
    ),
    Mutation("keys of mixed order are taken", "SIG-2", f"{ED}/reference.c", "return CS_ED25519_MIXED_ORDER;", ""),
    Mutation(
        "keys and R that are not canonical are taken, alone", "SIG-2, SIG-5", f"{ED}/group.h",
        "if (memcmp(encoded, bytes, sizeof encoded) != 0) {", "if (0) {",
    ),
    Mutation(
        "keys and R off the curve are taken, alone", "SIG-2, SIG-5", f"{ED}/group.h",
        "if (!field_equal(check, FIELD_ZERO)) {", "if (0) {",
    ),
    Mutation(
        "x = 0 has a sign, alone", "SIG-2, SIG-5", f"{ED}/group.h",
        "if (sign && field_equal(x, FIELD_ZERO)) {", "if (0) {",
    ),
    # --- Ed25519: the equation. ---
    Mutation(
        "no cofactor, alone", "SIG-3", f"{ED}/reference.c",
        "point_subtract_affine(&difference, &sum, &affine);\n    completed_to_projective(&sum, &difference);\n    point_multiply_by_cofactor(&sum);",
        "point_subtract_affine(&difference, &sum, &affine);\n    completed_to_projective(&sum, &difference);",
    ),
    Mutation("no cofactor in the sum of a batch", "SIG-3", f"{ED}/batch.c", "point_multiply_by_cofactor(&multiple);", ""),
    Mutation(
        "no cofactor for single items of a batch, lanes", "SIG-3", f"{ED8}/single8.c",
        "for (int i = 0; i < 3; i++) {\n        point8_double(&sum, 0);", "for (int i = 0; i < 0; i++) {\n        point8_double(&sum, 0);",
    ),
    Mutation(
        "no cofactor for single items of a batch, portable", "SIG-3", f"{ED}/reference.c",
        "point_subtract_affine(&difference, &sum, &commitment);\n    completed_to_projective(&sum, &difference);\n    point_multiply_by_cofactor(&sum);",
        "point_subtract_affine(&difference, &sum, &commitment);\n    completed_to_projective(&sum, &difference);", "scalar",
    ),
    Mutation("S may be L and above, alone", "SIG-4", f"{ED}/reference.c", "if (!scalar_is_canonical(s)) {", "if (0) {"),
    Mutation(
        "S may be L and above in a batch", "SIG-4", f"{ED}/batch.c",
        "if (work->verdicts[i] != 0 && scalar_is_canonical(response)) {", "if (work->verdicts[i] != 0) {",
    ),
    Mutation(
        "R that is not canonical is taken in lanes", "SIG-5", f"{ED8}/decode8.h", "return field8_canonical_lanes(w);", "return 0xff;",
    ),
    Mutation(
        "x = 0 has a sign in lanes", "SIG-5", f"{ED8}/decode8.h", "good[half] &= (__mmask8)~(zero & negative[half]);", "",
    ),
    Mutation(
        "x = 0 has a sign, portable batch", "SIG-5", f"{ED}/lanes1.h",
        "if (sign != 0 && memcmp(x, FIELD_ZERO, sizeof(field)) == 0) {", "if (0) {", "scalar",
    ),
    Mutation(
        "R that is not canonical is taken, portable batch", "SIG-5", f"{ED}/lanes1.h", "u[i], v[i], v3[i], sign[i]) && canonical[i])",
        "u[i], v[i], v3[i], sign[i]))", "scalar",
    ),
    # --- Ed25519: batches. ---
    Mutation(
        "weights are one", "SIG-12", f"{ED}/batch.c", "work->coefficients[i][1] &= UINT64_MAX >> 1;",
        "work->coefficients[i][0] = 1, work->coefficients[i][1] = 0;",
    ),
    Mutation(
        "weights have 64 bits", "SIG-12", f"{ED}/batch.c", "work->coefficients[i][1] &= UINT64_MAX >> 1;",
        "work->coefficients[i][1] = 0;",
    ),
    Mutation(
        "weights come from the input alone", "SIG-12", f"{ED}/batch.c",
        "memcpy(prefixes[lane], seed, CS_ED25519_SEED_BYTES);",
        "memcpy(prefixes[lane], work->items[0].signature, CS_ED25519_SEED_BYTES);",
    ),
    Mutation(
        "the seed is always the same", "SIG-12", "native/signatures.pyx",
        "seeds = urandom(columns.seeds_per_part", "seeds = bytes(columns.seeds_per_part",
    ),
    Mutation(
        "the right half of a bad sum is taken", "SIG-10", f"{ED}/batch.c", "decide(work, middle, last, &right);",
        "for (size_t i = middle; i < last; i++) {\n            work->verdicts[work->active[i]] = 1;\n        }",
    ),
    Mutation(
        "the right half gets the sum of the left one", "SIG-10", f"{ED}/batch.c", "point_subtract(&right, sum, &left);", "right = left;",
    ),
    Mutation(
        "a part with a bad item is bad", "SIG-10", f"{ED}/batch.c",
        "const uint8_t verdict = good >> lane & 1;", "const uint8_t verdict = good == 0xff;",
    ),
    Mutation(
        "verdicts of neighbours change places", "SIG-10", f"{ED}/batch.c",
        "const uint8_t verdict = good >> lane & 1;", "const uint8_t verdict = good >> (lane ^ 1) & 1;",
    ),
    Mutation(
        "all items of a batch have the first key", "SIG-10", f"{ED}/batch.c",
        "work->item_key[work->active[i]] = work->table[at] - 1;", "work->item_key[work->active[i]] = 0;",
    ),
    Mutation(
        "rows of a transposition change places", "SIG-10", "native/common/transpose8.h",
        "quads[i + j + 2] = _mm512_shuffle_i64x2(pairs[i + j], pairs[i + j + 2], 0xdd);",
        "quads[i + j + 2] = _mm512_shuffle_i64x2(pairs[i + j + 2], pairs[i + j], 0xdd);",
    ),
    # --- Ed25519: hints. ---
    Mutation(
        "a hint chooses the sign", "SIG-13", f"{ED8}/decode8.h",
        "field8_zero_lanes(field8_carry(check)) & (__mmask8)~(odd ^ negative);", "field8_zero_lanes(field8_carry(check));",
    ),
    Mutation(
        "a hint chooses the sign, portable", "SIG-13", f"{ED}/lanes1.h", " || top != 0 || (x[0] & 1) != sign)", " || top != 0)", "scalar",
    ),
    Mutation(
        "a hint need not fit R", "SIG-13", f"{ED8}/decode8.h",
        "good[half] = below & field8_zero_lanes(field8_carry(check))", "good[half] = below",
    ),
    Mutation(
        "a hint makes an encoding canonical", "SIG-5, SIG-13", f"{ED8}/decode8.h",
        "const __mmask8 below = load_numbers8(&y, &negative, encoded + 8 * half) &",
        "const __mmask8 below = (load_numbers8(&y, &negative, encoded + 8 * half) | 0xff) &",
    ),
    Mutation(
        "bad items keep a hint", "SIG-14", f"{ED}/batch.c",
        "memset(hints_out + CS_ED25519_HINT_BYTES * i, 0, CS_ED25519_HINT_BYTES);", ";",
    ),
    # --- SM2 and P-256: keys and numbers. ---
    Mutation("keys off the curve are taken", "SIG-9", f"{WS}/verify.h", "if (!affine_on_curve(&point)) {", "if (0) {"),
    Mutation(
        "coordinates of keys may be p and above", "SIG-9", f"{WS}/verify.h",
        "if (!limbs_below(x, FIELD) || !limbs_below(y, FIELD)) {", "if (0) {",
    ),
    Mutation(
        "r and s may be n and above, alone", "SIG-6, SIG-7", f"{WS}/verify.h",
        "return !limbs_are_zero(a) && limbs_below(a, ORDER);", "return !limbs_are_zero(a);",
    ),
    Mutation(
        "r and s may be 0, alone", "SIG-6, SIG-7", f"{WS}/verify.h",
        "return !limbs_are_zero(a) && limbs_below(a, ORDER);", "return limbs_below(a, ORDER);",
    ),
    Mutation(
        "x in [n, p) is refused, alone", "SIG-6, SIG-7", f"{WS}/verify.h",
        "return carry == 0 && limbs_below(above, FIELD) && has_x(point, above);", "return 0;",
    ),
    Mutation(
        "x + n is not held below p", "SIG-6, SIG-7", f"{WS}/verify.h",
        "return carry == 0 && limbs_below(above, FIELD) && has_x(point, above);", "return carry == 0 && has_x(point, above);",
    ),
    Mutation("t = 0 is not refused, alone", "SIG-6", "native/sm2/reference.c", "if (limbs_are_zero(t)) {", "if (0) {"),
    Mutation("e of SM2 is not reduced, alone", "SIG-6", "native/sm2/reference.c", "order_reduce(e, e);", ""),
    Mutation("a high s is taken, alone", "SIG-8", "native/p256/reference.c", " || !limbs_below(s, ORDER_HALF)) {", ") {"),
    Mutation(
        "a high s is taken in lanes", "SIG-8", "native/p256/avx512ifma/batch.c", "limbs_below(s, ORDER_HALF);", "limbs_below(s, ORDER);",
    ),
    Mutation(
        "r and s may be 0 in lanes (P-256)", "SIG-7", "native/p256/avx512ifma/batch.c",
        "(limbs_are_zero(r) ^ 1) & (limbs_are_zero(s) ^ 1) & limbs_below(r, ORDER)", "limbs_below(r, ORDER)",
    ),
    Mutation(
        "r may be n and above in lanes (P-256)", "SIG-7", "native/p256/avx512ifma/batch.c",
        "(limbs_are_zero(s) ^ 1) & limbs_below(r, ORDER) &", "(limbs_are_zero(s) ^ 1) &",
    ),
    Mutation(
        "t = 0 is not refused in lanes", "SIG-6", "native/sm2/avx512ifma/batch.c",
        "limbs_are_zero(r) | limbs_are_zero(s) | limbs_are_zero(t);", "limbs_are_zero(r) | limbs_are_zero(s);",
    ),
    Mutation(
        "r and s may be 0 in lanes (SM2)", "SIG-6", "native/sm2/avx512ifma/batch.c",
        "limbs_are_zero(r) | limbs_are_zero(s) | limbs_are_zero(t);", "limbs_are_zero(t);",
    ),
    Mutation(
        "r and s may be n and above in lanes (SM2)", "SIG-6", "native/sm2/avx512ifma/batch.c",
        "(zero ^ 1) & limbs_below(r, ORDER) & limbs_below(s, ORDER);", "(zero ^ 1);",
    ),
    Mutation("e of SM2 is not reduced in lanes", "SIG-6", "native/sm2/avx512ifma/batch.c", "order_reduce(e, e);", ""),
    Mutation(
        "x in [n, p) is refused in lanes", "SIG-6, SIG-7", f"{WS8}/decide8.h",
        "work->verdicts[item] = (uint8_t)batch8_is_above_order(expected, x[lane].limbs);", "work->verdicts[item] = 0;",
    ),
    Mutation(
        "sums that lanes cannot finish are bad", "SIG-10", f"{WS8}/decide8.h",
        "if ((work->comb->lost[i] >> lane & 1) != 0) {\n            batch8_decide_singly(work, item);",
        "if ((work->comb->lost[i] >> lane & 1) != 0) {\n            work->verdicts[item] = 0;",
    ),
    # --- SM2 and P-256: sums over hinted items. ---
    Mutation(
        "weights of hinted items are one", "SIG-12", f"{WS8}/batch8.h",
        "memcpy(bits, work->coefficients[item], sizeof bits);",
        "memcpy(bits, work->coefficients[item], sizeof bits), bits[0] = 0, bits[1] = UINT64_C(1) << 63;",
    ),
    Mutation(
        "weights of hinted items come from the input alone", "SIG-12", f"{WS8}/batch8.h",
        "heads[lane] = seed;", "heads[lane] = work->items[0].signature;",
    ),
    Mutation(
        "a hint may be p and above", "SIG-13", f"{WS8}/batch8.h",
        "good |= (uint32_t)limbs_below(plain[lane].y, FIELD) << lane;", "good |= UINT32_C(1) << lane;",
    ),
    Mutation(
        "the right half of hinted items gets the sum of the left one", "SIG-10", f"{WS8}/batch8.h",
        "sum8_subtract(&right, sum, &left);", "right = left;",
    ),
    Mutation(
        "hints of neighbours change places", "SIG-14", f"{WS8}/decide8.h", "y[lane].limbs);", "y[lane ^ 1].limbs);",
    ),
    Mutation(
        "all hinted items have the first key", "SIG-10", f"{WS8}/batch8.h",
        "work->item_key[work->hinted[i]] = work->table[at] - 1;", "work->item_key[work->hinted[i]] = 0;",
    ),
)  # fmt: skip

VECTORS = "tests/vectors/test_signature_vectors.py"
PARTS = {
    "written cases": (VECTORS, "-k", "alone or each_batch or signed_as"),
    "batches": ("tests/native/test_signature_batches.py", "tests/native/test_ed25519_batches.py"),
}
# Asked where the others see nothing: it takes a library of its own.
LAST_PART = (VECTORS, "-k", "c_entries or no_hint or coordinate or halfway")


def _copy(to: Path) -> None:
    for name in (*COPIED, PREBUILT):
        source = ROOT / name
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, to / name, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis", "signatures*.so")
            )
        else:
            shutil.copy(source, to / name)


def _build() -> None:
    """Build native.signatures in the tree that is the current folder; what was not changed is not compiled again."""
    from Cython.Build import cythonize

    from tests.native.kernels import library

    _, folders = runpy.run_path("setup.py")["EXTENSIONS"]["native.signatures"]
    cythonize("native/signatures.pyx", compiler_directives={"language_level": "3", "boundscheck": False, "wraparound": False, "cdivision": True}, quiet=True)  # fmt: skip
    sources = [library.NATIVE / "signatures.c"]
    sources += [path for folder in folders for path in sorted((library.NATIVE / folder).glob("*.c"))]
    objects = library.compile_objects(sources, library.COMPILER, FLAGS, (sysconfig.get_paths()["include"],))
    target = library.NATIVE / f"signatures{sysconfig.get_config_var('EXT_SUFFIX')}"
    target.unlink(missing_ok=True)
    subprocess.run([library.COMPILER, "-shared", "-o", str(target), *objects], check=True)


def _run_build(tree: Path) -> None:
    command = [sys.executable, "-m", "tests.native.mutations", "--build-here"]
    built = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    if built.returncode:
        raise SystemExit(built.stdout[-4000:] + built.stderr[-4000:])


def _first_failure(tree: Path, selection: tuple[str, ...], variant: str) -> str:
    command = [
        sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no", "--timeout", "300",
        "--import-mode=importlib", *selection,
    ]  # fmt: skip
    environment = {**os.environ, **({"CLEARSPAN_KERNEL": variant} if variant else {})}
    ran = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    seen = [
        line.split(" - ")[0].split("::")[-1] for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))
    ]
    if ran.returncode < 0:
        return f"the process ended with signal {-ran.returncode}"
    if ran.returncode not in (0, 1, 2):
        raise SystemExit(ran.stdout + ran.stderr)
    return f"`{seen[0]}`" if seen else ""


def _try(tree: Path, mutation: Mutation) -> dict[str, str]:
    path = tree / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.name}: {mutation.file} has its text {text.count(mutation.old)} times")
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        _run_build(tree)
        seen = {part: _first_failure(tree, selection, mutation.variant) for part, selection in PARTS.items()}
        last = "" if any(seen.values()) else _first_failure(tree, LAST_PART, mutation.variant)
        return {**seen, "C entries": last}
    finally:
        path.write_text(text, encoding="utf-8")


def check_texts() -> list[str]:
    """Return the mutations whose text is not found once in the sources as they stand."""
    return [each.name for each in MUTATIONS if (ROOT / each.file).read_text(encoding="utf-8").count(each.old) != 1]


def main(arguments: list[str] | None = None) -> int:
    """Try the mutations; print a row of the table for each; 1 if one was not seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("word", nargs="?", default="")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--build-here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.build_here:
        _build()
        return 0
    chosen = [mutation for mutation in MUTATIONS if options.word in mutation.name]
    if options.sample:
        seed = options.seed or random.SystemRandom().randrange(1, 2**31)
        print(f"seed {seed}")
        chosen = random.Random(seed).sample(chosen, min(options.sample, len(chosen)))
    unseen = 0
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tree = Path(folder)
        _copy(tree)
        _run_build(tree)
        for mutation in chosen:
            seen = _try(tree, mutation)
            unseen += not any(seen.values())
            print(
                f"| {mutation.name} | {mutation.rule} | " + " | ".join(v or "-" for v in seen.values()) + " |",
                flush=True,
            )
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
