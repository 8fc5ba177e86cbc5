"""FlexiQ (arXiv 2510.02822): mixed 4/8-bit arithmetic, channel selection, layout and what it costs."""
