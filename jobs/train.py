"""``sdflow train``: a model from two sets of photos."""

from __future__ import annotations

import hashlib
import json
import signal
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import structlog

from sdflow.driver.places import s3_options
from sdflow.driver.tenure import hold_job
from sdflow.errors import NotFoundError, UsageError
from sdflow.storage import keys
from sdflow.storage.location import StoreLocation, open_store, overlaps
from sdflow.work.plan import is_wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdflow.storage.location import S3Options
    from sdflow.storage.store import Store
    from sdflow.training.settings import TrainSettings
    from sdflow.training.worker import PhotoPlace, Run

_log = structlog.get_logger()
RUN_KEY = "run.json"
STOPPED = 4
_CPU_THREADS, _GPU_THREADS = 2, 16
_VGG19_PATCH = 64  # four halvings of a quarter must leave a pixel


def run(settings: TrainSettings) -> int:
    """Train, from the run's last checkpoint on.

    Returns:
        Exit status: 0 if the last step is done, 4 if it was stopped and can be resumed.

    Raises:
        UsageError: Settings cannot be trained, or differ from those the run was begun with.
        TrainingError: The run diverged, or a checkpoint is damaged.
        StorageError: A store refuses.
        ClusterError: Ray gives no workers, or loses them again and again.
    """
    from sdflow.training.loop import Place, find_state
    from sdflow.training.worker import work

    gpus = _gpus_per_worker(settings)
    plan = _plan(settings, on_gpu=gpus > 0)
    Place(count=settings.workers).rows(plan.recipe.batch)
    store = open_store(plan.target)
    with hold_job(store, join=False):
        if find_state(plan.recipe, store, may_change=plan.may_change) and not plan.may_change:
            _check_facts(store, _facts(settings, plan))
        store.put(RUN_KEY, json.dumps(_facts(settings, plan), indent=2).encode())
        if settings.workers > 1:
            done = _run_on_ray(plan, settings, gpus)
        else:
            with _told_to_stop() as should_stop:
                done = work(plan, device="cuda" if gpus else "cpu", should_stop=should_stop)
    if not done:
        _log.warning("stopped; the same command resumes the run", place=plan.target.url)
    return 0 if done else STOPPED


def _run_on_ray(plan: Run, settings: TrainSettings, gpus: int) -> bool:
    from sdflow.driver.loop import ray_connected
    from sdflow.training.cluster import train_on_ray

    # Ray takes the signals when it begins: ours come after.
    with ray_connected(settings.address, log_to_driver=True), _told_to_stop() as should_stop:
        return train_on_ray(
            plan,
            workers=settings.workers,
            gpus_per_worker=gpus,
            log_format=settings.log_format,
            should_stop=should_stop,
        )


def _gpus_per_worker(settings: TrainSettings) -> int:
    """What is asked for, or one wherever there are some."""
    import torch

    if settings.workers > 1 and settings.address != "local":
        from sdflow.driver.loop import cluster_gpus

        found = int(cluster_gpus(settings.address))
    else:
        found = torch.cuda.device_count()
    wanted = settings.gpus_per_worker
    if wanted is None:
        return int(found >= settings.workers)
    if wanted * settings.workers > found:
        raise UsageError(
            f"--gpus-per-worker {wanted}: {settings.workers} workers want more GPUs than the "
            f"{found} there are",
            item="--gpus-per-worker",
        )
    return wanted


def _facts(settings: TrainSettings, plan: Run) -> dict[str, Any]:
    """What the run was begun or resumed with. No credential is among it."""
    return {
        "recipe": plan.recipe.to_dict(),
        "hr": plan.photos["hr"].location.url,
        "lr": plan.photos["lr"].location.url,
        "photos": {name: len(place.keys) for name, place in plan.photos.items()},
        "photo_lists": {name: _digest("\n".join(p.keys)) for name, p in plan.photos.items()},
        "perceptual": "edges" if plan.vgg19 is None else _digest(plan.vgg19),
        "settings": settings.model_dump(mode="json", exclude={"endpoint_url", "profile"}),
        "versions": {name: version(name) for name in ("sdflow", "torch", "numpy")},
    }


