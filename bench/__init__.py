"""Named loads and what they measure: `python -m bench settle --json`. Nothing imports it but its tests."""
