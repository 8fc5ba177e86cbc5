"""Gaze estimation: a network of the shape that CauGE (arXiv 2408.16964) might have; no paper's degrees."""

from experiments.gaze import inference

EXPERIMENTS = {"inference": inference}
