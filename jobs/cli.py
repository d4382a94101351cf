"""The ``sdflow`` command."""

from __future__ import annotations

import argparse
import difflib
import gc
import json
import os
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from jobs.bench import add_arguments as add_bench_arguments
from jobs.degrade_command import add_degrade
from jobs.doctor_command import add_doctor
from jobs.evaluate_command import add_evaluate
from jobs.flags import add_command, add_settings, given_flags
from jobs.submit_command import add_submit
from jobs.train_command import add_train
from sdflow import __version__
from sdflow.config import (
    RETRY_FIELDS,
    JobSettings,
    TargetSettings,
    flag_name,
    load_settings,
    load_target_settings,
    setting_names,
)
from sdflow.driver.verify_settings import VerifySettings
from sdflow.errors import SdflowError, UsageError
from sdflow.telemetry import configure_logs

if TYPE_CHECKING:
    from collections.abc import Sequence

_JOBS = {
    "upscale": "make every photo of SRC four times larger in DST",
    "downscale": "make a realistic quarter-size version of every photo of SRC in DST",
}
_EXAMPLES = {
    "upscale": "sdflow upscale s3://archive/photos/ s3://archive/large/ --workers 4",
    "downscale": "sdflow downscale photos/ small/ --weights model.safetensors --samples 3",
}
_STOPPED = 4
_EXIT_STATUS = """exit status:
  0  all images done or skipped     1  the job could not run
  2  wrong usage                    3  more images failed than --max-failure-rate allows
  4  stopped; the same command resumes"""


_STATUS_HELP = """Print how far the job in DST is, as JSON. Nothing is written."""
_RETRY_HELP = """Do the dead letters of the job in DST again, and nothing else. Task and settings
are the job's own; the flags below replace what it was told."""
_VERIFY_HELP = """Compare the results in DST with the ledger: a line of JSON for every one that is
missing, changed or not in the ledger, and one with the counts. Of a dataset, what its index names
is compared, and all pairs are read: hashes hold, and HR and LR images fit."""
_VERIFY_STATUS = """exit status:
  0  all results are there, as they were written     1  the job cannot be read
  2  wrong usage                                     3  results are missing or changed, or pairs
                                                        of a dataset are misaligned"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(
            f"{message} (sdflow {self.prog.partition(' ')[2]} --help)".replace("  ", " ")
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Errors are a line or two on stderr."""
    configure_logs("auto")
    try:
        arguments = parse(argv)
        status: int = arguments.run(arguments)
    except UsageError as error:
        return _complain(str(error), 2)
    except SdflowError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return _complain("stopped at once; the same command resumes the job", _STOPPED)
    except Exception as error:  # noqa: BLE001  # the last resort: a user gets a line, not a trace
        return _complain(f"internal error, {type(error).__name__}: {error}{_saved_trace()}", 1)
    return status


