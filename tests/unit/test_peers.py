"""The benchmark of other projects' code: which are measured, and with what."""

from pathlib import Path

import pytest
import torch

from benchmarks import peer_side, peers
from benchmarks.harness import Settings, find, in_process
from tests.conftest import REPOSITORY

CPU = torch.device("cpu")
SMOKE = Settings(CPU, smoke=True, repeats=1)


def test_peers_that_are_not_cloned_are_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert peers.plan(SMOKE) == {}
    peer_side.FOLDERS["seed"].mkdir(parents=True)
    capsys.readouterr()
    assert peers.plan(SMOKE) == {"peers.seed": SMOKE}
    said = capsys.readouterr().out
    assert "peers.kuangliu: not measured" in said
    assert "peers.airbench: not measured" in said
    assert "peers.seed" not in said


def test_all_peers_get_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []

    def side(module: str, name: str, images: int, *_: object, **__: object) -> float:
        used.append(images)
        return 1.0

    def ours(changes: object, rate: float, images: int, device: torch.device) -> float:
        used.append(images)
        return 2.0

    monkeypatch.setattr(peers, "in_process", side)
    monkeypatch.setattr(peers, "ours", ours)
    for name in peers.MEASURES:
        (row,) = find(name)(Settings(CPU, smoke=False, repeats=1))
        assert row.ratio in (1.0, 2.0)
    assert used == [peers.IMAGES["cpu"]] * 6


@pytest.mark.slow
def test_a_peers_own_loop_runs_on_our_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone in miniature, made for this test: what the adapter of pytorch-cifar expects of one."""
    monkeypatch.chdir(tmp_path)
    clone = peer_side.FOLDERS["kuangliu"]
    clone.mkdir(parents=True)
    (clone / "models.py").write_text(
        "from torch.nn import Flatten, Linear, Sequential\n"
        "def ResNet18():\n"
        "    return Sequential(Flatten(), Linear(3072, 10))\n",
        encoding="utf-8",
    )
    (clone / "main.py").write_text(
        "import torch, torchvision\n"
        "from torchvision.transforms import ToTensor\n"
        "from models import *\n"
        "trainset = torchvision.datasets.CIFAR10(root='./data', train=True, download=True, transform=ToTensor())\n"
        "trainloader = torch.utils.data.DataLoader(trainset, batch_size=16)\n"
        "net = SimpleDLA()\n"
        "def train(epoch):\n"
        "    for images, labels in trainloader:\n"
        "        assert net(images).shape == (len(labels), 10)\n"
        "    print('a bar')\n"
        "for epoch in range(200):\n"
        "    raise AssertionError('the loop over the epochs must not run')\n",
        encoding="utf-8",
    )
    environment = {"PYTHONPATH": str(REPOSITORY)}
    assert in_process("peer_side", "kuangliu", 32, "cpu", 16, environment=environment) > 0
