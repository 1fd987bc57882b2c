"""A small /dev/shm, such as Docker's 64 MB: batches arrive all the same, or an error says what to change."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.unit.data_helpers import tree, write_tar

# At 224 pixels a batch of 256 images is 38.5 MB, so that /dev/shm of 64 MB holds one.
LOADER = r"""
import hashlib, sys
import numpy as np, torch
from src.data.augmenters import make_augmenter
from src.data.loader import set_epoch, train_loader
from src.data.prepared import Split
from src.errors import sentence
torch.set_num_threads(1)
images = np.random.default_rng(0).integers(0, 256, (600, 1, 1, 3), np.uint8).repeat(224, 1).repeat(224, 2)
augmenter = make_augmenter([{"name": "HorizontalFlip", "p": 0.5}, {"name": "VerticalFlip", "p": 0.5}], 224, 0)
split = Split(images, np.arange(600))
for workers in map(int, sys.argv[1:]):
    try:
        loader = train_loader(split, augmenter, batch_size=256, seed=0, workers=workers, device=torch.device("cpu"))
    except OSError as error:
        sys.exit(sentence(error))
    digest = hashlib.sha256()
    for epoch in (1, 2):
        set_epoch(loader, epoch)
        for batch, labels in loader:
            digest.update(batch.numpy())
            digest.update(labels.numpy())
    print(digest.hexdigest())
    del loader
"""
# Every stage, with transforms that go image by image, in one process.
PIPELINE = r"""
import sys
from pathlib import Path
import pytest
from tests.faults import small
with pytest.MonkeyPatch.context() as patch:
    small.enter(Path(sys.argv[1]), patch)
    flips = [{"name": "HorizontalFlip", "p": 0.5}, {"name": "VerticalFlip", "p": 0.5}]
    source = {"data.source": "folder", "data.path": sys.argv[2], "data.size": 32}
    small.run(small.small(**source, **{"augment": flips, "train.workers": 2, "train.epochs": 2}))
print("finished")
"""


def with_shared_memory(size: str, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python `code` where /dev/shm has `size`, for two minutes at most."""
    mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    return subprocess.run(
        [*command, sys.executable, "-c", code, *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _namespaces() -> None:
    try:
        tried = with_shared_memory("64k", "")
    except FileNotFoundError:
        pytest.skip("needs `unshare`, which Linux has")
    if tried.returncode != 0:
        pytest.skip(f"may not mount a /dev/shm of its own here: {tried.stderr.strip()}")


@pytest.mark.slow
@pytest.mark.parametrize("size", ["64m", "64k"])
def test_batches_larger_than_shared_memory_arrive_and_are_the_same(size: str) -> None:
    done = with_shared_memory(size, LOADER, "0", "2")
    assert done.returncode == 0, done.stderr
    without_workers, with_workers = done.stdout.split()
    assert without_workers == with_workers
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("size", ["4k", "52k"])
def test_workers_that_cannot_start_say_what_to_change(size: str) -> None:
    done = with_shared_memory(size, LOADER, "2")
    assert done.returncode == 1
    assert done.stderr.startswith("worker processes cannot start: /dev/shm"), done.stderr
    assert all(cure in done.stderr for cure in ("--shm-size", "train.workers=0"))


@pytest.mark.slow
def test_a_pipeline_with_workers_ends_in_little_shared_memory(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    files = tree(*(f"{label}/{number}.png" for label in "ab" for number in range(40)))
    archive = write_tar(tmp_path / "images.tar", files)
    done = with_shared_memory("64k", PIPELINE, str(tmp_path / "workspace"), str(archive))
    assert done.stdout.endswith("finished\n"), done.stderr
    assert "--shm-size" in done.stdout + done.stderr  # the stage warns about slower pipes
