"""Chains of validators compared: agreement is said, a fork names more than a third, a forged one nobody."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from clearspan.cli.root import run
from clearspan.validator.books import BookEntry, ChainBook
from clearspan.validator.evidence import FORK_MARK
from engine.errors import ChainDamaged, HeaderConflict
from engine.relay_block import RelayBlock, RelayRecord, reveal_record
from engine.validators import Certificate
from relay.transcript import Transcript
from tests.behaviour.relay_world import World


def entry_of(block: RelayBlock, *certificates: Certificate, generation: int = 0) -> BookEntry:
    transcript = Transcript(certificates)
    return BookEntry(block.header.height, generation, block.encode(), certificates[-1].encode(), transcript.encode())


def write_chain(path, world: World, entries: list[BookEntry]):
    """A copy of a chain folder beside its genesis, as an operator hands it over."""
    path.mkdir()
    (path / "genesis.json").write_bytes(world.genesis.document)
    book = ChainBook(path / "chain")
    book.append(*entries)
    book.close()
    return path / "chain"


@pytest.fixture
def world() -> World:
    made = World()
    for _ in range(4):
        made.step()
    return made


def shared(world: World) -> list[BookEntry]:
    return [entry_of(block, certificate) for block, certificate in world.blocks]


def evidence(capsys, *arguments) -> tuple[int, dict]:
    code = run(["evidence", *(str(each) for each in arguments), "--json"])
    out = capsys.readouterr()
    return code, json.loads(out.out or out.err)


def fork_of(world: World) -> tuple[BookEntry, BookEntry]:
    """Two blocks of the next height, each certified; members 1 and 2 signed both."""
    one, _ = world.propose()
    other = world.remake(one, [*one.records, reveal_record(world.preimage(1))])
    return entry_of(one, world.certify(one, (0, 1, 2))), entry_of(other, world.certify(other, (1, 2, 3)))


def test_chains_that_agree(tmp_path, world, capsys):
    """One is longer, and there is no fork."""
    one = write_chain(tmp_path / "one", world, shared(world))
    other = write_chain(tmp_path / "other", world, shared(world)[:3])
    code, found = evidence(capsys, one, other)
    assert (code, found["fork"], found["compared"]) == (0, None, {"from": 1, "to": 3})


def test_a_fork_names_the_guilty(tmp_path, world, capsys):
    """Exit code 4, the height, both blocks, and two of four members with proofs that a block may hold."""
    left, right = fork_of(world)
    one = write_chain(tmp_path / "one", world, [*shared(world), left])
    other = write_chain(tmp_path / "other", world, [*shared(world), right])
    code, found = evidence(capsys, one, other)
    fork = found["fork"]
    assert (code, fork["height"], fork["explained"], fork["power"], fork["fault_max"]) == (4, 5, True, 2, 1)
    assert [each["index"] for each in fork["culprits"]] == [1, 2]
    assert len({each["hash"] for each in fork["blocks"]}) == 2
    for each in fork["culprits"]:
        record, _ = RelayRecord.decode_prefix(memoryview(bytes.fromhex(each["record"])))
        assert record.evidence().member == each["index"]
    assert run(["evidence", str(one), str(other)]) == 4
    assert "FORK" in capsys.readouterr().out


def test_exports_compare_as_the_chains_do(tmp_path, world, capsys):
    """One side exports a few heights; the other compares its chain with the file."""
    left, right = fork_of(world)
    one = write_chain(tmp_path / "one", world, [*shared(world), left])
    other = write_chain(tmp_path / "other", world, [*shared(world), right])
    file = tmp_path / "chain.json"
    code, found = evidence(capsys, one, "--export", file, "--from", "4")
    assert (code, found["exported"]["blocks"]) == (0, 2)
    code, found = evidence(capsys, file, other)
    assert (code, found["fork"]["height"], found["compared"]["from"]) == (4, 5, 4)
    file.write_text("{}")
    assert evidence(capsys, file, other)[0] == 2


def test_a_block_without_a_quorum_is_no_fork(tmp_path, world, capsys):
    """Bytes in somebody's chain prove nothing: two signatures of four are named unproven."""
    left, right = fork_of(world)
    block = RelayBlock.decode(right.block, world.suite)
    few = entry_of(block, world.certify(block, (2, 3)))
    one = write_chain(tmp_path / "one", world, [*shared(world), left])
    other = write_chain(tmp_path / "other", world, [*shared(world), few])
    code, found = evidence(capsys, one, other)
    assert (code, found["fork"]) == (0, None)
    assert len(found["unproven"]) == 1


def test_what_validators_kept_is_listed(tmp_path, world, capsys):
    """The two certificates of a fork that a validator saw stand in its own book."""
    left, right = fork_of(world)
    one = write_chain(tmp_path / "one", world, [*shared(world), left])
    book = ChainBook(one)
    pair = Transcript((Certificate.decode(left.certificate), Certificate.decode(right.certificate)))
    assert book.keep_evidence(FORK_MARK + (5).to_bytes(8, "big"), pair.encode())
    assert not book.keep_evidence(FORK_MARK + (5).to_bytes(8, "big"), pair.encode())
    book.close()
    code, found = evidence(capsys, one)
    assert code == 0
    assert [each["kind"] for each in found["kept"][0]["evidence"]] == ["TwoCertificates"]
    assert evidence(capsys, one, one)[0] == 2


def test_a_book_has_one_block_a_height_and_one_gap_at_most(tmp_path, world):
    """A second block of a height is refused, a gap too; after a restart at a checkpoint the next one follows it."""
    entries = shared(world)
    book = ChainBook(tmp_path / "chain")
    book.append(*entries[:2])
    book.append(entries[1])
    with pytest.raises(ChainDamaged):
        book.append(entries[3])
    with pytest.raises(HeaderConflict):
        book.append(entry_of(world.blocks[0][0], world.blocks[0][1]), BookEntry(2, 0, b"other", b"", b""))
    book.restart(3, world.states[3].encode())
    assert (book.lowest, book.last_height()) == (4, 2)
    book.append(entries[3])
    book.close()
    book = ChainBook(tmp_path / "chain")
    assert (book.lowest, book.last_height(), book.state_heights()) == (4, 4, [3])
    assert book.get(4) == entries[3]
    book.close()


def test_old_blocks_are_dropped_where_that_is_asked(tmp_path, world):
    """Nothing before the newest checkpoint's record is needed by others, but what announced a set; the rest stays."""
    first, second, third, fourth = shared(world)
    book = ChainBook(tmp_path / "chain", history_blocks=1)
    book.append(replace(first, set_id=2), second)
    assert book.lowest == 1
    book.keep_state(2, world.states[2].encode())
    book.append(third)
    assert (book.lowest, book.get(2)) == (3, None)
    assert book.get(1) == first
    book.append(fourth)
    assert (book.lowest, book.set_height(2), book.last_set_id()) == (3, 1, 2)
    book.close()
    book = ChainBook(tmp_path / "chain")
    assert [each.height for each in book.range(book.lowest, 4)] == [3, 4]
    book.close()


def test_a_changed_book_is_named(tmp_path, world):
    """A byte of a block on the disk: the digest of its entry says so."""
    book = ChainBook(tmp_path / "chain")
    book.append(*shared(world))
    book.close()
    path = tmp_path / "chain" / "data.mdb"
    data = bytearray(path.read_bytes())
    at = data.find(world.blocks[2][0].encode())
    assert at > 0
    data[at + 40] ^= 1
    path.write_bytes(data)
    book = ChainBook(tmp_path / "chain")
    with pytest.raises(ChainDamaged, match="not what was kept"):
        book.get(3)
    book.close()
