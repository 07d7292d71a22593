"""Rows under way: each distinct row is computed once, and identical rows of others wait for it."""

from collections.abc import Mapping, Sequence
from itertools import repeat

from cache.local_cache import LocalCache
from core.messages import Key, Outcomes
from serving.engine.admission import check_room
from serving.engine.caches.perceptual_cache import Probe
from serving.engine.caches.perceptual_lookup import NO_PROBES, look_up_perceptual
from serving.engine.caches.remote_lookup import RemoteLookup
from serving.engine.calls import Call
from serving.engine.entry_points import choose_entry_point
from serving.engine.row_sorting import make_block, sort_rows
from serving.scheduling.fair_shares import Claim
from serving.scheduling.reservations import measure_needs
from serving.scheduling.rows.blocks import Block
from serving.scheduling.scheduler import Scheduler
from serving.scheduling.schedulers import Schedulers
from serving.settings import EngineSettings


class RowsUnderWay:
    """Starts the rows of calls, or lets them join those of others; stores their answers."""

    schedulers: Schedulers
    lookup: RemoteLookup | None = None

    def __init__(self, memory: LocalCache, settings: EngineSettings) -> None:
        self._memory = memory
        self._settings = settings
        self.flights: dict[Key, tuple[Call, int]] = {}  # the call that computes a row, and its row

    def join_or_start(self, call: Call, keys: Sequence[Key | None], missing: Sequence[int]) -> None:
        """Join rows under way for rows without an answer, and start the others."""
        probes = NO_PROBES
        if call.served.similar is not None:
            missing, probes = look_up_perceptual(call, keys, missing, self.flights)
        if call.over:
            return
        scheduler = self.schedulers.by_device[call.served.entry.device]
        call.claim = scheduler.shares.claim(call.request.caller, call.served.name, call.requests)
        try:
            self._start_rows(call, call.claim, keys, missing, probes, scheduler)
        except BaseException:
            scheduler.shares.release(call.claim)
            raise

    def _start_rows(
        self,
        call: Call,
        claim: Claim,
        keys: Sequence[Key | None],
        missing: Sequence[int],
        probes: Mapping[int, Probe],
        scheduler: Scheduler,
    ) -> None:
        now = call.started
        due = now + self._settings.patience_s
        if call.deadline is not None and call.deadline < due:
            due = call.deadline
        rows = sort_rows(keys, missing, self.flights)
        if rows.fresh:
            entry_point = choose_entry_point(
                call, claim, len(rows.fresh), due, scheduler, self._settings
            )
            check_room(
                call, entry_point.lane, claim, len(rows.fresh), due, now, scheduler, self._settings
            )
            block = make_block(call, claim, entry_point, rows.fresh, keys, due)
            if call.served.state_needs is not None:
                measure_needs(block, call.served.state_needs, scheduler.states.limit_bytes)
            call.blocks.append(block)
            if probes:
                block.probes = {row: probes[row] for row in rows.fresh if row in probes}
            if block.keys is not None:
                owned = zip(repeat(call), rows.fresh, strict=False)
                self.flights.update(zip(block.keys, owned, strict=True))
            if rows.twins:  # of rows of the same request
                block.add_join(call, rows.twins)
                call.served.worth.observe(0, len(rows.twins))
            (self.lookup or scheduler).enqueue(block, block.lane, now)
        if rows.joined:
            call.served.worth.observe(0, sum([len(mine) for _, mine in rows.joined]))
            self._join(call, claim, rows.joined, due)

    def _join(
        self, call: Call, claim: Claim, joined: Sequence[tuple[Key, Sequence[int]]], due: float
    ) -> None:
        """Let rows of the call wait for rows under way."""
        groups: dict[Block, list[tuple[int, int]]] = {}
        for key, mine in joined:
            owner, row = self.flights[key]
            pairs = groups.setdefault(owner.find_block(row), [])
            pairs += [(row, one) for one in mine]
        for block, pairs in groups.items():
            part = block
            if block.queued:
                places = sorted(set(block.places_of(row for row, _ in pairs)))
                part = block.lane.carve(block, places)
            part.lane.join(part, due, claim)
            part.add_join(call, pairs)

    def finish(self, block: Block, outcomes: Outcomes | None, at: Sequence[int]) -> None:
        """Store the answers of a block that ended, and let no other request join it."""
        keys = block.keys
        if keys is None:
            return
        flights = self.flights
        for key in keys:
            flights.pop(key, None)
        ttl_s = block.lane.cache_ttl_s
        if outcomes is None or ttl_s is None:
            return
        self._memory.put_rows(keys, outcomes, at, ttl_s)
        if block.probes:
            for row, probe in block.probes.items():
                probe.complete(outcomes.row(at[block.rows.index(row)]), ttl_s)
        if self.lookup is not None:
            self.lookup.store_answers(keys, outcomes, at, block.lane)
