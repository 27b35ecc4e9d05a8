"""Coverage-guided fuzzing of the signature and hash kernels at their C entries."""
