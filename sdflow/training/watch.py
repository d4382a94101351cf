"""What a person sees of a run: a bar or log lines, and the files that TensorBoard reads."""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import structlog

from sdflow.errors import UsageError

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress
    from tensorboardX import SummaryWriter

    from sdflow.storage.store import Store
    from sdflow.training.step import StepReport

BOARD_PREFIX = "tensorboard/"
_LINE_EVERY_S = 30.0
_SHOWN = ("total", "bits_hr", "bits_lr", "up_pixel")
_log = structlog.get_logger()


class Console:
    """A progress bar with the losses on a terminal, elsewhere a log line every half a minute.

    Args:
        steps: Of the whole run.
        done: Of those, what earlier legs did.
    """

    def __init__(self, steps: int, done: int) -> None:
        self._steps, self._first = steps, done
        self._began = self._said = time.monotonic()
        self._bar = _bar(steps, done) if sys.stderr.isatty() else None

    def stepped(self, report: StepReport, skipped: int) -> None:
        """Show a step's losses."""
        losses = {name: round(report.losses[name], 4) for name in _SHOWN if name in report.losses}
        if self._bar is not None:
            text = " ".join(f"{name} {value:.4g}" for name, value in losses.items())
            self._bar.update(self._bar.task_ids[0], completed=report.step + 1, losses=text)
        now = time.monotonic()
        is_due = now - self._said >= _LINE_EVERY_S or report.step + 1 == self._steps
        if self._bar is None and is_due:
            self._said = now
            seconds = (now - self._began) / (report.step + 1 - self._first)
            _log.info(
                "training",
                step=report.step + 1,
                of=self._steps,
                seconds_per_step=round(seconds, 3),
                skipped=skipped,
                **losses,
            )

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()


class Board:
    """TensorBoard's event files, written here and moved to the run's store at checkpoints.

    Args:
        store: Of the run.
        step: Steps done: what an earlier leg wrote beyond is hidden.

    Raises:
        UsageError: If tensorboardX is not installed.
    """

    def __init__(self, store: Store, step: int) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "training needs more libraries: pip install 'sdflow[train]'"
            ) from error
        self._store = store
        self._folder = tempfile.TemporaryDirectory(prefix="sdflow-board-")
        self._new_writer = partial(SummaryWriter, self._folder.name, flush_secs=3600)
        self._writer: SummaryWriter = self._new_writer(purge_step=step, filename_suffix=f".{step}")

    def stepped(self, report: StepReport) -> None:
        """Add a step's losses."""
        for name, value in report.losses.items():
            self._writer.add_scalar(f"loss/{name}", value, report.step)
        self._writer.add_scalar("train/grad_norm", report.grad_norm, report.step)
        self._writer.add_scalar("train/skipped", float(report.skipped), report.step)

    def sampled(self, step: int, grid: NDArray[np.uint8]) -> None:
        """Add a picture."""
        self._writer.add_image("samples", grid, step - 1, dataformats="HWC")

    def saved(self, step: int) -> None:
        """Move what there is into the store; what follows goes into another file."""
        self._move()
        self._writer = self._new_writer(filename_suffix=f".{step}")

    def close(self) -> None:
        """Move the rest."""
        self._move()
        self._folder.cleanup()

    def _move(self) -> None:
        self._writer.close()
        for path in Path(self._folder.name).iterdir():
            self._store.put(f"{BOARD_PREFIX}{path.name}", path.read_bytes())
            path.unlink()


class RunWatcher:
    """Console and board of a run, as the loop's watcher."""

    def __init__(self, store: Store, *, steps: int, done: int, skipped: int) -> None:
        self._store, self._skipped = store, skipped
        self._board = Board(store, done)
        self._console = Console(steps, done)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._console.close()
        self._board.close()

    def stepped(self, report: StepReport) -> None:
        """After every step."""
        self._skipped += report.skipped
        if report.skipped:
            _log.warning("a step without a usable gradient is skipped", step=report.step)
        self._console.stepped(report, self._skipped)
        self._board.stepped(report)

    def sampled(self, step: int, grid: NDArray[np.uint8]) -> None:
        """With a picture of samples."""
        self._board.sampled(step, grid)

    def saved(self, step: int) -> None:
        """After a checkpoint."""
        self._board.saved(step)
        _log.info("checkpoint", step=step, place=self._store.url)


def _bar(steps: int, done: int) -> Progress:
    from rich.console import Console as Terminal
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    bar = Progress(
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        Remaining(),
        TextColumn("{task.fields[losses]}"),
        console=Terminal(stderr=True),
    )
    bar.add_task("training", total=steps, completed=done, losses="")
    bar.start()
    return bar
