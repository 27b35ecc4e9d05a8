"""node.toml: every wrong key is refused with its path, every key is a flag, and what is written is read back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from clearspan.config import ENVIRONMENT_VARIABLE, flags, load_config, parse_config, render_config
from clearspan.errors import ConfigError

SMALLEST = b'format = 1\n[node]\ngenesis = "genesis.json"\ndomain = 1\n'


def test_the_smallest_file_has_every_default() -> None:
    config = parse_config(SMALLEST)
    assert (config.node.host, config.node.port, config.metrics.port) == ("127.0.0.1", 7400, 9640)
    assert config.limits.message_bytes_max == 8 << 20


@pytest.mark.parametrize(
    ("content", "path", "reason"),
    [
        (b"x =", "node.toml", "TOML"),
        (b"\xff", "node.toml", ""),
        (b"", "format", "None"),
        (b"format = 2\n", "format", "2"),
        (b"format = 1\n", "node", "missing"),
        (b"format = 1\n[node]\ndomain = 1\n", "node.genesis", "missing"),
        (SMALLEST + b"colour = 1\n", "node.colour", "unknown key"),
        (SMALLEST + b"[colours]\n", "colours", "unknown key"),
        (SMALLEST + b'port = "7400"\n', "node.port", "int"),
        (SMALLEST + b"port = 65536\n", "node.port", "65535"),
        (SMALLEST + b"port = -1\n", "node.port", "0"),
        (SMALLEST + b"[limits]\nmessage_bytes_max = 9000000\n", "limits.message_bytes_max", "8388608"),
        (SMALLEST + b"[limits]\nrpcs_max = 1.5\n", "limits.rpcs_max", "int"),
        (SMALLEST + b'[relay]\nvalidators = ["a b"]\n', "relay.validators[0]", "regex"),
        (SMALLEST + b'log_level = "chatty"\n', "node.log_level", "chatty"),
        (SMALLEST.replace(b"domain = 1", b"domain = 0"), "node.domain", "1"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_path(content: bytes, path: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(content)
    assert caught.value.path == path
    assert reason in caught.value.reason or reason in caught.value.next_step
    assert caught.value.next_step
    assert caught.value.exit_code == 2


def test_every_key_is_a_flag_with_a_description() -> None:
    names = {flag.name for flag in flags()}
    config = parse_config(SMALLEST)
    keys = {
        f"--{section}-{key}".replace("_", "-")
        for section, values in msgspec.to_builtins(config).items()
        if section != "format"
        for key in values
    }
    assert names == keys
    assert "--limits-message-bytes-max" in names
    assert all(flag.help for flag in flags())
    assert {flag.name for flag in flags() if flag.required} == {"--node-genesis", "--node-domain"}


def test_a_flag_wins_over_the_file_and_is_checked_as_a_key() -> None:
    config = parse_config(SMALLEST, overrides={"node_port": 0, "relay_validators": ("a:1", "b:2"), "node_name": None})
    assert (config.node.port, config.relay.validators, config.node.name) == (0, ("a:1", "b:2"), "node")
    with pytest.raises(ConfigError, match=r"node\.port"):
        parse_config(SMALLEST, overrides={"node_port": 70_000})
    with pytest.raises(ConfigError, match="no such flag"):
        parse_config(SMALLEST, overrides={"node_colour": 1})


def test_what_is_written_is_read_back() -> None:
    content = SMALLEST + b'name = "a.b"\n[relay]\nvalidators = ["h:1"]\n[metrics]\nenabled = true\n'
    config = parse_config(content)
    assert parse_config(render_config(config).encode()) == config


def test_the_file_is_found_by_argument_then_environment_then_here(tmp_path: Path, monkeypatch) -> None:
    for name in ("one", "two", "here"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "node.toml").write_bytes(SMALLEST + f'name = "{name}"\n'.encode())
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    assert load_config().config.node.name == "here"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "two" / "node.toml"))
    assert load_config().config.node.name == "two"
    loaded = load_config(tmp_path / "one" / "node.toml")
    assert loaded.config.node.name == "one"
    assert loaded.resolve("data") == tmp_path / "one" / "data"
    assert loaded.resolve("/abs") == Path("/abs")


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "none.toml")
    assert "clearspan init" in caught.value.next_step
