"""Logs as one JSON object per line: routes and figures, never what a request held or whose it was."""

from __future__ import annotations

import json
import logging
import sys
import time

NAME = "regrow.serve"


class JsonLines(logging.Formatter):
    """`facts` of a record become members of the line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line. Tracebacks stay inside: they can quote contents."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        fixed = {"time": at, "level": record.levelname.lower(), "event": record.getMessage()}
        return json.dumps({**fixed, **getattr(record, "facts", {})})


class Stderr(logging.Handler):
    """To wherever stderr is when a record comes."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        sys.stderr.write(self.format(record) + "\n")
        sys.stderr.flush()


def start() -> None:
    """Send the service's records, and warnings of the server below, to stderr."""
    handler = Stderr()
    handler.setFormatter(JsonLines())
    for name, level in ((NAME, logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
