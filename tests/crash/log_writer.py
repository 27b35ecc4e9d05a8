"""A writer to be killed: appends to two shards at once and prints each number that was acknowledged.

python -m tests.crash.log_writer FOLDER COUNT BODY_BYTES
"""

from __future__ import annotations

import sys
from pathlib import Path

from engine.errors import DiskFull, LogFailed
from tests.crash.logs import SHARDS, open_store, records_after


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main() -> None:
    path, count, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    store = open_store(path)
    logs = {shard: store.log(shard) for shard in SHARDS}
    say("open", logs[SHARDS[0]].last()[0])
    done = 0
    while done < count:
        appends = {}
        for shard, log in logs.items():
            records = records_after(log, shard, 1, size=size)
            appends[shard] = (records, records[0].number)
        try:
            store.append_many(appends, 1)
        except DiskFull:
            say("full", logs[SHARDS[0]].last()[0])
            done += 1
            continue
        except LogFailed:
            say("failed", appends[SHARDS[0]][1] - 1)
            try:
                store.append_many(appends, 1)
            except LogFailed:
                say("still failed")
            return
        done += 1
        say("acked", logs[SHARDS[0]].last()[0])


if __name__ == "__main__":
    main()
