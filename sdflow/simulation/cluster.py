"""A cluster on a virtual clock around the real scheduler and the real planner."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import count
from random import Random
from time import process_time
from typing import TYPE_CHECKING

from sdflow.driver.events import (
    Event,
    GiveUp,
    ListingEnded,
    Progressed,
    RecordDeadLetter,
    RecordEndings,
    ScaleTo,
    ShardPlanned,
    SplitShard,
    StartShard,
    StopWorker,
    TimePassed,
    WorkerJoined,
    WorkerLost,
)
from sdflow.driver.leases import MAX_SHARD_IMAGES
from sdflow.driver.state import Scheduler
from sdflow.simulation.agenda import Agenda
from sdflow.simulation.archive import Archive
from sdflow.simulation.figures import Figures, Usage
from sdflow.simulation.record import Record
from sdflow.simulation.worker import SimulatedWorker
from sdflow.telemetry import peak_rss_bytes
from sdflow.work.plan import plan_shards

if TYPE_CHECKING:
    from sdflow.simulation.scenario import Scenario

_SLOW_SHARE = 0.01
_SLOWER = 3.0
_NOTICED_S, _NODE_NOTICED_S = 1.0, 15.0
_REPLACED_S, _NODE_REPLACED_S = 6.0, 60.0
_STUCK_S = 7200.0  # without any ending


def simulate(scenario: Scenario) -> Figures:
    """Do a whole archive, as fast as the scheduler can think."""
    return _Cluster(scenario).run()


class _Cluster:
    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._random = Random(scenario.seed)  # noqa: S311  # chance, not secrecy
        self._archive = Archive(
            scenario.images, scenario.median_mp * 1e6, scenario.poison, scenario.seed
        )
        self._record = Record(scenario.images)
        self._base_bytes = peak_rss_bytes()
        self._usage = Usage()
        self._px_per_s = scenario.mp_per_s * 1e6
        self._scheduler = Scheduler(min_workers=scenario.workers, max_workers=scenario.workers)
        self._shards = plan_shards(
            self._archive.items(),
            num_workers=scenario.workers,
            max_images=MAX_SHARD_IMAGES,
            target_px=lambda: self._scheduler.pace.shard_px,
        )
        self._workers: dict[str, SimulatedWorker] = {}
        self._scale = scenario.workers
        self._num_starting = 0
        self._names = count(1)
        self._agenda = Agenda()
        self._counts: Counter[str] = Counter()
        self._scheduler_s = 0.0
        self._num_unleased = 0
        self._progressed_at = 0.0
        self._first_ready: float | None = None
        self._dry: tuple[float, float, float, float] | None = None
        self._gave_up = False

    def run(self) -> Figures:
        started = process_time()
        for _ in range(self._scale):
            self._start_worker(self._random.random())
        self._plan_accident()
        self._agenda.add(1.0, self._tick)
        while not (self._scheduler.is_finished or self._gave_up):
            self._agenda.step()
            self._plan()
            if self._now - self._progressed_at > _STUCK_S:
                break
        return self._figures(process_time() - started)

    @property
    def _now(self) -> float:
        return self._agenda.now

    # What happens.

    def _start_worker(self, delay_s: float) -> None:
        self._num_starting += 1
        self._agenda.add(self._now + delay_s, self._join)

    def _join(self) -> None:
        self._num_starting -= 1
        speed = self._px_per_s
        if self._random.random() < _SLOW_SHARE:
            speed /= _SLOWER
        worker = SimulatedWorker(f"worker-{next(self._names)}", speed, self._now)
        self._workers[worker.name] = worker
        self._usage.count_alive(1, self._now)
        if self._first_ready is None:
            self._first_ready = self._now
        self._schedule(worker)
        self._feed(WorkerJoined(worker.name))

    def _schedule(self, worker: SimulatedWorker) -> None:
        worker.version += 1
        self._agenda.add(worker.due, partial(self._wake, worker, worker.version))

    def _wake(self, worker: SimulatedWorker, version: int) -> None:
        if version != worker.version:
            return
        if worker.is_killed(self._now):
            self._counts["kills"] += 1
            self._die(worker, with_node=False)
            return
        endings, num_computed, busy_s = worker.report(self._now)
        num_before = self._record.num_done
        self._feed(Progressed(worker.name, tuple(endings)))
        if num_computed:
            counted = (self._record.num_done - num_before) / num_computed
            self._usage.add_useful(busy_s * counted)
            self._usage.add_vain(busy_s * (1 - counted), worker.px_per_s)
        self._schedule(worker)

    def _plan_accident(self) -> None:
        rate = self._scenario.workers * self._scenario.loss_per_hour / 3600
        if rate > 0:
            self._agenda.add(self._now + self._random.expovariate(rate), self._accident)

    def _accident(self) -> None:
        alive = [worker for worker in self._workers.values() if not worker.is_dead]
        if alive:
            self._counts["accidents"] += 1
            self._die(self._random.choice(alive), with_node=self._random.random() < 0.5)
        self._plan_accident()

    def _die(self, worker: SimulatedWorker, *, with_node: bool) -> None:
        self._end(worker)
        delay = _NODE_NOTICED_S if with_node else _NOTICED_S
        self._agenda.add(self._now + delay, partial(self._lose, worker, with_node=with_node))

    def _end(self, worker: SimulatedWorker) -> None:
        worker.is_dead = True
        worker.version += 1
        self._usage.add_vain(worker.unreported_s(self._now), worker.px_per_s)
        self._usage.count_alive(-1, self._now)

    def _lose(self, worker: SimulatedWorker, *, with_node: bool) -> None:
        if self._workers.pop(worker.name, None) is None:
            return  # it was stopped meanwhile
        self._refill(_NODE_REPLACED_S if with_node else _REPLACED_S)
        self._feed(WorkerLost(worker.name, with_node))

    def _refill(self, delay_s: float = _REPLACED_S) -> None:
        for _ in range(self._scale - len(self._workers) - self._num_starting):
            self._start_worker(delay_s)

    def _tick(self) -> None:
        self._feed(TimePassed())
        self._agenda.add(self._now + 1.0, self._tick)

    def _plan(self) -> None:
        while self._scheduler.wants_shards:
            shard = next(self._shards, None)
            if shard is None:
                self._feed(ListingEnded())
                self._counts["listed"] = 1
            else:
                self._counts["shards"] += 1
                self._num_unleased += 1
                self._feed(ShardPlanned(shard))
        if self._dry is None and self._counts["listed"] and not self._num_unleased:
            self._note_dry()

    # What the scheduler orders.

    def _feed(self, event: Event) -> None:
        began = process_time()
        commands = self._scheduler.handle(event, self._now)
        self._scheduler_s += process_time() - began
        self._counts["events"] += 1
        is_tick = isinstance(event, TimePassed)
        for command in commands:
            match command:
                case RecordEndings(endings):
                    self._record.add_done(endings)
                    self._progressed_at = self._now
                case StartShard(name, lease, shard):
                    self._num_unleased -= shard.attempt == 1
                    self._counts["twins"] += is_tick and shard.attempt > 1 + shard.losses
                    worker = self._workers[name]
                    if not worker.is_dead and worker.take(lease, shard, self._now):
                        self._schedule(worker)
                case _:
                    self._obey(command, is_sharing=is_tick)
        if is_tick:
            self._refill()

    def _obey(self, command: object, *, is_sharing: bool) -> None:
        match command:
            case SplitShard(name, lease, num_images):
                self._counts["splits"] += is_sharing
                worker = self._workers.get(name)
                if worker is not None and not worker.is_dead:
                    worker.give_back(lease, num_images, self._now)
                    self._schedule(worker)
            case RecordDeadLetter():
                self._record.add_dead(command)
                self._progressed_at = self._now
            case StopWorker(name):
                worker = self._workers.pop(name)
                if not worker.is_dead:
                    self._end(worker)
            case ScaleTo(workers):
                self._scale = workers
            case GiveUp():
                self._gave_up = True

    # What is found.

    def _note_dry(self) -> None:
        usage, now = self._usage, self._now
        under_way_s = sum(
            worker.unreported_s(now) for worker in self._workers.values() if not worker.is_dead
        )
        self._dry = (now, usage.useful_s + under_way_s, usage.vain_s, usage.alive_s(now))

    def _figures(self, seconds: float) -> Figures:
        dry_at, useful_s, vain_s, alive_s = self._dry or (self._now, 0.0, 0.0, 0.0)
        workers, began = self._scenario.workers, self._first_ready or 0.0
        places_s = workers * (dry_at - began) or 1.0
        counts, archive, record = self._counts, self._archive, self._record
        shard_s = archive.healthy_px / max(1, counts["shards"]) / self._px_per_s
        vain_px = self._usage.vain_px
        return Figures(
            images=archive.images,
            deadly=archive.num_poison,
            done=record.num_done,
            dead_lettered=record.num_dead,
            twice=record.num_twice,
            counts_add_up=record.adds_up(archive) and not self._gave_up,
            simulated_s=self._now,
            events=counts["events"],
            events_per_s=counts["events"] / self._scheduler_s,
            peak_mb=(peak_rss_bytes() - self._base_bytes) / 1e6,
            utilization=useful_s / places_s,
            utilization_all=self._usage.useful_s / (workers * (self._now - began) or 1.0),
            computed_in_vain=vain_s / places_s,
            restarting=1 - alive_s / places_s,
            shards=counts["shards"],
            shard_s=shard_s,
            tail_s=self._now - dry_at,
            tail_in_shards=(self._now - dry_at) / shard_s if shard_s else 0.0,
            duplicated=vain_px / (vain_px + archive.healthy_px),
            kills=counts["kills"],
            accidents=counts["accidents"],
            retries=self._scheduler.retries,
            splits=counts["splits"],
            twins=counts["twins"],
            seconds=seconds,
        )
