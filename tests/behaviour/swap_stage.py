"""Terms, margins and clocks for tests of the swap machines, and a hand that runs a machine as a shell would."""

from __future__ import annotations

from bridge.acceptance import ProviderMachine
from bridge.leg import ChainClock, HashFunction, LockState, LockView
from bridge.margins import Margins, SideMargins
from bridge.ports import Clocks, Journal, LockSeen, Restored, Revealed, Rules, Tick, Timing
from bridge.swap import PayerMachine
from bridge.terms import LegTerms, SwapTerms, seal_terms

SECOND = 1_000_000_000
START = 1_000_000 * SECOND
SUITE = 1
CHAIN = "evm"
SALT = b"s" * 32
HOME = SideMargins(finality_ns=2 * SECOND, watching_ns=1 * SECOND, submission_ns=1 * SECOND)
FAR = SideMargins(finality_ns=20 * SECOND, watching_ns=4 * SECOND, submission_ns=6 * SECOND)
MARGINS = Margins(HOME, {CHAIN: FAR}, skew_ns=1 * SECOND, failover_ns=5 * SECOND, stall_ns=10 * SECOND)
RULES = Rules(SUITE, MARGINS, Timing(retry_ns=5 * SECOND, poll_ns=2 * SECOND, look_ns=10 * SECOND))
REVEAL_MARGIN = 2 * SECOND + 1 * SECOND + 17 * SECOND  # finality, submission; twice the skew, failover, stall
NEEDED = 4 * SECOND + 30 * SECOND + 17 * SECOND


def leg(ledger=156, *, timelock=START + 300 * SECOND, amount=100, payer=5, payee=6, chain="", user_data=1):
    if chain:
        return LegTerms(0, f"0x{payer:040x}", f"0x{payee:040x}", amount, timelock, user_data, chain=chain, asset="0xcc")
    return LegTerms(ledger, f"{payer:032x}", f"{payee:032x}", amount, timelock, user_data)


def terms(*legs, function=HashFunction.SHA256, uetr=b"u" * 16, salt=SALT):
    """Return sealed terms and the secret."""
    draft = SwapTerms(uetr, b"n" * 32, legs or HOME_LEGS, function, bytes(32), START)
    return seal_terms(draft, salt, SUITE)


HOME_LEGS = (leg(156), leg(344, payer=6, payee=7), leg(764, payer=7, payee=8))
FAR_LAST = (leg(156, timelock=START + 400 * SECOND), leg(payer=6, payee=7, chain=CHAIN))
FAR_FIRST = (leg(chain=CHAIN, timelock=START + 400 * SECOND), leg(344, payer=6, payee=7))


class Stage:
    """One machine, its clocks and its journal."""

    def __init__(self, made):
        self.terms, self.secret = made
        self.now, self.relay_ns, self.relay_height = START, START, 1
        self.foreign = {CHAIN: ChainClock(START, 10, 8)}
        self.journal = []
        self.machine = None
        self.last = []

    @classmethod
    def payer(cls, *legs, **fields):
        self = cls(terms(*legs, **fields))
        self.machine, actions = PayerMachine.begin(self.terms, SALT, RULES, self.clocks)
        self.take(actions)
        return self

    @classmethod
    def provider(cls, *legs, own_leg=1, **fields):
        self = cls(terms(*legs, **fields))
        self.machine, actions = ProviderMachine.accept(self.terms, own_leg, RULES, self.clocks)
        self.take(actions)
        return self

    @property
    def clocks(self):
        return Clocks(self.now, self.relay_ns, self.relay_height, self.foreign)

    def take(self, actions):
        self.journal += [action.entry for action in actions if isinstance(action, Journal)]
        self.last = actions
        return actions

    def on(self, event):
        return self.take(self.machine.on(event, self.clocks))

    def see(self, index, state, *, order=None, preimage=None, reason="", height=1):
        order = order or self.machine.orders[index]
        if state in (LockState.ABSENT, LockState.REFUSED):
            order = None
        if state in (LockState.CLAIMED, LockState.CLAIMED_FINAL):
            preimage = self.secret if preimage is None else preimage
        return self.on(LockSeen(index, LockView(state, order, preimage, height, reason)))

    def revealed(self, preimage=None, time=None):
        return self.on(
            Revealed(
                self.secret if preimage is None else preimage,
                self.relay_height,
                self.relay_ns if time is None else time,
            )
        )

    def at(self, now, *, relay=True, chain=True):
        """Move our clock, and what is heard of the others with it."""
        self.now = now
        if relay:
            self.relay_ns, self.relay_height = now, self.relay_height + 1
        if chain:
            self.foreign = {CHAIN: ChainClock(now, 11, 9)}
        return self.on(Tick())

    def restart(self):
        """Make the machine again from its journal alone."""
        first, *rest = self.journal
        kind = PayerMachine if isinstance(self.machine, PayerMachine) else ProviderMachine
        self.machine = kind.restore(first, self.terms, RULES)
        for entry in rest:
            self.machine.replay(entry)
        return self.on(Restored())

    def kinds(self, kind):
        return [action for action in self.last if isinstance(action, kind)]

    def written(self):
        return [entry.kind.name for entry in self.journal]
