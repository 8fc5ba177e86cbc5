"""What the tests of sweeps share."""

from pimsim.sweep import Axis, Function, Store, Sweep, prepare, run_sweep, table


def grid(count, **base):
    """A sweep of `count` points over x."""
    return Sweep(name="grid", base=base | {"y": 2}, axes=(Axis(name="x", values=tuple(range(count))),))


def run(path, sweep, function, executor=None, limits=None):
    """(digest of the store's content, its table) after the sweep."""
    with Store.open(path, write=True, make=True) as store:
        run_sweep(prepare(sweep, Function(function)), store, executor=executor, limits=limits)
        return store.content_digest(), table(store)
