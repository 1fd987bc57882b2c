"""What maps are worth: every measure against numbers found by hand, and what holds for any map."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from torch import nn

from src.explain import faithfulness, sanity, summary, truth
from src.explain.baselines import DRAWS, centre_blob, pointing_by_chance, random_maps
from src.explain.cams import compute_cams
from src.explain.choose import choose_sample
from src.explain.faithfulness import SHARES, STEPS, Subject
from src.explain.measure import CENTRE, RANDOM, Marks, Pair, measure
from src.explain.perturb import blur, impute, ranks
from src.explain.summary import MEASURES, gain, over_images, summarise
from src.explain.verdict import verdict
from src.model.layers import find_layer
from src.model.resnet import build
from src.model.saved import Description
from src.statistics import Interval

SIZE = 8
LAYERS = ("layer2", "layer4")
ABOUT = Description(
    norm="batch", width=4, strides=[1, 2, 2, 2], weight_standardization=False, classes=["a", "b", "c"], size=16,
    mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), model_key="k", seed=0, lr=0.1, epochs=1, epoch=1, device="cpu",
    precision="fp32", hardware="", source="shapes", data_digest="d",
)  # fmt: skip
some_maps = arrays.arrays(
    np.float32, (3, SIZE, SIZE), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1, width=32)
)
some_masks = arrays.arrays(np.bool_, (3, SIZE, SIZE))


class Share(nn.Module):
    """The probability of class 0 is the mean over all pixels and channels, which here are in [0, 1]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        share = x.mean(dim=(1, 2, 3)).clamp(0, 1)
        return torch.stack([share, 1 - share], dim=1).log()


def on_top(count: int) -> np.ndarray:
    """A mask (1, S, S) of the first `count` pixels."""
    return (np.arange(SIZE**2) < count).reshape(1, SIZE, SIZE)


def subject_of(mask: np.ndarray) -> Subject:
    """White where `mask` (1, S, S) is True, black elsewhere, which is also what blurred images are; noise is none."""
    inputs = torch.from_numpy(mask.astype(np.float32))[:, None].repeat(1, 3, 1, 1)
    subject = Subject(Share(), inputs, [0], batch_size=2, seed=0)
    subject.__dict__.update({"blurred": torch.zeros_like(inputs), "noise": torch.zeros_like(inputs)})
    return subject


def places(maps: np.ndarray) -> np.ndarray:
    return ranks(maps, random_maps(*maps.shape[:2], (SIZE, SIZE), seed=0))


def test_areas_of_a_model_that_counts_pixels() -> None:
    # A quarter of the image is white: the perfect map takes or shows it all in two of the eight steps.
    mask = on_top(16)
    subject, best, worst = subject_of(mask), places(mask.astype(float)), places(1.0 - mask)
    falling = faithfulness.deletion(subject, best)
    assert falling[0] == pytest.approx([0.25, 0.125, 0, 0, 0, 0, 0, 0, 0])
    assert faithfulness.area(falling) == pytest.approx([(0.25 / 2 + 0.125) / 8])
    rising = faithfulness.insertion(subject, best)
    assert rising[0] == pytest.approx([0, 0.125, *[0.25] * 7])
    assert faithfulness.area(rising) == pytest.approx([(0.125 + 6 * 0.25 + 0.25 / 2) / 8])
    assert faithfulness.area(faithfulness.deletion(subject, worst)) == pytest.approx(
        [(0.25 / 2 + 6 * 0.25 + 0.125) / 8]
    )
    assert faithfulness.area(faithfulness.insertion(subject, worst)) == pytest.approx([(0.125 + 0.25 / 2) / 8])


def test_road_of_a_model_that_counts_pixels() -> None:
    # Half of the image is white. Whatever is removed of a half is filled in from what is left of it, but for all of it:
    # then it becomes as the other half.
    mask = on_top(32)
    subject, best = subject_of(mask), places(mask.astype(float))
    found = faithfulness.road(subject, best)
    assert found.shape == (1, 2, len(SHARES))
    most, least = found[0]
    assert most[SHARES.index(0.6)] == pytest.approx(0, abs=0.01)  # all that is white is gone
    assert least[SHARES.index(0.6)] == pytest.approx(1, abs=0.01)  # all that is black is gone
    assert (most < least).all()
    # taking the other way round is exactly the other measure, as long as no pixels tie
    order = places(random_maps(1, SIZE, (SIZE, SIZE), seed=1))
    forth, back = faithfulness.road(subject, order), faithfulness.road(subject, order.max() - order)
    assert (forth == back[:, ::-1]).all()


