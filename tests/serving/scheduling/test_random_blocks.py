"""Random requests, joins, cancellations, deadlines and budgets against the expected answer of each
row: nothing is left behind, no cost is reported twice, each state is freed once.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from random import Random

import numpy as np
import pytest

from core.columns import Onward, Steps, as_steps
from core.devices.onnx import OnnxDevice
from core.messages import Batch, Next, Outcome, Reply, Request, StateHandle, Step
from serving.engine.catalog import ServedRoute
from serving.oip.outputs import gather_output
from serving.scheduling.lanes import Lane
from serving.scheduling.rows.blocks import Block
from tests.fakes.toys import CountingHandle, ask, serve_toy
from tests.serving.scheduling.stepped import Stepped

STAGES = ("first", "second", "third")
CONFIDENCE = {"first": 0.5, "second": 0.75, "third": 1.0}
SEEDS = 150
MAX_BATCHES = (1, 2, 3, 8, 32)
MOVES = ("call", "call", "turn", "spin", "end", "end", "wait", "cancel", "reload")
EARLY = ("deadline", "energy")


class Stage:
    """Counts what it executes; with `even`, it returns columns and the same MACs for all rows."""

    def __init__(self, name: str, ledger: "Ledger", *, even: bool) -> None:
        self.name = name
        self._ledger = ledger
        self._even = even

    def run(self, rows: Batch) -> Sequence[Step]:
        values = [float(value) for value in rows.inputs["x"]]
        steps = [self._step(value, state) for value, state in zip(values, rows.states, strict=True)]
        for value, step in zip(values, steps, strict=True):
            self._ledger.runs[self.name, value] += 1
            self._ledger.macs[value] += step.macs
        return _make_even(as_steps(steps)) if self._even else steps

    def _step(self, value: float, state: StateHandle | None) -> Step:
        macs = 10 if self._even else int(value) * 10 ** STAGES.index(self.name)
        if fails(value, self.name):
            return Step(macs, None, None)
        answer = answer_of(value, self.name)
        following = follows(value, self.name)
        if following is None:
            return Step(macs, answer, None)
        handle = self._ledger.extend(state, value)
        return Step(macs, answer, Next(following, {"x": np.asarray(value)}, handle))


class Ledger:
    """What the stages have executed, and the states that they have made."""

    def __init__(self) -> None:
        self.runs: Counter[tuple[str, float]] = Counter()
        self.macs: Counter[float] = Counter()  # by row's value
        self.run_s = 0.0
        self.unneeded: set[int] = set()  # rows that ran although no call waited for them
        self.states: list[CountingHandle] = []

    def extend(self, state: StateHandle | None, value: float) -> StateHandle | None:
        """Return a row's next state: its old one with more bytes, a new one, or none."""
        if value % 4 == 0:
            return None
        if value % 4 == 1 and state is not None:
            state.size_bytes += 8
            return state
        self.states.append(CountingHandle(value, 8))
        return self.states[-1]


def fails(value: float, stage: str) -> bool:
    return value % 14 == 7 if stage == "first" else value % 22 == 11 and stage == "second"


def follows(value: float, stage: str) -> str | None:
    if stage == "first" and value % 3:
        return "second"
    if stage == "second" and value % 5:
        return "third"
    return None


def answer_of(value: float, stage: str) -> Outcome | None:
    """Some stages give some rows no answer on their way."""
    if follows(value, stage) is not None and value % 8 == STAGES.index(stage):
        return None
    return Outcome({"y": np.asarray(value + 1000 * STAGES.index(stage))}, CONFIDENCE[stage], stage)


def last_stage(value: float) -> str | None:
    """Return the stage at which a row ends; None if it fails."""
    stage: str | None = "first"
    while stage is not None:
        if fails(value, stage):
            return None
        last, stage = stage, follows(value, stage)
    return last


