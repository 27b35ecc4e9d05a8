"""The road of a swap: begun or accepted, driven by what blocks and nodes show, told to whom it concerns."""
