"""``sdflow bench``: what the network costs on this machine. Needs torch, numpy and Pillow alone.

With ``--encoders``: what writing images costs, with those libraries that are installed.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdflow.errors import SdflowError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sdflow.bench.encoders import EncoderRow
    from sdflow.bench.forms import Case
    from sdflow.bench.measure import Row
    from sdflow.bench.runner import FormRunner, LocalRunner
    from sdflow.bench.tiles import TileRow
    from sdflow.model.sdflow import SDFlow

_CASES = ("upscale", "downscale", "samples", "batch")
_TILES = "64,128,256"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("--preset", choices=("paper", "small"), default="paper")
    parser.add_argument("--weights", metavar="PATH", help="measure these; default: drawn ones")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU; default: all cores")
    parser.add_argument(
        "--cases", default=",".join(_CASES), help="any of %(default)s, comma-separated"
    )
    parser.add_argument(
        "--sizes", default="64,128,256,512", help="sides in LR px (default: %(default)s)"
    )
    parser.add_argument(
        "--batch-sizes", default="64,96", help="of batches of 32 images (default: %(default)s)"
    )
    parser.add_argument("--runs", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="sizes 64 and 128 alone")
    parser.add_argument("--no-plain", action="store_true", help="without the slow baseline")
    parser.add_argument("--steps", action="store_true", help="what each optimisation brought")
    parser.add_argument(
        "--tiles",
        nargs="?",
        const=_TILES,
        metavar="SIDES",
        help=f"what tiles yield with the automatic halo, and their seams (SIDES: {_TILES})",
    )
    parser.add_argument(
        "--encoders",
        nargs="?",
        const="",
        metavar="FORMATS",
        help="what writing images costs, with every library (FORMATS: all), instead of the network",
    )
    parser.add_argument(
        "--images", metavar="DIR", help="photos for --encoders; default: a drawn landscape"
    )
    parser.add_argument("--json", metavar="FILE", help="write everything there too; - for stdout")


def run(arguments: argparse.Namespace, *, report: Callable[[str], None]) -> int:
    """Measure, and report tables or JSON.

    Raises:
        UsageError: On a flag that cannot be.
        WeightsError: If the weights cannot be read.
    """
    if arguments.encoders is not None:
        return _measure_encoders(arguments, report)
    import torch

    from sdflow.bench.forms import PLAIN_FORMS
    from sdflow.bench.measure import measure
    from sdflow.bench.table import case_table, sample_line, step_table
    from sdflow.bench.weights import drawn_model
    from sdflow.model.config import PRESETS
    from sdflow.model.sdflow import SDFlow

    cases = _cases(arguments)
    tiles = _sizes("--tiles", arguments.tiles) if arguments.tiles else []
    _check_target(arguments)
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    path = arguments.weights
    model = SDFlow.load(path) if path else drawn_model(PRESETS[arguments.preset])
    quiet = arguments.json == "-"
    facts = _machine(device)
    if not quiet:
        report(", ".join(f"{name} {value}" for name, value in facts.items()))
    if tiles:
        tile_rows = _measure_tiles(model.to(device), tiles, arguments, report, quiet=quiet)
        return _write_json(arguments.json, facts, tile_rows, report)
    engine, baseline = _runners(model, device)
    plain = () if arguments.no_plain else ("plain",)
    forms = (*PLAIN_FORMS, "fp32", "bf16") if arguments.steps else (*plain, "fp32", "bf16")
    rows: list[Row] = []
    try:
        for case in cases:
            found = measure(case, forms, model.config, engine, baseline, runs=arguments.runs)
            rows += found
            if not (quiet or arguments.steps):
                report(case_table(found))
                if case.samples > 1:
                    report(
                        sample_line(
                            [
                                row
                                for row in rows
                                if row.case in (case.name, replace(case, samples=1).name)
                            ]
                        )
                    )
    finally:
        baseline.close()
    if arguments.steps and not quiet:
        report(step_table(rows))
    return _write_json(arguments.json, facts, rows, report)


def _check_target(arguments: argparse.Namespace) -> None:
    to_file = arguments.json not in (None, "-")
    if to_file and not Path(arguments.json).absolute().parent.is_dir():
        raise UsageError(f"--json {arguments.json}: its folder does not exist", item="--json")
    if arguments.runs < 1:
        raise UsageError(f"--runs must be at least 1, not {arguments.runs}", item="--runs")


def _measure_encoders(arguments: argparse.Namespace, report: Callable[[str], None]) -> int:
    from sdflow.bench.encoders import (
        FORMATS,
        encoder_table,
        measure_encoders,
        missing_libraries,
    )

    _check_target(arguments)
    formats = tuple(filter(None, arguments.encoders.split(",")))
    for name in formats:
        if name not in FORMATS:
            known = ", ".join(FORMATS)
            raise UsageError(f"--encoders {name!r} is not one of {known}", item="--encoders")
    folder = None if arguments.images is None else Path(arguments.images)
    rows = measure_encoders(folder, runs=arguments.runs, formats=formats or FORMATS)
    if arguments.json != "-":
        for name in missing_libraries():
            report(f"{name} is not installed and is left out")
        report(encoder_table(rows))
    return _write_json(arguments.json, _machine("cpu"), rows, report)


def _measure_tiles(
    model: SDFlow,
    tiles: list[int],
    arguments: argparse.Namespace,
    report: Callable[[str], None],
    *,
    quiet: bool,
) -> list[TileRow]:
    from sdflow.bench.table import tile_table
    from sdflow.bench.tiles import measure_tiles
    from sdflow.worker.allocator import keep_freed_memory
    from sdflow.worker.calibrate import measure
    from sdflow.worker.charts import drawn_photos

    keep_freed_memory()
    say = (lambda _: None) if quiet else report
    calibration = model.calibration or measure(model, drawn_photos(1024), report=say)
    rows: list[TileRow] = []
    for task in (name for name in ("upscale", "downscale") if name in arguments.cases.split(",")):
        rows += measure_tiles(model, calibration, task, tiles, runs=arguments.runs)
    say(tile_table(rows))
    return rows


def _write_json(
    target: str | None,
    facts: dict[str, str],
    rows: Sequence[Row | TileRow | EncoderRow],
    report: Callable[[str], None],
) -> int:
    if target:
        text = json.dumps({"machine": facts, "rows": [asdict(row) for row in rows]}, indent=2)
        report(text) if target == "-" else Path(target).write_text(text + "\n", encoding="utf-8")
    return 0


def _runners(model: SDFlow, device: str) -> tuple[LocalRunner, FormRunner]:
    """Where the engine's forms and the baseline run."""
    import torch

    from sdflow.bench.runner import LocalRunner, RemoteRunner
    from sdflow.worker.allocator import keep_freed_memory
    from sdflow.worker.engine import BATCH_PX

    if device == "cuda":
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]  # its stub
        local = LocalRunner(model.to("cuda"), batch_px=BATCH_PX["cuda"])
        return local, local
    # The baseline's process first: it must not inherit the allocator's ways.
    baseline = RemoteRunner(model, threads=torch.get_num_threads())
    keep_freed_memory()
    return LocalRunner(model, batch_px=BATCH_PX["cpu"]), baseline


