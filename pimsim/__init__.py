"""pimsim: cycle-approximate simulation of systems with processing-in-memory."""
