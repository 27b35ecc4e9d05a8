"""What goes wrong at the edge, as types with fields: each says what happened and what a person does next.

ClearspanError                    exit code of the command line
├── ConfigError                   2   a setting that cannot be used
├── PkiError                      2   certificates and their keys
│   ├── PkiExists                     the directory already holds an authority
│   └── CertificateInvalid            a file that is no certificate or key of the right kind
├── KeyFileError                  2   signing keys on disk
│   ├── KeyFileExposed                others may read the file
│   ├── KeyFileInvalid                not the format, or changed since it was written
│   └── PassphraseWrong               the passphrase does not open it (or the file was changed)
├── PortInUse                     2   the address of the service is taken
└── ClientError                       what the client library raises
    ├── Refused                   1   the service answered with a result code instead of a reply
    ├── Unreachable               3   no node answered until the deadline
    ├── TimedOut                  3   a node was asked; whether it decided is unknown: send the same bytes again
    └── VerificationFailed        4   an answer came and does not prove what it must
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CertificateInvalid",
    "ClearspanError",
    "ClientError",
    "ConfigError",
    "KeyFileError",
    "KeyFileExposed",
    "KeyFileInvalid",
    "PassphraseWrong",
    "PkiError",
    "PkiExists",
    "PortInUse",
    "Refused",
    "TimedOut",
    "Unreachable",
    "VerificationFailed",
]


class ClearspanError(Exception):
    """Root of what clearspan raises on its own account; next_step is a sentence for the person who reads it."""

    exit_code: ClassVar[int] = 5

    def __init__(self, message: str, next_step: str = "") -> None:
        """Keep both sentences apart, so that an interface can show them apart."""
        super().__init__(message)
        self.message = message
        self.next_step = next_step


class ConfigError(ClearspanError):
    """A setting cannot be used; path is `section.key`, or the file itself when it is no TOML at all."""

    exit_code = 2

    def __init__(self, path: str, message: str, next_step: str) -> None:
        """Name the setting, what is wrong with it and how to mend it."""
        super().__init__(f"{path}: {message}", next_step)
        self.path = path
        self.reason = message


class PkiError(ClearspanError):
    """Root of what can be wrong with certificates."""

    exit_code = 2

    def __init__(self, path: str, reason: str, next_step: str) -> None:
        """Name the file or directory and the reason."""
        super().__init__(f"{path}: {reason}", next_step)
        self.path = path
        self.reason = reason


class PkiExists(PkiError):  # noqa: N818 - named as what it is
    """The directory already holds a certificate authority; it is never overwritten."""

    def __init__(self, path: str) -> None:
        """Name the directory."""
        super().__init__(path, "a certificate authority is already there", "choose an empty directory, or use this one")


class CertificateInvalid(PkiError):  # noqa: N818 - named as what it is
    """A file that should hold a certificate or its key does not, or holds one of the wrong kind."""

    def __init__(self, path: str, reason: str) -> None:
        """Name the file and what is wrong with it."""
        super().__init__(path, reason, "give PEM files as clearspan or your own authority issued them, with P-256 keys")


class KeyFileError(ClearspanError):
    """Root of what can be wrong with a file of signing keys."""

    exit_code = 2

    def __init__(self, path: str, reason: str, next_step: str) -> None:
        """Name the file and the reason; never a secret."""
        super().__init__(f"{path}: {reason}", next_step)
        self.path = path
        self.reason = reason


class KeyFileExposed(KeyFileError):  # noqa: N818 - named as what it is
    """The file may be read by others than its owner, so it is not opened."""

    def __init__(self, path: str, mode: int, remedy: str = "replace the key") -> None:
        """Name the file, its permission bits, and what is to be done about what others may have read."""
        super().__init__(path, f"mode {mode:04o} lets others read it", f"run chmod 600 {path}, and {remedy}")
        self.mode = mode


class KeyFileInvalid(KeyFileError):  # noqa: N818 - named as what it is
    """The file is not of a format that is known here, or a field of it cannot be."""

    def __init__(self, path: str, reason: str) -> None:
        """Name the file and the field."""
        super().__init__(path, reason, "restore the file from its backup")


class PassphraseWrong(KeyFileError):  # noqa: N818 - named as what it is
    """The passphrase does not open the file, or the file was changed: the cipher cannot tell the two apart."""

    def __init__(self, path: str) -> None:
        """Name the file."""
        super().__init__(path, "the passphrase does not open it, or it was changed", "check the passphrase file first")


class PortInUse(ClearspanError):  # noqa: N818 - named as what it is
    """Another program listens at this address already."""

    exit_code = 2

    def __init__(self, host: str, port: int) -> None:
        """Name the address."""
        super().__init__(
            f"{host}:{port} is in use",
            "stop the program that listens there, or set another port (0 lets the system choose)",
        )
        self.host = host
        self.port = port


class ClientError(ClearspanError):
    """Root of what the client library raises."""


class Refused(ClientError):  # noqa: N818 - named as what it is
    """The service refused a whole call. Nothing of it was decided, unless it had been decided before."""

    exit_code = 1

    def __init__(self, code: int, name: str, message: str, next_step: str, retry_after_s: float | None = None) -> None:
        """Keep the result code (0 when the peer gave none), its name, and the wait it asks for, if any."""
        super().__init__(f"{name}: {message}" if message else name, next_step)
        self.code = code
        self.name = name
        self.retry_after_s = retry_after_s


class Unreachable(ClientError):  # noqa: N818 - named as what it is
    """No node answered at this target until the deadline."""

    exit_code = 3

    def __init__(self, target: str, detail: str) -> None:
        """Name the target and what the transport said last."""
        super().__init__(f"{target}: {detail}", "check that the node runs, the address, and both sides' certificates")
        self.target = target
        self.detail = detail


class TimedOut(ClientError):  # noqa: N818 - named as what it is
    """A node was asked and did not answer in time; it may have decided. Sending the same bytes again is safe."""

    exit_code = 3

    def __init__(self, target: str, detail: str) -> None:
        """Name the target and what was waited for."""
        super().__init__(f"{target}: {detail}", "send the same request again: what was decided is answered again")
        self.target = target
        self.detail = detail


class VerificationFailed(ClientError):  # noqa: N818 - named as what it is
    """An answer came and does not prove what it must; it is never shown as true."""

    exit_code = 4

    def __init__(self, what: str, reason: str) -> None:
        """Name what was checked and which check failed."""
        super().__init__(f"{what}: {reason}", "do not rely on this answer; keep it, and ask the operator")
        self.what = what
        self.reason = reason