def _saved_trace() -> str:
    """Put the trace of the current exception into a file and say where; "" if there is no room."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="sdflow-error-", suffix=".txt", delete=False
        ) as file:
            traceback.print_exc(file=file)
    except OSError:
        return ""
    return f"; please report it with {file.name}"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """What a command line says.

    Raises:
        UsageError: If it is not understood.
    """
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:
        name = unknown[0].partition("=")[0]
        close = difflib.get_close_matches(name, map(flag_name, setting_names()), n=1)
        hint = f"did you mean {close[0]}?" if close and name.startswith("-") else "see --help"
        raise UsageError(f"unknown argument {unknown[0]}: {hint}", item=name)
    return arguments


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"sdflow: {message}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sdflow",
        description="Super-resolve or realistically downscale whole photo archives.",
    )
    parser.add_argument("--version", action="version", version=f"sdflow {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for task, summary in _JOBS.items():
        text = f"{summary[0].upper()}{summary[1:]}. Run again, it resumes."
        command = add_command(commands, task, summary, text, f"{_EXAMPLES[task]}\n\n{_EXIT_STATUS}")
        add_settings(command, JobSettings.model_fields)
        command.set_defaults(run=_job, task=task)
    add_degrade(commands, report=_print)
    _add_commands_on_a_job(commands)
    add_doctor(commands, report=_print)
    add_train(commands)
    add_submit(commands, parse=parse, report=_print)
    add_evaluate(commands, report=_print)
    demo = commands.add_parser(
        "demo", help="draw a few test photos, upscale and downscale them on a local Ray"
    )
    demo.add_argument("folder", nargs="?", default="sdflow-demo", help="default: %(default)s")
    demo.set_defaults(run=_demo)
    _add_weights(commands)
    bench = commands.add_parser("bench", help="measure the network on this machine")
    add_bench_arguments(bench)
    bench.set_defaults(run=_bench)
    return parser


def _add_commands_on_a_job(commands: Any) -> None:  # noqa: ANN401  # argparse's private type
    status = add_command(
        commands,
        "status",
        "say how far a job is",
        _STATUS_HELP,
        "sdflow status s3://archive/large/",
    )
    add_settings(status, TargetSettings.model_fields)
    status.set_defaults(run=_status)
    retry = add_command(
        commands,
        "retry",
        "do a job's dead letters again",
        _RETRY_HELP,
        f"sdflow retry s3://archive/large/ --workers 2\n\n{_EXIT_STATUS}",
    )
    fields = JobSettings.model_fields
    add_settings(retry, {name: fields[name] for name in RETRY_FIELDS}, shows_defaults=False)
    retry.set_defaults(run=_retry)
    verify = add_command(
        commands,
        "verify",
        "compare a job's results with its ledger",
        _VERIFY_HELP,
        f"sdflow verify large/ --repair\n\n{_VERIFY_STATUS}",
    )
    add_settings(verify, VerifySettings.model_fields)
    verify.set_defaults(run=_verify)


def _add_weights(commands: Any) -> None:  # noqa: ANN401  # argparse's private type
    weights = commands.add_parser("weights", help="look into weights files, convert them")
    actions = weights.add_subparsers(metavar="ACTION", required=True)
    info = actions.add_parser("info", help="print sizes, hash and reach as JSON")
    info.add_argument("path", help="folder with the four official .pth, or a .safetensors file")
    info.set_defaults(run=_weights_info)
    convert = actions.add_parser("convert", help="to one .safetensors file, or to four .pth")
    convert.add_argument("path", help="what to read")
    convert.add_argument("out", help="a new .safetensors file, or a new folder")
    convert.set_defaults(run=_weights_convert)
    calibrate = actions.add_parser(
        "calibrate",
        help="measure the smallest halo without seams, and what bf16 costs",
        description="Jobs take halo and precision from the new file; without a calibration tiles "
        "carry the widest halo, in float32.",
    )
    calibrate.add_argument("path", help="what to read")
    calibrate.add_argument("out", help="a new .safetensors file")
    calibrate.add_argument("--images", metavar="DIR", help="measure with these photos, up to 8")
    calibrate.set_defaults(run=_weights_calibrate)


def _job(arguments: argparse.Namespace) -> int:
    from jobs import downscale, upscale

    settings = load_settings(given_flags(arguments))
    configure_logs(settings.log_format)
    run = {"upscale": upscale.run, "downscale": downscale.run}[arguments.task]
    summary = run(settings)
    _print(summary.to_json())
    return summary.exit_status


def _status(arguments: argparse.Namespace) -> int:
    from jobs import status

    settings = load_target_settings(TargetSettings, given_flags(arguments))
    configure_logs(settings.log_format)
    _print(json.dumps(status.run(settings), indent=2))
    return 0


def _retry(arguments: argparse.Namespace) -> int:
    from jobs import retry

    task, settings = retry.settings_of(given_flags(arguments))
    configure_logs(settings.log_format)
    summary = retry.run(task, settings)
    _print(summary.to_json())
    return summary.exit_status


def _verify(arguments: argparse.Namespace) -> int:
    from jobs import verify

    settings = load_target_settings(VerifySettings, given_flags(arguments))
    configure_logs(settings.log_format)
    return verify.run(settings, report=_print)


def _demo(arguments: argparse.Namespace) -> int:
    from jobs import demo

    return demo.run(arguments.folder, report=_print)


def _bench(arguments: argparse.Namespace) -> int:
    from jobs import bench

    return bench.run(arguments, report=_print)


def _weights_info(arguments: argparse.Namespace) -> int:
    from jobs import weights

    _print(weights.info(arguments.path))
    return 0


def _weights_convert(arguments: argparse.Namespace) -> int:
    from jobs import weights

    _print(weights.convert(arguments.path, arguments.out))
    return 0


def _weights_calibrate(arguments: argparse.Namespace) -> int:
    from jobs import weights

    written = weights.calibrate(arguments.path, arguments.out, arguments.images, report=_print)
    _print(written)
    return 0


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def entry() -> int:
    """The command itself: what libraries still say while the process ends goes to stderr."""
    # A driver keeps many small objects for long, which the collector would visit again and again.
    gc.set_threshold(100_000, 50, 1000)
    status = main()
    sys.stdout.flush()
    sys.stdout = sys.stderr
    if status == _STOPPED:  # at once: threads may still be waiting for a store that is away
        sys.stderr.flush()
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(entry())
