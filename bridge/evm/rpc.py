"""Nodes of an EVM chain over JSON-RPC: bounded answers, the right chain and contract, and the next node when one fails.

A node is not trusted with more than its answers' form: it must be of the chain, show exactly our contract's code, and
answer within size and time. Answers about final matters can be asked of several nodes (``Nodes.agree``).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import aiohttp
import msgspec
from web3 import AsyncWeb3
from web3.exceptions import Web3Exception
from web3.middleware import ExtraDataToPOAMiddleware
from web3.providers.async_base import AsyncJSONBaseProvider

from bridge.evm.contract import artifact
from bridge.leg import LegRefused, LegUnavailable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from eth_typing import ChecksumAddress
    from web3.types import RPCEndpoint, RPCResponse

__all__ = [
    "ChainIdentity",
    "Endpoint",
    "NodeHungUp",
    "NodeNotReached",
    "Nodes",
    "RpcLimits",
    "RpcNode",
    "Web3Node",
    "plain_words",
]

Web3Node: TypeAlias = "AsyncWeb3[RpcNode]"
_Answer = TypeVar("_Answer")
_CHUNK_BYTES = 1 << 16
_MOMENT_S = 0.5
_WORDS_MAX = 200
# What a malformed answer makes of itself inside a decoder.
_MALFORMED = (
    Web3Exception,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    ArithmeticError,
    RecursionError,
)


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """Bounds on one answer: bytes, seconds, and events of one search (blocks and events).

    ``ahead_s_max`` is how far a node's newest block may be ahead of our clock; 0 asks for nothing.
    """

    answer_bytes_max: int = 8 << 20
    timeout_s: int = 10
    search_blocks_max: int = 2_000
    events_max: int = 1_000
    ahead_s_max: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a node answers, with the headers and the TLS context that it asks for; never shown in messages."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ChainIdentity:
    """Which chain and contract are meant; ``genesis`` is the hash of block 0 (None where nodes no longer keep it)."""

    chain_id: int
    contract: ChecksumAddress
    genesis: bytes | None = None


class NodeNotReached(LegUnavailable):
    """No connection came about, so the node certainly has not got what it was to be told."""


class NodeHungUp(LegUnavailable):
    """The node closed a connection that was open: perhaps only an old one, perhaps it is another node by now."""


class RpcNode(AsyncJSONBaseProvider):
    """One node behind web3's port of a provider; raises LegUnavailable for all that is no answer."""

    def __init__(self, name: str, endpoint: Endpoint, limits: RpcLimits) -> None:
        """Connect with the first request."""
        super().__init__()
        self.name = name
        self._endpoint = endpoint
        self._limits = limits
        self._session: aiohttp.ClientSession | None = None

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Ask once; the answer is a JSON-RPC answer to exactly this request, errors of JSON-RPC included."""
        request = self.form_request(method, params)
        try:
            content = await self._post(self.encode_rpc_dict(request))
        except (aiohttp.ServerDisconnectedError, ConnectionResetError) as error:
            raise NodeHungUp(f"{self.name} closed the connection") from error
        except aiohttp.ClientConnectorError as error:
            raise NodeNotReached(f"{self.name} cannot be reached") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LegUnavailable(f"{self.name} does not answer {method}: {type(error).__name__}") from error
        try:
            answer = msgspec.json.decode(content, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError) as error:
            raise LegUnavailable(f"{self.name} answered {method} with what is no JSON object") from error
        if answer.get("id") != request["id"] or ("result" in answer) == ("error" in answer):
            raise LegUnavailable(f"{self.name} answered {method} with something else")
        return cast("RPCResponse", answer)

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(self, body: bytes) -> bytes:
        if self._session is None:
            # No decompression: a small answer must not become a large one.
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._limits.timeout_s), auto_decompress=False, trust_env=False
            )
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **self._endpoint.headers}
        tls = True if self._endpoint.tls is None else self._endpoint.tls
        content = bytearray()
        async with self._session.post(
            self._endpoint.url, data=body, headers=headers, allow_redirects=False, ssl=tls
        ) as response:
            if response.status != 200:
                raise LegUnavailable(f"{self.name} answered with HTTP status {response.status}")
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                content += chunk
                if len(content) > self._limits.answer_bytes_max:
                    raise LegUnavailable(f"{self.name} answered more than {self._limits.answer_bytes_max} bytes")
        return bytes(content)


class Nodes:
    """Several nodes of one chain: one is asked until it fails, then the next."""

    def __init__(self, endpoints: Sequence[Endpoint], identity: ChainIdentity, limits: RpcLimits) -> None:
        """Name the nodes by their place in the list, from 1."""
        if not endpoints:
            raise ValueError("at least one node is needed")
        self.identity = identity
        self.limits = limits
        self._nodes = [RpcNode(f"node {index}", one, limits) for index, one in enumerate(endpoints, 1)]
        self._web3 = [AsyncWeb3(node, middleware=[ExtraDataToPOAMiddleware]) for node in self._nodes]
        self._admitted = [False] * len(self._nodes)
        self._failed = [False] * len(self._nodes)
        self._current = 0

    def __len__(self) -> int:
        """Count the nodes."""
        return len(self._nodes)

    async def read(self, ask: Callable[[Web3Node], Awaitable[_Answer]], *, insist: bool = False) -> _Answer:
        """Ask one node everything that ``ask`` needs; on a failure ask the next all of it again.

        With ``insist`` a refusal is one node's word, and counts only when no other node answers otherwise. Raises
        LegUnavailable when every node failed, with the last one's reason.
        """
        return (await self.read_at(ask, insist=insist))[1]

    async def read_at(
        self, ask: Callable[[Web3Node], Awaitable[_Answer]], *, insist: bool = False
    ) -> tuple[int, _Answer]:
        """Do as ``read``, and say which node it was, by its place from 0."""
        reason: LegUnavailable | None = None
        refused: LegRefused | None = None
        first = self._current
        for step in range(len(self._nodes)):
            index = (first + step) % len(self._nodes)
            try:
                answer = await self._ask(index, ask)
            except LegRefused as error:
                if not insist:
                    raise
                refused = refused or error
            except LegUnavailable as error:
                reason = error
                if self._current == index:
                    self._current = (index + 1) % len(self._nodes)
            else:
                return index, answer
        raise refused or reason or LegUnavailable("no node")

    def turn(self) -> None:
        """Ask the next node from now on, of those that answered when they were last asked."""
        for step in range(1, len(self._nodes)):
            index = (self._current + step) % len(self._nodes)
            if not self._failed[index]:
                self._current = index
                return

    async def agree(
        self, answer: _Answer, ask: Callable[[Web3Node], Awaitable[_Answer]], count: int, *, asked: int
    ) -> bool:
        """Whether ``count`` nodes, the one at ``asked`` that gave ``answer`` included, give the same."""
        same = 1
        for step in range(1, len(self._nodes)):
            if same >= count:
                break
            with suppress(LegUnavailable):
                # Beside the one that was asked, whichever is asked by others in the meantime: no node counts twice.
                same += await self._ask((asked + step) % len(self._nodes), ask) == answer
        return same >= count

    async def read_some(self, ask: Callable[[Web3Node], Awaitable[_Answer]], count: int) -> list[_Answer]:
        """Ask all nodes at once and return what at least ``count`` of them answer; the others have a moment more.

        Raises LegUnavailable when fewer answer, with the last one's reason, and what the first refusal was.
        """
        tasks = [asyncio.ensure_future(self._ask(index, ask)) for index in range(len(self._nodes))]
        waiting, answers, reason = set(tasks), 0, LegUnavailable("no node")
        try:
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting,
                    timeout=_MOMENT_S if answers >= count else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    break
                for task in done:
                    error = task.exception()
                    if isinstance(error, LegUnavailable):
                        reason = error
                    elif error is not None:
                        raise error
                    else:
                        answers += 1
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        if answers < count:
            raise reason
        return [task.result() for task in tasks if not task.cancelled() and task.exception() is None]

    async def broadcast(self, raw: bytes) -> str:
        """Hand a transaction to every node; return "" when one took or has it, else the last refusal's words.

        Raises LegUnavailable when no node answered, and when some refused and another may have got it all the same.
        """
        refusal: str | None = None
        taken = False
        down: LegUnavailable | None = None
        for index in range(len(self._nodes)):
            try:
                words = await self._ask(index, lambda web3: _send(web3, raw))
            except LegUnavailable as error:
                if down is None or isinstance(down, NodeNotReached):
                    down = error
                continue
            taken = taken or not words
            refusal = words
        if taken:
            return ""
        if down is not None and (refusal is None or not isinstance(down, NodeNotReached)):
            raise down
        return refusal or ""

    async def close(self) -> None:
        """Let go of all connections."""
        for node in self._nodes:
            await node.close()

    async def _ask(self, index: int, ask: Callable[[Web3Node], Awaitable[_Answer]]) -> _Answer:
        try:
            return await self._ask_once(index, ask)
        except NodeHungUp:
            # Every question may be repeated; the node is examined first.
            return await self._ask_once(index, ask)

    async def _ask_once(self, index: int, ask: Callable[[Web3Node], Awaitable[_Answer]]) -> _Answer:
        web3 = self._web3[index]
        name = self._nodes[index].name
        try:
            if not self._admitted[index]:
                await self._admit(web3, name)
                self._admitted[index] = True
            answer = await ask(web3)
        except LegRefused:
            raise  # an answer, not a failure
        except LegUnavailable:
            # It may come back as something else, so it is examined again.
            self._admitted[index], self._failed[index] = False, True
            raise
        except _MALFORMED as error:
            self._failed[index] = True
            raise LegUnavailable(f"{name}: {type(error).__name__}: {plain_words(error)}") from error
        self._failed[index] = False
        return answer

    async def _admit(self, web3: Web3Node, name: str) -> None:
        chain_id = await web3.eth.chain_id
        if chain_id != self.identity.chain_id:
            raise LegUnavailable(f"{name} is of chain {chain_id}, not {self.identity.chain_id}")
        if self.identity.genesis is not None:
            first = await web3.eth.get_block(0)
            if bytes(first["hash"]) != self.identity.genesis:
                raise LegUnavailable(f"{name} began with another block")
        if bytes(await web3.eth.get_code(self.identity.contract)) != artifact().deployed_bytecode:
            raise LegUnavailable(f"{name} shows another contract, or none, at {self.identity.contract}")


def plain_words(said: object) -> str:
    """Return what a node said as people may be shown it: short, and nothing in it that commands a terminal."""
    return "".join(each if each.isprintable() else "?" for each in str(said)[:_WORDS_MAX])


async def _send(web3: Web3Node, raw: bytes) -> str:
    """Hand over a transaction; "" when it was taken or is there already."""
    answer = await web3.provider.make_request(cast("RPCEndpoint", "eth_sendRawTransaction"), ["0x" + raw.hex()])
    if "error" not in answer:
        return ""
    error = answer["error"]
    words = plain_words(error["message"] if isinstance(error, dict) else error)
    known = words.lower()
    return "" if "already known" in known or "already imported" in known or "known transaction" in known else words
