"""NPU cores: an FPGA array after DNNWeaver v2, one with fusing units, a phone's, and a TPU-like one."""

from dataclasses import replace

from pimsim.devices.npu.spec import LOCAL, NpuEnergy, NpuSpec

HOROWITZ_45NM = NpuEnergy(
    source="estimate: Horowitz, ISSCC 2014, 45 nm, 0.9 V: 8-bit multiply 0.2 and add 0.03 pJ, 16-bit float "
    "multiply 1.1 and add 0.4 pJ, 8 KiB SRAM 10 pJ a 64-bit access, DRAM 1.3 nJ a 64-bit access; a 4-bit "
    "multiply is taken as a quarter of an 8-bit one",
    mac16_pj=1.5,
    mac8_pj=0.23,
    mac4_pj=0.08,
    scratchpad_pj_per_byte=1.25,
    dram_pj_per_byte=162.5,
)

DNNWEAVER2 = NpuSpec(
    name="dnnweaver2-32x32",
    source="hsharma35/dnnweaver2 dnnweaver2-tutorial.ipynb: 32 x 32 at 150 MHz, input, weight and output "
    "buffers of 64, 512 and 256 KiB, all double-buffered; estimates: 4-bit products at twice the rate "
    "(FlexiQ, "
    "arXiv 2510.02822, extends such an array without giving numbers; twice fits its speed-ups), vector unit, "
    "one LPDDR4-3200 channel (6.4 GB/s) for the tutorial's 4.8 GB/s interface",
    rows=32,
    cols=32,
    tck_fs=6_666_667,
    dataflow="ws",
    packing="channel",
    timing=LOCAL,
    depthwise_columns=True,
    rate4=2,
    input_bytes=64 * 1024,
    weight_bytes=512 * 1024,
    output_bytes=256 * 1024,
    dram="lpddr4-3200-8gb-x16",
    channels=1,
    energy=HOROWITZ_45NM,
)

BITFUSION = NpuSpec(
    name="bitfusion-16x32",
    source="hsharma35/bitfusion: 16 x 32 fused units (bf_e_conf.ini) at 500 MHz, 4 x the rate at 4 x 4 bits, "
    "activation, weight and output SRAM of 64, 256 and 16 KiB (conf.ini, for 8 x 8 units); DRAM and vector "
    "unit: estimate",
    rows=16,
    cols=32,
    tck_fs=2_000_000,
    dataflow="ws",
    packing="channel",
    timing=LOCAL,
    depthwise_columns=True,
    rate4=4,
    input_bytes=64 * 1024,
    weight_bytes=256 * 1024,
    output_bytes=16 * 1024,
    dram="lpddr4-3200-8gb-x16",
    channels=2,
    energy=HOROWITZ_45NM,
)

MOBILE = NpuSpec(
    name="mobile-64x64",
    source="estimate: a phone's NPU core of 9.8 TOPS at 8 bits (64 x 64 at 1.2 GHz), 1 MiB a scratchpad, "
    "on four "
    "channels of the LPDDR5X of a 2024 phone; 16-bit at half, 4-bit at twice the rate",
    rows=64,
    cols=64,
    tck_fs=833_333,
    dataflow="ws",
    rate4=2,
    mac16_ck=2,
    input_bytes=2**20,
    weight_bytes=2**20,
    output_bytes=2**20,
    vector_lanes=64,
    dram="lpddr5x-8533-16gb-x16",
    channels=4,
    dma_window=256,
    energy=HOROWITZ_45NM,
)

TPU_LIKE = NpuSpec(
    name="tpu-like-128x128",
    source="estimate after public descriptions of TPU v2 and later (128 x 128, weights stay, about 0.94 "
    "GHz) and the "
    "32 MiB scratchpad of ONNXim's TPUv4 file; 16-bit at full rate; eight channels of HBM2",
    rows=128,
    cols=128,
    tck_fs=1_063_830,
    dataflow="ws",
    input_bytes=16 * 2**20,
    weight_bytes=16 * 2**20,
    output_bytes=4 * 2**20,
    vector_lanes=1024,
    dram="hbm2-2000-8gb-x64",
    channels=8,
    dma_window=500,
)

DNNWEAVER2_F4 = replace(
    DNNWEAVER2,
    name="dnnweaver2-32x32-f4",
    source="as dnnweaver2-32x32; four times the rate at 4 bits, as bit-fusion units have: estimate",
    rate4=4,
)
