"""What the measures of maps say, in sentences that claim no more than their intervals show.

Where several maps are compared at once, intervals are wider (Bonferroni): of twenty maps one would else seem better
than chance by chance.
"""

from collections.abc import Mapping, Sequence

from src.explain.measure import CENTRE, RANDOM, Marks, Pair
from src.explain.summary import LEVEL, MEASURES, gain, interval

ALIKE = 0.5  # rank correlation with maps of a random network, above which a map is called one of the image
BLOB = "a blob in the centre of the image"
FAITHFULNESS = ("road", "insertion", "deletion")

Found = Mapping[Pair, Marks]


def verdict(found: Found, method: str, layer: str) -> list[str]:
    """Sentences about all maps, and about those of `method` at `layer`, which the figures show; [] for no measures."""
    pairs = [pair for pair in found if pair[0] not in (RANDOM, CENTRE)]
    if not pairs:
        return []
    level = 1 - (1 - LEVEL) / len(pairs)
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
        f"{_number(found, 'road', best)}, random maps {_number(found, 'road', (RANDOM, best[1]))}, "
        f"{BLOB} {_number(found, 'road', (CENTRE, best[1]))}"
    )
    if not _better(found, "road", best, (RANDOM, best[1]), level):
        return f"By ROAD no map is told apart from random maps; the highest is that of {_name(best)} ({numbers})."
    others = [pair for pair in pairs if pair != best]
    equals = [pair for pair in others if not _better(found, "road", best, pair, level)]
    if equals:
        apart = f"{len(equals)} of the {len(others)} others" if len(others) > 1 else "the other one"
        return f"{_name(best)} has the highest ROAD ({numbers}), but {apart} cannot be told apart from it."
    return f"{_name(best)} is the most faithful here by ROAD ({numbers})."


def _against_the_centre(found: Found, pairs: Sequence[Pair], level: float) -> str:
    methods = list(dict.fromkeys(method for method, _ in pairs))
    winners = {pair[0] for pair in pairs if _better(found, "road", pair, (CENTRE, pair[1]), level)}
    losers = [method for method in methods if method not in winners]
    if not losers:
        return f"By ROAD every method beats {BLOB} at one layer or more."
    if not winners:
        return f"By ROAD no method is shown to beat {BLOB}, at any layer."
    return f"By ROAD not shown to beat {BLOB} at any layer: {_listed(losers)}."


def _own(found: Found, own: Pair) -> str:
    level = 1 - (1 - LEVEL) / len(FAITHFULNESS)
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
        *([f"cannot be told apart from random maps by {_listed(open_)}"] if open_ else []),
    ]
    return f"{_name(own)}, which the figures of mistakes show, {_listed(parts)}."


def _pointing(found: Found, own: Pair) -> list[str]:
    """Nothing without masks."""
    if found[own].pointing is None:
        return []
    text = (
        f"Its maximum lies on the object in {_percent(found, own)} of the images, that of random maps in "
        f"{_percent(found, (RANDOM, own[1]))} and of {BLOB} in {_percent(found, (CENTRE, own[1]))}"
    )
    level = 1 - (1 - LEVEL) / 2
    rivals = {"random maps": (RANDOM, own[1]), "the blob": (CENTRE, own[1])}
    open_ = [word for word, rival in rivals.items() if not _better(found, "pointing_game", own, rival, level)]
    return [f"{text}, but that it beats {' or '.join(open_)} is not shown." if open_ else f"{text}: it beats both."]


def _is_alike(marks: Marks, level: float) -> bool:
    """Whether the maps are shown to keep a rank correlation above ALIKE; untested ones are not."""
    values = MEASURES["randomisation"].values(marks)
    if values is None:
        return False
    of = interval(values, level)
    return (of.mean if of.low is None else of.low) > ALIKE


def _randomised(found: Found, pairs: Sequence[Pair], alike: Sequence[Pair]) -> list[str]:
    tested = [pair for pair in pairs if found[pair].similar]
    said = []
    if alike:
        said.append(
            f"Maps that hardly depend on what the model has learned (rank correlation above {ALIKE:g} with those of "
            f"one random network): {_grouped(alike)}."
        )
    elif tested:
        said.append(f"No map is shown to have a rank correlation above {ALIKE:g} with that of one random network.")
    if len(tested) < len(pairs):
        untested = dict.fromkeys(method for method, layer in pairs if (method, layer) not in tested)
        said.append(f"Not tested with a random network, which would take too long: {_listed(list(untested))}.")
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
        "Maps that pass all of it, better by ROAD than random maps and the blob, and tested but not shown to be like "
        f"those of a random network: {_grouped(trusted) if trusted else 'none'}."
    )


def _better(found: Found, name: str, one: Pair, other: Pair, level: float) -> bool:
    better = gain(MEASURES[name], found[one], found[other], level)
    return better is not None and better.above_zero


def _mean(found: Found, name: str, pair: Pair) -> float:
    values = MEASURES[name].values(found[pair])
    assert values is not None
    return float(values.mean())


def _number(found: Found, name: str, pair: Pair) -> str:
    return f"{_mean(found, name, pair):z.2f}".replace("-", "−")


def _percent(found: Found, pair: Pair) -> str:
    return f"{100 * _mean(found, 'pointing_game', pair):.0f} %"


def _name(pair: Pair) -> str:
    return f"{pair[0]} at {pair[1]}"


def _grouped(pairs: Sequence[Pair]) -> str:
    """[('A', 'layer1'), ('A', 'layer2'), ('B', 'layer1')] -> 'A at layer1 and layer2; B at layer1'"""
    layers: dict[str, list[str]] = {}
    for method, layer in pairs:
        layers.setdefault(method, []).append(layer)
    return "; ".join(f"{method} at {_listed(at)}" for method, at in layers.items())


def _listed(words: Sequence[str]) -> str:
    """['a', 'b', 'c'] -> 'a, b and c'"""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