def _make_even(steps: Steps) -> Steps:
    onward = [
        Onward(one.stage, one.rows, {"x": np.stack(one.inputs["x"])}, one.states)
        for one in steps.onward
    ]
    answered = steps.answered
    assert answered is not None
    return Steps(steps.rows, 10, steps.answers, None if answered.all() else answered, onward)


def make_route(
    ledger: Ledger, times: Sequence[float], max_batch: int, *, even: bool
) -> ServedRoute:
    stages = [Stage(name, ledger, even=even) for name in STAGES]
    served = serve_toy(*stages, max_batch=max_batch, row_bytes=lambda _: 24)
    served.metrics.energy.source, served.metrics.energy.joules_per_s = "test", 1.0
    for lane, one_s in zip(served.lanes.values(), times, strict=True):
        lane.times.calibrate(one_s, one_s * 1.5, max_batch)
    return served


def check_queues(versions: Sequence[ServedRoute], asked: Mapping[str, set[float]]) -> None:
    """The counts of rows are those of the blocks that wait, each in the queues of callers that
    asked for all of its rows.
    """
    for lane in [lane for served in versions for lane in served.every_lane]:
        waiting = {}
        for queue in lane.queues.values():
            mine = {id(entry[3]): entry[3] for entry in queue.heap if queue._waits(entry)}
            assert queue.rows == sum(len(block) for block in mine.values()) > 0
            waiting.update(mine)
            of_caller = queue.share.parent
            assert of_caller is not None
            for block in mine.values():
                assert asked[of_caller.name].issuperset(map(float, block.inputs["x"]))
        assert lane.rows == sum(len(block) for block in waiting.values())


def check_reply(request: Request, reply: Reply) -> None:
    values = request.inputs["x"].tolist()
    assert sorted(row for part in reply.parts for row in part.rows) == list(range(len(values)))
    answers = reply.answers
    assert gather_output(reply, "y").tolist() == [
        float(one.outcome.outputs["y"]) for one in answers
    ]
    for value, answer in zip(values, answers, strict=True):
        last = last_stage(value)
        exit = answer.outcome.exit
        allowed = STAGES if answer.stopped_by in EARLY else [last]
        assert exit in allowed, f"{value} ended at {exit} by {answer.stopped_by}"
        expected = answer_of(value, exit)
        assert expected is not None and answer.outcome.confidence == expected.confidence
        assert answer.outcome.outputs["y"] == expected.outputs["y"]


@pytest.mark.parametrize("limits", [False, True])
def test_every_row_gets_its_own_answer_and_its_cost_is_reported_once(limits: bool) -> None:
    for seed in range(SEEDS):
        try:
            check_random_calls(Random(seed), limits=limits)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def check_random_calls(random: Random, *, limits: bool) -> None:
    """`limits`: some calls have deadlines or budgets, are cancelled or are computed anew, and the
    route is reloaded.
    """
    ledger = Ledger()
    times = [random.choice((0.0, 0.0005, 0.01)) for _ in STAGES]
    even = random.random() < 0.5
    versions = [make_route(ledger, times, random.choice(MAX_BATCHES), even=even)]
    limit_bytes = random.choice((24, 50, 240, 1 << 20))
    device = OnnxDevice(limit_bytes)
    stepped = Stepped(*versions, device=device, rebatch_stages=random.random() < 0.8)
    _measure(stepped, ledger)
    pool = random.sample(range(1, 25), random.randint(2, 8))  # few values: many joins
    begun: list[Request] = []
    asked: defaultdict[str, set[float]] = defaultdict(set)  # values, by caller
    for _ in range(random.randint(2, 40)):
        match random.choice(MOVES):
            case "call":
                begun.append(make_request(random, pool, stepped.clock.now, limits=limits))
                asked[begun[-1].caller] |= {*_values(begun[-1])}
                stepped.submit(begun[-1])
            case "cancel" if limits and stepped.open:
                stepped.cancel(random.choice(stepped.open))
            case "reload" if limits:  # rows under way stay in the lanes of the old one
                versions.append(make_route(ledger, times, random.choice(MAX_BATCHES), even=even))
                stepped.engine.catalog.replace(versions[-1:])
            case move:
                pass_time(random, stepped, move)
        check_queues(versions, asked)
        states = stepped.scheduler.states
        assert states.used_bytes <= states.reserved_bytes <= limit_bytes
    stepped.finish()
    stepped.clock.now += 1.0
    stepped.finish()  # the deadlines that were left
    check_end(stepped, versions, ledger, begun, limits=limits)


