"""Builds the native kernels and the protobuf modules; everything else stands in pyproject.toml."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
NATIVE = Path("native")
# Warnings are errors in our own C. Cython's generated C is held to the same flags, less the
# handful that its own code trips over.
C_FLAGS = [
    "-std=c11",
    "-O3",
    "-fvisibility=hidden",
    "-fno-strict-aliasing",
    "-D_FORTIFY_SOURCE=2",
    "-DCYTHON_CCOMPLEX=0",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
    "-Wno-sign-compare",
]

# One extension for each part of native/: its Cython file, then the kernel folders linked into it.
EXTENSIONS = {
    "native.hashing": ("hashing.pyx", ("common", "sha2", "sm3", "merkle")),
    "native.signatures": (
        "signatures.pyx",
        (
            "suites",
            "ed25519",
            "ed25519/avx2",
            "ed25519/avx512ifma",
            "sm2",
            "sm2/avx512ifma",
            "p256",
            "p256/avx512ifma",
            "common",
            "sha2",
            "sm3",
        ),
    ),
    "native.ledger": ("ledger.pyx", ("apply", "common", "sha2", "sm3", "merkle")),
}


def extensions() -> list[Extension]:
    """Return the three extension modules, with every header as a dependency so that no edit is missed."""
    headers = [str(p) for p in sorted(NATIVE.rglob("*.h"))]
    return [
        Extension(
            name,
            sources=[str(NATIVE / pyx), *(str(p) for d in folders for p in sorted((NATIVE / d).glob("*.c")))],
            include_dirs=[str(NATIVE)],
            depends=headers,
            extra_compile_args=C_FLAGS,
        )
        for name, (pyx, folders) in EXTENSIONS.items()
    ]


def generate_codes() -> None:
    """Write native/apply/codes.h from the one table of result codes, native/codes.py."""
    table = runpy.run_path(str(NATIVE / "codes.py"))
    header = table["c_header"]()
    target = NATIVE / "apply" / "codes.h"
    if not target.exists() or target.read_text() != header:
        target.write_text(header)


def generate_protobuf() -> None:
    """Compile the .proto files beside themselves; the output is never committed."""
    from grpc_tools import protoc

    for proto in sorted((*ROOT.glob("clearspan/v1/*.proto"), *ROOT.glob("relay/v1/*.proto"))):
        relative = proto.relative_to(ROOT)
        folder = proto.parent
        newest = max(proto.stat().st_mtime, Path(__file__).stat().st_mtime)
        outputs = [
            folder / f"{proto.stem}_pb2.py",
            folder / f"{proto.stem}_pb2.pyi",
            folder / f"{proto.stem}_pb2_grpc.py",
        ]
        if all(o.exists() and o.stat().st_mtime >= newest for o in outputs):
            continue
        arguments = ["protoc", f"-I{ROOT}", f"--python_out={ROOT}", f"--pyi_out={ROOT}", f"--grpc_python_out={ROOT}"]
        if protoc.main([*arguments, str(relative)]) != 0:
            sys.exit(f"protoc failed on {relative}")


class BuildExtensions(build_ext):
    """build_ext that first writes what the kernels include."""

    def finalize_options(self) -> None:
        super().finalize_options()
        # Three extensions, independent of each other.
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        generate_codes()
        generate_protobuf()
        super().run()


class BuildPython(build_py):
    """build_py that first writes the protobuf modules, so that a wheel carries them."""

    def run(self) -> None:
        generate_protobuf()
        super().run()


def cythonized() -> list[Extension]:
    """Translate the .pyx files; absent when only metadata is asked for."""
    from Cython.Build import cythonize

    return list(
        cythonize(
            extensions(),
            compiler_directives={"language_level": "3", "boundscheck": False, "wraparound": False, "cdivision": True},
            nthreads=0,
        )
    )


if __name__ == "__main__":
    setup(ext_modules=cythonized(), cmdclass={"build_ext": BuildExtensions, "build_py": BuildPython})
