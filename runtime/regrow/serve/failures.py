"""Any exception as a problem. One that nobody foresaw is logged by its place, never by its contents."""

from __future__ import annotations

import logging
import sqlite3

from regrow.errors import RegrowError
from regrow.serve.problems import ProblemError, from_disk, from_error
from regrow.serve.worker import StoppedError

log = logging.getLogger("regrow.serve")


def problem_of(error: Exception, secret: str = "") -> ProblemError:
    """The problem to answer with; `secret` is the path of a bundle."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, StoppedError):
        return ProblemError("stopping", "adapt: the service is stopping; rolled back, nothing was changed")
    if isinstance(error, RegrowError):
        return from_error(error, secret)
    if isinstance(error, sqlite3.Error):
        return from_disk(error)
    if isinstance(error, MemoryError):
        return ProblemError("budget", "adapt: out of memory; nothing was changed, give fewer samples")
    log.error("bug", extra={"facts": {"error": type(error).__name__, "place": _place(error)}})
    return ProblemError("bug", "something went wrong inside; nothing was changed, the log says where")


def _place(error: BaseException) -> str:
    last, trace = "?", error.__traceback__
    while trace is not None:
        last = f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
        trace = trace.tb_next
    return last
