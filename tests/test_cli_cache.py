"""`pimsim cache`: what it prints, and how it fails."""

import json

import pytest

from pimsim.cli import main


def run(capsys, *args):
    code = main(["cache", *args])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_stream_reads_every_line_once(capsys):
    code, out, _ = run(capsys, "--pattern", "stream", "--size", "1MiB", "--json")
    assert code == 0
    held = json.loads(out)
    assert [level["name"] for level in held["levels"]] == ["L1", "L2", "L3", "SLC"]
    assert held["accesses"] == held["memory_reads"] == 16384
    assert held["levels"][0]["misses_per_1000"] == 1000
    assert held["levels"][3]["bytes_in"] == 2**20


def test_tables_with_time_and_prefetchers(capsys):
    code, out, _ = run(
        capsys, "--pattern", "stream", "--size", "1MiB", "--set", "L2.prefetch=stride",
        "--set", "L1.mshrs=16", "--memory-ns", "100",
    )  # fmt: skip
    assert code == 0
    for text in (
        "stream over 1MiB: 16,384 accesses of exynos-2400, core 0 (x4)",
        "misses of 1000 accesses",
        "of it waiting for an MSHR",
        "coverage [%]",
    ):
        assert text in out


def test_a_product_says_why_its_blocks_are_so_large(capsys):
    _, out, _ = run(capsys, "--gemm", "8", "64", "256")
    assert "product 8 x 256 x 64" in out
    assert "Note: kc=256: all of the depth" in out


def test_a_trace_file(capsys, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("arrive,op,addr\n0,R,0x0\n0,W,0x40\n0,R,0x0\n")
    held = json.loads(run(capsys, str(path), "--json", "--core", "1")[1])
    assert (held["levels"][0]["hits"], held["levels"][0]["misses"]) == (1, 2)
    held = json.loads(run(capsys, str(path), "--json", "--attribute", "non-cacheable")[1])
    assert (held["non_cacheable_reads"], held["non_cacheable_writes"]) == (2, 1)


def test_whole_lines_of_a_pattern_combine_to_bursts(capsys):
    held = json.loads(
        run(capsys, "--pattern", "copy", "--size", "64KiB", "--attribute", "write-combining", "--json")[1]
    )
    assert (held["combined_stores"], held["combined_bursts"]) == (512, 512)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "give one of a trace, --pattern and --gemm"),
        (("--pattern", "strem"), "no pattern named 'strem'; did you mean 'stream'?"),
        (("--pattern", "stream", "--size", "8Mx"), "no unit 'Mx'"),
        (("--pattern", "stream", "--set", "L9.ways=2"), "no level 'L9'"),
        (("--pattern", "stream", "--set", "L2.way=2"), "no field 'way' of a level; did you mean 'ways'?"),
        (("--pattern", "stream", "--set", "L2.ways=two"), "'two'; wanted a whole number"),
        (("--pattern", "stream", "--set", "L2"), "wanted LEVEL.FIELD=VALUE"),
        (("--pattern", "stream", "--set", "L2.write_allocate=no"), "wanted true or false"),
        (("--pattern", "stream", "--set", "L2.size_bytes=32768"), None),
        (
            ("--pattern", "stream", "--set", "L2.size_bytes=32768", "--set", "L2.inclusion=inclusive"),
            "inclusive of L1",
        ),
        (("--pattern", "stream", "--attribute", "cachable"), "did you mean 'cacheable'?"),
        (("--pattern", "stream", "--core", "9"), "no core 9; it has 6"),
    ],
)
def test_bad_input(capsys, args, said):
    code, _, err = run(capsys, *args)
    assert code == (0 if said is None else 2)
    assert said is None or said in " ".join(err.replace("│", " ").split())
