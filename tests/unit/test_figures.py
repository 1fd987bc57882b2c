"""Figures show the data they are given, whatever the names and counts."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from src.evaluation.calibration import reliability
from src.figures import curves, evaluate, gradcam
from src.figures.style import new_figure, plain, save

LONG = "a class with a very long name indeed"


def texts(figure: Figure) -> list[str]:
    """Every text of the figure that is not empty."""
    found = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return [text for artist in found if (text := artist.get_text())]  # type: ignore[attr-defined]


def test_save_writes_the_same_png_twice(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        figure = new_figure(3, 2)
        figure.subplots().plot([1, 2], [3, 4])
        save(figure, tmp_path / name)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (450, 300)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_plain_names() -> None:
    assert plain("a$b$") == r"a\$b\$"
    assert plain(LONG, 10) == "a class w…"
    assert plain("exactly 10", 10) == "exactly 10"


def test_confusion_matrix_writes_the_counts(tmp_path: Path) -> None:
    figure = evaluate.confusion_matrix(np.array([[7, 1, 0], [0, 0, 0], [2, 0, 5]]), ["$x$", LONG, "<b>"])
    axes = figure.axes[0]
    assert sorted(t.get_text() for t in axes.texts) == ["1", "2", "5", "7"]
    shares = np.array([[7 / 8, 1 / 8, 0], [0, 0, 0], [2 / 7, 0, 5 / 7]])
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(shares)
    save(figure, tmp_path / "figure.png")


@pytest.mark.parametrize("classes", [2, 30, 100])
def test_confusion_matrix_of_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    figure = evaluate.confusion_matrix(np.eye(classes, dtype=int), [f"class {i}" for i in range(classes)])
    assert len(figure.axes[0].texts) == (classes if classes <= evaluate.WRITTEN_UP_TO else 0)
    save(figure, tmp_path / "figure.png")


def test_reliability_bars_end_at_the_accuracy() -> None:
    binned = reliability(np.array([0.3, 0.5, 0.6, 0.8]), np.array([True, False, True, True]), 2)
    figure = evaluate.reliability_diagram(binned, 0.25)
    bars, gaps = figure.axes[0].containers
    assert [bar.get_height() for bar in bars] == [0.5, 1.0]
    assert [gap.get_height() for gap in gaps] == pytest.approx([-0.1, -0.3])
    assert "25.00%" in " ".join(texts(figure))


@pytest.mark.parametrize("epochs", [1, 20, 200])
@pytest.mark.parametrize("validated", [True, False])
def test_curves(tmp_path: Path, epochs: int, validated: bool) -> None:
    values = list(np.linspace(1, 0.5, epochs))
    val = values if validated else []
    data = curves.Curves(values, values, val, val, values)
    figure = curves.learning_curves(data, epochs, 0.9)
    for axes in figure.axes:
        lines = {str(line.get_label()): line for line in axes.lines}
        assert ("validation" in lines) == validated
        assert list(np.asarray(lines["train (augmented)"].get_ydata())) == values
        assert lines["train (augmented)"].get_marker() == ("o" if epochs <= 60 else "")  # one epoch is one point
    save(figure, tmp_path / "curves.png")
    save(curves.learning_rate(data), tmp_path / "learning_rate.png")


IMAGES = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
MAPS = np.random.default_rng(1).random((7, 16, 16), dtype=np.float32)
TITLES = gradcam.pair_titles(["cat"] * 6 + [LONG], ["dog"] * 6 + ["$x$"])


def test_pair_titles() -> None:
    assert TITLES[0] == "cat / dog"
    assert TITLES[6] == "a class with a ve… /\n\\$x\\$"


def test_grids_show_the_same_images_in_the_same_places(tmp_path: Path) -> None:
    plain_grid = gradcam.image_grid(IMAGES, TITLES, 5, "heading")
    overlay = gradcam.overlay_grid(IMAGES, MAPS, TITLES, 5, "heading", 0.7)
    for i in range(7):
        one, other = plain_grid.axes[i], overlay.axes[i]
        assert one.get_position().bounds == other.get_position().bounds
        assert one.get_title(loc="center") == other.get_title(loc="center") == TITLES[i]
        assert (np.asarray(one.images[0].get_array()) == IMAGES[i]).all()
        assert (np.asarray(other.images[1].get_array()) == MAPS[i]).all()
        assert other.images[1].get_alpha() == pytest.approx(0.3)
        assert other.images[1].get_clim() == (0, 1)  # maps share one scale
    save(plain_grid, tmp_path / "images.png")
    save(overlay, tmp_path / "overlays.png")


def test_layer_matrix_has_a_row_an_image_and_a_column_a_layer(tmp_path: Path) -> None:
    maps = np.stack([MAPS[:3], MAPS[1:4]], axis=1)  # (3, 2, 16, 16)
    figure = gradcam.layer_matrix(IMAGES[:3], maps, TITLES[:3], ["layer1", "layer2[-1]"], "heading", 0.5)
    cells = figure.axes[:9]
    assert [axes.get_title(loc="center") for axes in cells[:3]] == ["image", "layer1", "layer2[-1]"]
    assert [axes.get_ylabel() for axes in cells[::3]] == TITLES[:3]
    assert (np.asarray(cells[5].images[1].get_array()) == MAPS[2]).all()  # row 1, second layer
    save(figure, tmp_path / "layers.png")


def test_without_mistakes_the_figures_say_so(tmp_path: Path) -> None:
    none = IMAGES[:0]
    for figure in (
        gradcam.image_grid(none, [], 5, "heading"),
        gradcam.overlay_grid(none, MAPS[:0], [], 5, "heading", 0.5),
        gradcam.layer_matrix(none, MAPS[:0, None], [], ["layer1"], "heading", 0.5),
    ):
        assert "No test image is misclassified." in texts(figure)
        save(figure, tmp_path / "none.png")


def test_a_figure_holds_a_bounded_number_of_images() -> None:
    many = np.zeros((gradcam.LARGEST + 5, 8, 8, 3), dtype=np.uint8)
    figure = gradcam.image_grid(many, ["a / b"] * len(many), 20, "heading")
    assert len(figure.axes) == gradcam.LARGEST
    assert f"heading (the first {gradcam.LARGEST} of {len(many)})" in texts(figure)
