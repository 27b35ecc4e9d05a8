"""Breaks the kernel on purpose, one rule at a time, and says which tests see it; writes the table of MUTATIONS.md.

    python -m tests.model.mutations            all of them, a few seconds each
    python -m tests.model.mutations balance    those whose name contains the word

The tree is copied and built elsewhere; nothing here is changed. A mutation that no test sees fails the run.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MUTATIONS", "Mutation", "main"]

ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    "native",
    "engine",
    "tests/model",
    "tests/behaviour",
    "tests/conftest.py",
    "tests/__init__.py",
    "pyproject.toml",
)
FOLDERS = ("apply", "common", "sha2", "sm3", "merkle")
FLAGS = ("-std=c11", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-DCYTHON_CCOMPLEX=0", "-w")


@dataclass(frozen=True, slots=True)
class Mutation:
    """In `file`, `old` (found once) becomes `new`; `rule` says which requirement that breaks."""

    name: str
    rule: str
    file: str
    old: str
    new: str


APPLY = "native/apply"
MUTATIONS = (
    Mutation(
        "balance rule forgets pendings", "LEDGER-2", f"{APPLY}/transfers.c",
        "!cs_sums_within(debit->debits_pending + debit->debits_posted, amount,",
        "!cs_sums_within(debit->debits_posted, amount,",
    ),
    Mutation(
        "balance rule allows one unit more", "LEDGER-2", f"{APPLY}/transfers.c",
        "!cs_sums_within(debit->debits_pending + debit->debits_posted, amount,",
        "!cs_sums_within(debit->debits_pending + debit->debits_posted, amount - 1,",
    ),
    Mutation(
        "balance_max forgets what is on its way in", "LEDGER-2", f"{APPLY}/transfers.c",
        "!cs_sums_within(credit->credits_posted + credit->credits_pending, amount,",
        "!cs_sums_within(credit->credits_posted, amount,",
    ),
    Mutation(
        "pending release keeps the ledger's total", "LEDGER-3", f"{APPLY}/effects.c",
        "ledger->debits_pending -= pending->amount;", "",
    ),
    Mutation(
        "pending release keeps the payer's reservation", "LEDGER-10", f"{APPLY}/effects.c",
        "debit->debits_pending -= pending->amount;", "",
    ),
    Mutation(
        "a pending's timeout is one instant late", "LEDGER-30, post rule e", f"{APPLY}/transfers.c",
        "request->now >= pending->due", "request->now > pending->due",
    ),
    Mutation(
        "the sweep ends what is not due yet", "LEDGER-30", f"{APPLY}/step.c",
        "due->nodes[0].key > now", "due->nodes[0].key > now + 1",
    ),
    Mutation(
        "the sweep ends one more than its bound", "LEDGER-30", f"{APPLY}/step.c",
        "i < state->limits.expire_per_batch_max", "i <= state->limits.expire_per_batch_max",
    ),
    Mutation(
        "due pendings end in another order", "LEDGER-30", f"{APPLY}/pendings.c",
        "return one->id < other->id;", "return one->id > other->id;",
    ),
    Mutation(
        "overflow bound is 2^128 - 1", "LEDGER-3", f"{APPLY}/transfers.c",
        "!cs_sums_within(ledger->debits_posted + ledger->debits_pending, amount, CS_TOTAL_MAX, 0)",
        "!cs_sums_within(ledger->debits_posted + ledger->debits_pending, amount, CS_U128_MAX, 0)",
    ),
    Mutation(
        "overflow bound forgets pendings", "LEDGER-3", f"{APPLY}/transfers.c",
        "!cs_sums_within(ledger->debits_posted + ledger->debits_pending, amount, CS_TOTAL_MAX, 0)",
        "!cs_sums_within(ledger->debits_posted, amount, CS_TOTAL_MAX, 0)",
    ),
    Mutation(
        "undo of a run leaves moves", "LEDGER-20 f", f"{APPLY}/effects.c",
        "unpost_sides(state, undo->ledger_index, undo->debit_index, undo->credit_index, undo->amount);", "",
    ),
    Mutation(
        "undo of a run leaves a pending ended", "LEDGER-20 f", f"{APPLY}/effects.c",
        "cs_pendings_undo_end(&state->pendings, undo->pending, undo->forget_bucket);", "",
    ),
    Mutation(
        "undo of a run leaves ids", "LEDGER-20 f", f"{APPLY}/effects.c",
        "cs_window_undo(&state->window, undo->place);", "",
    ),
    Mutation(
        "undo of a run leaves leaves", "LEDGER-60", f"{APPLY}/effects.c",
        "cs_decisions_truncate(&state->decisions, state->run_decisions);", "",
    ),
    Mutation(
        "a run does not count its places", "LEDGER-20 f", f"{APPLY}/runs.c",
        "state->window.count + count > state->limits.ids_max", "state->window.count + 1 > state->limits.ids_max",
    ),
    Mutation(
        "the id window forgets a bucket early", "LEDGER-13", f"{APPLY}/step.c",
        "cs_window_drop(&state->window, live);", "cs_window_drop(&state->window, live + 1);",
    ),
    Mutation(
        "a no is not remembered", "LEDGER-61", f"{APPLY}/precedence.c",
        "int kept = is_done(code) || cs_burns(code);",
        "int kept = is_done(code);",
    ),
    Mutation(
        "an id that its pending outlives is free", "step 19", f"{APPLY}/precedence.c",
        "pending != CS_NONE && state->pendings.items[pending].expires_at != record->expires_at",
        "pending == UINT32_MAX - 1",
    ),
    Mutation(
        "a cancel needs one place", "cancel", f"{APPLY}/precedence.c",
        "kind == CS_KIND_CANCEL ? 2 : 1", "1",
    ),
    Mutation(
        "too_early wraps", "step 20", f"{APPLY}/precedence.c",
        "return expires_at >= valid_for && request->now", "return request->now",
    ),
    Mutation(
        "expired one instant early", "step 20", f"{APPLY}/precedence.c",
        "if (request->now > expires_at || ", "if (request->now >= expires_at || ",
    ),
    Mutation(
        "a credit message is taken twice", "LEDGER-50", f"{APPLY}/credits.c",
        "message.sequence != state->peers[peer].received + 1 + i",
        "message.sequence > state->peers[peer].received + 1 + i",
    ),
    Mutation(
        "a return lands with the payee", "LEDGER-50", f"{APPLY}/credits.c",
        "code = no_home(state, message->debit_account, message->ledger, &index);",
        "code = no_home(state, message->credit_account, message->ledger, &index);",
    ),
    Mutation(
        "a return is held to balance_max", "LEDGER-50", f"{APPLY}/credits.c",
        "code = no_home(state, message->debit_account, message->ledger, &index);",
        "cs_credit turned = *message; turned.credit_account = message->debit_account;"
        " code = refusal(state, &turned, at, &index);",
    ),
    Mutation(
        "a claim is claimed at its timelock", "LEDGER-40", f"{APPLY}/reveals.c",
        "state->pendings.items[index].due > relay_time", "state->pendings.items[index].due >= relay_time",
    ),
    Mutation(
        "a refund waits one instant", "LEDGER-40", f"{APPLY}/reveals.c",
        "locks->count > 0 && locks->nodes[0].key <= relay_time", "locks->count > 0 && locks->nodes[0].key < relay_time",
    ),
    Mutation(
        "an SM3 hashlock is opened by SHA-256", "LEDGER-40", f"{APPLY}/reveals.c",
        "cs_hash_rows(CS_HASH_SM3, locks->of[1][0],", "cs_hash_rows(CS_HASH_SHA256, locks->of[1][0],",
    ),
    Mutation(
        "a run over shards is committed at its deadline", "LEDGER-94", f"{APPLY}/prepared.c",
        "state->pendings.items[index].due > relay_time", "state->pendings.items[index].due >= relay_time",
    ),
    Mutation(
        "a run over shards asks nothing of the payee's balance_max", "LEDGER-91", f"{APPLY}/prepared.c",
        "if (cs_exceeds_balance_max(&state->accounts.items[index], record->amount)) {", "if (0) {",
    ),
    Mutation(
        "a run over shards asks nothing of the payee's ledger total", "LEDGER-91", f"{APPLY}/prepared.c",
        "!cs_sums_within(ledger->debits_posted + ledger->debits_pending, record->amount, CS_TOTAL_MAX, 0)", "0",
    ),
    Mutation(
        "a run over shards that is refused burns nothing", "LEDGER-92", f"{APPLY}/prepared.c",
        "cs_record_decision(state, &state->requests[member], code);", "",
    ),
    Mutation(
        "a run over shards that another shard refuses stays prepared", "LEDGER-92", f"{APPLY}/prepared.c",
        "if (!keeps && state->in_run) {", "if (0) {",
    ),
    Mutation(
        "a pending over shards is due from its preparation", "LEDGER-94", f"{APPLY}/prepared.c",
        "half->ended_at == 0 ? 0 : now + half->ended_at", "half->ended_at == 0 ? 0 : half->due + half->ended_at",
    ),
    Mutation(
        "a payee over shards gets no leaf", "LEDGER-97", f"{APPLY}/prepared.c",
        "cs_decisions_add(&state->decisions, half->digest, now, CS_CREDITED);", "",
    ),
    Mutation(
        "a credit half over shards has no leaf", "LEDGER-93", f"{APPLY}/prepared.c",
        "cs_decisions_add(&state->decisions, request->digest, request->now, CS_PREPARED_CREDIT);", "",
    ),
    Mutation(
        "a pending over shards is ended before it is decided", "LEDGER-96", f"{APPLY}/transfers.c",
        "index == CS_NONE || !cs_pending_was_made(&state->pendings.items[index])", "index == CS_NONE",
    ),
    Mutation(
        "a run over shards that was aborted says committed", "LEDGER-96", f"{APPLY}/precedence.c",
        "state->pendings.items[half].state == CS_STATE_ABORTED ? CS_ABORTED : CS_COMMITTED", "CS_COMMITTED",
    ),
    Mutation(
        "a run over shards is prepared without a relay", "LEDGER-91 c", f"{APPLY}/prepared.c",
        "if (state->relay_height == 0) {", "if (0) {",
    ),
    Mutation(
        "a run over shards is prepared behind relay time", "LEDGER-91 e", f"{APPLY}/precedence.c",
        "request->run != NULL && request->deadline <= state->relay_time", "0",
    ),
    Mutation(
        "a credit half over shards is prepared behind relay time", "LEDGER-91 e", f"{APPLY}/prepared.c",
        "if (request->deadline <= state->relay_time) {", "if (0) {",
    ),
    Mutation(
        "a run over shards does not count its credit halves", "LEDGER-91 d", f"{APPLY}/prepared.c",
        "pendings += debit_half || has_credit_half(state, record);", "pendings += (uint64_t)debit_half;",
    ),
    Mutation(
        "a post goes over shards", "LEDGER-90", f"{APPLY}/precedence.c",
        "(in_run == CS_OVER_SHARDS && kind > CS_KIND_PENDING)", "0",
    ),
    Mutation(
        "a half over shards is ended by the shard's clock", "LEDGER-95", f"{APPLY}/pendings.c",
        "pendings->open_count++;\n    if (cs_pending_waits(pending)) {",
        "pendings->open_count++;\n    if (cs_pending_is_lock(pending)) {",
    ),
    Mutation(
        "a quote gives one unit more", "LEDGER-101", f"{APPLY}/judge.c",
        "return record->amount > quote->limit_a - quote->used ?", "return record->amount > quote->limit_a - quote->used + 1 ?",
    ),
    Mutation(
        "a quote is open at its end", "LEDGER-101", f"{APPLY}/judge.c",
        "if (request->now >= quote->until) {", "if (request->now > quote->until) {",
    ),
    Mutation(
        "other kinds than locks draw on a quote", "LEDGER-101", f"{APPLY}/judge.c",
        "(record->flags & CS_FLAG_KIND) != CS_KIND_LOCK || record->user_data == 0", "record->user_data == 0",
    ),
    Mutation(
        "a claim gives back to a quote", "LEDGER-101", f"{APPLY}/effects.c",
        "if (pending->draws && to != CS_STATE_CLAIMED) {", "if (pending->draws) {",
    ),
    Mutation(
        "a refund does not give back to a quote", "LEDGER-101", f"{APPLY}/effects.c",
        "if (pending->draws && to != CS_STATE_CLAIMED) {", "if (pending->draws && to != CS_STATE_CLAIMED && to != CS_STATE_REFUNDED) {",
    ),
    Mutation(
        "a failed run keeps what its rules counted", "LEDGER-20 f", f"{APPLY}/effects.c",
        "    cs_undo_rules(state);\n", "",
    ),
    Mutation(
        "a threshold is one unit late", "LEDGER-102", f"{APPLY}/judge.c",
        "request->record->amount >= rules->items[index].limit_a", "request->record->amount > rules->items[index].limit_a",
    ),
    Mutation(
        "issuing is held", "LEDGER-102", f"{APPLY}/judge.c",
        "if (!issues && reaches_threshold(state, request)) {", "if (reaches_threshold(state, request)) {",
    ),
    Mutation(
        "a breaker is set at its end", "LEDGER-103", f"{APPLY}/judge.c",
        "now >= rules->items[index].until", "now > rules->items[index].until",
    ),
    Mutation(
        "a breaker meets the payer only", "LEDGER-103", f"{APPLY}/judge.c",
        "{CS_BREAKER_ACCOUNT, record->credit_account},", "{CS_BREAKER_ACCOUNT, record->debit_account},",
    ),
    Mutation(
        "a slow breaker lets one more begin", "LEDGER-103", f"{APPLY}/judge.c",
        "count_of(breaker, now / CS_SECOND_NS) >= breaker->limit_a", "count_of(breaker, now / CS_SECOND_NS) > breaker->limit_a",
    ),
    Mutation(
        "one institution on both sides is counted twice", "LEDGER-103", f"{APPLY}/judge.c",
        "if (i == 3 && payee == payer) {", "if (0) {",
    ),
    Mutation(
        "a slow breaker hides a stop", "LEDGER-103", f"{APPLY}/judge.c",
        "if (code == CS_BREAKER_OPEN) {", "if (code != 0) {",
    ),
    Mutation(
        "a stop burns the id", "LEDGER-61", f"{APPLY}/state.h",
        "code <= CS_VELOCITY_EXCEEDED);", "code <= CS_BREAKER_SLOW);",
    ),
    Mutation(
        "a tier allows one unit more", "LEDGER-104", f"{APPLY}/judge.c",
        "tier->limit_a != 0 && amount > tier->limit_a", "tier->limit_a != 0 && amount > tier->limit_a + 1",
    ),
    Mutation(
        "a day has one transfer more", "LEDGER-104", f"{APPLY}/judge.c",
        "tier->bound != 0 && count >= tier->bound", "tier->bound != 0 && count > tier->bound",
    ),
    Mutation(
        "a day's amount is not kept", "LEDGER-104", f"{APPLY}/judge.c",
        "counter->used = (same_day ? counter->used : 0) + request->record->amount;", "counter->used = request->record->amount;",
    ),
    Mutation(
        "days do not end", "LEDGER-104", f"{APPLY}/judge.c",
        "const int same_day = counter->period == request->now / DAY_NS;", "const int same_day = 1;",
    ),
    Mutation(
        "the payee's tier is asked", "LEDGER-104", f"{APPLY}/judge.c",
        "const cs_account *debit = &state->accounts.items[request->debit_index];\n    const cs_u128 amount",
        "const cs_account *debit = &state->accounts.items[cs_accounts_find(&state->accounts,"
        " request->record->credit_account) == CS_NONE ? request->debit_index : cs_accounts_find(&state->accounts,"
        " request->record->credit_account)];\n    const cs_u128 amount",
    ),
    Mutation(
        "a member of a run is held", "LEDGER-107", f"{APPLY}/judge.c",
        "        if (state->in_run) {\n            return CS_APPROVAL_REQUIRED;\n        }\n", "",
    ),
    Mutation(
        "a hold takes a place that is not there", "LEDGER-105", f"{APPLY}/judge.c",
        "if (state->pendings.count >= state->limits.pendings_max) {", "if (state->pendings.count > state->limits.pendings_max) {",
    ),
    Mutation(
        "a held lock is claimed", "LEDGER-105", f"{APPLY}/pendings.h",
        "(cs_pending_is_lock(pending) && pending->state != CS_STATE_HELD)", "cs_pending_is_lock(pending)",
    ),
    Mutation(
        "a held pending is posted", "LEDGER-105", f"{APPLY}/pendings.h",
        "pending->state != CS_STATE_PREPARED && pending->state != CS_STATE_HELD &&", "pending->state != CS_STATE_PREPARED &&",
    ),
    Mutation(
        "a hold is released at its deadline", "LEDGER-106", f"{APPLY}/holds.c",
        "now >= state->pendings.items[index].due", "now > state->pendings.items[index].due",
    ),
    Mutation(
        "a hold is released twice", "LEDGER-106", f"{APPLY}/holds.c",
        "state->pendings.items[index].state != CS_STATE_HELD || now", "now",
    ),
    Mutation(
        "a released lock may have no time left", "LEDGER-106", f"{APPLY}/holds.c",
        "return cs_pending_is_lock(held) && (held->ended_at < least", "return 0 && (held->ended_at < least",
    ),
    Mutation(
        "a released pending's time began when it was held", "LEDGER-106", f"{APPLY}/holds.c",
        "uint64_t timeout = held->ended_at == 0 ? 0 : now + held->ended_at;", "uint64_t timeout = held->ended_at == 0 ? 0 : held->due;",
    ),
    Mutation(
        "a released transfer to another shard sends nothing", "LEDGER-106", f"{APPLY}/holds.c",
        "            send_released(state, held, peer, now);\n", "",
    ),
    Mutation(
        "a rejected transfer is said to exist", "LEDGER-106", f"{APPLY}/precedence.c",
        "request->first_code == CS_ABORTED || request->first_code == CS_HOLD_REJECTED ||", "request->first_code == CS_ABORTED ||",
    ),
    Mutation(
        "a released lock keeps its place in a checkpoint", "LEDGER-106", f"{APPLY}/pendings.c",
        "if (event == CS_STATE_RELEASED) {", "if (0) {",
    ),
    Mutation(
        "the root forgets a counter", "LEDGER-100", f"{APPLY}/rules.c",
        "cs_rule *cs_rules_touch(cs_rules *rules, uint32_t index) {\n    mark(rules, index);", "cs_rule *cs_rules_touch(cs_rules *rules, uint32_t index) {",
    ),
    Mutation(
        "one supervisor's two keys release", "ADMIN-8", "engine/admin_rules.py",
        "second is not None and second.participant == first.participant", "False",
    ),
    Mutation(
        "any account key opens a quote", "ADMIN-9", "engine/admin_compliance.py",
        "None if account.key_lineage == first.lineage else", "None if account.key_lineage else",
    ),
    Mutation(
        "an operator alone with another operator rejects", "ADMIN-9", "engine/admin_compliance.py",
        "return Role.SUPERVISOR in roles and roles <= {Role.OPERATOR, Role.SUPERVISOR}", "return roles <= {Role.OPERATOR, Role.SUPERVISOR}",
    ),
    Mutation(
        "issuing takes one key", "LEDGER-10", f"{APPLY}/transfers.c",
        "posts && request->key_lineage == pending->key_lineage", "0 && posts",
    ),
    Mutation(
        "payer and payee have each other's bits", "LEDGER-10", f"{APPLY}/transfers.c",
        "(by_payer ? payer_bit : payee_bit)", "(by_payer ? payee_bit : payer_bit)",
    ),
    Mutation(
        "a freeze outlives its end", "state rule a", f"{APPLY}/transfers.c",
        "now < account->frozen_until", "now <= account->frozen_until",
    ),
    Mutation(
        "a timelock may be too near", "state rule d", f"{APPLY}/transfers.c",
        "request->record->until < least ||", "",
    ),
    Mutation(
        "a bucket of pendings stays when it is empty", "LEDGER-70", f"{APPLY}/chain.c",
        "if (bucket->count == 0) {", "if (bucket->count == UINT64_MAX) {",
    ),
    Mutation(
        "a key still decides when it is retired", "step 16", f"{APPLY}/precedence.c",
        "key->retired_at != 0 && request->now >= key->retired_at", "key->retired_at == 1",
    ),
    Mutation(
        "any participant's account key ends a pending", "step 18", f"{APPLY}/precedence.c",
        "key->participant != cs_participant(record->credit_account)", "key->participant == 0",
    ),
    Mutation(
        "one key line signs twice", "ADMIN-1", "engine/admin_rules.py",
        "second.lineage == first.lineage", "second.id == -1",
    ),
    Mutation(
        "any issuer sets any limit", "ADMIN-2 type 6", "engine/admin_rules.py",
        "ledger is None or ledger.issuer != first.participant", "ledger is None",
    ),
    Mutation(
        "a quota allows one more", "ADMIN-2 type 5", "engine/admin_rules.py",
        "holder.accounts >= holder.accounts_max", "holder.accounts > holder.accounts_max",
    ),
    Mutation(
        "an account with pendings is closed", "ADMIN-2 type 9", "engine/admin_rules.py",
        "if account.debits_pending or account.credits_pending:", "if account.debits_pending:",
    ),
    Mutation(
        "an admin refusal is not remembered", "ADMIN-3", "engine/admin_step.py",
        "if MEANINGS[code].code_class is not CodeClass.OPEN:", "if code is ResultCode.CREATED:",
    ),
)  # fmt: skip


def _copy(to: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__", ".hypothesis")
        (to / name).parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=ignore)
        else:
            shutil.copy(source, to / name)


class Kernel:
    """The ledger's objects in a copy of the tree; one file is compiled anew and everything linked."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._objects = tree / "objects"
        self._objects.mkdir()
        self._sources = [
            tree / "native/ledger.c",
            *(f for d in FOLDERS for f in sorted((tree / "native" / d).glob("*.c"))),
        ]
        for source in self._sources:
            self._compile(source)

    def build(self, source: Path) -> None:
        """Compile one source, or all for a header, and link the extension in place."""
        for each in self._sources if source.suffix == ".h" else [source]:
            self._compile(each)
        target = self._tree / f"native/ledger{sysconfig.get_config_var('EXT_SUFFIX')}"
        subprocess.run(
            ["cc", "-shared", "-o", str(target), *[str(self._object(each)) for each in self._sources]], check=True
        )

    def _object(self, source: Path) -> Path:
        return self._objects / f"{source.parent.name}-{source.stem}.o"

    def _compile(self, source: Path) -> None:
        include = sysconfig.get_paths()["include"]
        command = ["cc", *FLAGS, f"-I{self._tree / 'native'}", f"-I{include}", "-c", source, "-o", self._object(source)]
        subprocess.run(command, check=True)


