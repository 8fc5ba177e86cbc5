"""`pimsim cache`: a trace or a pattern through the caches of a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pimsim.cli.app import Json, Quiet, app, console, note

if TYPE_CHECKING:
    import pandas as pd

    from pimsim.devices.cache import CacheCounts


@app.command(
    epilog="Examples: pimsim cache --pattern stream --size 32MiB --set L2.prefetch=stride | "
    "pimsim cache --gemm 64 512 2048 --memory-ns 120 | pimsim cache requests.csv --cpu exynos-2400 --core 1"
)
def cache(
    trace: Annotated[
        Path | None,
        typer.Argument(help="Accesses: CSV (arrive,op,addr), Ramulator (LD 0x40) or DRAMsim3 (0x40 READ 0)."),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(help="Or a walk: stream, strided, random, reuse, copy, gemm.", metavar="NAME"),
    ] = None,
    gemm: Annotated[
        tuple[int, int, int] | None,
        typer.Option(help="Or a blocked product of M x K by K x N, blocks by the caches.", metavar="M N K"),
    ] = None,
    size: Annotated[str, typer.Option(help="Memory that a pattern walks over.", metavar="BYTES")] = "16MiB",
    stride: Annotated[str, typer.Option(help="Of the pattern strided.", metavar="BYTES")] = "4KiB",
    cpu: Annotated[str, typer.Option(help="The CPU; see: pimsim parts.", metavar="NAME")] = "exynos-2400",
    core: Annotated[int, typer.Option(help="Which of its cores, from 0.", metavar="N")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a level, such as L2.prefetch=stride, SLC.inclusion=exclusive, L1.mshrs=16. Fields: "
            "size_bytes, ways, policy (lru, tree-plru, random, srrip), inclusion (non-inclusive, inclusive, "
            "exclusive), write (back, through), write_allocate, mshrs, prefetch (none, next-line, stride), "
            "prefetch_degree, hit_ns.",
            metavar="LEVEL.FIELD=VALUE",
        ),
    ] = None,
    attribute: Annotated[
        str, typer.Option(help="Of the memory: cacheable, non-cacheable or write-combining.", metavar="NAME")
    ] = "cacheable",
    memory_ns: Annotated[
        float | None,
        typer.Option(min=0, help="Latency of the memory: run the time model, too.", metavar="NS"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random replacement and the pattern random.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hits, misses, write-backs and traffic of each cache level, for a file of accesses or a named walk."""
    if sum(given is not None for given in (trace, pattern, gemm)) != 1:
        raise typer.BadParameter(
            "give one of a trace, --pattern and --gemm", param_hint="'TRACE' / '--pattern' / '--gemm'"
        )
    from dataclasses import asdict

    from pimsim.devices import CpuSpec, part
    from pimsim.devices.cache import Caches, Timing, cpu_hierarchy
    from pimsim.devices.cache.settings import attribute_named, with_settings
    from pimsim.report.progress import bar
    from pimsim.units import parse_bytes

    host = part(cpu, CpuSpec)
    hierarchy = with_settings(cpu_hierarchy(host, (core,)), tuple(settings or ()))
    kind = attribute_named(attribute)
    line = hierarchy.line_bytes
    notes: tuple[str, ...] = ()
    if trace is not None:
        from pimsim.devices.dram.requests import read_trace

        held = read_trace(trace, 1)
        name, addresses, writes = trace.name, held.address, held.write.astype(bool)
    elif gemm is not None:
        from pimsim.devices.cache.patterns import packed_product
        from pimsim.devices.gemm import gemm_blocks

        m, n, k = gemm
        blocks = gemm_blocks(hierarchy.levels(), m, n, k)
        made = packed_product(m, n, k, mc=blocks.mc, kc=blocks.kc, nc=blocks.nc, line_bytes=line)
        name, addresses, writes = f"product {m} x {k} x {n}", made.addresses, made.writes
        notes = blocks.reasons
    else:
        from pimsim.devices.cache.patterns import walk

        try:
            size_bytes, stride_bytes = parse_bytes(size), parse_bytes(stride)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="'--size' / '--stride'") from None
        made = walk(pattern or "", size_bytes, line, stride_bytes=stride_bytes, seed=seed)
        name, addresses, writes = f"{pattern} over {size}", made.addresses, made.writes
    timing = None
    if memory_ns is not None:
        own = host.cores[core]
        timing = Timing(
            issue_ns=1 / own.clock_ghz, memory_ns=memory_ns, nc_outstanding=own.nc_outstanding,
            store_buffer=own.store_buffer,
        )  # fmt: skip
    with bar(name, quiet):
        counts = Caches(hierarchy, timing=timing, seed=seed).run(
            addresses, writes, kind, store_bytes=16 if trace is not None else line
        )
    if as_json:
        from pimsim.report.report import json_text

        typer.echo(
            json_text(
                {"walk": name, "cpu": cpu, "core": core, "attribute": kind.value}
                | {key: value for key, value in asdict(counts).items() if key not in ("levels", "log")}
                | {"levels": counts.to_frame().to_dict("records"), "notes": list(notes)}
            )
        )
        return
    _print(
        counts, f"{name}: {len(addresses):,} accesses of {cpu}, core {core} ({host.cores[core].name})", notes
    )


