"""The `regrow` command: finds the subcommands, runs one, turns every expected failure into one line.

Subcommands come from the entry-point group `regrow.commands`; only the one asked for is loaded. Exit codes:
0 done, 2 refused or failed as explained, 130 interrupted. A traceback means a bug.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

from regrow.cli.command import EXTRAS, GROUP, Command, missing, require
from regrow.errors import RegrowError, UnsupportedError

REFUSED, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            return _dispatch(words)
    except SystemExit as stop:  # argparse: help, version, a wrong option
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        sys.stderr.write("\nregrow: interrupted; files are whole: either the old ones or finished new ones\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left; without this the interpreter complains again while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return REFUSED
    except ModuleNotFoundError as error:
        if (root := (error.name or "").partition(".")[0]) not in EXTRAS:
            raise
        return _complain(missing(words[0], root, EXTRAS[root]))
    except (RegrowError, OSError, MemoryError) as error:
        return _complain(error)


def _dispatch(words: list[str]) -> int:
    found = {point.name: point for point in entry_points(group=GROUP)}
    asked = next((w for w in words if not w.startswith("-")), None)
    # Help and mistakes need every name; a real command only its own module.
    commands = {name: _load(found[name]) for name in ([asked] if asked in found else sorted(found))}
    if isinstance(broken := commands.get(asked or ""), UnsupportedError):
        raise broken
    args = _parser(commands).parse_args(words)
    command = commands[args.command]
    if isinstance(command, UnsupportedError):
        raise command
    require(command.name, command.needs)
    return command.run(args)


def _load(point: EntryPoint) -> Command | UnsupportedError:
    """The command, or why there is none: one that is broken must not take the others with it."""
    try:
        loaded = point.load()
    except (ImportError, AttributeError) as error:
        root = (getattr(error, "name", None) or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and root in EXTRAS:
            return missing(point.name, root, EXTRAS[root])
        return UnsupportedError(f"{point.name}: cannot be loaded ({error}); install regrow again")
    if not isinstance(loaded, Command):
        return UnsupportedError(f"{point.name}: {point.value} is no command; install regrow again")
    return loaded


def _parser(commands: Mapping[str, Command | UnsupportedError]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="regrow",
        description="Prune on the server, regrow on the device: few-shot adaptation without torch.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    choices = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in commands.items():
        if isinstance(command, UnsupportedError):
            choices.add_parser(name, help=f"not available: {command}".replace("%", "%%"))
            continue
        about = f"{command.help[:1].upper()}{command.help[1:]}."
        own = choices.add_parser(name, help=command.help, description=about)
        command.configure(own)
        try:
            own.add_argument("--json", action="store_true", help="print JSON on stdout, progress on stderr")
        except argparse.ArgumentError:
            continue  # the command has its own
    return parser


class _Version(argparse.Action):
    """Reads the version only when asked for it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import regrow

        sys.stdout.write(f"regrow {regrow.__version__}\n")
        parser.exit()


def _complain(error: BaseException) -> int:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        text = f"{place}{error.strerror or text}; check the path and your rights to it"
    elif isinstance(error, MemoryError):
        text = f"out of memory ({text}); give fewer samples or free memory"
    # What a refusal rests on, such as a table, keeps its lines.
    for note in getattr(error, "__notes__", ()):
        sys.stderr.write(f"{note}\n")
    sys.stderr.write(f"regrow: error: {text}\n")
    return REFUSED


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    sys.stderr.write(f"regrow: warning: {message}\n")