def test_a_missing_pixel_is_the_weighted_mean_of_its_neighbours() -> None:
    image = torch.arange(9.0).reshape(1, 1, 3, 3) ** 2  # 0 1 4, 9 16 25, 36 49 64
    middle, corner = torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    middle[0, 1, 1] = corner[0, 0, 0] = True
    assert impute(image, middle)[0, 0, 1, 1] == pytest.approx((1 + 9 + 25 + 49) / 6 + (0 + 4 + 36 + 64) / 12)
    assert impute(image, corner)[0, 0, 0, 0] == pytest.approx((1 / 6 + 9 / 6 + 16 / 12) / (5 / 12))
    assert torch.equal(impute(image, middle & False), image)
    assert not impute(image, ~(middle & False)).any()  # nothing is left: the mean colour, and no NaN


@pytest.mark.filterwarnings("ignore:__array_wrap__")  # theirs
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_imputation_is_that_of_the_authors(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 16, 16, generator=generator)
    removed = torch.from_numpy(random_maps(4, 16, (4, 4), seed=0) > 1 - share)
    removed[0] = torch.rand(16, 16, generator=generator) < share  # single pixels
    theirs = torch.stack([NoisyLinearImputer(noise=0)(x, (~r).float()) for x, r in zip(images, removed, strict=True)])
    assert (impute(images, removed) - theirs).abs().max() < faithfulness.NOISE


def test_a_blur_keeps_what_is_even_and_spreads_a_point() -> None:
    assert torch.allclose(blur(torch.full((1, 3, 6, 6), 0.7), 1.5), torch.tensor(0.7))
    point = torch.zeros(1, 1, 5, 5)
    point[0, 0, 2, 2] = 1
    spread = blur(point, 0.5)[0, 0]
    weights = np.exp(-2 * np.array([1.0, 0.0, 1.0]) ** 2)  # of the pixel beside, itself, beside; two away: exp(-8)
    assert float(spread[2, 2]) == pytest.approx((1 / (weights.sum() + 2 * np.exp(-8))) ** 2, rel=1e-5)
    assert torch.allclose(spread, spread.T)
    assert torch.allclose(spread, spread.flip(0))


@settings(deadline=None)
@given(some_maps)
def test_ranks_are_each_place_once_by_falling_evidence(maps: np.ndarray) -> None:
    found = places(maps).reshape(3, -1)
    assert (np.sort(found, axis=1) == np.arange(SIZE**2)).all()
    by_place = np.take_along_axis(maps.reshape(3, -1), np.argsort(found, axis=1), axis=1)
    assert (np.diff(by_place, axis=1) <= 0).all()


def test_a_map_without_evidence_gets_what_the_random_map_gets() -> None:
    noise = random_maps(3, SIZE, (2, 2), seed=0)
    pixels = random_maps(3, SIZE, (SIZE, SIZE), seed=0)
    assert (ranks(np.zeros_like(noise), noise, pixels) == ranks(noise, noise, pixels)).all()
    assert noise.min() >= 0
    assert noise.max() <= 1
    assert (noise == random_maps(3, SIZE, (2, 2), seed=0)).all()
    assert (noise != random_maps(3, SIZE, (2, 2), seed=1)).any()
    assert (noise != random_maps(3, SIZE, (2, 2), seed=0, draw=1)).any()
    assert (noise[0, :2, :2] == noise[0, 0, 0]).all()  # coarse: a corner of a value


