"""A node's line to the validators: it offers headers, follows what becomes final, and makes receipts of it."""
