"""The regrow command line as a device has it: in a process in which importing torch fails."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

BLOCKED = ("torch",)


class Blocker(MetaPathFinder):
    """Refuses the blocked packages before anyone looks for them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Nothing, or ImportError."""
        if fullname.partition(".")[0] in BLOCKED:
            raise ImportError(f"{fullname}: blocked, this process stands for a device; import it elsewhere")
        return None


def main(argv: Sequence[str]) -> int:
    """The command's exit code; 1 where torch got in all the same."""
    sys.meta_path.insert(0, Blocker())
    from regrow.cli import main as regrow

    code = regrow(list(argv))
    loaded = sorted({name.partition(".")[0] for name in sys.modules} & set(BLOCKED))
    if loaded:
        sys.stderr.write(f"regrow: error: {loaded[0]} is loaded, expected none in a device's process\n")
        return 1
    return code