def _check_facts(store: Store, facts: dict[str, Any]) -> None:
    """Refuse to go on with other photos, or another perceptual net, than the run was begun with."""
    try:
        before = json.loads(store.get(RUN_KEY))
    except (NotFoundError, ValueError):
        return
    named = {"hr": "--hr", "lr": "--lr", "photo_lists": "the photos there", "perceptual": "--vgg19"}
    odd = [words for name, words in named.items() if before.get(name, facts[name]) != facts[name]]
    if odd:
        raise UsageError(
            f"the run in DST was begun with others: {', '.join(odd)}; give those, or --change to "
            "go on with the new ones",
            item="--change",
        )


def _digest(content: str | bytes) -> str:
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:16]


def _plan(settings: TrainSettings, *, on_gpu: bool) -> Run:
    from sdflow.training.loop import Cadence
    from sdflow.training.worker import Run

    recipe = settings.recipe()
    if settings.vgg19 is not None and recipe.patch < _VGG19_PATCH:
        raise UsageError(
            f"--patch {recipe.patch}: VGG-19 sees LR patches of a quarter of that, and needs "
            f"{_VGG19_PATCH}",
            item="--patch",
        )
    options = s3_options(settings)
    target = StoreLocation(settings.dst, options)
    photos = {
        "hr": _photos(settings.hr, settings.hr_include, options, target, "--hr"),
        "lr": _photos(settings.lr, settings.lr_include, options, target, "--lr"),
    }
    counts = {name: len(place.keys) for name, place in photos.items()}
    _log.info("photos to train on", **counts)
    return Run(
        recipe=recipe,
        target=target,
        photos=photos,
        cadence=Cadence(settings.checkpoint_every, settings.keep, settings.sample_every),
        threads=settings.threads or (_GPU_THREADS if on_gpu else _CPU_THREADS),
        hold_bytes=int(settings.hold_gib * 2**30),
        max_pixels=settings.max_pixels,
        may_change=settings.change,
        initial=_initial(settings.init, options),
        vgg19=_file(settings.vgg19, options),
    )


def _photos(
    address: str, include: tuple[str, ...], options: S3Options, target: StoreLocation, flag: str
) -> PhotoPlace:
    from sdflow.training.worker import PhotoPlace

    place = StoreLocation(address, options)
    if overlaps(place, target):
        raise UsageError(
            f"{flag} {place.url} and DST {target.url} overlap: sample pictures would become photos",
            item=flag,
        )
    store = open_store(place)
    store.check()
    found = tuple(
        info.key
        for info in store.list()
        if not info.is_placeholder
        and not keys.is_job_key(info.key)
        and is_wanted(info.key, include=include, exclude=())
    )
    if not found:
        raise UsageError(f"{flag}: there is no photo in {store.url}", item=flag)
    return PhotoPlace(place, found)


def _initial(address: str | None, options: S3Options) -> bytes | None:
    if address is None:
        return None
    from sdflow.driver.weights import read_weights_at
    from sdflow.model.checkpoint import decode_weights, encode_safetensors

    return encode_safetensors(decode_weights(read_weights_at(address, options), calibrated=False))


def _file(address: str | None, options: S3Options) -> bytes | None:
    if address is None:
        return None
    folder, slash, name = address.rpartition("/")
    return open_store(StoreLocation(folder or slash or ".", options)).get(name)


@contextmanager
def _told_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or Ctrl-C has come; a second Ctrl-C ends the command at once."""
    told: list[int] = []

    def note(number: int, _frame: object) -> None:
        if told:
            raise KeyboardInterrupt
        told.append(number)
        _log.warning("stopping after this step; again stops at once")

    before = {one: signal.signal(one, note) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(told)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
