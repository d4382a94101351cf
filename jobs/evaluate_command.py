"""The words of ``sdflow evaluate``; the measuring is loaded when it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.flags import add_command, add_settings, given_flags
from sdflow.config import load_target_settings
from sdflow.evaluation.settings import EvaluateSettings
from sdflow.telemetry import configure_logs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_HELP = """Measure the network beside bicubic and Lanczos: a table on stdout, and with --out all
numbers as JSON and a contact sheet. Images are done one after the other, in this process.

upscaling:
  SRC --shrink          SRC are true photos: they are made four times smaller by bicubic first
  SRC --reference DIR   SRC are small photos, DIR the true ones, named alike (a_LR4.png, a_HR.png)
  SRC                   small photos whose truth nobody knows: measures that need none
downscaling:
  SRC --real-lr DIR     as sets, results are compared with real small photos of other things

Needs more libraries: pip install 'sdflow[train]'."""

_EXAMPLES = """sdflow evaluate Set14/ --shrink --weights model.safetensors --out scores/
  sdflow evaluate small/ --reference large/ --taus 0,0.5,0.8 --limit 20
  sdflow evaluate photos/ --real-lr phone-photos/ --out s3://archive/scores/"""

_EXIT_STATUS = """exit status:
  0  all images measured     1  nothing could be measured
  2  wrong usage             3  some images were left out"""


def add_evaluate(
    commands: Any,  # noqa: ANN401  # argparse's private type
    *,
    report: Callable[[str], None],
) -> None:
    """Add the command.

    Args:
        commands: What argparse's ``add_subparsers`` returned.
        report: Given what goes to stdout.
    """
    command = add_command(
        commands,
        "evaluate",
        "measure how good results are, beside bicubic and Lanczos",
        _HELP,
        f"{_EXAMPLES}\n\n{_EXIT_STATUS}",
    )
    add_settings(command, EvaluateSettings.model_fields)

    def run(arguments: argparse.Namespace) -> int:
        from jobs import evaluate

        settings = load_target_settings(EvaluateSettings, given_flags(arguments))
        configure_logs(settings.log_format)
        return evaluate.run(settings, report=report)

    command.set_defaults(run=run)
