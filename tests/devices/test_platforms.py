"""Platforms: those of the catalog against public figures, and those of a user's file, with its mistakes."""

from dataclasses import replace

import pytest

from pimsim.devices import AcceleratorSpec, parts, platforms
from pimsim.devices.accelerator import blocked_bytes
from pimsim.devices.platform import PlatformSpec
from pimsim.errors import SpecError
from pimsim.placement.mapping import AddressMapping
from pimsim.system import exynos2400, headline, load_system, rows_in_banks, systems

# Vendors' pages: memory bandwidth in GB/s (transfers a second x bits / 8), capacity in GiB.
PUBLIC = {
    "exynos2400": (68.264, 16),
    "snapdragon-8-gen-3": (76.8, 16),
    "jetson-orin": (204.8, 64),
    "apple-m3-max": (409.6, 128),
    "iphone-15-pro": (51.2, 8),
    "core-ultra-7-155h": (119.5, 32),
}


def test_the_catalog_is_walked():
    assert set(systems()) == set(PUBLIC) == set(platforms())


@pytest.mark.parametrize("name", PUBLIC)
def test_a_platform_has_the_memory_that_its_vendor_states(name):
    system = load_system(name)
    bandwidth, gib = PUBLIC[name]
    assert system.peak_bytes_per_s / 1e9 == pytest.approx(bandwidth, rel=0.001)
    assert system.capacity_bytes == gib * 2**30
    system.layout.check(system.pim_mapping)
    geometry = system.dram.geometry
    for mapping in (system.host_mapping, system.pim_mapping):
        mapping.check(
            {
                "channel": system.channels, "rank": geometry.ranks, "bankgroup": geometry.bank_groups,
                "bank": geometry.banks_per_group, "row": geometry.rows, "column": geometry.bursts_per_row,
            }
        )  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_every_number_has_a_source(name):
    system = load_system(name)
    for part in (system, system.cpu, *system.cpu.cores, system.dram, system.pim, system.gpu, system.npu):
        assert part.source
    text = " ".join(part.source for part in (system.gpu, system.cpu))
    assert "estimate" in text or name == "exynos2400"


def test_pim_inside_is_eight_times_the_bus():
    # Samsung: 614 against 76.8 GB/s at 9600 MT/s (Hot Chips 2026); one access in 16 banks a tCCD_L.
    said = headline(load_system("snapdragon-8-gen-3"))
    assert said["pim_gbps"] == pytest.approx(614.4, rel=0.001)
    assert said["pim_gbps"] == pytest.approx(8 * said["bandwidth_gbps"], rel=0.001)


def test_the_pim_map_of_the_phone_is_the_derived_one():
    phone = exynos2400()
    assert rows_in_banks(phone.dram.geometry, phone.channels) == AddressMapping.parse(
        "row:16 channel:2 rank:1 bankgroup:2 bank:2 column:6"
    )


def test_parts_list_accelerators():
    assert isinstance(parts()["orin-ampere-gpu"], AcceleratorSpec)


# Blocked products, by hand: 8 KiB of cache, so 4096 bytes for the operand that stays or 32 x 32 sums.
@pytest.mark.parametrize(
    ("a", "b", "m", "n", "wanted"),
    [
        (4096, 10**6, 8, 8, 4096 + 10**6),  # one fits
        (8192, 8192, 32, 32, 16384),  # results fit: both once
        (8192, 16384, 1000, 1000, 8192 + 16384 * 2),  # two panels of the first
        (10**6, 10**6, 64, 32, 10**6 + 2 * 10**6),  # two blocks of results along m
    ],
)
def test_blocked_bytes(a, b, m, n, wanted):
    assert blocked_bytes(a, b, m, n, 8192) == wanted


# Files

BOARD = """
name = "my-board"
source = "made up"
cpu = "jetson-orin-a78ae"
channels = 2
compute_cores = [0, 1]

[dram]
base = "lpddr5-6400-16gb-x16"
name = "my-dram"
source = "made up"

[dram.timings]
RFCab = { ns = 300 }

[gpu]
name = "my-gpu"
source = "made up"
kind = "gpu"
peak_tflops = { fp16 = 20, fp32 = 5 }
vector_tflops = 5
matmul_efficiency = 0.6
cache_bytes = 4_194_304
outstanding_bytes = 65_536
path_ns = 200
launch_us = 10
"""


