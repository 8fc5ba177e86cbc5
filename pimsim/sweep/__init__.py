"""Many runs: points of a sweep, a store that keeps every result, executors for one machine or a cluster.

from pimsim.sweep import Axis, Store, Sweep, prepare, run_sweep, table

sweep = Sweep(
    name="prompts",
    base={"model": "llama-3.2-1b", "method": "facil", "tokens": 2},
    axes=(Axis(name="prompt", values=(16, 64)),),
)
with Store.open("prompts.sqlite", write=True, make=True) as store:
    run_sweep(prepare(sweep), store)
    print(table(store))
"""

from pimsim.sweep.executors import Dask, Executor, InProcess, LocalPool
from pimsim.sweep.file import read_search, read_sweep
from pimsim.sweep.points import Axis, Point, Range, Sweep
from pimsim.sweep.session import Prepared, Progress, prepare, run_sweep, shard_of
from pimsim.sweep.store import Record, Store
from pimsim.sweep.table import table
from pimsim.sweep.work import Function, Limits, Outcome, Simulation

__all__ = [
    "Axis", "Dask", "Executor", "Function", "InProcess", "Limits", "LocalPool", "Outcome", "Point",
    "Prepared", "Progress", "Range", "Record", "Simulation", "Store", "Sweep", "prepare", "read_search",
    "read_sweep", "run_sweep", "shard_of", "table",
]  # fmt: skip
