"""The words of ``sdflow degrade``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from jobs.flags import add_command, add_settings, given_flags
from sdflow.config import load_target_settings
from sdflow.driver.degrade_settings import DegradeSettings
from sdflow.telemetry import configure_logs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pydantic.fields import FieldInfo

_HELP = """Make training pairs for super-resolution: of every photo of SRC an HR image and LR
images drawn of it, each with another degradation. DST becomes a dataset: tar shards for webdataset,
or folders. Run every night, it adds what is new or changed, and marks what has vanished."""

_EXAMPLES = """sdflow degrade s3://archive/photos/ s3://data/pairs/ --samples 4 --crop 512
  sdflow degrade photos/ pairs/ --layout folders --tau 0.6:1.0 --min-texture 2"""

_EXIT_STATUS = """exit status:
  0  the dataset is up to date, or --limit or --budget-gpu-hours is used up
  1  the job could not run          3  more photos failed than --max-failure-rate allows
  2  wrong usage                    4  stopped; the same command resumes"""


def add_degrade(commands: Any, *, report: Callable[[str], None]) -> None:  # noqa: ANN401  # argparse's private type
    """Add the command to what argparse's ``add_subparsers`` returned.

    Args:
        commands: That.
        report: Given the summary.
    """
    command = add_command(
        commands,
        "degrade",
        "make training pairs: HR photos and realistic LR images of them",
        _HELP,
        f"{_EXAMPLES}\n\n{_EXIT_STATUS}",
    )
    fields = DegradeSettings.model_fields
    add_settings(command, {name: field for name, field in fields.items() if _is_told(name, field)})
    command.set_defaults(run=partial(_run, report=report))


def _is_told(name: str, field: FieldInfo) -> bool:
    """Whether it has a flag: what can have one value alone has none."""
    is_fixed = get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1
    return not is_fixed and name != "tau_to"


def _run(arguments: argparse.Namespace, *, report: Callable[[str], None]) -> int:
    from jobs import degrade

    settings = load_target_settings(DegradeSettings, given_flags(arguments))
    configure_logs(settings.log_format)
    summary = degrade.run(settings)
    report(summary.to_json())
    return summary.exit_status
