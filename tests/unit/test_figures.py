"""Figures show the data they are given, whatever the names and counts."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from src.evaluation.calibration import reliability
from src.explain.mistakes import Mistakes
from src.figures import curves, evaluate, gradcam, lr_range, measures, prepare
from src.figures.style import Described, new_figure, new_sheet, plain, put, save
from src.params import load_params
from src.results import Epoch, Prediction
from tests.conftest import PARAMS_YAML
from tests.map_measures import measures_of_maps, untested

LONG = "a class with a very long name indeed"


def texts(figure: Figure) -> list[str]:
    """Every text of the figure that is not empty."""
    found = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return [text for artist in found if (text := artist.get_text())]  # type: ignore[attr-defined]


def boxes(figure: Figure, artists: Iterable[Text]) -> dict[str, Bbox]:
    """The place of each text in pixels; one canvas serves all, else each text makes and keeps one of the whole size."""
    FigureCanvasAgg(figure)
    return {text.get_text(): text.get_window_extent() for text in artists}


def test_save_writes_the_same_png_twice(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        figure = new_figure(3, 2)
        figure.subplots().plot([1, 2], [3, 4])
        save(Described(figure, "A line – 猫"), tmp_path / name)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (450, 300)
        assert image.info["Description"] == "A line – 猫"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_plain_names() -> None:
    assert plain("a$b$") == r"a\$b\$"
    assert plain(LONG, 10) == "a class w…"
    assert plain("exactly 10", 10) == "exactly 10"


def test_confusion_matrix_writes_the_counts(tmp_path: Path) -> None:
    drawn = evaluate.confusion_matrix(np.array([[7, 1, 0], [0, 0, 0], [2, 0, 5]]), ["$x$", LONG, "<b>"])
    axes = drawn.figure.axes[0]
    assert sorted(t.get_text() for t in axes.texts) == ["1", "2", "5", "7"]
    shares = np.array([[7 / 8, 1 / 8, 0], [0, 0, 0], [2 / 7, 0, 5 / 7]])
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(shares)
    assert "12 of 15 test images are on the diagonal" in drawn.alt
    assert "highest for $x$ (87.50 %) and lowest for <b> (71.43 %)" in drawn.alt  # a class without images has none
    save(drawn, tmp_path / "figure.png")


@pytest.mark.parametrize("classes", [2, 14, 30])
def test_confusion_matrix_has_room_for_long_names(classes: int) -> None:
    figure, alt = evaluate.confusion_matrix(
        np.eye(classes, dtype=int), [f"class {i} {'x' * 180}" for i in range(classes)]
    )
    assert len(alt) < 300
    figure.draw_without_rendering()
    axes = figure.axes[0]
    labels = (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels())  # type: ignore[attr-defined]
    for text, box in boxes(figure, labels).items():
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, text


@pytest.mark.parametrize("classes", [2, 30, 100])
def test_confusion_matrix_of_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    drawn = evaluate.confusion_matrix(np.eye(classes, dtype=int), [f"class {i}" for i in range(classes)])
    assert len(drawn.figure.axes[0].texts) == (classes if classes <= evaluate.WRITTEN_UP_TO else 0)
    save(drawn, tmp_path / "figure.png")


def test_reliability_bars_end_at_the_accuracy() -> None:
    binned = reliability(np.array([0.3, 0.5, 0.6, 0.8]), np.array([True, False, True, True]), 2)
    figure, alt = evaluate.reliability_diagram(binned, 0.25)
    bars, gaps = figure.axes[0].containers
    assert [bar.get_height() for bar in bars] == [0.5, 1.0]
    assert [gap.get_height() for gap in gaps] == pytest.approx([-0.1, -0.3])
    assert "25.00 %" in " ".join(texts(figure))
    assert "in 2 bins of confidence" in alt
    assert "25.00 %" in alt


def history_of(*values: float, validated: bool = True) -> list[Epoch]:
    """A history whose losses, accuracies and rates are `values`, one for each epoch."""
    val = ("val_loss", "val_accuracy") if validated else ()
    names = ("train_loss", "train_accuracy", "lr", "images_per_second", "seconds", *val)
    return [Epoch.model_validate({"epoch": i} | dict.fromkeys(names, value)) for i, value in enumerate(values, 1)]


def test_the_text_of_the_rates_tells_their_course() -> None:
    assert "0.1 in every epoch" in curves.learning_rate(history_of(0.1, 0.1)).alt
    assert (
        "0.02 at the end of epoch 1, highest in epoch 2 with 0.3, and 0.001 at the end of epoch 3"
        in curves.learning_rate(history_of(0.02, 0.3, 0.001)).alt
    )


@pytest.mark.parametrize("epochs", [1, 20, 200])
@pytest.mark.parametrize("validated", [True, False])
def test_curves(tmp_path: Path, epochs: int, validated: bool) -> None:
    values = np.linspace(1, 0.5, epochs).tolist()
    history = history_of(*values, validated=validated)
    drawn = curves.learning_curves(history, epochs, 0.9)
    for axes in drawn.figure.axes:
        lines = {str(line.get_label()): line for line in axes.lines}
        assert ("validation" in lines) == validated
        assert list(np.asarray(lines["train (augmented)"].get_ydata())) == values
        assert lines["train (augmented)"].get_marker() == ("o" if epochs <= 60 else "")  # one epoch is one point
    ends = "1" if epochs == 1 else "from 1 to 0.5"
    assert f"Training loss {ends}{f', validation loss {ends}' if validated else ''}. Training accuracy" in drawn.alt
    assert f"over {epochs} epoch{'' if epochs == 1 else 's'}. " in drawn.alt
    save(drawn, tmp_path / "curves.png")
    save(curves.learning_rate(history), tmp_path / "learning_rate.png")


def test_the_curves_have_a_target_line_where_there_is_a_target(tmp_path: Path) -> None:
    history = history_of(0.5, 0.7)
    drawn = curves.learning_curves(history, 2, 0.7, 0.8925, "recorded by $x$.txt")
    accuracy = drawn.figure.axes[1]
    (line,) = [line for line in accuracy.lines if list(np.asarray(line.get_ydata())) == [0.8925, 0.8925]]
    assert line.get_label() == r"recorded by \$x\$.txt: 89.25 %"
    assert accuracy.get_ylim()[1] > 0.8925
    save(drawn, tmp_path / "curves.png")
    without = curves.learning_curves(history, 2, 0.7)
    assert len(without.figure.axes[1].lines) == len(accuracy.lines) - 1


IMAGES = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
MAPS = np.random.default_rng(1).random((7, 16, 16), dtype=np.float32)
TITLES = gradcam.pair_titles(["cat"] * 6 + [LONG], ["dog"] * 6 + ["$x$"])


def test_pair_titles() -> None:
    assert TITLES[0] == "cat / dog"
    assert TITLES[6] == "a class with a ve… /\n\\$x\\$"


def place(artist: AxesImage) -> tuple[float, ...]:
    """Left, right, bottom and top of a picture in inches from the top left of the figure."""
    return tuple(artist.get_extent())


def words(sheet: Axes) -> list[tuple[str, float, float]]:
    """Every text of a sheet with its place."""
    return [(text.get_text(), *text.get_position()) for text in sheet.texts]


def test_a_sheet_is_measured_in_inches_from_the_top_left(tmp_path: Path) -> None:
    figure, sheet = new_sheet(3, 2)
    put(sheet, np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8), 1, 0.5, 1, interpolation="nearest")
    save(Described(figure, ""), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (450, 300)
        across = [image.convert("RGB").getpixel((x, 150)) for x in (140, 160, 290, 310)]
        down = [image.convert("RGB").getpixel((160, y)) for y in (70, 80, 220, 230)]
    white, red, blue = (255, 255, 255), (255, 0, 0), (0, 0, 255)
    assert across == [white, red, blue, white]
    assert down == [white, red, red, white]


def test_grids_show_the_same_images_in_the_same_places(tmp_path: Path) -> None:
    plain_grid = gradcam.image_grid(IMAGES, TITLES, 5, "heading")
    overlay = gradcam.overlay_grid(IMAGES, MAPS, TITLES, 5, "heading", 0.7)
    one, other = plain_grid.axes[0], overlay.axes[0]
    assert words(one) == words(other)
    assert [text for text, _, _ in words(one)] == ["heading", *TITLES]
    assert len(one.images) == 7
    assert len(other.images) == 14
    for i in range(7):
        picture, under, over = one.images[i], *other.images[2 * i : 2 * i + 2]
        assert place(picture) == place(under) == place(over)
        left, right, _, top = place(picture)
        _, x, y = words(one)[1 + i]
        assert left < x < right  # its title is above it
        assert 0 < top - y < 0.1
        assert (np.asarray(picture.get_array()) == IMAGES[i]).all()
        assert (np.asarray(over.get_array()) == MAPS[i]).all()
        assert over.get_alpha() == pytest.approx(0.3 * MAPS[i])  # where there is no evidence, the image is as it is
        assert over.get_clim() == (0, 1)  # maps share one scale
    assert place(one.images[4])[0] > place(one.images[3])[0]
    assert place(one.images[5])[3] > place(one.images[4])[2]  # the second row is below the first
    save(Described(plain_grid, ""), tmp_path / "images.png")
    save(Described(overlay, ""), tmp_path / "overlays.png")


def test_layer_matrix_has_a_row_an_image_and_a_column_a_layer(tmp_path: Path) -> None:
    maps = np.stack([MAPS[:3], MAPS[1:4]], axis=1)  # (3, 2, 16, 16)
    figure = gradcam.layer_matrix(IMAGES[:3], maps, TITLES[:3], ["layer1", "layer2[-1]"], "heading", 0.5)
    sheet = figure.axes[0]
    assert sorted(text for text, _, _ in words(sheet)) == sorted(
        ["heading", *TITLES[:3], "image", "layer1", "layer2[-1]"]
    )
    rows = [sheet.images[5 * row : 5 * row + 5] for row in range(3)]  # an image, then an image and a map for each layer
    assert (np.asarray(rows[1][4].get_array()) == MAPS[2]).all()  # row 1, second layer
    assert len({place(row[0])[0] for row in rows}) == 1
    assert len({place(picture)[3] for picture in rows[2]}) == 1
    save(Described(figure, ""), tmp_path / "layers.png")


@pytest.mark.parametrize("count", [1, 3, 10, 15, 20, 25, 40])
@pytest.mark.parametrize("columns", [1, 5, 20])
def test_grids_of_any_number_of_images_hold_their_words(count: int, columns: int) -> None:
    pictures, maps = np.zeros((count, 8, 8, 3), np.uint8), np.zeros((count, 8, 8), np.float32)
    titles = gradcam.pair_titles(["automobile"] * count, ["a class with a long name"] * count)
    heading = "GradCAMElementWise at layer3[0].shortcut[0] for the predicted class: predicted / true"
    layers = ["layer4", "layer3[0].shortcut[0]", "layer2.0.conv1"]
    for figure in (
        gradcam.overlay_grid(pictures, maps, titles, columns, heading, 0.5),
        gradcam.layer_matrix(pictures, np.stack([maps] * 3, axis=1), titles, layers, heading, 0.5),
    ):
        sheet = figure.axes[0]
        places = boxes(figure, sheet.texts)
        whole = figure.bbox
        for words, box in places.items():  # nothing is cut off
            assert box.x0 >= 0, words
            assert box.x1 <= whole.width, words
            assert box.y1 <= whole.height, words
        pixel = whole.width / figure.get_figwidth()
        across = (gradcam.CELL + gradcam.GAP) * pixel
        of_cells = {*titles, "layer4", "layer3[0].\nshortcut[0]", "layer2.0.conv1"}
        above = [words for words in places if words not in of_cells and words in heading]
        assert " ".join(above) == heading
        assert all(box.width < across for words, box in places.items() if words in of_cells)
        top = whole.height - min(place(picture)[3] for picture in sheet.images) * pixel
        assert all(places[words].y0 > top for words in above)


def test_the_long_name_of_a_layer_takes_two_lines() -> None:
    figure = gradcam.layer_matrix(IMAGES[:1], MAPS[:1, None], TITLES[:1], ["layer3[1].shortcut[0]"], "heading", 0.5)
    assert "layer3[1].\nshortcut[0]" in texts(figure)


def test_without_mistakes_the_figures_say_so(tmp_path: Path) -> None:
    none = IMAGES[:0]
    for figure in (
        gradcam.image_grid(none, [], 5, "heading"),
        gradcam.overlay_grid(none, MAPS[:0], [], 5, "heading", 0.5),
        gradcam.layer_matrix(none, MAPS[:0, None], [], ["layer1"], "heading", 0.5),
    ):
        assert "No test image is misclassified." in texts(figure)
        save(Described(figure, ""), tmp_path / "none.png")


def test_a_figure_holds_a_bounded_number_of_images() -> None:
    many = np.zeros((gradcam.LARGEST + 5, 8, 8, 3), dtype=np.uint8)
    figure = gradcam.image_grid(many, ["a / b"] * len(many), 20, "heading")
    assert len(figure.axes[0].images) == gradcam.LARGEST
    assert f"heading (the first {gradcam.LARGEST} of {len(many)})" in texts(figure)


def mistakes_of(*names: str) -> Mistakes:
    """A mistake for each name of a true class, with maps at two layers."""
    rows = [Prediction(index=i, true=name, predicted="dog", confidence=0.987654) for i, name in enumerate(names)]
    maps = MAPS[: len(rows)]
    return Mistakes(rows, IMAGES[: len(rows)], {"layer2[-2]": maps, "layer4": maps}, maps, 1.0)


def test_the_texts_of_mistakes_name_them() -> None:
    settings = load_params(PARAMS_YAML).gradcam.model_copy(update={"layers": ["layer2[-2]", "layer4"]})
    said = {name: drawn.alt for name, drawn in gradcam.figures(settings, mistakes_of("<b>", "x" * 60))}
    assert said.keys() == {"misclassified", "predicted-layer2.-2", "predicted", "true", "layers"}
    assert len(set(said.values())) == len(said)
    assert f"<b> as dog (99 %); {'x' * 39}… as dog (99 %)." in said["misclassified"]
    assert "GradCAM maps at layer2[-2]" in said["predicted-layer2.-2"]
    assert "at layer4" in said["true"]
    assert "at layer2[-2], layer4" in said["layers"]
    many = dict(gradcam.figures(settings, mistakes_of(*"abcdefg")))["misclassified"].alt
    assert many.endswith("e as dog (99 %), and so on.")
    assert {drawn.alt for _, drawn in gradcam.figures(settings, mistakes_of())} == {"No test image is misclassified."}


def test_the_texts_of_measures_have_their_numbers() -> None:
    said = {name: drawn.alt for name, drawn in measures.figures(measures_of_maps())}
    assert said.keys() == {"removal", "by_layer", "randomisation"}
    assert (
        "With 80 % of the pixels removed in the order of GradCAM, the probability is 0 % without the most relevant "
        "ones and 60 %" in said["removal"]
    )
    assert (
        "by layer (layer2[-2], layer4) and method (GradCAM), with random maps and a blob in the centre as baselines. "
        "ROAD of GradCAM at layer4 is 0.60. ROAD of random maps is 0.10." in said["by_layer"]
    )
    assert "GradCAM at layer4 goes from 1.00 to 0.21." in said["randomisation"]
    other = {name: drawn.alt for name, drawn in measures.figures(untested())}
    assert "GradCAM at layer4 goes from 1.00 to 0.21." in other["randomisation"]  # ScoreCAM was not tested
    assert "randomisation" not in dict(measures.figures(measures_of_maps(randomisation=None)))
    assert dict(measures.figures(measures_of_maps(road=None))) == {}


def test_the_texts_of_data_and_of_the_range_test_have_their_numbers() -> None:
    counts = {name: np.array(of) for name, of in (("train", [5, 5395]), ("val", [300, 300]), ("test", [0, 30]))}
    assert "2 classes. In total there are 5,400 training, 600 validation and 30 test images, 0 to 30 per class." in (
        prepare.class_counts(["cat", LONG], counts).alt
    )
    same = prepare.class_counts(["cat", LONG], counts | {"test": np.array([7, 7])})
    assert same.alt.endswith("14 test images, 7 per class.")
    steps = ["Pad", "RandomCrop"]
    grid = prepare.augmented_grid(IMAGES, IMAGES[None], ["cat"] * 7, [1], steps)
    assert "16 x 16 pixels" in grid.alt
    assert "after Pad, RandomCrop in several epochs" in grid.alt
    assert "unchanged" in prepare.augmented_grid(IMAGES, IMAGES[None], ["cat"] * 7, [1], []).alt
    rates, losses = np.geomspace(1e-5, 1.5, 80).tolist(), np.linspace(2, 1, 80).tolist()
    swept = lr_range.lr_range_figure(rates, losses, losses, {"valley": 0.0123, "minimum": 0.1}, 0.012)
    assert "1e-05 to 1.5 in 80 batches. Suggestions: valley 0.0123, minimum 0.1." in swept.alt
    assert swept.alt.endswith("0.012.")
