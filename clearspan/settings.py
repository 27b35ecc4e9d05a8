"""Settings files: one TOML file to a process, checked whole before anything starts, every key also a long flag.

A file begins with `format = 1` and has sections. A key that is not known is refused with its path, and so is a value
outside its bounds. Which sections there are, their keys, bounds and descriptions stand in the types that a `Settings`
is made of; the flags and the reference in the documents are made from them.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from clearspan.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ENVIRONMENT_VARIABLE", "FORMAT", "Address", "Flag", "Loaded", "Port", "Section", "Settings"]

FORMAT: Final = 1
ENVIRONMENT_VARIABLE: Final = "CLEARSPAN_CONFIG"
_FILE_BYTES_MAX: Final = 1 << 20
_ADDRESS: Final = r"^[A-Za-z0-9.:\[\]-]{1,255}$"

Port = Annotated[int, Meta(ge=0, le=65535)]
Address = Annotated[str, Meta(pattern=_ADDRESS)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Root of the sections, and of the file: frozen, and without room for keys that nobody knows."""


Config = TypeVar("Config", bound=Section)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[Config]):
    """Settings that were checked, and the directory to which their paths are relative."""

    config: Config
    directory: Path

    def resolve(self, path: str) -> Path:
        """Return a path of the settings as it is used."""
        return self.directory / path


@dataclass(frozen=True, slots=True)
class Flag:
    """One key as a long flag, for a command line to declare: type is int, str, bool, or list for a repeated string."""

    section: str
    key: str
    type: type[int | str | bool | list[str]]
    choices: tuple[str, ...]
    default: object
    required: bool
    help: str

    @property
    def name(self) -> str:
        """The flag as it is typed: --limits-message-bytes-max."""
        return f"--{self.section}-{self.key}".replace("_", "-")

    @property
    def parameter(self) -> str:
        """The flag's name as an argument in Python, and its key in the overrides: limits_message_bytes_max."""
        return f"{self.section}_{self.key}"


@dataclass(frozen=True)
class Settings(Generic[Config]):
    """One kind of file: the type of the whole, its usual name, whose it is, and what helps who has none."""

    root: type[Config]
    file_name: str
    owner: str
    remedy: str

    @property
    def sections(self) -> dict[str, type[Section]]:
        """The sections by name, in the order of the file."""
        hints = get_type_hints(self.root)
        return {field.name: hints[field.name] for field in msgspec.structs.fields(self.root) if field.name != "format"}

    def flags(self) -> tuple[Flag, ...]:
        """Return the flags of all keys, in the order of the file."""
        return tuple(flag for section, struct in self.sections.items() for flag in _section_flags(section, struct))

    def load(self, path: Path | None = None, overrides: Mapping[str, object] | None = None) -> Loaded[Config]:
        """Read and check the file at path, or the one that CLEARSPAN_CONFIG names, or the usual one here.

        overrides are flags by their parameter name; None means that the flag was not given. Raises ConfigError.
        """
        found = path if path is not None else Path(os.environ.get(ENVIRONMENT_VARIABLE, "") or self.file_name)
        try:
            with found.open("rb") as file:
                content = file.read(_FILE_BYTES_MAX + 1)
        except OSError as error:
            next_step = f"name the file by --config or {ENVIRONMENT_VARIABLE}, or {self.remedy}"
            raise ConfigError(str(found), error.strerror or "cannot be read", next_step) from error
        if len(content) > _FILE_BYTES_MAX:
            raise ConfigError(str(found), "larger than 1 MiB", "this is no settings file")
        return Loaded(self.parse(content, str(found), overrides), found.resolve().parent)

    def parse(self, content: bytes, name: str, overrides: Mapping[str, object] | None = None) -> Config:
        """Check a file's content, with flags laid over it. Raises ConfigError with the path of the key."""
        try:
            document = tomllib.loads(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ConfigError(name, str(error), "mend the line; the format is TOML 1.0 in UTF-8") from error
        if document.get("format") != FORMAT:
            raise ConfigError("format", f"{document.get('format')!r} is not known here", f"write format = {FORMAT}")
        self._lay_over(document, overrides or {})
        try:
            return msgspec.convert(document, self.root)
        except msgspec.ValidationError as error:
            raise self._config_error(error) from error

    def render(self, config: Config) -> str:
        """Return a file's text with every key and its description; ``parse`` reads the same settings from it."""
        lines = [f"# Settings of {self.owner}. Paths are relative to this file.", f"format = {FORMAT}"]
        for section, struct in self.sections.items():
            values = getattr(config, section)
            lines += ["", f"# {(struct.__doc__ or '').strip()}", f"[{section}]"]
            for flag in _section_flags(section, struct):
                lines += [f"# {flag.help}", f"{flag.key} = {_toml_value(getattr(values, flag.key))}"]
        return "\n".join([*lines, ""])

    def _lay_over(self, document: dict[str, Any], overrides: Mapping[str, object]) -> None:
        known = {flag.parameter: flag for flag in self.flags()}
        for parameter, value in overrides.items():
            if value is None or value == ():
                continue
            flag = known.get(parameter)
            if flag is None:
                raise ConfigError(parameter, "no such flag", "see the list of flags with --help")
            section = document.setdefault(flag.section, {})
            if not isinstance(section, dict):
                raise ConfigError(flag.section, "is a key and no section", f"write [{flag.section}]")
            section[flag.key] = list(value) if isinstance(value, tuple) else value

    def _config_error(self, error: msgspec.ValidationError) -> ConfigError:
        """Turn `Expected int, got str - at $.limits.rpcs_max` into path, reason and next step."""
        reason, _, place = str(error).partition(" - at `$")
        path = place.strip("`").lstrip(".")
        prefix = "Object contains unknown field `"
        if reason.startswith(prefix):
            key = reason.removeprefix(prefix).rstrip("`")
            return ConfigError(f"{path}.{key}".lstrip("."), "unknown key", "remove it, or correct its spelling")
        missing = "Object missing required field `"
        if reason.startswith(missing):
            key = reason.removeprefix(missing).rstrip("`")
            return ConfigError(f"{path}.{key}".lstrip("."), "is missing", "set it; it has no default")
        next_step = f"see the reference of {self.file_name} for this key's type and bounds"
        return ConfigError(path or self.file_name, reason, next_step)


def _section_flags(section: str, struct: type[Section]) -> list[Flag]:
    hints = get_type_hints(struct, include_extras=True)
    found = []
    for field in msgspec.structs.fields(struct):
        kind, choices, description = _describe(hints[field.name])
        default = None if field.required else field.default
        found.append(Flag(section, field.name, kind, choices, default, field.required, description))
    return found


def _describe(hint: Any) -> tuple[type[int | str | bool | list[str]], tuple[str, ...], str]:
    """Return a field's plain type, its choices and its description with its bounds."""
    description, bounds = "", [None, None]
    while get_origin(hint) is Annotated:
        hint, *metas = get_args(hint)
        for meta in metas:
            description = meta.description or description
            bounds = [meta.ge if meta.ge is not None else bounds[0], meta.le if meta.le is not None else bounds[1]]
    if bounds != [None, None]:
        description = f"{description} ({bounds[0]} to {bounds[1]})"
    if get_origin(hint) is Literal:
        return str, tuple(get_args(hint)), description
    if get_origin(hint) is tuple:
        return list[str], (), description
    return hint, (), description


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_toml_value(each) for each in value)}]"
    # A JSON string is a TOML basic string for every text that can stand in a setting.
    return msgspec.json.encode(str(value)).decode()
