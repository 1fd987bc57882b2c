"""A trained model in use: registered, served by a real server, exported; each answers as `commands.predict` does."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from PIL import Image

from src import tracking
from src.evaluation.logits import predict_probabilities
from src.model.saved import load_model
from tests.faults.tracking_server import Server, free_port
from tests.pipeline.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def in_use(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of `finished` with its run in an MLflow store of its own."""
    workspace = finished.copy(tmp_path_factory.mktemp("use") / "workspace")
    workspace.ok("python", "-m", "commands.sync")
    return workspace


@pytest.fixture(scope="module")
def images(in_use: Workspace) -> np.ndarray:
    """Seven test images (7, S, S, 3)."""
    return np.load(in_use.root / "data/prepared/test_images.npy")[:7]


@pytest.fixture(scope="module")
def served(in_use: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the registered model, served as `commands.register` says."""
    output = in_use.ok("python", "-m", "commands.register")
    (settings,) = re.findall(r"^  export (.*)$", output, re.MULTILINE)
    (command,) = re.findall(r"^  (mlflow models serve .*)$", output, re.MULTILINE)
    port, log = str(free_port()), tmp_path_factory.mktemp("served") / "log"
    environment = dict(part.split("=", 1) for part in settings.split())
    server = in_use.start(log, *command.replace("5001", port).split(), **environment)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 240
        while not answers(address):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/ping", timeout=5).ok
    except requests.RequestException:
        return False


def ask(address: str, body: object) -> requests.Response:
    return requests.post(f"{address}/invocations", json=body, timeout=60)


@pytest.fixture(scope="module")
def predicted(
    in_use: Workspace, images: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[str, float]]:
    """The likeliest class of each image and its probability, as `commands.predict` prints them."""
    folder = tmp_path_factory.mktemp("pictures")
    pictures = [folder / f"{i}.png" for i in range(len(images))]  # of the model's size: they are taken as they are
    for picture, image in zip(pictures, images, strict=True):
        Image.fromarray(image).save(picture)
    output = in_use.ok("python", "-m", "commands.predict", *map(str, pictures), "--top", "1", "--out", str(folder))
    told = re.findall(r"^  (\S.*?) +(\d+\.\d\d) %$", output, re.MULTILINE)
    assert len(told) == len(images), output
    return [(name, float(share) / 100) for name, share in told]


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("key", ["inputs", "instances"])
def test_the_server_says_what_predict_says(
    in_use: Workspace, served: str, images: np.ndarray, predicted: list[tuple[str, float]], count: int, key: str
) -> None:
    answer = ask(served, {key: images[:count].tolist()})
    assert answer.status_code == 200, answer.text
    rows = answer.json()["predictions"]
    model, about = load_model(in_use.root / "models/model.safetensors", in_use.root / "models/model.json")
    expected = predict_probabilities(model, about, images[:count], device=torch.device("cpu"), batch_size=count)
    got = np.array([[row[f"p({name})"] for name in about.classes] for row in rows])
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert [row["class"] for row in rows] == [about.classes[i] for i in expected.argmax(1)]
    np.testing.assert_array_equal([row["probability"] for row in rows], got.max(axis=1))
    assert [name for name, _ in predicted[:count]] == [row["class"] for row in rows]
    np.testing.assert_allclose([share for _, share in predicted[:count]], got.max(axis=1), atol=0.6e-4)


def test_mistakes_are_told_with_what_is_wanted(served: str, images: np.ndarray) -> None:
    one = images[:1].astype(int)
    mistakes: dict[str, Any] = {
        "float64": (one / 255).tolist(),
        "the numbers range from": (one + 200).tolist(),
        "bool": (one > 100).tolist(),
        "the shape is (1, 16, 16, 3)": one[:, :16, :16].tolist(),
        "the shape is (32, 32, 3)": one[0].tolist(),
        "the shape is (1, 3, 32, 32)": one.transpose(0, 3, 1, 2).tolist(),
        "no images": [],
    }
    for words, given in mistakes.items():
        answer = ask(served, {"inputs": given})
        assert answer.status_code == 400, words
        assert words in answer.json()["message"]
        assert answer.json()["message"].endswith("(N, 32, 32, 3), RGB, whole numbers from 0 to 255 (not normalised)")
    for body in ({"inputs": [[1, 2], [3]]}, {"images": one.tolist()}, [], {"dataframe_split": {"columns": ["a"]}}):
        assert ask(served, body).status_code == 400
    assert ask(served, {"inputs": one.tolist()}).status_code == 200  # it is still there


def test_the_run_and_the_logged_model_have_the_card(in_use: Workspace) -> None:
    (run,) = in_use.runs()
    kept = in_use.artifacts(run)
    card = kept["reports/model_card.md"]
    linked = re.findall(r"!\[.*\]\((.+)\)", card.read_text())
    assert len(linked) == 5
    for name in linked:
        assert (card.parent / name).resolve() == kept[name.removeprefix("../")]
        assert (in_use.root / "reports" / name).resolve().is_file()
    (model_id,) = [output.model_id for output in run.outputs.model_outputs]
    place = Path(str(in_use.store().get_logged_model(model_id).artifact_location).removeprefix("file://"))
    beside = re.findall(r"!\[.*\]\((.+)\)", (place / "model_card.md").read_text())
    assert [f"../{name}" for name in beside] == linked
    for name in beside:
        assert (place / name).read_bytes() == (in_use.root / name).read_bytes()


def test_the_exported_file_says_what_predict_says(in_use: Workspace, images: np.ndarray) -> None:
    from src.export import answers as answers_of

    output = in_use.ok("python", "-m", "commands.export", "--out", "reports/mine.onnx")
    assert re.search(r"n 100 test images ONNX Runtime and PyTorch differ by at most \d\.\de[+-]\d\d", output)
    content = (in_use.root / "reports/mine.onnx").read_bytes()
    model, about = load_model(in_use.root / "models/model.safetensors", in_use.root / "models/model.json")
    expected = predict_probabilities(model, about, images, device=torch.device("cpu"), batch_size=7)
    for part in (images, images[3:4]):
        probabilities, _ = answers_of(content, part)
        np.testing.assert_allclose(probabilities, expected if len(part) > 1 else expected[3:4], atol=1e-5)
    assert in_use.ok("dvc", "status").strip().endswith("Data and pipelines are up to date.")


def test_a_model_is_registered_at_a_server_of_another_machine(in_use: Workspace, tmp_path: Path) -> None:
    """Its files go through the server: there is no folder in common."""
    server = Server(tmp_path).start()
    try:
        at_it = {"MLFLOW_TRACKING_URI": server.uri}
        in_use.ok("python", "-m", "commands.sync", **at_it)
        for _ in range(2):
            output = in_use.ok("python", "-m", "commands.register", "--alias", "best", **at_it)
            assert "registered normlens, version 1, alias best\n" in output
            assert "export MLFLOW_DISABLE_TELEMETRY=true\n" in output  # the address is in the environment already
        client = tracking.MlflowClient(server.uri)
        (version,) = client.search_model_versions("name = 'normlens'")
        assert "## Intended use" in version.description
        code = (
            "import sys, mlflow, numpy;"
            "model = mlflow.pyfunc.load_model('models:/normlens@best', dst_path=sys.argv[1]);"
            "print(len(model.predict(numpy.zeros((3, 32, 32, 3), 'uint8'))), 'rows')"
        )
        (tmp_path / "fetched").mkdir()
        assert "3 rows" in in_use.ok("python", "-c", code, str(tmp_path / "fetched"), **at_it)
        assert list((tmp_path / "fetched").rglob("model_card.md"))
        assert list((tmp_path / "fetched").rglob("figures/gradcam/predicted.png"))
    finally:
        server.kill()
