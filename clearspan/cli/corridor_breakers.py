# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""Breakers of corridors at the command line: which corridor is meant, and telling bridges what a ledger decided."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clearspan.cli.session import Session
    from clearspan.client import AsyncClient
    from engine.genesis import GenesisDomain

__all__ = ["corridor_number", "final_height", "next_height", "tell_bridges"]

_ID_DIGITS = 32
SHARD_BITS = 8


def corridor_number(session: Session, text: str) -> int:
    """Return the number of a corridor by its id of 32 digits, or by its pair, such as CNY-HKD. Raises ConfigError."""
    from clearspan.bridging.market.corridors import read_folder
    from clearspan.bridging.staging.folder import CORRIDORS_FOLDER
    from clearspan.errors import ConfigError

    if len(text) == _ID_DIGITS and "-" not in text:
        try:
            return int(text, 16)
        except ValueError as error:
            raise ConfigError("SUBJECT", f"{text!r} is no id", "write its 32 hexadecimal digits") from error
    source, dash, target = text.partition("-")
    if not dash:
        raise ConfigError("SUBJECT", f"{text[:60]!r} is no corridor", "write its pair, such as CNY-HKD, or its id")
    pair = tuple(session.ledger(name)[1].ledger for name in (source, target))
    found = {
        document.id
        for _, document in read_folder(session.network.path / CORRIDORS_FOLDER)
        if (document.source_ledger, document.target_ledger) == pair
    }
    if len(found) != 1:
        reason = f"{len(found)} corridors lead from {source} to {target} as this folder knows"
        raise ConfigError("SUBJECT", reason, "name it by its id: clearspan corridor list --json")
    return int(found.pop(), 16)


async def next_height(client: AsyncClient, domain: int) -> int:
    """Return the height of the next block of a domain's first shard that will be final."""
    height, _ = await client.final_blocks(domain << SHARD_BITS, 0, wait_s=0.0)
    return height


async def final_height(session: Session, client: AsyncClient, domain: int, height: int, body: bytes) -> int:
    """Return the height, from one on, of the final block that decided a request. Raises TimedOut."""
    from clearspan.errors import TimedOut
    from engine.prefix import PrefixType, record_digest, signing_prefix

    genesis = session.network.genesis
    wanted = {
        record_digest(genesis.hash_suite, signing_prefix(genesis.hash_suite, PrefixType.ACCOUNT, genesis.hash), body)
    }
    until = time.monotonic() + session.timeout_s
    while time.monotonic() < until:
        height, blocks = await client.final_blocks(domain << SHARD_BITS, height, wait_s=1.0)
        found = next((each.header.height for each in blocks if each.among(wanted)), None)
        if found is not None:
            return found
    raise TimedOut("breaker", "it is decided, but not final yet")


async def tell_bridges(
    session: Session, domain: GenesisDomain, height: int, body: bytes, speaker: str
) -> list[dict[str, Any]]:
    """Hand a breaker that a domain decided on to every bridge of the folder; return what each said."""
    from clearspan.bridging.settings.directory import BRIDGES_FILE, BridgeDirectory

    directory = BridgeDirectory(session.network.path / BRIDGES_FILE)
    certificate = session.certificate(domain.domain, speaker).certificate.stem

    async def tell(participant: int) -> dict[str, Any]:
        from clearspan.cli.bridges import bridge_client
        from clearspan.errors import ClientError, ConfigError

        try:
            async with bridge_client(session, participant, directory, certificate) as client:
                reply = await client.take_breaker(domain.domain, height, body)
        except (ClientError, ConfigError) as error:
            return {"participant": participant, "told": False, "said": f"not told: {error}"}
        if reply.refusal.code:
            text = f"refused: {reply.refusal.text}; {reply.refusal.next_step}"
            return {"participant": participant, "told": False, "said": text}
        said = f"{reply.breaker.grade} from relay height {reply.breaker.relay_height} on"
        return {"participant": participant, "told": True, "said": said if reply.fresh else "knew it"}

    return list(await asyncio.gather(*(tell(each.participant) for each in directory.entries)))
