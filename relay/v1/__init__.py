"""The validators' schema and the modules generated from it."""