def written(tmp_path, text):
    path = tmp_path / "board.toml"
    path.write_text(text)
    return str(path)


def test_a_board_from_a_file(tmp_path):
    board = load_system(written(tmp_path, BOARD))
    assert (board.name, board.channels, board.pim, board.npu) == ("my-board", 2, None, None)
    assert board.dram.timings["RFCab"].ns == 300
    assert board.dram.timings["RCD"].ns == 18  # of the base
    assert board.gpu.tflops("bf16") == 20
    assert board.copy_cores == (2, 3)
    assert board.peak_bytes_per_s / 1e9 == pytest.approx(25.6)


def test_how_copies_are_shared_out(tmp_path):
    text = 'base = "jetson-orin"\nname = "half"\nsource = "made up"\ncopy_split = "static"\n'
    assert load_system(written(tmp_path, text)).threads.copy_split == "static"
    assert load_system("jetson-orin").threads.copy_split == "dynamic"
    phone = load_system("exynos2400")
    assert (phone.copy_cores, phone.threads.copy_split) == ((0, 5), "static")


def test_a_shipped_platform_and_what_differs(tmp_path):
    text = 'base = "jetson-orin"\nname = "half"\nsource = "made up"\nchannels = 8\n'
    board, orin = load_system(written(tmp_path, text)), load_system("jetson-orin")
    assert board.peak_bytes_per_s == orin.peak_bytes_per_s / 2
    assert (board.gpu, board.cpu) == (orin.gpu, orin.cpu)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("channels = 2", "channels = 3", "channels=3; wanted a power of two"),
        ("channels = 2", 'channels = "2"', r"board.toml:5: channels='2'; wanted a whole number"),
        ("channels = 2", "chanels = 2", r"board.toml:5: unknown key 'chanels'; did you mean 'channels'"),
        ("channels = 2", 'channels = 2\ncopy_split = "statik"', "copy_split='statik'; did you mean 'static'"),
        ("[0, 1]", "[0, 99]", "compute_cores names core 99; jetson-orin-a78ae has 12 cores"),
        ('"jetson-orin-a78ae"', '"jetson-orin-a78"', "no CpuSpec named 'jetson-orin-a78'; did you mean"),
        ("base = ", "basis = ", "unknown key 'dram.basis'"),
        ("lpddr5-6400-16gb-x16", "lpddr5-640", r"board.toml:9: dram.base: no DramSpec named"),
        ("fp16 = 20", 'fp16 = "20"', r"gpu.peak_tflops.fp16='20'; wanted a number"),
        ("fp16 = 20", "fp16 = -20", "rate of fp16 is -20.0 TFLOPS; wanted more than 0"),
        ("launch_us = 10", "", "gpu.launch_us is missing"),
        ("ns = 300", "nanos = 300", "unknown key 'dram.timings.RFCab.nanos'"),
        ("[gpu]", "[gpu", "not TOML"),
    ],
)
def test_mistakes_name_file_line_and_key(tmp_path, old, new, error):
    with pytest.raises(SpecError, match=error) as raised:
        load_system(written(tmp_path, BOARD.replace(old, new)))
    assert "board.toml" in str(raised.value)


def test_unknown_systems_get_a_suggestion():
    with pytest.raises(SpecError, match="no system named 'jetson'; did you mean 'jetson-orin'"):
        load_system("jetson")


def test_a_platform_checks_itself():
    good = platforms()["jetson-orin"]
    for changes in ({"queue": 8}, {"pim_driver": "dma"}, {"compute_cores": ()}, {"name": ""}):
        with pytest.raises(SpecError):
            replace(good, **changes)
    assert isinstance(good, PlatformSpec)


def test_a_gpu_that_drives_pim_must_be_there():
    with pytest.raises(SpecError, match="its GPU is to drive PIM, but it has none"):
        replace(load_system("jetson-orin"), gpu=None)