def _cases(arguments: argparse.Namespace) -> list[Case]:
    from sdflow.bench.forms import Case

    wanted = arguments.cases.split(",")
    for name in wanted:
        if name not in _CASES:
            known = ", ".join(_CASES)
            raise UsageError(f"--cases {name!r} is not one of {known}", item="--cases")
    sizes = _sizes("--sizes", "64,128" if arguments.quick else arguments.sizes)
    if arguments.steps:
        return [Case("upscale", sizes[1 % len(sizes)]), Case("downscale", sizes[1 % len(sizes)])]
    cases = [Case("upscale", side) for side in sizes if "upscale" in wanted]
    cases += [Case("downscale", side) for side in sizes if "downscale" in wanted]
    middle = sizes[1 % len(sizes)]
    if "samples" in wanted:
        cases += [Case("upscale", middle), Case("upscale", middle, samples=4)]
        cases += [Case("downscale", middle), Case("downscale", middle, samples=8, scored=True)]
    if "batch" in wanted:
        sides = _sizes("--batch-sizes", arguments.batch_sizes)
        cases += [Case("upscale", side, images=32) for side in sides]
    return list(dict.fromkeys(cases))


def _sizes(flag: str, text: str) -> list[int]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise UsageError(f"{flag} takes numbers like 64,128, not {text!r}", item=flag)
    sizes = [int(side) for side in text.split(",")]
    if any(side < 4 or side % 2 for side in sizes):
        raise UsageError(f"{flag} takes even sides from 4 up", item=flag)
    return sizes


def _machine(device: str) -> dict[str, str]:
    import torch

    facts = {"torch": torch.__version__, "python": platform.python_version()}
    if device == "cuda":
        return {"GPU": torch.cuda.get_device_name(), **facts}
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    name = re.search(r"model name\s*: (.+)", text)
    cpu = name[1] if name else platform.machine()
    bf16 = "with" if re.search(r"\bavx512_bf16\b|\bamx_bf16\b", text) else "without"
    return {"CPU": f"{cpu} {bf16} bf16", "threads": str(torch.get_num_threads()), **facts}


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m jobs.bench``: the command where only torch, numpy and Pillow are installed."""
    parser = argparse.ArgumentParser(prog="python -m jobs.bench", description=__doc__)
    add_arguments(parser)
    try:
        return run(parser.parse_args(argv), report=_print)
    except SdflowError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2 if isinstance(error, UsageError) else 1


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
