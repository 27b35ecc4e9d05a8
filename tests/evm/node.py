"""A real EVM node for tests: one anvil process on loopback, making blocks when it is told to or at a steady pace."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import TextIO

GENESIS_S = 1_700_000_000


class RpcError(Exception):
    """The node answered an error."""


class AnvilNode:
    """Starts with the constructor; `kill` is SIGKILL, `start` brings it back on the same port with `state`."""

    def __init__(
        self, binary: Path, state: Path | None = None, *, port: int = 0, rules: str = "", block_s: int = 0
    ) -> None:
        self._binary = binary
        self._state = state
        self._ids = itertools.count(1)
        self.port = port
        self._rules = ["--hardfork", rules] if rules else []
        # By itself it makes a block every so many seconds, by the machine's clock; else only when it is told to.
        # Its many blocks make a state that is larger than a request may be at first.
        paced = ["--block-time", str(block_s), "--no-request-size-limit"]
        self._pace = paced if block_s else ["--no-mining", "--timestamp", str(GENESIS_S)]
        self.process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                str(self._binary), "--host", "127.0.0.1", "--port", str(self.port), "--threads", "2",
                "--accounts", "3", *self._pace, *self._rules,
            ],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        for line in self.process.stdout:
            found = re.search(r"Listening on 127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found[1])
                break
        else:
            raise RuntimeError(f"the node ended with {self.process.wait(10)} before it listened")
        # It goes on to write a line for each request and block: unread, they would fill the pipe and stop it.
        threading.Thread(target=self._drain, args=(self.process.stdout,), daemon=True).start()
        if self._state is not None and self._state.exists():
            self("anvil_loadState", self._state.read_text())
        self("anvil_autoImpersonateAccount", True)

    def keep(self) -> None:
        """Write the node's chain to the state file: what a later start finds."""
        self._state.write_text(self("anvil_dumpState", True))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    @staticmethod
    def _drain(stream: TextIO) -> None:
        with stream:
            for _ in stream:
                pass

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()

    def __call__(self, method: str, *parameters: object) -> object:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            body = json.dumps({"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": parameters})
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def head(self) -> tuple[int, int]:
        """Number and time of the newest block."""
        block = self("eth_getBlockByNumber", "latest", False)
        return int(block["number"], 16), int(block["timestamp"], 16)

    def mine(self, blocks: int = 1, at: int | None = None) -> None:
        """Make blocks a second apart, the first at a given time if one is given."""
        for step in range(blocks):
            _, time_s = self.head()
            self("evm_setNextBlockTimestamp", time_s + 1 if at is None or step else at)
            self("anvil_mine", "0x1")

    def transact(self, sender: str, to: str | None, data: bytes, value: int = 0, gas: int = 5_000_000) -> dict:
        """Send as any account, make a block, return the receipt."""
        call = {"from": sender, "data": "0x" + data.hex(), "value": hex(value), "gas": hex(gas)}
        if to is not None:
            call["to"] = to
        if self._rules[-1:] in (["istanbul"], ["berlin"]):
            call["gasPrice"] = hex(10**10)
        name = self("eth_sendTransaction", call)
        self.mine()
        return self("eth_getTransactionReceipt", name)

    def call(self, to: str, data: bytes) -> bytes:
        return bytes.fromhex(self("eth_call", {"to": to, "data": "0x" + data.hex()}, "latest")[2:])
