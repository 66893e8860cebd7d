"""A service in a process of its own, to be killed, starved and measured."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from regrow.client import Client

_CODE = """
import json, sys
from regrow.serve.limits import Limits
from regrow.serve.run import Settings, serve
how = json.loads(sys.argv[1])
serve(Settings(limits=Limits(**how.pop("limits", {})), **how))
"""
GENEROUS = {"requests_per_second": 1e6, "burst": 10**6}


class Process:
    """Started when made; `before` are the words of a command that is to run it."""

    def __init__(
        self, bundle: Path, data: Path, log: Path, *, before: list[str] | None = None, **limits: Any
    ) -> None:
        how = {"bundles": [str(bundle)], "data": str(data), "port": 0, "limits": GENEROUS | limits}
        self.log = log
        with open(log, "ab") as stderr:
            self.child = subprocess.Popen(
                [*(before or []), sys.executable, "-c", _CODE, json.dumps(how)],
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        assert self.child.stdout is not None
        line = self.child.stdout.readline().decode()
        assert " on http://" in line, log.read_text()
        self.url = line.split(" on ")[1].strip().rstrip("/")
        self.client = Client(self.url)

    def kill(self) -> None:
        """As the loss of power would, as far as a process can tell."""
        self.child.kill()
        self.end()

    def stop(self) -> int:
        """As a supervisor would."""
        self.child.terminate()
        return self.end()

    def end(self) -> int:
        code = self.child.wait(30)
        assert self.child.stdout is not None
        self.child.stdout.close()
        return code

    def memory(self) -> int:
        """Resident bytes."""
        text = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) * 1024


def after(seconds: float, act: Any) -> threading.Thread:
    """Do something a little later, from another thread."""

    def wait() -> None:
        time.sleep(seconds)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread
