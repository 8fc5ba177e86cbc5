"""The compiled DRAM engine: state, commands under timing rules, queues and the scheduler."""

from pimsim.devices.dram.engine.commands import earliest as earliest
from pimsim.devices.dram.engine.commands import issue as issue
from pimsim.devices.dram.engine.commands import put as put
from pimsim.devices.dram.engine.queues import accept as accept
from pimsim.devices.dram.engine.scheduler import step as step
from pimsim.devices.dram.engine.state import *  # noqa: F403