def test_pixels_that_tie_in_the_random_map_too_go_in_no_order_of_theirs() -> None:
    flat = random_maps(3, SIZE, (1, 1), seed=0)
    assert (flat == flat[:, :1, :1]).all()
    pixels = random_maps(3, SIZE, (SIZE, SIZE), seed=0)
    found = ranks(flat, flat, pixels)
    assert (found == ranks(pixels)).all()
    assert (found[0] != found[1]).any()
    assert (ranks(flat, flat) == np.arange(SIZE**2).reshape(SIZE, SIZE)).all()  # what it is for: else from the top down


def test_chance_in_the_pointing_game_is_what_random_maps_get() -> None:
    masks = np.zeros((40, SIZE, SIZE), np.bool_)
    masks[:20, 2:6, 2:6] = True  # within the corners of 2 x 2 values, where no maximum lies but part of one
    masks[20:, : SIZE // 2] = True
    found = pointing_by_chance(masks, (2, 2), seed=0)
    assert (found[:20] == 0).all()
    assert found[20:].mean() == pytest.approx(0.5, abs=4 * 0.5 / (20 * DRAWS) ** 0.5)
    assert pointing_by_chance(masks, (1, 1), seed=0) == pytest.approx(masks.mean(axis=(1, 2)))  # all pixels tie
    fine = pointing_by_chance(masks, (SIZE, SIZE), seed=0)
    assert fine[:20].mean() == pytest.approx(0.25, abs=4 * 0.5 / (20 * DRAWS) ** 0.5)
    assert (found == pointing_by_chance(masks, (2, 2), seed=0)).all()
    assert (fine != pointing_by_chance(masks, (SIZE, SIZE), seed=1)).any()


def test_the_blob_is_in_the_centre() -> None:
    blob = centre_blob(2, 9)
    assert blob.shape == (2, 9, 9)
    assert np.unravel_index(blob[1].argmax(), (9, 9)) == (4, 4)
    assert blob[0] == pytest.approx(blob[0][::-1])
    assert blob[0] == pytest.approx(blob[0].T)


def test_the_mask_itself_is_the_best_map() -> None:
    mask = on_top(10)
    assert truth.pointing_game(mask.astype(np.float32), mask) == [1]
    assert truth.energy(mask.astype(np.float32), mask) == [1]
    assert truth.pointing_game(1.0 - mask, mask) == [0]
    assert truth.energy(1.0 - mask, mask) == [0]
    assert truth.covered(mask) == [10 / 64]
    half = np.where(mask, 0.25, 0.0)
    half[0, 7, 7] = 2.5
    assert truth.pointing_game(half, mask) == [0]
    assert truth.energy(half, mask) == [0.5]
    for measured in (truth.pointing_game, truth.energy):
        assert measured(np.zeros(mask.shape, np.float32), mask) == [10 / 64]  # no evidence: as chance has it


@settings(deadline=None)
@given(some_maps, some_maps, some_masks)
def test_measures_stay_in_their_ranges(maps: np.ndarray, others: np.ndarray, masks: np.ndarray) -> None:
    for values in (truth.pointing_game(maps, masks), truth.energy(maps, masks)):
        assert ((values >= 0) & (values <= 1 + 1e-6)).all()
    values = sanity.ssim(maps, others)
    assert ((values >= -1 - 1e-9) & (values <= 1 + 1e-9)).all()
    assert sanity.ssim(maps, maps) == pytest.approx(np.ones(3))


def test_ssim_of_even_maps_by_hand() -> None:
    maps = np.full((1, SIZE, SIZE), 0.2), np.full((1, SIZE, SIZE), 0.6)
    assert sanity.ssim(*maps) == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4))


def a_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = build("batch", 4, [1, 2, 2, 2], 3)
    model.train()(torch.randn(8, 3, 16, 16))  # running statistics that are not the initial ones
    return model.eval()


