"""Find an implementation by its name in a table or by a dotted path; imports nothing until asked."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from regrow.errors import UnsupportedError


def path_of(kind: str, name: str, table: Mapping[str, str]) -> str:
    """The dotted path "module:attribute" that `name` stands for; a name with a colon is one already."""
    if name in table:
        return table[name]
    if ":" in name:
        return name
    near = difflib.get_close_matches(name, table, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(table)}"
    raise UnsupportedError(
        f"{kind}: no {kind} is called {name!r}; {hint} Or give a path 'package.module:name'"
    )


def follow(kind: str, path: str) -> Any:
    """The object at "module:attribute"."""
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UnsupportedError(
            f"{kind}: {path!r} cannot be imported ({error}), expected 'package.module:name'; "
            "check the spelling and that it is installed or on PYTHONPATH"
        ) from error


def parameters_of(kind: str, path: str) -> Mapping[str, inspect.Parameter]:
    """What the callable at "module:attribute" takes."""
    made = follow(kind, path)
    try:
        return inspect.signature(made).parameters
    except (TypeError, ValueError) as error:
        raise UnsupportedError(
            f"{kind}: {path!r} is a {type(made).__name__} without a signature, expected a class or function; "
            "wrap it in a function of your own"
        ) from error


def call(kind: str, path: str, args: Mapping[str, Any]) -> Any:
    """Call what `path` names with `args`; unknown arguments are an error that lists the known ones."""
    made = follow(kind, path)
    known = parameters_of(kind, path)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
    wrong = [name for name in args if name not in known and not takes_any]
    missing = [
        name
        for name, p in known.items()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and name not in args
    ]
    if wrong or missing:
        found = ", ".join(wrong) if wrong else f"no {', '.join(missing)}"
        raise UnsupportedError(f"{kind}: {path}: found {found}; expected arguments: {', '.join(known)}")
    return made(**args)
