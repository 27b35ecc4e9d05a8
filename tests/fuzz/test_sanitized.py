"""Once a night the kernels' tests run on kernels that watch every access and every undefined operation."""

from __future__ import annotations

import pytest

from tests.fuzz import sanitized


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_the_kernels_touch_nothing_that_is_not_theirs(request) -> None:
    code = sanitized.run()
    if code == sanitized.SKIPPED:
        message = "libasan is missing: install Debian's package libgcc-12-dev"
        if request.config.getoption("--require-tools"):
            pytest.fail(message)
        pytest.skip(message)
    assert code == 0