def _print(counts: CacheCounts, title: str, notes: tuple[str, ...]) -> None:
    from pimsim.report.tables import print_frame

    screen = console()
    print_frame(_levels(counts), title, screen)
    screen.print()
    print_frame(_memory(counts), "Memory", screen)
    frame = counts.to_frame()
    if frame["prefetches"].any():
        columns = ["prefetches", "useful_prefetches", "unused_prefetches", "dropped_prefetches"]
        table = frame.loc[frame["prefetches"] > 0, ["name", *columns]].copy()
        table["accuracy_percent"] = 100 * frame["accuracy"]
        table["coverage_percent"] = 100 * frame["coverage"]
        screen.print()
        print_frame(table.rename(columns={"name": "level"}), "Prefetchers", screen)
    for text in notes:
        note(screen, f"\nNote: {text}")


def _levels(counts: CacheCounts) -> pd.DataFrame:
    frame = counts.to_frame()
    columns: dict[str, Any] = {
        "level": frame["name"],
        "hits": frame["hits"],
        "misses": frame["misses"],
        "miss_rate_percent": 100 * frame["miss_rate"],
        "misses of 1000 accesses": frame["misses_per_1000"],
        "evictions": frame["evictions"],
        "write-backs": frame["write_backs"],
        "in_mib": frame["bytes_in"] / 2**20,
        "out_mib": frame["bytes_out"] / 2**20,
    }
    if counts.time_ns is not None:
        columns |= {"merged misses": frame["merged"], "stalls_ns": frame["stall_ns"]}
    import pandas as pd

    return pd.DataFrame(columns)


def _memory(counts: CacheCounts) -> pd.DataFrame:
    import pandas as pd

    rows: list[tuple[str, str, str]] = [
        ("lines read", f"{counts.memory_reads}", "lines"),
        ("of them by prefetchers", f"{counts.prefetch_reads}", "lines"),
        ("lines written", f"{counts.memory_writes}", "lines"),
        ("traffic of lines", f"{counts.memory_bytes / 2**20:.6g}", "MiB"),
        ("non-cacheable reads", f"{counts.non_cacheable_reads}", "accesses"),
        ("non-cacheable writes", f"{counts.non_cacheable_writes}", "accesses"),
        ("combined stores", f"{counts.combined_stores}", "accesses"),
        ("bursts that they made, whole", f"{counts.combined_bursts}", "bursts"),
        ("bursts that they made, in part", f"{counts.combined_parts}", "bursts"),
    ]
    rows = [row for row in rows if row[1] != "0" or row[0].startswith("lines")]
    if counts.time_ns and counts.nc_stall_ns and counts.store_stall_ns:
        stalls = sum(level.stall_ns for level in counts.levels)
        for name, ns in (
            ("time", counts.time_ns[0]),
            ("of it waiting for an MSHR", stalls),
            ("waiting for a non-cacheable slot", counts.nc_stall_ns[0]),
            ("waiting for the store buffer", counts.store_stall_ns[0]),
        ):
            rows.append((name, f"{ns / 1000:.6g}", "us"))
    return pd.DataFrame(rows, columns=["quantity", "value", "unit"])
