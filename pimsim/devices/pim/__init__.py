"""Processing in memory: operations as programs of DRAM commands, and those programs on real data."""
