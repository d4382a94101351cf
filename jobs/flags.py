"""Settings as flags of a command."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from sdflow.config import StorageSettings, flag_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo


def add_command(
    commands: Any,  # noqa: ANN401  # argparse's private type
    name: str,
    summary: str,
    description: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add a command whose values are absent from the result where they were not given.

    Args:
        commands: What argparse's ``add_subparsers`` returned.
        name: Its name.
        summary: A line for the list of commands.
        description: What its help begins with, in lines.
        example: What its help ends with, after the word example.
    """
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    return command


def add_settings(
    command: argparse.ArgumentParser,
    fields: Mapping[str, FieldInfo],
    *,
    shows_defaults: bool = True,
) -> None:
    """Add a flag for every setting, those of all commands last.

    Args:
        command: Where they go; ``src`` and ``dst`` become positions.
        fields: Settings by name.
        shows_defaults: Whether the help says what a setting is where it was not given.
    """
    for name in sorted(fields, key=StorageSettings.model_fields.__contains__):
        _add_setting(command, name, fields[name], shows_default=shows_defaults)


def _add_setting(
    command: argparse.ArgumentParser, name: str, field: FieldInfo, *, shows_default: bool
) -> None:
    text = (field.description or "").replace("%", "%%")
    if name in ("src", "dst"):
        command.add_argument(name, metavar=name.upper(), nargs="?", help=text)
        return
    if isinstance(field.default, bool):
        command.add_argument(flag_name(name), action="store_true", help=text)
        return
    several = _is_tuple(field.annotation)
    if shows_default and field.default not in (None, ()):
        text += f" (default: {field.default})"
    action = "append" if several else "store"
    command.add_argument(flag_name(name), metavar=_metavar(field), action=action, help=text)


def _is_tuple(annotation: Any) -> bool:  # noqa: ANN401  # of a field
    """Whether a field is a tuple, be it annotated or optional."""
    return get_origin(annotation) is tuple or any(
        _is_tuple(part) for part in get_args(annotation) if get_origin(annotation) is not tuple
    )


def _metavar(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return "|".join(get_args(field.annotation))
    numbers = {int: "N", float: "X"}
    kinds = {field.annotation, *get_args(field.annotation)}
    return next((name for kind, name in numbers.items() if kind in kinds), "TEXT")


def given_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was given on the command line, by field name."""
    return {name: value for name, value in vars(arguments).items() if name not in ("run", "task")}
