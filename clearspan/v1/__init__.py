"""The wire schema of the service, version 1, and the code that the build makes from it."""
