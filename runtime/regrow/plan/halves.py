"""Values kept in fp16 while nobody reads them: how they lie, and where some of them are wide."""

from __future__ import annotations

from dataclasses import dataclass, replace

from regrow.plan.builder import Buffer, Place, Word
from regrow.plan.grid import Planes


@dataclass(frozen=True, eq=False)
class Halves:
    """A value kept in fp16, behind a scale for each sample of a channel; `planes`: how it lies when wide."""

    buffer: Buffer
    planes: Planes

    @classmethod
    def of(cls, planes: Planes) -> Halves:
        runs = planes.channels * planes.grid.samples
        return cls(Buffer(4 * halves_floats(runs * planes.grid.sample, planes.grid.sample)), planes)

    def scratch(self, planes: int, samples: int) -> Place:
        """Where so many planes of so many samples are wide."""
        wide = replace(self.planes, grid=replace(self.planes.grid, samples=samples), channels=planes)
        return Place(Buffer(4 * wide.floats), wide)

    def words(self, scratch: Place) -> tuple[Word, ...]:
        """As the core reads it."""
        assert scratch.planes is not None
        grid, wide = self.planes.grid, scratch.planes
        runs = (self.planes.channels, grid.samples, grid.sample)
        return (
            *(self.buffer, scratch.buffer, *runs),
            *(wide.grid.samples, wide.channels, wide.grid.guard, wide.grid.channel),
        )


def halves_floats(count: int, run: int) -> int:
    """Floats that hold so many halves, and a scale for each run of them."""
    return -(-count // run) + (count + 1) // 2
