"""Summarise the measures of maps in sentences that claim no more than their intervals show.

Sentences that compare several maps use wider intervals (Bonferroni). Otherwise one of twenty random maps would seem
better than chance.
"""

from collections.abc import Mapping, Sequence

from src.explain.measure import CENTRE, RANDOM, Marks, Pair
from src.explain.summary import MEASURES, gain, over_images
from src.statistics import ALPHA
from src.wording import hundredths, percent

ALIKE = 0.5  # rank correlation with maps of a random network, above which a map hardly depends on the weights
BLOB = "a blob in the centre of the image"
FAITHFULNESS = ("road", "insertion", "deletion")

Found = Mapping[Pair, Marks]


def verdict(found: Found, method: str, layer: str) -> list[str]:
    """Sentences about all maps, and about those of `method` at `layer` in the figures. [] without measures."""
    pairs = [pair for pair in found if pair[0] not in (RANDOM, CENTRE)]
    if not pairs:
        return []
    level = 1 - ALPHA / len(pairs)
    alike = [pair for pair in pairs if _is_alike(found[pair], level)]
    return [
        _best(found, pairs, level),
        _against_the_centre(found, pairs, level),
        _own(found, (method, layer)),
        *_pointing(found, (method, layer)),
        *_randomised(found, pairs, alike),
        _trusted(found, pairs, alike, level),
    ]


def _best(found: Found, pairs: Sequence[Pair], level: float) -> str:
    best = max(pairs, key=lambda pair: _mean(found, "road", pair))
    numbers = (
        f"{_number(found, 'road', best)}, compared with {_number(found, 'road', (RANDOM, best[1]))} for random maps "
        f"and {_number(found, 'road', (CENTRE, best[1]))} for {BLOB}"
    )
    if not _better(found, "road", best, (RANDOM, best[1]), level):
        return (
            "By ROAD there is no evidence that any map is better than random maps. "
            f"The highest ROAD is that of {_name(best)} ({numbers})."
        )
    others = [pair for pair in pairs if pair != best]
    equals = [pair for pair in others if not _better(found, "road", best, pair, level)]
    if equals:
        apart = f"{len(equals)} of the {len(others)} others" if len(others) > 1 else "the other one"
        return f"{_name(best)} has the highest ROAD ({numbers}), but {apart} cannot be separated from it."
    return f"{_name(best)} is the most faithful by ROAD ({numbers})."


def _against_the_centre(found: Found, pairs: Sequence[Pair], level: float) -> str:
    methods = list(dict.fromkeys(method for method, _ in pairs))
    winners = {pair[0] for pair in pairs if _better(found, "road", pair, (CENTRE, pair[1]), level)}
    losers = [method for method in methods if method not in winners]
    if not losers:
        return f"By ROAD every method is better than {BLOB} at one or more layers."
    if not winners:
        return f"By ROAD there is no evidence that any method is better than {BLOB} at any layer."
    return f"By ROAD there is no evidence of an advantage over {BLOB} at any layer for {_listed(losers)}."


def _own(found: Found, own: Pair) -> str:
    level = 1 - ALPHA / len(FAITHFULNESS)
    other = (RANDOM, own[1])
    better, worse, open_ = [], [], []
    for name in FAITHFULNESS:
        text = f"{MEASURES[name].title} ({_number(found, name, own)} against {_number(found, name, other)})"
        if _better(found, name, own, other, level):
            better.append(text)
        elif _better(found, name, other, own, level):
            worse.append(text)
        else:
            open_.append(text)
    parts = [
        *([f"is better than random maps by {_listed(better)}"] if better else []),
        *([f"is worse than random maps by {_listed(worse)}"] if worse else []),
        *([f"cannot be separated from random maps by {_listed(open_)}"] if open_ else []),
    ]
    return f"{_name(own)}, which the figures of mistakes use, {_listed(parts)}."


def _pointing(found: Found, own: Pair) -> list[str]:
    """Describe the pointing game. [] without masks."""
    if found[own].pointing is None:
        return []
    text = (
        f"Its maximum lies on the object in {_percent(found, own)} of the images, compared with "
        f"{_percent(found, (RANDOM, own[1]))} for random maps and {_percent(found, (CENTRE, own[1]))} for {BLOB}."
    )
    level = 1 - ALPHA / 2
    rivals = {"random maps": (RANDOM, own[1]), "the blob": (CENTRE, own[1])}
    open_ = [word for word, rival in rivals.items() if not _better(found, "pointing_game", own, rival, level)]
    end = f"There is no evidence that it is better than {' or '.join(open_)}." if open_ else "It is better than both."
    return [f"{text} {end}"]


def _is_alike(marks: Marks, level: float) -> bool:
    """Whether the rank correlation is significantly above ALIKE. False for untested maps."""
    values = MEASURES["randomisation"].values(marks)
    if values is None:
        return False
    of = over_images(values, level)
    return (of.mean if of.low is None else of.low) > ALIKE


def _randomised(found: Found, pairs: Sequence[Pair], alike: Sequence[Pair]) -> list[str]:
    tested = [pair for pair in pairs if found[pair].similar]
    said = []
    if alike:
        said.append(
            f"Maps that hardly depend on the trained weights (rank correlation above {ALIKE:g} with those of one "
            f"random network): {_grouped(alike)}."
        )
    elif tested:
        said.append(
            f"There is no evidence that any map has a rank correlation above {ALIKE:g} with that of one random network."
        )
    if len(tested) < len(pairs):
        untested = dict.fromkeys(method for method, layer in pairs if (method, layer) not in tested)
        said.append(f"Not tested with a random network, because it would take too long: {_listed(list(untested))}.")
    return said


def _trusted(found: Found, pairs: Sequence[Pair], alike: Sequence[Pair], level: float) -> str:
    trusted = [
        pair
        for pair in pairs
        if found[pair].similar
        and pair not in alike
        and all(_better(found, "road", pair, (rival, pair[1]), level) for rival in (RANDOM, CENTRE))
    ]
    return (
        "Maps that pass all checks (better by ROAD than random maps and the blob, tested with a random network, no "
        f"evidence of a high correlation with it): {_grouped(trusted) if trusted else 'none'}."
    )


def _better(found: Found, name: str, one: Pair, other: Pair, level: float) -> bool:
    better = gain(MEASURES[name], found[one], found[other], level)
    return better is not None and better.low is not None and better.low > 0


def _mean(found: Found, name: str, pair: Pair) -> float:
    values = MEASURES[name].values(found[pair])
    assert values is not None
    return float(values.mean())


def _number(found: Found, name: str, pair: Pair) -> str:
    return hundredths(_mean(found, name, pair))


def _percent(found: Found, pair: Pair) -> str:
    return percent(_mean(found, "pointing_game", pair), 0)


def _name(pair: Pair) -> str:
    return f"{pair[0]} at {pair[1]}"


def _grouped(pairs: Sequence[Pair]) -> str:
    """[('A', 'layer1'), ('A', 'layer2'), ('B', 'layer1')] -> 'A (layer1, layer2), B (layer1)'"""
    layers: dict[str, list[str]] = {}
    for method, layer in pairs:
        layers.setdefault(method, []).append(layer)
    return ", ".join(f"{method} ({', '.join(at)})" for method, at in layers.items())


def _listed(words: Sequence[str]) -> str:
    """['a', 'b', 'c'] -> 'a, b and c'"""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
