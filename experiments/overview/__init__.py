"""Every workload of the package on two machines: time, memory and what bounds it."""

from experiments.overview import workloads

EXPERIMENTS = {"workloads": workloads}
