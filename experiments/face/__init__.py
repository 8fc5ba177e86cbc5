"""Face recognition with in-batch negatives (UNPG, arXiv 2203.11593; MixFace, arXiv 2111.01717): training steps."""

EXPERIMENTS: dict[str, object] = {}
