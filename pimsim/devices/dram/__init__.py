"""Command-accurate DRAM channels: the scheduler, its drivers, and an independent auditor."""
