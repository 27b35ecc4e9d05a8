# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan sign`: the payer's side. Payments of an ISO 20022 file become a signed batch file; no network is used."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clearspan.cli.options import IN_FILE, json_option, network_option
from clearspan.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clearspan.administration import RingKey
    from clearspan.cli.session import Session
    from clearspan.iso20022 import Instruction
    from clearspan.keys import KeyRing
    from engine.batch import BatchColumns
    from engine.record import Transfer

__all__ = ["command"]


@click.command("sign")
@click.argument("files", type=IN_FILE, nargs=-1, required=True)
@click.option(
    "--keys",
    "keys_path",
    type=click.Path(exists=True, path_type=Path),
    help="Key file, or folder of key files [default: those of each payer in the network's folder].",
)
@click.option("--passphrase-file", type=IN_FILE, help="Opens the keys [default: the network folder's].")
@click.option("--directory", "directory_path", type=IN_FILE, help="File of aliases: what a BIC or a name stands for.")
@click.option("--key-id", type=click.IntRange(1), help="Sign everything with this key.")
@click.option(
    "--valid-for-s", type=click.IntRange(1, 86_400), help="How long it may be submitted [default: the ledger's window]."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="File, or folder for several [default: beside each file, .csb]."
)
@click.option(
    "--status-report", type=click.Path(dir_okay=False, path_type=Path), help="Write a pacs.002 when a file is refused."
)
@network_option
@json_option
def command(
    *,
    files: tuple[Path, ...],
    keys_path: Path | None,
    passphrase_file: Path | None,
    directory_path: Path | None,
    key_id: int | None,
    valid_for_s: int | None,
    out: Path | None,
    status_report: Path | None,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Sign the payments of ISO 20022 FILES (pacs.008, pacs.009) and write one batch file for each.

    A payment's UETR becomes the transfer's id, so the same payment is the same request however often it is sent. All
    files of one call get the same expiry. A file that cannot be read whole is refused whole, and nothing is written.
    """
    from clearspan.cli.session import Session
    from clearspan.iso20022 import IsoError, instructions, read, read_directory, refusal_report
    from clearspan.keys import KeyRing, read_passphrase

    session = Session.open(network_path)
    ring = None
    if keys_path is not None:
        passphrase = read_passphrase(passphrase_file) if passphrase_file is not None else session.network.passphrase()
        ring = KeyRing.load(keys_path, passphrase)
    aliases = read_directory(directory_path.read_bytes()).account_aliases() if directory_path is not None else {}
    targets = _targets(files, out)
    signing = _Signing(session, ring, key_id or 0, valid_for_s, time.time_ns())
    contents: list[tuple[Path, bytes, int]] = []
    for file, target in zip(files, targets, strict=True):
        try:
            found = instructions(read(file.read_bytes()), aliases)
        except IsoError as error:
            if status_report is not None:
                status_report.write_bytes(refusal_report(error))
            raise
        contents.append((target, signing.batch_file(found), len(found)))
    # All files are good: only now is anything written.
    for target, content, _ in contents:
        target.write_bytes(content)
    output = Output(as_json=as_json)
    signed = [
        {"file": str(file), "batch_file": str(target), "payments": count}
        for file, (target, _, count) in zip(files, contents, strict=True)
    ]
    output.document({"signed": signed, "expires_at": signing.expires_at})
    output.table(
        ["file", "payments>", "batch file"], [(each["file"], each["payments"], each["batch_file"]) for each in signed]
    )
    output.line(f"submit within {(signing.expires_at - time.time_ns()) // 1_000_000_000} s")


def _targets(files: Sequence[Path], out: Path | None) -> list[Path]:
    """Say where each batch file goes; several need a folder."""
    from clearspan.errors import ConfigError

    if out is None:
        return [file.with_suffix(".csb") for file in files]
    if out.is_dir():
        return [out / f"{file.stem}.csb" for file in files]
    if len(files) > 1:
        raise ConfigError("--out", f"{out} is no folder", "name a folder that exists for several files")
    return [out]


class _Signing:
    """Signs the instructions of one call: one expiry, keys loaded once for each participant."""

    def __init__(self, session: Session, ring: KeyRing | None, key_id: int, valid_for_s: int | None, now: int) -> None:
        self._session = session
        self._ring = ring
        self._key_id = key_id
        ledgers = [ledger for domain in session.network.genesis.domains for ledger in domain.ledgers]
        self._valid_for_s = valid_for_s or min(ledger.window_s for ledger in ledgers)
        self.expires_at = now + self._valid_for_s * 1_000_000_000
        self._keys: dict[tuple[int, int], RingKey] = {}

    def batch_file(self, found: Sequence[Instruction]) -> bytes:
        """Return the signed batch file of a message's instructions: a batch for each domain and 8,192 payments."""
        from engine.batch import encode_batch_file
        from engine.types import BATCH_COUNT_MAX

        genesis = self._session.network.genesis
        by_domain: dict[int, list[tuple[Transfer, RingKey]]] = {}
        for instruction in found:
            domain = self._session.ledger(str(instruction.ledger))[0].domain
            by_domain.setdefault(domain, []).append(self._record(domain, instruction))
        parts = []
        for domain, records in by_domain.items():
            for start in range(0, len(records), BATCH_COUNT_MAX):
                batch = self._sign(domain, records[start : start + BATCH_COUNT_MAX])
                parts.append(encode_batch_file(batch, genesis.hash_suite, genesis.hash))
        return b"".join(parts)

    def _record(self, domain: int, instruction: Instruction) -> tuple[Transfer, RingKey]:
        from engine.record import Transfer
        from engine.types import TransferFlag

        key = self._key(domain, instruction.debit_account)
        record = Transfer(
            id=instruction.id,
            debit_account=instruction.debit_account,
            credit_account=instruction.credit_account,
            amount=instruction.amount,
            ledger=instruction.ledger,
            key_id=key.key_id,
            expires_at=self.expires_at,
            valid_for_s=self._valid_for_s,
            user_data=instruction.user_data,
            code=instruction.code,
            flags=int(TransferFlag.ATTACHMENT),
            binding=instruction.attachment_hash,
        )
        return record, key

    def _key(self, domain: int, account: int) -> RingKey:
        """Return the key that signs for an account."""
        from clearspan.administration import RingKey
        from clearspan.errors import ConfigError
        from engine.record import participant_of_account
        from engine.types import Role

        found = self._keys.get((domain, account))
        if found is not None:
            return found
        if self._ring is None:
            found = self._session.account_signer(domain, account, self._key_id)
        else:
            participant = participant_of_account(account)
            known = self._session.network.participant(domain, participant)
            wanted = self._key_id or (known.accounts.get(account, 0) if known is not None else 0)
            fitting = [
                RingKey(self._ring, index)
                for index, info in enumerate(self._ring)
                if info.key_id
                and (info.key_id == wanted if wanted else (info.participant, info.role) == (participant, Role.ACCOUNT))
            ]
            if not fitting:
                raise ConfigError(
                    "--keys", f"holds no key for accounts of participant {participant}", "name its key file"
                )
            found = max(fitting, key=lambda each: each.key_id)
        self._keys[domain, account] = found
        return found

    def _sign(self, domain: int, records: Sequence[tuple[Transfer, RingKey]]) -> BatchColumns:
        """Sign with one native call for each ring of keys."""
        from clearspan.signer import Signer, new_batch_id
        from engine.batch import BatchColumns, sign_messages

        genesis = self._session.network.genesis
        transfers = [record for record, _ in records]
        if len({id(key.ring) for _, key in records}) == 1:
            return Signer(genesis, records[0][1].ring).sign(domain, transfers)
        messages = sign_messages(genesis.hash_suite, genesis.hash, transfers)
        signatures = [
            key.ring.sign(key.index, message) for (_, key), (message, _) in zip(records, messages, strict=True)
        ]
        return BatchColumns.from_transfers(domain, new_batch_id(), transfers, signatures)