def pass_time(random: Random, stepped: Stepped, move: str) -> None:
    match move:
        case "turn":
            stepped.loop.turn()
        case "spin":
            stepped.spin()
        case "end" if stepped.thread.job is not None:
            stepped.end_batch(random.choice((None, 0.0, random.random() / 10)))
        case "wait":
            stepped.clock.now += random.random() / 50


def make_request(random: Random, pool: Sequence[int], now: float, *, limits: bool) -> Request:
    values = random.choices(pool, k=random.randint(1, 10))
    caller = random.choice(("", "one", "two"))
    if not limits or random.random() < 0.4:
        return ask(*values, caller=caller)
    return ask(
        *values,
        caller=caller,
        deadline=random.choice((None, now + random.random() / 4)),
        energy_mj=random.choice((None, random.random() * 40)),
        no_cache=random.random() < 0.2,
    )


def check_end(
    stepped: Stepped,
    versions: Sequence[ServedRoute],
    ledger: Ledger,
    begun: Sequence[Request],
    *,
    limits: bool,
) -> None:
    plain = not limits
    assert len(stepped.ends) == len(begun) and not stepped.open
    assert not stepped.engine.under_way.flights and not ledger.unneeded
    assert not any(one.rows or one.queues for served in versions for one in served.every_lane)
    device = stepped.scheduler.shares.device
    assert (device.waiting, device.calls) == (0, 0)
    states = stepped.scheduler.states
    assert (states.used_bytes, states.reserved_bytes) == (0, 0)
    assert not stepped.scheduler._reservations  # a replaced route's lanes are let go
    assert [state.freed for state in ledger.states] == [1] * len(ledger.states)

    for request, reply in stepped.replies:
        check_reply(request, reply)
    told: Counter[float] = Counter()
    told_mj = 0.0
    for request, reply in stepped.replies:
        for value, answer in zip(_values(request), reply.answers, strict=True):
            told[value] += answer.macs
            told_mj += answer.energy_mj or 0.0
    assert told <= ledger.macs, f"told {told}, executed {ledger.macs}"
    assert told_mj <= ledger.run_s * 1e3 * (1 + 1e-9) + 1e-9
    refused = [
        request for request in begun if any(last_stage(value) is None for value in _values(request))
    ]
    assert stepped.ends.count("StageFailed") <= len(refused)
    if plain:
        assert stepped.ends.count("StageFailed") == len(refused)
        assert stepped.ends.count("ok") == len(begun) - len(refused)
    if plain and not refused:
        assert told == ledger.macs
        assert set(ledger.runs.values()) <= {1}


def _values(request: Request) -> list[float]:
    values: list[float] = request.inputs["x"].tolist()
    return values


def _measure(stepped: Stepped, ledger: Ledger) -> None:
    """Add up the seconds of all batches, and check that each row in them is needed."""
    submit, end = stepped.thread.submit, stepped.thread.end

    def check(lane: Lane, blocks: list[Block]) -> None:
        for block in blocks:
            if block.call is None:
                ledger.unneeded |= {*block.rows} - block.find_needed()
        submit(lane, blocks)

    def measured(run_s: float) -> None:
        ledger.run_s += run_s
        end(run_s)

    stepped.thread.submit = check  # type: ignore[method-assign]
    stepped.thread.end = measured  # type: ignore[method-assign]
