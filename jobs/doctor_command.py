"""The words of ``sdflow doctor``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from jobs.flags import add_command, add_settings, given_flags
from sdflow.config import load_target_settings
from sdflow.driver.doctor_settings import DoctorSettings
from sdflow.telemetry import configure_logs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_HELP = """Say what is installed, what there is to compute with, and which rights SRC and DST give:
each is tried, and the one that is missing is named. With --policy, print the smallest S3 policy
instead."""

_EXAMPLES = """sdflow doctor
  sdflow doctor s3://archive/photos/ s3://archive/large/
  sdflow doctor --policy s3://archive/photos/ s3://archive/large/ >policy.json

exit status:
  0  all works     1  something does not     2  wrong usage"""


def add_doctor(commands: Any, *, report: Callable[[str], None]) -> None:  # noqa: ANN401  # argparse's private type
    """Add the command to what argparse's ``add_subparsers`` returned.

    Args:
        commands: That.
        report: Given what is found, line by line.
    """
    command = add_command(
        commands, "doctor", "say what works here and what does not", _HELP, _EXAMPLES
    )
    add_settings(command, DoctorSettings.model_fields)
    command.set_defaults(run=partial(_run, report=report))


def _run(arguments: argparse.Namespace, *, report: Callable[[str], None]) -> int:
    from jobs import doctor

    settings = load_target_settings(DoctorSettings, given_flags(arguments))
    configure_logs(settings.log_format)
    return doctor.run(settings, report=report)
