"""Face recognition with in-batch negatives (UNPG, arXiv 2203.11593; MixFace, arXiv 2111.01717)."""

from experiments.face import real_faces, small_head, training_step

EXPERIMENTS = {"training-step": training_step, "real-faces": real_faces, "small-head": small_head}
