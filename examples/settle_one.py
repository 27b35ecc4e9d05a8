"""Settle one transfer: the smallest program that moves money and knows that it did.

    python settle_one.py HOST:PORT TLS_NAME KEYS PASSPHRASE_FILE DEBIT CREDIT AMOUNT

TLS_NAME names a certificate without its ending (NAME.pem, NAME.key, ca.pem beside them), KEYS a key file or a directory
of them; accounts are as the command line prints them, the amount is in minor units. Run it twice and two transfers are
made; send the same signed batch twice and there is one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from clearspan import Client
from clearspan.client import TlsFiles
from clearspan.keys import KeyRing, read_passphrase
from clearspan.signer import Signer


def main(arguments: list[str]) -> int:
    """Return 0 when the transfer is settled, 1 when the ledger refused it."""
    target, tls, keys, passphrase, debit, credit, amount = arguments
    credentials = TlsFiles(Path(f"{tls}.pem"), Path(f"{tls}.key"), Path(tls).with_name("ca.pem"))
    ring = KeyRing.load(Path(keys), read_passphrase(Path(passphrase)))
    with Client.connect(target, credentials) as client:
        signer = Signer(client.network().genesis, ring)
        (payer,) = client.accounts([account_id(debit)])
        if payer is None:
            sys.exit(f"there is no account {debit}")
        payment = signer.transfer(
            debit_account=payer.id,
            credit_account=account_id(credit),
            amount=int(amount),
            ledger=payer.account.ledger,
            key_id=payer.account.key_lineage,
        )
        result = client.submit([payment], signer)[0]
    print(f"{result.name}: {result.next_step}")
    return 0 if result.settled else 1


def account_id(text: str) -> int:
    """Read an account id: 32 hex digits, with or without hyphens."""
    return int(text.replace("-", ""), 16)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
