"""One refusal for everything in a network or a rule that cannot be exported."""

from collections.abc import Sequence

from regrow.errors import UnsupportedError


class UnsupportedOpsError(UnsupportedError):
    """Every op that stands in the way, each with where it comes from and, where there is more, why."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        listed = "\n  ".join(self.problems)
        super().__init__(
            f"export: {len(self.problems)} op(s) of this network or its rule are not supported:\n  {listed}\n"
            "replace them, or see docs/coverage.md for what is"
        )
