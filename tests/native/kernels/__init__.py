"""Libraries of the signature kernels at their C entries, built for the tests from the sources as they stand."""
