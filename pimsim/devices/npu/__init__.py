"""The NPU: a systolic array with scratchpads, a vector unit and DMA through the DRAM channels.

    run = simulate_layer(part("dnnweaver2-32x32", NpuSpec), gemm(196, 384, 384))
    run.clocks, run.utilisation, run.lost_ck

`spec` the part, `layer` what it computes, `array` closed forms (`stepped` is their reference), `tiling` the
search, `memory` DRAM or a flat bandwidth, `engine` the tiles in time.
"""
