"""regrow serve: the calibration service and its page; regrow backup: copy its data while it runs."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from regrow.cli.command import (
    Command,
    add_force,
    byte_count,
    emit,
    human_bytes,
    refuse_overwrite,
)
from regrow.errors import RegrowError

DATA = "regrow-data"
MAX_RATE = 384_000


def _add_data(parser: argparse.ArgumentParser) -> None:
    text = f"folder that holds sessions, samples, deltas and tokens (default: {DATA})"
    parser.add_argument("--data", default=DATA, metavar="DIR", help=text)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `serve`."""
    parser.add_argument("bundles", nargs="*", metavar="BUNDLE", help="one or more .regrow files")
    _add_data(parser)
    reach = parser.add_argument_group("who can reach it")
    reach.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: only this machine); others need a token",
    )
    reach.add_argument("--port", type=int, default=8377, help="port, 0 for a free one (default: 8377)")
    reach.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="name that a proxy in front is called by, such as lab.example; asks for a token like --host",
    )
    reach.add_argument(
        "--cert",
        metavar="FILE",
        help="TLS certificate: without one, browsers lend the camera to localhost only",
    )
    reach.add_argument("--key", metavar="FILE", help="its private key")
    reach.add_argument("--new-token", metavar="NAME", help="make a token, print it once, and exit")
    reach.add_argument("--revoke-token", metavar="NAME", help="make a token worthless, and exit")
    reach.add_argument(
        "--erase-owner",
        metavar="NAME",
        help="erase all that a token's owner has stored, the token too, and exit",
    )
    parser.add_argument(
        "--rate",
        type=_rate,
        action="append",
        default=[],
        metavar="[MODEL=]HZ",
        help="values per second of the models' signals (default: 16000); recordings are brought to it",
    )
    _add_limits(parser.add_argument_group("how much it takes on"))


def _add_limits(group: Any) -> None:
    from regrow.serve.limits import Limits

    limits = Limits()
    group.add_argument("--engine", default="auto", help="auto (default) or the name of an engine")
    group.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads of the engine (default: 1)"
    )
    group.add_argument("--workers", type=int, default=1, metavar="N", help="adaptations at once (default: 1)")
    group.add_argument(
        "--budget", type=byte_count, metavar="SIZE", help="memory of an adaptation, such as 64MiB"
    )
    for name, kind, text in (
        ("queue", int, "adaptations that may wait"),
        ("sessions", int, "sessions per token"),
        ("samples", int, "samples per session"),
        ("steps", int, "update steps per adaptation"),
        ("retain-days", float, "erase sessions unused for so long; 0 keeps them"),
    ):
        default = getattr(limits, name.replace("-", "_"))
        group.add_argument(
            f"--{name}", type=kind, default=default, metavar="N", help=f"{text} (default: {default:g})"
        )
    group.add_argument(
        "--body",
        type=byte_count,
        default=limits.body_bytes,
        metavar="SIZE",
        help="largest request (default: 8MiB)",
    )


def _rate(text: str) -> tuple[str, int]:
    """The model ("" for all) and its rate."""
    name, _, hertz = text.rpartition("=")
    if not hertz.isdigit() or not 1 <= int(hertz) <= MAX_RATE:
        raise argparse.ArgumentTypeError(f"{text!r}, expected HZ or MODEL=HZ with 1 to {MAX_RATE} Hz")
    return name, int(hertz)


def run(args: argparse.Namespace) -> int:
    """Serve, or manage tokens and what their owners have stored."""
    if (args.new_token, args.revoke_token, args.erase_owner) != (None, None, None):
        return _tokens(args)
    if not args.bundles:
        raise RegrowError("serve: no bundle given, expected one or more .regrow files; name them")
    if (args.cert is None) != (args.key is None):
        raise RegrowError("serve: one of --cert and --key, expected both or none; give the other too")
    from regrow.serve.run import Settings, serve

    return serve(
        Settings(
            bundles=args.bundles,
            data=args.data,
            host=args.host,
            port=args.port,
            names=args.name,
            rates=dict(args.rate),
            engine=args.engine,
            threads=args.threads,
            budget_bytes=args.budget,
            workers=_positive("workers", args.workers),
            certificate=args.cert,
            key=args.key,
            limits=_limits(args),
        )
    )


def _limits(args: argparse.Namespace) -> Any:
    from regrow.serve.limits import Limits

    names = ("queue", "sessions", "samples", "steps")
    return Limits(
        **{name: _positive(name, getattr(args, name)) for name in names},
        retain_days=max(0.0, args.retain_days),
        body_bytes=_positive("body", args.body),
    )


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise RegrowError(f"serve: --{name} is {value}, expected 1 or more; leave it out for the default")
    return value


def _tokens(args: argparse.Namespace) -> int:
    from regrow.serve import auth
    from regrow.serve.store import Store

    store = Store(args.data, exclusive=False)
    try:
        if args.revoke_token is not None:
            auth.revoke(store, args.revoke_token)
            emit(args, {"revoked": args.revoke_token}, f"{args.revoke_token}: revoked")
        if args.erase_owner is not None:
            gone = auth.erase_owner(store, args.erase_owner)
            later = "" if gone else "; a backup runs: the log is emptied within a minute of its end"
            facts = {"erased": args.erase_owner, "log_emptied": gone}
            emit(args, facts, f"{args.erase_owner}: erased{later}")
        if args.new_token is not None:
            token = auth.create(store, args.new_token)
            sys.stderr.write("This is the only time the token is shown; only its hash is kept.\n")
            emit(args, {"name": args.new_token, "token": token}, token)
    finally:
        store.close()
    return 0


def configure_backup(parser: argparse.ArgumentParser) -> None:
    """Add the options of `backup`."""
    _add_data(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="where the copy goes")
    add_force(parser)


def run_backup(args: argparse.Namespace) -> int:
    """Copy, check, report."""
    from regrow.serve.store import FILE, backup

    refuse_overwrite([args.output], args.force)
    size = backup(args.data, args.output)
    facts = {"backup": args.output, "bytes": size}
    text = f"{args.output}: {human_bytes(size)}, checked; to go back, put it into an empty folder as {FILE}"
    emit(args, facts, text)
    return 0


COMMAND = Command(
    "serve",
    "serve bundles, with a page to calibrate them by hand",
    configure,
    run,
    (("fastapi", "serve"), ("uvicorn", "serve")),
)
BACKUP = Command("backup", "copy the data of a service, also while it runs", configure_backup, run_backup)
