"""The ``sdflow`` command."""

from __future__ import annotations

import argparse
import difflib
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args, get_origin

from jobs.bench import add_arguments as add_bench_arguments
from sdflow import __version__
from sdflow.config import JobSettings, flag_name, load_settings
from sdflow.errors import SdflowError, UsageError
from sdflow.telemetry import configure_logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic.fields import FieldInfo

_JOBS = {
    "upscale": "make every photo of SRC four times larger in DST",
    "downscale": "make a realistic quarter-size version of every photo of SRC in DST",
}
_EXAMPLES = {
    "upscale": "sdflow upscale s3://archive/photos/ s3://archive/large/ --workers 4",
    "downscale": "sdflow downscale photos/ small/ --weights model.safetensors --samples 3",
}
_EXIT_STATUS = """exit status:
  0  all images done or skipped     1  the job could not run
  2  wrong usage                    3  more images failed than --max-failure-rate allows
  4  stopped; the same command resumes"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(
            f"{message} (sdflow {self.prog.partition(' ')[2]} --help)".replace("  ", " ")
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Errors are a line or two on stderr."""
    configure_logs("auto")
    try:
        arguments = _parse(argv)
        status: int = arguments.run(arguments)
    except UsageError as error:
        return _complain(str(error), 2)
    except SdflowError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return _complain("stopped at once; the same command resumes the job", 4)
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


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:
        name = unknown[0].partition("=")[0]
        close = difflib.get_close_matches(name, map(flag_name, JobSettings.model_fields), n=1)
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
        _add_job(commands, task, summary)
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


def _add_job(commands: Any, task: str, summary: str) -> None:  # noqa: ANN401  # argparse's private type
    command = commands.add_parser(
        task,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. Run again, it resumes.",
        epilog=f"example:\n  {_EXAMPLES[task]}\n\n{_EXIT_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for name, field in JobSettings.model_fields.items():
        _add_setting(command, name, field)
    command.set_defaults(run=_job, task=task)


def _add_setting(command: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    text = (field.description or "").replace("%", "%%")
    if name in ("src", "dst"):
        command.add_argument(name, metavar=name.upper(), nargs="?", help=text)
        return
    if isinstance(field.default, bool):
        command.add_argument(flag_name(name), action="store_true", help=text)
        return
    several = get_origin(field.annotation) is tuple
    if field.default not in (None, ()):
        text += f" (default: {field.default})"
    action = "append" if several else "store"
    command.add_argument(flag_name(name), metavar=_metavar(field), action=action, help=text)


def _metavar(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return "|".join(get_args(field.annotation))
    numbers = {int: "N", float: "X"}
    kinds = {field.annotation, *get_args(field.annotation)}
    return next((name for kind, name in numbers.items() if kind in kinds), "TEXT")


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

    flags = {name: value for name, value in vars(arguments).items() if name not in ("run", "task")}
    settings = load_settings(flags)
    configure_logs(settings.log_format)
    run = {"upscale": upscale.run, "downscale": downscale.run}[arguments.task]
    summary = run(settings)
    _print(summary.to_json())
    return summary.exit_status


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


if __name__ == "__main__":
    sys.exit(main())
