"""C kernels and their bindings: signatures, hashes, Merkle trees and the ledger step.

They know record layouts, and never files, sockets, time or policy. ``native.twins`` holds a plain Python twin of each.
"""
