"""The words of ``sdflow train``; torch is loaded when it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.flags import add_command, add_settings, given_flags
from sdflow.config import load_target_settings
from sdflow.telemetry import configure_logs
from sdflow.training.settings import TrainSettings

if TYPE_CHECKING:
    import argparse

_HELP = """Train a model from two sets of photos that need not show the same things: clean ones
and real low-quality ones. DST gets checkpoints, TensorBoard files and weights.safetensors.
Run again, it resumes.

Needs more libraries: pip install 'sdflow[train]'."""

_EXAMPLES = """sdflow train runs/small --hr photos/clean --lr photos/phone --preset small
  sdflow train s3://models/run7/ --hr s3://data/hr/ --lr s3://data/lr/ --workers 8
  sdflow weights calibrate runs/small/weights.safetensors model.safetensors"""

_EXIT_STATUS = """exit status:
  0  the last step is done     1  the run cannot go on
  2  wrong usage               4  stopped; the same command resumes"""


def add_train(commands: Any) -> None:  # noqa: ANN401  # argparse's private type
    """Add the command to what argparse's ``add_subparsers`` returned."""
    command = add_command(
        commands,
        "train",
        "train a model from clean and real low-quality photos",
        _HELP,
        f"{_EXAMPLES}\n\n{_EXIT_STATUS}",
    )
    add_settings(command, TrainSettings.model_fields)
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from jobs import train

    settings = load_target_settings(TrainSettings, given_flags(arguments))
    configure_logs(settings.log_format)
    return train.run(settings)
