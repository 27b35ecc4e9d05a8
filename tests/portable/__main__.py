"""`make portable`: the kernels' self-test for every target that this machine has the tools for."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.portable.build import TARGETS, check, compiled, missing, vectors


def main(names: list[str]) -> int:
    """Build and run the targets named, all without a name; 77 when the tools of one are missing."""
    lines = vectors()
    status = 0
    with tempfile.TemporaryDirectory(prefix="clearspan-portable-") as folder:
        programs: dict[str, Path] = {}
        for name in names or TARGETS:
            target = TARGETS[name]
            lacking = missing(target)
            if lacking:
                packages = " and ".join(tool.package for tool in lacking)
                print(f"{target.title}: not run, install Debian's {packages}")
                status = 77
                continue
            build = target.build
            if build.name not in programs:
                own = Path(folder) / build.name
                own.mkdir()
                programs[build.name] = compiled(build, own)
            for answer in check(target, programs[build.name], lines):
                print(f"{target.title}: {answer}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
