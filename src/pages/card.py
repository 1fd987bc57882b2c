"""The model card of one run in Markdown. Takes data and returns text.

Mitchell et al.: Model Cards for Model Reporting. FAT* 2019, https://arxiv.org/abs/1810.03993
"""

import re

from src.markdown import code_block
from src.pages.base import fill
from src.pages.content import Run
from src.pages.pictures import description
from src.results import ClassScores
from src.statistics import wilson_interval
from src.wording import percent_interval

NAMED = 20  # classes in the first section; the table has all
MISTAKES = 10  # in the list; the report has all
REASONS = 3  # reasons for leaving files out; the report has all
IMAGE = re.compile(r"^!\[.*\n\n?", re.MULTILINE)


def render(run: Run) -> str:
    """Return the card for the folder reports/, with links to the figures in ../figures."""
    return fill(
        "card.md.j2",
        recall_interval,
        code_block,
        run=run,
        alt={name: description(png) for name, png in run.figures.items()},
        named=NAMED,
        mistakes=run.misclassified[:MISTAKES],
        reasons=run.data.left_out[:REASONS],
        fewest=min(row.images for row in run.per_class),
    )


def recall_interval(row: ClassScores) -> str:
    """The 95 % interval of the recall of a class, or a dash if it has no test images. -> 81.2 % to 93.0 %"""
    if row.recall is None:
        return "–"
    return percent_interval(*wilson_interval(round(row.recall * row.images), row.images), 1)


def without_figures(card: str, longest: int) -> str:
    """The card without figures, cut to at most `longest` characters at the end of a section."""
    text = IMAGE.sub("", card)
    rest = "\n\nThe complete card with figures is `model_card.md` among the artifacts of the model.\n"
    while len(text.rstrip()) + len(rest) > longest and "\n## " in text:
        text = text.rpartition("\n## ")[0]
    return text.rstrip()[: longest - len(rest)] + rest