def test_layers_become_random_from_the_top_down() -> None:
    model, fresh = a_model(), sanity.fresh_network(ABOUT, 0)
    before, new = ({k: v.clone() for k, v in m.state_dict().items()} for m in (model, fresh))
    done: list[str] = []
    steps = sanity.randomised(model, fresh)
    for (step, changed), parts in zip(steps, sanity.CASCADE.values(), strict=True):
        done += parts
        for name, value in changed.state_dict().items():
            assert torch.equal(value, (new if name.split(".")[0] in done else before)[name]), (step, name)
    assert sorted(done) == sorted(name for name, _ in model.named_children())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_fresh_network_follows_the_seed_and_leaves_the_random_state() -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    one, same, other = (sanity.fresh_network(ABOUT, seed).state_dict()["conv1.weight"] for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    torch.manual_seed(0)  # with which a training of seed 0 begins
    assert not torch.equal(one, build("batch", 4, [1, 2, 2, 2], 3).state_dict()["conv1.weight"])


def measured(
    masks: np.ndarray | None, methods: Sequence[str] = ("GradCAM", "none", "fixed"), layers: Sequence[str] = LAYERS
) -> dict[Pair, Marks]:
    """Of Grad-CAM, of maps without evidence and of maps that have nothing to do with the model."""
    inputs = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    targets = [0, 1, 2, 0]

    def maps_of(model: nn.Module, method: str, layer: str) -> np.ndarray:
        if method == "none":
            return np.zeros((4, 16, 16), np.float32)
        if method == "fixed":
            return random_maps(4, 16, (16, 16), seed=3)
        return compute_cams(model, find_layer(model, layer), inputs, targets, method=method, batch_size=4)

    subject = Subject(a_model(), inputs, targets, batch_size=4, seed=0)
    return measure(subject, maps_of, sanity.fresh_network(ABOUT, 0), masks, methods, layers)


def test_all_of_it_at_once() -> None:
    masks = random_maps(4, 16, (4, 4), seed=5) > 0.6
    found = measured(masks)
    assert list(found) == [(m, at) for m in ("GradCAM", "none", "fixed", RANDOM, CENTRE) for at in LAYERS]
    content = summarise(found)
    assert list(content) == list(MEASURES)
    for name, section in content.items():
        assert section is not None
        json.dumps(section.model_dump(), allow_nan=False)
        assert set(section.methods) == {"GradCAM", "none", "fixed"}
        assert set(section.baselines) == ({RANDOM, CENTRE} if name != "randomisation" else set())
    for layer in LAYERS:
        nothing, chance = found["none", layer], found[RANDOM, layer]
        assert (nothing.removed == chance.removed).all()
        assert (nothing.deletion == chance.deletion).all()
        assert (nothing.insertion == chance.insertion).all()
        assert nothing.pointing == pytest.approx(masks.mean(axis=(1, 2)))
        assert nothing.energy == pytest.approx(chance.energy)
        assert found["fixed", layer].similar["rank_correlation"] == pytest.approx(np.ones((4, 6)))
        assert found["fixed", layer].similar["ssim"] == pytest.approx(np.ones((4, 6)))
        assert found["GradCAM", layer].similar["rank_correlation"][:, -1].min() < 0.5
    # the first step of insertion is the blurred image and the last the whole one, of deletion the other way round
    ours, centre = found["GradCAM", "layer4"], found[CENTRE, "layer4"]
    assert (ours.insertion[:, -1] == ours.deletion[:, 0]).all()
    assert (ours.insertion[:, 0] == centre.insertion[:, 0]).all()
    assert (ours.deletion[:, -1] == centre.deletion[:, -1]).all()
    assert ours.insertion.shape == (4, STEPS + 1)


def test_the_same_bits_each_time_and_nothing_where_there_is_no_truth() -> None:
    one, same = (summarise(measured(None, ["EigenCAM"], ["layer3"])) for _ in range(2))
    assert one == same
    assert one["pointing_game"] is None
    assert one["energy"] is None
    assert one["road"] is not None


def test_methods_that_make_maps_one_by_one_have_no_random_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.explain.measure.ONE_BY_ONE", ("fixed",))
    found = summarise(measured(None, ["GradCAM", "fixed"], ["layer4"]))
    assert found["randomisation"] is not None
    assert found["randomisation"].methods["fixed"] == {"layer4": None}
    tested = found["randomisation"].methods["GradCAM"]["layer4"]
    assert tested is not None
    assert tested.mean < 0.9
    assert found["road"] is not None
    slow = found["road"].methods["fixed"]["layer4"]
    assert slow is not None
    assert slow.better_than_random
    alone = summarise(measured(None, ["fixed"], ["layer4"]))
    assert alone["randomisation"] is None
    assert alone["road"] is not None


def test_nothing_measured_is_null() -> None:
    assert summarise({}) == dict.fromkeys(MEASURES)
    assert verdict({}, "GradCAM", "layer4") == []


def test_equal_values_have_no_interval() -> None:
    assert over_images(np.array([3.0])) == over_images(np.array([3.0, 3.0])) == Interval(3, None, None)
    assert over_images(np.array([0.0, 1.0, 2.0])).low is not None


COUNT = 30


def marks_with(road: float, pointing: float = 0.5, alike: float | None = 0.1, spread: float = 0.01) -> Marks:
    """Marks with these means, the values of images `spread` around them."""
    around = np.linspace(-1, 1, COUNT) * spread
    removed = np.zeros((COUNT, 2, len(SHARES)))
    removed[:, 1] = (road + around)[:, None]
    curve = np.repeat((0.5 + road / 2 + around)[:, None], STEPS + 1, axis=1)
    hits = (np.arange(COUNT) < round(pointing * COUNT)).astype(float)
    similar = {} if alike is None else {"rank_correlation": np.repeat((alike + around)[:, None], 6, axis=1)}
    return Marks(removed, curve, 1 - curve, hits, hits, similar)


def baselines(random: float = 0.0, centre: float = 0.2) -> dict[Pair, Marks]:
    return {
        (RANDOM, "layer4"): marks_with(random, 0.2, None),
        (CENTRE, "layer4"): marks_with(centre, 0.4, None, spread=-0.01),
    }


def test_gains_are_above_zero_where_a_map_is_better() -> None:
    ours, theirs = marks_with(0.4), marks_with(0.1)
    for name in ("road", "insertion", "deletion"):
        better, worse = gain(MEASURES[name], ours, theirs), gain(MEASURES[name], theirs, ours)
        assert better is not None
        assert worse is not None
        assert better.mean == pytest.approx(-worse.mean)
        assert better.mean > 0
    assert gain(MEASURES["randomisation"], ours, marks_with(0.1, alike=None)) is None


def test_a_clear_winner_is_named_and_a_loser_too() -> None:
    found = {
        ("LayerCAM", "layer4"): marks_with(0.5, 0.9, spread=0.02),
        ("EigenCAM", "layer4"): marks_with(0.15, 0.4, alike=0.8, spread=0.03),
    } | baselines()
    said = verdict(found, "LayerCAM", "layer4")
    assert said == [
        "LayerCAM at layer4 is the most faithful by ROAD (0.50, compared with 0.00 for random maps and 0.20 for a blob "
        "in the centre of the image).",
        "By ROAD there is no evidence of an advantage over a blob in the centre of the image at any layer for "
        "EigenCAM.",
        "LayerCAM at layer4, which the figures of mistakes use, is better than random maps by ROAD (0.50 against "
        "0.00), insertion (0.75 against 0.50) and deletion (0.25 against 0.50).",
        "Its maximum lies on the object in 90 % of the images, compared with 20 % for random maps and 40 % for a blob "
        "in the centre of the image. It is better than both.",
        "Maps that hardly depend on the trained weights (rank correlation above 0.5 with those of one random "
        "network): EigenCAM (layer4).",
        "Maps that pass all checks (better by ROAD than random maps and the blob, tested with a random network, no "
        "evidence of a high correlation with it): LayerCAM (layer4).",
    ]


def test_maps_are_trusted_that_pass_every_test() -> None:
    """The most faithful one may be like that of a random network, and then is not among them."""
    both = baselines()
    both |= {(name, "layer3"): marks for (name, _), marks in both.items()}
    found = {
        ("A", "layer3"): marks_with(0.5, spread=0.02),
        ("A", "layer4"): marks_with(0.4, spread=0.02),
        ("EigenCAM", "layer3"): marks_with(0.9, alike=0.8, spread=0.02),
        ("EigenCAM", "layer4"): marks_with(0.3, spread=0.02),
        ("ScoreCAM", "layer4"): marks_with(0.6, alike=None, spread=0.02),
        ("weak", "layer4"): marks_with(0.1, spread=0.02),  # not better than the blob
    }
    said = verdict(found | both, "A", "layer4")
    assert said[0].startswith("EigenCAM at layer3 has the highest ROAD (0.90,")
    assert said[-3].endswith("with those of one random network): EigenCAM (layer3).")
    assert said[-2].startswith("Not tested with a random network")
    assert said[-2].endswith(": ScoreCAM.")
    assert said[-1].endswith(": A (layer3, layer4), EigenCAM (layer4).")
    untested = verdict({("ScoreCAM", "layer4"): marks_with(0.6, alike=None, spread=0.02)} | both, "ScoreCAM", "layer4")
    assert untested[-2].startswith("Not tested")
    assert not any("rank correlation" in sentence for sentence in untested)
    assert untested[-1].endswith(": none.")


def test_nothing_is_claimed_that_the_intervals_do_not_show() -> None:
    noisy = {(name, "layer4"): marks_with(0.02 + i / 1000, 0.4, spread=-1) for i, name in enumerate(("A", "B", "C"))}
    best, centre, own, pointing, random, trusted = verdict(noisy | baselines(), "A", "layer4")
    assert best.startswith("By ROAD there is no evidence that any map is better than random maps.")
    assert "of C at layer4 (0.02," in best
    assert centre.startswith("By ROAD there is no evidence that any method is better")
    assert "cannot be separated from random maps by ROAD (0.02 against 0.00), insertion" in own
    assert "better" not in own
    assert pointing.endswith("There is no evidence that it is better than the blob.")
    assert random.startswith("There is no evidence that any map has a rank correlation")
    assert trusted.endswith(": none.")


def test_equals_of_the_best_are_counted() -> None:
    good = {(name, "layer4"): marks_with(0.5, spread=s) for name, s in (("A", 0.02), ("B", 0.03), ("C", -0.02))}
    found = good | {("D", "layer4"): marks_with(0.1)} | baselines(centre=0.0)
    best, centre, *_ = verdict(found, "A", "layer4")
    assert "has the highest ROAD (0.50," in best
    assert "but 2 of the 3 others cannot be separated from it." in best
    assert centre.startswith("By ROAD every method is better")
    low = {("D", "layer4"): marks_with(0.1, spread=0.02)} | baselines(random=0.3)
    assert "worse than random maps by ROAD (0.10 against 0.30)" in verdict(low, "D", "layer4")[2]


def test_more_comparisons_need_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of twenty maps is above random maps at 95 %, as chance has it: not enough to call it better."""
    lucky = marks_with(0.0125, spread=0.06)
    better = gain(MEASURES["road"], lucky, baselines()[RANDOM, "layer4"])
    assert better is not None
    assert better.low is not None
    assert better.low > 0
    many = {("A", "layer4"): lucky} | {(f"B{i}", "layer4"): marks_with(0.0, spread=-0.1) for i in range(19)}
    assert "is the most faithful" in verdict({("A", "layer4"): lucky} | baselines(), "A", "layer4")[0]
    assert "no evidence that any map is better" in verdict(many | baselines(), "A", "layer4")[0]


@given(st.lists(st.integers(0, 4), min_size=0, max_size=60), st.integers(0, 70), st.integers(0, 2**32 - 1))
def test_a_sample_is_of_all_classes_alike(labels: list[int], count: int, seed: int) -> None:
    of = np.array(labels, dtype=np.int64)
    chosen = choose_sample(of, count, seed)
    assert len(chosen) == min(count, len(of))
    assert (np.diff(chosen) > 0).all()
    drawn, sizes = (np.bincount(values, minlength=5)[np.unique(of)] for values in (of[chosen], of))
    last, following = (drawn - 0.5) / sizes, (drawn + 0.5) / sizes  # no class waits for longer than another one
    assert (last[:, None] <= following[None] + 1e-9).all()
    assert set(choose_sample(of, count // 2, seed)) <= set(chosen)
    assert (chosen == choose_sample(of, count, seed)).all()


def test_every_measure_says_how_to_read_it() -> None:
    assert [name for name, m in MEASURES.items() if not m.higher_is_better] == ["deletion", "randomisation"]
    assert summary.MEASURES["road"].x == SHARES