BEHAVIOUR = tuple(
    f"tests/behaviour/test_{name}.py"
    for name in (
        "transfers", "pending_transfers", "locks", "runs", "ids_and_time", "authority", "credits", "limits_and_overflow",
        "result_codes", "spanning_runs", "ledger_quotes", "holds", "breakers", "tiers", "looks",
    )
)  # fmt: skip
PARTS = {
    "scenarios on the machine": (*BEHAVIOUR, "-k", "machine"),
    "walks": ("tests/model/test_model_equals_kernel.py", "-k", "is_equal_all_the_way"),
    "hypothesis": (
        "tests/model/test_model_equals_kernel.py",
        "-k",
        "test_model_equals_machine",
        "--hypothesis-profile",
        "unshrunk",
    ),
}


def _first_failure(tree: Path, selection: tuple[str, ...]) -> str:
    command = [
        sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no", "--timeout", "300",
        *selection,
    ]  # fmt: skip
    ran = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    seen = [line.split()[1].split("::")[-1] for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if ran.returncode < 0:
        return f"the process ended with signal {-ran.returncode}"
    if ran.returncode not in (0, 1):
        raise SystemExit(ran.stdout + ran.stderr)
    return seen[0] if seen else ""


def _try(tree: Path, kernel: Kernel, mutation: Mutation) -> dict[str, str]:
    path = tree / mutation.file
    text = path.read_text()
    if text.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.name}: {mutation.file} has its text {text.count(mutation.old)} times")
    native = path.suffix in {".c", ".h"}
    path.write_text(text.replace(mutation.old, mutation.new))
    try:
        if native:
            kernel.build(path)
        return {part: _first_failure(tree, selection) for part, selection in PARTS.items()}
    finally:
        path.write_text(text)
        if native:
            kernel.build(path)


def main(arguments: list[str] | None = None) -> int:
    """Try the mutations; print a row of the table for each; 1 if one was not seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("word", nargs="?", default="")
    word = parser.parse_args(arguments).word
    unseen = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        _copy(tree)
        kernel = Kernel(tree)
        for mutation in MUTATIONS:
            if word in mutation.name:
                seen = _try(tree, kernel, mutation)
                unseen += not any(seen.values())
                print(
                    f"| {mutation.name} | {mutation.rule} | " + " | ".join(v or "-" for v in seen.values()) + " |",
                    flush=True,
                )
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
