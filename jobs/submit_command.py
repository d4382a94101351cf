"""The words of ``sdflow submit``; Ray is loaded when it begins."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from jobs.flags import add_command, add_settings, given_flags
from sdflow.config import flag_name, load_target_settings
from sdflow.driver.submit_settings import SubmitSettings
from sdflow.errors import UsageError
from sdflow.telemetry import configure_logs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_HELP = """Hand a job to a running Ray cluster through Ray Jobs and follow it: its log goes to
stderr, its summary to stdout. Flags, variables and job file are read here, and nothing is submitted
if they are wrong. How S3 is reached, and as whom, the nodes know: no credential is sent.

Submitted again while it runs, the same job (task, SRC, DST) is followed, not begun twice; when it
has ended, it is resumed. Ctrl-C or SIGTERM has it stopped and waits until images in progress are
done; twice leaves it alone. The cluster needs sdflow on its nodes, or --working-dir, and
ray[default] on its head."""

_EXAMPLES = """sdflow submit --address http://head:8265 upscale s3://archive/photos/ s3://archive/large/
  sdflow submit --no-wait degrade s3://archive/photos/ s3://data/pairs/ --samples 4
  sdflow submit --working-dir checkout/ train s3://models/run7/ --hr s3://data/hr/ --lr s3://data/lr/

exit status: that of the job
  0  done, or submitted with --no-wait     1  it could not run, or the cluster cannot be reached
  2  wrong usage                           3  more images failed than --max-failure-rate allows
  4  stopped; the same command resumes"""


def add_submit(
    commands: Any,  # noqa: ANN401  # argparse's private type
    *,
    parse: Callable[[Sequence[str]], argparse.Namespace],
    report: Callable[[str], None],
) -> None:
    """Add the command to what argparse's ``add_subparsers`` returned.

    Args:
        commands: That.
        parse: Understands the command line of the job itself.
        report: Given the summary, or the submission's id.
    """
    command = add_command(commands, "submit", "hand a job to a running cluster", _HELP, _EXAMPLES)
    fields = SubmitSettings.model_fields
    add_settings(
        command,
        {name: fields[name] for name in ("address", "working_dir", "no_wait", "log_format")},
    )
    command.add_argument(
        "job",
        nargs=argparse.REMAINDER,
        metavar="JOB",
        help="upscale, downscale, degrade or train, with its arguments",
    )
    command.set_defaults(run=partial(_run, parse=parse, report=report))


def _run(
    arguments: argparse.Namespace,
    *,
    parse: Callable[[Sequence[str]], argparse.Namespace],
    report: Callable[[str], None],
) -> int:
    from jobs import submit

    flags = given_flags(arguments)
    job: list[str] = flags.pop("job", [])
    _check_words(job, submit.TASKS)
    job_flags = given_flags(parse(job))
    settings = load_target_settings(SubmitSettings, flags)
    configure_logs(settings.log_format)
    return submit.run(settings, job[0], job_flags, address=flags.get("address"), report=report)


def _check_words(job: Sequence[str], tasks: Sequence[str]) -> None:
    if not job or job[0] not in tasks:
        got = f", got '{job[0]}'" if job else ""
        raise UsageError(f"expected a job: {', '.join(tasks)}{got} (sdflow submit --help)")
    for name in ("working_dir", "no_wait"):
        flag = flag_name(name)
        if any(word.partition("=")[0] == flag for word in job):
            raise UsageError(f"{flag} goes before {job[0]}: it is a flag of submit", item=flag)
