"""What each metric is called on the page, what it means in one sentence, and how its number is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from flawscope.report import format as fmt


@dataclass(frozen=True)
class MetricWords:
    """A metric's title, its meaning, and whether its number is a share (percent) or a ratio."""

    title: str
    meaning: str
    is_share: bool = False

    @property
    def formatter(self) -> fmt.Formatter:
        """The function that writes the metric's numbers."""
        return fmt.percent if self.is_share else fmt.ratio


IMAGE: Mapping[str, MetricWords] = MappingProxyType(
    {
        "auroc": MetricWords(
            "AUROC",
            "How often a defective part scores above a good one: 0.5 is guessing, 1 is perfect.",
        ),
        "ap": MetricWords(
            "Average precision", "Precision averaged over all recalls; depends on the share of bad parts."
        ),
        "recall_at_1pct": MetricWords(
            "Recall at 1 % false alarms",
            "Defective parts found if 1 in 100 good parts may be called bad.",
            is_share=True,
        ),
        "recall_at_5pct": MetricWords(
            "Recall at 5 % false alarms",
            "Defective parts found if 5 in 100 good parts may be called bad.",
            is_share=True,
        ),
    }
)
VERDICT: Mapping[str, MetricWords] = MappingProxyType(
    {
        "overkill": MetricWords("False alarms (overkill)", "Good parts that were called NG.", is_share=True),
        "escape": MetricWords("Missed (escape)", "Defective parts that were called OK.", is_share=True),
        "accuracy": MetricWords(
            "Accuracy", "Good parts not called NG, and defective parts called NG.", is_share=True
        ),
        "precision": MetricWords(
            "Precision", "Of the parts called NG, those truly defective.", is_share=True
        ),
        "recall": MetricWords("Recall", "Of the defective parts, those called NG.", is_share=True),
        "specificity": MetricWords("Specificity", "Of the good parts, those not called NG.", is_share=True),
        "f1": MetricWords("F1", "Harmonic mean of precision and recall."),
        "review_share": MetricWords("Sent to review", "Parts that a person has to look at.", is_share=True),
        "not_judged_share": MetricWords("Not judged", "Images that got no verdict.", is_share=True),
    }
)
PIXEL: Mapping[str, MetricWords] = MappingProxyType(
    {
        "auroc": MetricWords(
            "Pixel AUROC", "How often a flawed pixel scores above a sound one; flattered by small flaws."
        ),
        "ap": MetricWords("Pixel average precision", "Precision over recall, counted in pixels."),
        "aupro_30": MetricWords(
            "AUPRO, to 30 %", "Overlap with each flaw, averaged while up to 30 % of sound pixels are marked."
        ),
        "aupro_05": MetricWords(
            "AUPRO, to 5 %", "Overlap with each flaw, averaged while up to 5 % of sound pixels are marked."
        ),
        "aupimo": MetricWords(
            "AUPIMO", "Overlap with each flaw while next to nothing is marked on good images (1 in 100,000)."
        ),
        "seg_f1": MetricWords("Segmentation F1", "Overlap of marked and true pixels at the pixel threshold."),
    }
)
PROBABILITY: Mapping[str, MetricWords] = MappingProxyType(
    {
        "ece": MetricWords(
            "Calibration error",
            "How far stated probabilities lie from what came, on average (ECE): 0 is perfect.",
            is_share=True,
        ),
        "brier": MetricWords(
            "Brier score", "Mean squared error of the probability of bad: 0 is perfect, 0.25 is a coin's."
        ),
    }
)
CLASS: Mapping[str, MetricWords] = MappingProxyType(
    {
        "accuracy": MetricWords(
            "Right class", "Parts whose most likely class is what they are.", is_share=True
        ),
        "macro_f1": MetricWords("Macro F1", "F1 of each class, averaged over the classes."),
    }
)
EXPLANATION: Mapping[str, MetricWords] = MappingProxyType(
    {
        "pointing": MetricWords(
            "Pointing game", "Bad parts on which the highest place lies on the flaw.", is_share=True
        ),
        "aupro_30": PIXEL["aupro_30"],
        "iou": MetricWords("IoU at the limit", "Overlap of what is over the limit with the flaw."),
        "dark": MetricWords(
            "Good parts dark", "Good parts on which nothing is over the limit.", is_share=True
        ),
        "deletion": MetricWords(
            "Deletion", "What is left of the score while the hottest pixels are removed: low is good."
        ),
        "insertion": MetricWords(
            "Insertion", "What comes back of the score while the hottest pixels are put in: high is good."
        ),
    }
)
GROUPS: Mapping[str, Mapping[str, MetricWords]] = MappingProxyType(
    {"image": IMAGE, "verdict": VERDICT, "probability": PROBABILITY, "class": CLASS, "pixel": PIXEL}
)
GROUP_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "image": "Ranking of images",
        "verdict": "Verdicts at the fixed limits",
        "probability": "Probability of being bad",
        "class": "Classes",
        "pixel": "Places marked on the image",
    }
)


def words(group: str, name: str) -> MetricWords:
    """Return the words of a metric; one without words of its own is shown under its plain name.

    For a defect's row (`group` empty) the verdict words come first, then those of images, then of pixels
    (as `pixel_<name>`).
    """
    if group:
        known = GROUPS.get(group, {}).get(name)
    elif name.startswith("pixel_"):
        known = PIXEL.get(name.removeprefix("pixel_"))
    else:
        known = VERDICT.get(name) or IMAGE.get(name) or PIXEL.get(name)
    return known or MetricWords(re.sub(r"_+", " ", name).strip().capitalize() or name, "")
