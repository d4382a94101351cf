"""Where forms run: in this process, or in one of their own that answers over a pipe."""

from __future__ import annotations

import copy
import multiprocessing
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import torch

from sdflow.bench.forms import Case, draw_inputs, make_form
from sdflow.errors import SdflowError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from torch import Tensor

    from sdflow.model.sdflow import SDFlow


@dataclass(frozen=True, slots=True)
class Timing:
    """One run of one form.

    Attributes:
        seconds: Wall-clock, the device's work included.
        peak_bytes: Most memory in use meanwhile; None where the system does not say.
    """

    seconds: float
    peak_bytes: int | None


class BenchError(SdflowError):
    """The baseline could not be measured."""

    code = "bench"


class FormRunner(Protocol):
    """Runs a form of a case once."""

    def run(self, form: str, case: Case) -> Timing:
        """Run it; the first run of a form prepares it as well."""

    def close(self) -> None:
        """Give back what it holds."""


class LocalRunner:
    """Runs forms in this process, keeping those of one case at a time.

    Peak memory on a CPU is the process's, what earlier forms left behind included: the engine's
    process keeps freed memory.

    Args:
        model: Float32 model on its device.
        batch_px: LR pixels that the fused forms take at once.
    """

    def __init__(self, model: SDFlow, *, batch_px: int) -> None:
        self._model = model
        self._batch_px = batch_px
        self.device = next(model.parameters()).device
        self._case: Case | None = None
        self._forms: dict[str, Callable[[], Tensor]] = {}
        self.outputs: dict[str, Tensor] = {}

    def run(self, form: str, case: Case) -> Timing:
        """Run a form once."""
        if case != self._case:
            self.close()
            self._case = case
        if form not in self._forms:
            self._forms[form] = make_form(
                form,
                copy.deepcopy(self._model),
                case,
                draw_inputs(case, self.device),
                batch=max(1, self._batch_px // case.side**2),
            )
        self._reset_peak()
        started = perf_counter()
        self.outputs[form] = self._forms[form]()
        self.wait()
        seconds = perf_counter() - started
        return Timing(seconds, self._peak_bytes())

    def wait(self) -> None:
        """Until the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def close(self) -> None:
        """Forget the forms and outputs of the last case."""
        self._forms.clear()
        self.outputs.clear()

    def _reset_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def _peak_bytes(self) -> int | None:
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        with suppress(OSError):
            status = Path("/proc/self/status").read_text(encoding="ascii")
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            return int(found[1]) * 1024 if found else None
        return None


class RemoteRunner:
    """Runs forms in a process of their own, whose allocator nobody has touched.

    Args:
        model: Float32 model on the CPU.
        threads: Threads of that process.
    """

    def __init__(self, model: SDFlow, *, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, model, threads), daemon=True, name="baseline"
        )
        self._process.start()

    def run(self, form: str, case: Case) -> Timing:
        """Have a form run once."""
        try:
            self._pipe.send((form, case))
            answer: Timing = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise BenchError(
                f"the baseline's process ended on {case.name} ({form}): smaller --sizes, or "
                "--no-plain to measure without it"
            ) from error
        return answer

    def close(self) -> None:
        """End the process."""
        with suppress(OSError):
            self._pipe.send(None)
        self._process.join()


def _serve(pipe: Connection, model: SDFlow, threads: int) -> None:
    torch.set_num_threads(threads)
    runner = LocalRunner(model, batch_px=1)
    while (request := pipe.recv()) is not None:
        pipe.send(runner.run(*request))
