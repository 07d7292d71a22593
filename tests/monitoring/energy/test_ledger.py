"""The ledger loses nothing and makes nothing up, whatever comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.energy.ledger import ACCOUNTS, Interval, Ledger

seconds = st.floats(0.0, 5.0)
joules = st.floats(0.0, 1000.0)
keys = st.sampled_from([("a", "light"), ("a", "large"), ("b", "light"), ("b", "failed")])
intervals = st.builds(Interval, joules, st.floats(0.01, 5.0), seconds, seconds, seconds, seconds)
schedules = st.lists(st.tuples(intervals, st.dictionaries(keys, seconds)), max_size=40)


@given(schedule=schedules, idle_w=st.none() | st.floats(0.0, 300.0))
def test_the_accounts_sum_to_the_meter_over_any_schedule(
    schedule: list[tuple[Interval, dict[tuple[str, str], float]]], idle_w: float | None
) -> None:
    ledger = Ledger(idle_w)
    for interval, spent in schedule:
        ledger.add(interval, spent)
        ledger.check_invariants()
    assert ledger.joules == pytest.approx(sum(one.joules for one, _ in schedule))


def test_power_above_idle_is_split_by_cpu_time() -> None:
    ledger = Ledger(idle_w=10.0)
    ledger.add(Interval(30.0, 1.0, 2.0, 1.0, 0.5), {("a", "light"): 0.5})
    shares = [ledger.accounts[name] for name in ACCOUNTS]
    assert shares == [pytest.approx(5.0), pytest.approx(5.0), pytest.approx(10.0), 10.0]
    assert ledger.rows == {("a", "light"): pytest.approx(5.0)}
    assert ledger.joules_per_s == pytest.approx(10.0)


def test_a_row_that_takes_many_intervals_pays_for_all_of_them() -> None:
    ledger = Ledger(idle_w=0.0)
    busy = Interval(8.0, 1.0, 1.0, 1.0, 1.0)
    ledger.add(busy, {("a", "light"): 0.5})
    assert ledger.rows == {("a", "light"): pytest.approx(4.0)}
    ledger.add(busy, {})
    assert ledger.pending_j == pytest.approx(12.0)
    ledger.add(busy, {("a", "large"): 2.5})
    assert ledger.rows[("a", "large")] == pytest.approx(20.0)
    assert ledger.pending_j == pytest.approx(0.0)


def test_rows_of_different_routes_pay_by_their_time() -> None:
    ledger = Ledger(idle_w=0.0)
    ledger.add(Interval(9.0, 1.0, 1.0, 1.0, 1.0), {("a", "light"): 0.25, ("b", "light"): 0.75})
    assert ledger.rows[("b", "light")] == pytest.approx(3 * ledger.rows[("a", "light")])


def test_without_known_idle_watts_the_lowest_second_is_taken_for_them() -> None:
    ledger = Ledger()
    for joules_of, busy_s in ((5.0, 0.0), (5.0, 0.0), (15.0, 0.5)):
        ledger.add(Interval(joules_of, 0.5, busy_s, busy_s, busy_s), {})
    assert ledger.accounts["idle"] == pytest.approx(15.0)
    assert ledger.accounts["rows"] == pytest.approx(10.0)


@pytest.mark.parametrize("each_s", [0.002, 0.005, 0.015, 0.033, 0.095])
def test_ticks_of_the_kernel_make_no_other_processes_up(each_s: float) -> None:
    ledger = Ledger(idle_w=0.0)
    worked_s = counted_s = 0.0
    for _ in range(2000):
        worked_s += each_s
        ticks_s = worked_s // 0.01 * 0.01  # as /proc/stat shows it
        busy_s, counted_s = ticks_s - counted_s, ticks_s
        ledger.add(Interval(1.0, 0.1, busy_s, each_s, each_s), {})
    assert ledger.accounts["others"] <= 0.001 * ledger.joules
    ledger.check_invariants()


def test_a_counter_that_stands_still_is_not_taken_for_idle() -> None:
    ledger = Ledger()
    for joules_of, busy_s in (*[(2.0, 0.0)] * 10, *[(0.0, 0.0)] * 35, *[(2.0, 0.0)] * 20):
        ledger.add(Interval(joules_of, 0.1, busy_s, busy_s, busy_s), {})
    ledger.add(Interval(4.0, 0.1, 0.1, 0.1, 0.1), {})
    assert ledger.accounts["rows"] == pytest.approx(2.0)


def test_a_route_that_is_served_no_more_leaves_its_joules_and_no_name() -> None:
    ledger = Ledger(idle_w=0.0)
    ledger.add(Interval(9.0, 1.0, 1.0, 1.0, 1.0), {("a", "light"): 0.5, ("b", "light"): 0.5})
    ledger.remove_route("a")
    assert ledger.rows == {("b", "light"): pytest.approx(4.5)}
    ledger.check_invariants()


def test_siblings_answer_for_their_own() -> None:
    ledger = Ledger(idle_w=0.0)
    ledger.add(Interval(8.0, 1.0, 2.0, 0.5, 0.5, siblings_s=1.0), {})
    assert ledger.accounts["rows"] == pytest.approx(2.0)
    assert ledger.accounts["others"] == pytest.approx(2.0)
    ledger.check_invariants()
