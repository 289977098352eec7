"""How an allowance is shared among lockstep controllers."""

import random

from serl_rt.learner.credit import CreditLedger


def test_one_run_gets_everything() -> None:
    ledger = CreditLedger(stored=0)
    ledger.join("a", 0)
    assert ledger.credit("a") == 0
    ledger.grant(100)
    assert ledger.credit("a") == 100
    ledger.store("a", 40, 40)
    assert ledger.credit("a") == 100


def test_what_is_in_the_log_counts() -> None:
    ledger = CreditLedger(stored=60)
    ledger.grant(100)
    ledger.join("a", 0)
    assert ledger.credit("a") == 40


def test_a_run_that_comes_back_goes_on_where_it_was() -> None:
    ledger = CreditLedger(stored=0)
    ledger.grant(100)
    ledger.join("a", 0)
    ledger.store("a", 30, 30)
    ledger.leave("a")
    assert ledger.credit("a") == 0
    ledger.join("a", 30)
    assert ledger.credit("a") == 100


def test_new_credit_goes_to_whoever_has_least_left() -> None:
    ledger = CreditLedger(stored=0)
    ledger.grant(100)
    ledger.join("a", 0)
    ledger.join("b", 0)
    assert (ledger.credit("a"), ledger.credit("b")) == (100, 0)
    ledger.grant(150)
    assert (ledger.credit("a"), ledger.credit("b")) == (100, 50)
    ledger.grant(301)
    assert sorted((ledger.credit("a"), ledger.credit("b"))) == [150, 151]


def test_realtime_transitions_use_up_the_allowance() -> None:
    ledger = CreditLedger(stored=0)
    ledger.store("realtime", 70, 70)
    ledger.grant(100)
    ledger.join("a", 0)
    assert ledger.credit("a") == 30


def test_never_more_than_granted_and_nothing_is_kept_back() -> None:
    generator = random.Random(1)
    for _ in range(50):
        ledger = CreditLedger(stored=0)
        granted = 0
        stored: dict[str, int] = {}
        connected: set[str] = set()
        for _ in range(200):
            before = {run: ledger.credit(run) for run in connected}
            action = generator.randrange(4)
            name = generator.choice("abc")
            if action == 0:
                granted += generator.randrange(50)
                ledger.grant(granted)
            elif action == 1 and name not in connected:
                ledger.join(name, stored.setdefault(name, 0))
                connected.add(name)
            elif action == 2 and generator.random() < 0.2:
                ledger.leave(name)
                connected.discard(name)
                before.pop(name, None)
            elif name in connected:
                count = generator.randint(0, ledger.credit(name) - stored[name])
                stored[name] += count
                ledger.store(name, stored[name], count)
            for run, credit in before.items():
                assert ledger.credit(run) >= credit
            left = sum(ledger.credit(run) - stored[run] for run in connected)
            free = granted - sum(stored.values())
            assert left == (free if connected else 0)
