"""``python -m jobs.simulate``: the scheduler against millions of images that do not exist."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from sdflow.simulation.cluster import simulate
from sdflow.simulation.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdflow.simulation.figures import Figures

_HELP = {
    "images": "in the archive",
    "workers": "that do them",
    "loss_per_hour": "share of the workers that die in an hour, half of them with their node",
    "poison": "share of images that kill whoever computes them",
    "mp_per_s": "source megapixels a second of one worker",
    "median_mp": "median size of an image in megapixels",
    "seed": "chooses the archive and the accidents",
}
_SHARES = ("utilization", "utilization_all", "computed_in_vain", "restarting", "duplicated")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        1 where the counts do not add up, else 0.
    """
    parser = argparse.ArgumentParser(prog="python -m jobs.simulate", description=__doc__)
    defaults = Scenario()
    for name, text in _HELP.items():
        default = getattr(defaults, name)
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(default), default=default, help=text, metavar="N")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    chosen = vars(parser.parse_args(arguments))
    as_json = chosen.pop("json")
    figures = simulate(Scenario(**chosen))
    sys.stdout.write(json.dumps(asdict(figures), indent=2) if as_json else _table(figures))
    sys.stdout.write("\n")
    return 0 if figures.counts_add_up else 1


def _table(figures: Figures) -> str:
    rows = {field.name: getattr(figures, field.name) for field in fields(figures)}
    return "\n".join(f"{name:18}{_text(name, value):>18}" for name, value in rows.items())


def _text(name: str, value: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if name in _SHARES:
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


if __name__ == "__main__":
    # A million live objects and no cycles to speak of: looking for those took a third of the time.
    gc.set_threshold(100_000, 50, 1000)
    sys.exit(main())
