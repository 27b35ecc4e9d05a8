"""A Hypothesis profile for those who only want to know whether something fails: `--hypothesis-profile=unshrunk`."""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile("unshrunk", phases=[Phase.explicit, Phase.generate], database=None)
