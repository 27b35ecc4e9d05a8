"""One validator as a process: books on disk, peers and callers over mTLS, and the clock around the relay's core."""
