"""What caches do to a PIM program whose triggers are loads: the attribute inconsistency, on real data.

A PIM unit multiplies when the DRAM sees a column read of the weights. If the weights lie in a cacheable
region, a load that hits never gets there, so its multiplication never happens (PIM-SHERPA, arXiv 2603.09216).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pimsim.devices.cache.caches import Caches
from pimsim.devices.cache.hierarchy import Hierarchy
from pimsim.devices.dram.drive import G_COLUMN, G_COMMAND, G_RANK, G_ROW
from pimsim.devices.pim.functional import Values, run
from pimsim.devices.pim.program import gemv
from pimsim.devices.rules import MACAB
from pimsim.devices.spec import PimSpec
from pimsim.errors import SpecError
from pimsim.placement.layout import PimLayout
from pimsim.placement.mapping import AddressMapping
from pimsim.placement.region import Attribute


@dataclass(frozen=True, kw_only=True)
class Driven:
    """Products of one matrix with several vectors, one after the other.

    products: (n,) each. loads: that trigger a multiplication of all banks, of each product and channel.
    reached: multiplications that the DRAM did, of each product and channel.
    """

    products: tuple[Values, ...]
    loads: int
    reached: tuple[int, ...]


def drive_through(
    hierarchy: Hierarchy, attribute: Attribute, pim: PimSpec, layout: PimLayout, mapping: AddressMapping,
    w: Values, vectors: Sequence[Values], dtype: str,
) -> Driven:  # fmt: skip
    """Multiply W with each vector in PIM, core 0 triggering through caches that are empty at first.

    attribute: of the region of the weights; registers and results are non-cacheable in any case, so that
    what goes wrong is the triggers alone. w, vectors: as `pimsim.devices.pim.functional` takes them, the
    matrix at the beginning of memory. mapping: of the weights' region (PIM-aware), all channels alike.
    A line that a miss brings in is read burst by burst, and each burst that belongs to the matrix triggers.
    """
    layout.check(mapping)
    k = 2 * len(vectors[0]) if dtype == "w4a4" else len(vectors[0])
    program = gemv(pim, layout, w.shape[0], k, dtype)
    is_mac = program.commands[:, G_COMMAND] == MACAB
    address = _addresses(mapping, layout, program.commands[is_mac])
    if len(np.unique(address)) != len(address):
        raise SpecError(f"{pim.name}: two multiplications of the program have one address")
    numbers = np.flatnonzero(is_mac)
    of_line: dict[int, list[int]] = {}
    for number, line in zip(numbers.tolist(), (address // hierarchy.line_bytes).tolist(), strict=True):
        of_line.setdefault(line, []).append(number)
    banks, caches = layout.swizzle(w), Caches(hierarchy)
    products, reached = [], []
    for x in vectors:
        log = caches.run(address, False, attribute, log=True).log
        assert log is not None
        at_memory = log.served == len(hierarchy.levels())
        kept: list[int] = []
        mac = 0
        for number, trigger in enumerate(is_mac.tolist()):
            if not trigger:
                kept.append(number)
                continue
            if at_memory[mac]:
                line = int(address[mac]) // hierarchy.line_bytes
                kept += of_line[line] if attribute is Attribute.CACHEABLE else [number]
            mac += 1
        thinned = replace(program, commands=program.commands[kept], data=program.data[kept])
        products.append(run(thinned, pim, banks, x, strict=False))
        reached.append(int(is_mac[kept].sum()))
    return Driven(products=tuple(products), loads=len(address), reached=tuple(reached))


def _addresses(
    mapping: AddressMapping, layout: PimLayout, macs: NDArray[np.int64]
) -> NDArray[np.int64]:  # fmt: skip
    """(n,) bytes of the loads that trigger multiplications in channel 0: bank 0 stands for all banks."""
    coordinates = np.zeros((len(macs), len(mapping.fields)), np.int64)
    for field, column in (("rank", G_RANK), ("row", G_ROW), ("column", G_COLUMN)):
        if field in mapping.fields:
            coordinates[:, mapping.fields.index(field)] = macs[:, column]
    return np.asarray(mapping.encode(coordinates)).astype(np.int64)
