"""Reads the meter ten times per second and adds its joules and the CPU times to the ledger.

If a meter fails, or its counter does not move while the machine is busy, the model's estimate takes
its place if there is one; else nothing is counted. The meter is tried again every few seconds.
Joules keep the name of their source.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from monitoring.energy.ledger import ACCOUNTS, DeviceSeconds, Interval, Ledger
from monitoring.energy.meters.meter import Meter, MeterFailed
from monitoring.energy.meters.model import ModelMeter
from monitoring.energy.rate import EnergyRate

RETRY_S = 5.0
QUICK_S = 0.0005  # a reading this fast costs less than handing it to a thread
STALLED_S = 2.0  # without a joule, while at least a twentieth of a core was busy

_log = logging.getLogger("sparing.energy")


class CpuTimes(NamedTuple):
    """Core-seconds so far."""

    busy_s: float  # the machine
    own_s: float  # this process
    device_s: float  # its stages
    siblings_s: float = 0.0  # the other server processes


class SourceLedger(NamedTuple):
    """The ledger of one source, and the joules of its components."""

    ledger: Ledger
    components: dict[str, float]


class Sampler:
    """Runs on the event loop. `spent` returns the device seconds of all ended rows so far."""

    def __init__(
        self,
        meters: Sequence[tuple[Meter, float | None]],  # in order of preference; with idle watts
        read_cpu: Callable[[], CpuTimes],
        read_spent: Callable[[], DeviceSeconds],
        rate: EnergyRate,
        clock: Callable[[], float] = time.monotonic,
        *,
        accounts: Sequence[
            str
        ] = ACCOUNTS,  # to report; without idle, the meter is not reported either
    ) -> None:
        self._accounts = accounts
        self._meters = meters
        self._read_cpu = read_cpu
        self._read_spent = read_spent
        self._rate = rate
        self._clock = clock
        self.ledgers: dict[str, SourceLedger] = {}  # by source
        self.degraded = False
        self._place = -1
        self._quick = False
        self._fixed: float | None = None  # joules per core-second, if a model defines them
        self._retry_at = 0.0
        self._still_s = 0.0
        self._first_j = 0.0  # of the first meter, when it was last tried
        self._last_j: Mapping[str, float] = {}
        self._cpu = read_cpu()
        self._spent = dict(read_spent())
        self._free_s = 0.0
        self._begun_s = self._last_s = clock()
        self._begin(0)

    @property
    def free_s(self) -> float:
        """Core-seconds since the start in which the machine served no rows.

        0 if another process accounts for the machine.
        """
        if "idle" not in self._accounts:
            return 0.0
        total_s = (os.cpu_count() or 1) * (self._last_s - self._begun_s)
        self._free_s = max(self._free_s, total_s - self._cpu.device_s - self._cpu.siblings_s)
        return self._free_s

    async def run(self, interval_s: float) -> None:
        """Run until cancelled. Slow meters are read in a thread, off the event loop."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.sample()
            except Exception:  # a meter may raise anything, and requests must go on
                _log.exception("reading energy failed; trying again")

    async def sample(self) -> None:
        """Read once, and add the difference from the previous reading."""
        now = self._clock()
        back = self.degraded and now >= self._retry_at and await self._try_first()
        joules = None if back else await self._read()  # its count starts now
        cpu, spent, now = self._read_cpu(), dict(self._read_spent()), self._clock()
        for route in {key[0] for key in self._spent} - {key[0] for key in spent}:
            for book in self.ledgers.values():
                book.ledger.remove_route(route)
        seconds, self._last_s = now - self._last_s, now
        before, self._cpu = self._cpu, cpu
        ended = {key: total - self._spent.get(key, 0.0) for key, total in spent.items()}
        self._spent = spent
        if joules is None:
            return
        steps = {name: total - self._last_j.get(name, 0.0) for name, total in joules.items()}
        self._last_j = joules
        busy_s = cpu.busy_s - before.busy_s
        if self._is_stalled(sum(steps.values()), seconds, busy_s):
            self._fall_back("its counter does not move")
            return
        interval = Interval(
            sum(steps.values()),
            seconds,
            busy_s,
            cpu.own_s - before.own_s,
            cpu.device_s - before.device_s,
            max(0.0, cpu.siblings_s - before.siblings_s),  # a process may have ended
        )
        self._record_interval(
            interval, {key: value for key, value in ended.items() if value > 0.0}, steps
        )

    # Meters ---------------------------------------------------------------------------------------

    async def _read(self) -> Mapping[str, float] | None:
        if self._place < 0:
            return None
        meter, _ = self._meters[self._place]
        try:
            return (
                meter.read_joules() if self._quick else await asyncio.to_thread(meter.read_joules)
            )
        except MeterFailed as error:
            self._fall_back(str(error))
            return None

    def _begin(self, place: int) -> None:
        """Use this meter from now on, or the first one after it that can be read."""
        self._place, self._still_s = -1, 0.0
        self._rate.source, self._rate.joules_per_s = "none", None
        self._retry_at = self._clock() + RETRY_S
        self.degraded = bool(self._meters)
        for index in range(place, len(self._meters)):
            meter, idle_w = self._meters[index]
            try:
                began = time.perf_counter()
                self._last_j = meter.read_joules()
                self._quick = time.perf_counter() - began < QUICK_S
            except MeterFailed as error:
                _log.warning("the meter %s cannot be read: %s", meter.source, error)
                continue
            self._place = index
            self.degraded = index > 0
            if meter.source not in self.ledgers:
                self.ledgers[meter.source] = SourceLedger(Ledger(idle_w), {})
            self._rate.source = meter.source
            self._fixed = self._report_model_rate(meter) if isinstance(meter, ModelMeter) else None
            self._rate.joules_per_s = self._fixed
            return

    def _report_model_rate(self, model: ModelMeter) -> float:
        """Return the joules per core-second, which a model knows from the start."""
        if "idle" in self._accounts:  # only one of several processes logs it
            _log.info("Energy values are estimates, not measurements: %s", model.basis)
        return model.watts.busy_core_w

    async def _try_first(self) -> bool:
        """Return to the first meter if it can be read again and its counter moves."""
        self._retry_at = self._clock() + RETRY_S
        meter, _ = self._meters[0]
        try:
            joules = sum((await asyncio.to_thread(meter.read_joules)).values())
        except MeterFailed:
            return False
        moved, self._first_j = joules != self._first_j, joules
        if moved:
            _log.info("the meter %s can be read again", meter.source)
            self._begin(0)
        return moved

    def _fall_back(self, why: str) -> None:
        _log.warning(
            "the meter %s fails: %s; trying again every %g s",
            self._meters[self._place][0].source, why, RETRY_S,
        )  # fmt: skip
        if self._place == 0:
            self._first_j = sum(self._last_j.values())
        self._begin(self._place + 1)

    def _is_stalled(self, joules: float, seconds: float, busy_s: float) -> bool:
        works = joules <= 0.0 and busy_s > 0.05 * seconds
        self._still_s = self._still_s + seconds if works else 0.0
        return self._still_s >= STALLED_S

    # The ledger -----------------------------------------------------------------------------------

    def _record_interval(
        self, interval: Interval, ended: DeviceSeconds, steps: Mapping[str, float]
    ) -> None:
        ledger, components = self.ledgers[self._rate.source]
        ledger.add(interval, ended)
        for name, step_j in steps.items():
            components[name] = components.get(name, 0.0) + max(0.0, step_j)
        self._rate.joules_per_s = ledger.joules_per_s if self._fixed is None else self._fixed

    def counts(self) -> Mapping[str, Mapping[tuple[str, ...], float]]:
        """Return the counts under the names of `monitoring.metrics.labelled`."""
        rows: dict[tuple[str, ...], float] = {}
        accounts: dict[tuple[str, ...], float] = {}
        parts: dict[tuple[str, ...], float] = {}
        if self._place >= 0:  # series start at 0, else Prometheus misses their first growth
            rows = {(*key, self._rate.source): 0.0 for key in self._spent}
        for source, (ledger, components) in self.ledgers.items():
            rows |= {(*key, source): joules for key, joules in ledger.rows.items()}
            accounts |= {(name, source): ledger.accounts[name] for name in self._accounts}
            if "idle" in self._accounts:
                parts |= {(name, source): joules for name, joules in components.items()}
        return {
            "energy_joules": rows,
            "energy_account_joules": accounts,
            "energy_meter_joules": parts,
            "energy_degraded": {(): float(self.degraded)},
        }
