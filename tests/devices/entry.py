"""What compiled callers alone can use, for tests to call."""

from pimsim.compiled import compiled
from pimsim.devices.dram import engine as e

make_channels = e.make_channels


@compiled
def accept(s, c, t, write, bank, row, col, tag):
    return e.accept(s, c, t, write, bank, row, col, tag)


@compiled
def step(s, c, t, out):
    return e.step(s, c, t, out)
