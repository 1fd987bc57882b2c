"""What a stranger sends: archives, images, pickles and names that mean harm. Refused, or rendered harmless."""

import contextlib
import io
import os
import pickle
import signal
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import unicodedata
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import Module

from commands import predict
from src import artifacts
from src.data import cifar_batches, image_folder
from src.data.images import Decoded, decode
from src.data.sources import archive
from src.data.sources.cifar10 import ARCHIVE
from src.errors import UserError
from src.figures.style import Described, new_figure, plain, save
from src.model.resnet import build
from src.model.saved import Description, load_model, save_model
from tests.conftest import PARAMS_YAML, REPOSITORY, copy_repository
from tests.pipeline.workspace import Workspace, failure
from tests.unit.data_helpers import parameters, picture, tree, write_folder, write_tar, write_zip
from tests.unit.test_markdown import Shown, seen

# Names that a folder may have on Linux; each must arrive as it is wherever classes are named.
NAMES = [
    "<script>alert(1)<",
    "a \"b\" & 'c' | d, e; f",
    "$x^$",  # as a formula it could not be drawn
    "{{ 7*7 }} {% raw %} %s {0}",
    "-rf",
    " around ",
    "=1+1",
    "🐶 naïve 日本",
    "x" * 200,
]
UNSAFE = ["a\nb", "a\rb", "a\x1b[31mb", "a\x85b", "a\u2028b", "a\u202eb", "a\u2066b"]


# Archives


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return path


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member


def with_size(path: Path, size: bytes, header_at: int = 0) -> Path:
    """A tar in which a header says another size, and has the checksum of that."""
    content = bytearray(path.read_bytes())
    block = content[header_at : header_at + 512]
    block[124:136] = size
    block[148:156] = b"%06o\0 " % (256 + sum(block[:148]) + sum(block[156:]))
    content[header_at : header_at + 512] = block
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_long_header_of_a_tar_is_not_read(tmp_path: Path, kind: bytes) -> None:
    """`tarfile` would take the 8 GiB that it says into memory at once."""
    path = with_size(tar_of(tmp_path / "x.tar", (header("a/1.png", kind=kind), b"")), b"77777777777\0")
    with pytest.raises(UserError, match=r"damaged or truncated \(a header of 8,589,93\d,\d{3} bytes\)"):
        list(archive.members(path))


def test_a_negative_size_ends(tmp_path: Path) -> None:
    """`tarfile` of Python 3.11 goes round in circles here (CVE-2025-8194)."""
    path = tar_of(tmp_path / "x.tar", (header("a/1.png"), b""), (header(".hidden"), b""))
    with_size(path, b"\xff" * 10 + b"\xfe\x00", header_at=512)  # -512: back to the same header
    with pytest.raises(UserError, match="a size is negative"):
        list(archive.members(path))


def test_a_size_of_minus_one_does_not_read_the_rest(tmp_path: Path) -> None:
    rest = 32 << 20
    path = tar_of(tmp_path / "x.tar", (header("a/1.png"), b""), (header("a/2.png", rest), bytes(rest)))
    with_size(path, b"\xff" * 12)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="a size is negative"):
            list(archive.members(path))
        assert tracemalloc.get_traced_memory()[1] < rest // 4
    finally:
        tracemalloc.stop()


def test_hidden_members_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 1 << 20)
    bomb = tar_of(
        tmp_path / "x.tar.gz", (header(".hidden", 2 << 20), bytes(2 << 20)), (header("a/1.png"), b""), mode="w:gz"
    )
    claims = with_size(tar_of(tmp_path / "z.tar", (header(".hidden"), b"")), b"00010000000\0")  # 2 MiB that do not come
    for path in (bomb, claims):
        assert path.stat().st_size < 11_000
        with pytest.raises(UserError, match=r"more than .* files or .* GiB"):
            list(archive.members(path))
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    folders = tar_of(tmp_path / "y.tar", *((header(f"d{i}", kind=tarfile.DIRTYPE), b"") for i in range(4)))
    with pytest.raises(UserError, match="more than 3 files"):
        list(archive.members(folders))


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tar", (header("a/1.png", kind=tarfile.GNUTYPE_SPARSE), b""))
    with pytest.raises(UserError, match="a sparse file"):
        list(archive.members(path))


def test_headers_do_not_pile_up_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "x.tar", tree(*(f"a/{number}.png" for number in range(5))))
    opened: list[tarfile.TarFile] = []

    class Opened(tarfile.TarFile):
        def __init__(self, **options: object) -> None:
            opened.append(self)
            super().__init__(**options)  # type: ignore[arg-type]

    monkeypatch.setattr(tarfile, "TarFile", Opened)
    for _ in archive.members(path):
        assert len(opened[0].members) <= 1


@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_steer_a_terminal_are_refused(tmp_path: Path, name: str) -> None:
    files = {f"{name}/1.png": b""}
    for path in (write_tar(tmp_path / "x.tar", files), write_zip(tmp_path / "x.zip", files)):
        with pytest.raises(UserError, match=r"unsafe name: .* Pack the archive again") as caught:
            list(archive.members(path))
        assert str(caught.value).isprintable()
    with pytest.raises(UserError, match=r"unsafe name: .* Rename it"):
        archive.pack(write_folder(tmp_path / "folder", files), tmp_path / "packed.tar")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("archives")
    files = {f"a/{'x' * 150}.png": b"1" * 700, "b/ü.png": b"2" * 90, ".hidden": b"3" * 900}
    made = [write_tar(folder / mode.replace(":", "."), files, mode) for mode in ("w", "w:gz", "w:bz2", "w:xz")]
    return [path.read_bytes() for path in (*made, write_zip(folder / "zip", files))]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_archive_is_read_or_refused(archives: list[bytes], tmp_path: Path, data: st.DataObject) -> None:
    """Bytes changed anywhere, headers of a tar with the checksum that they then need."""
    content = bytearray(data.draw(st.sampled_from(archives)))
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.binary(max_size=12)))):
        content[place : place + len(value)] = value
    for start in range(0, len(content) - 511, 512):
        if content[start + 257 : start + 262] == b"ustar":
            block = content[start : start + 512]
            content[start + 148 : start + 156] = b"%06o\0 " % (256 + sum(block[:148]) + sum(block[156:]))
    path = tmp_path / "x"
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        for name, _ in archive.members(path):
            assert not name.startswith("/")
            assert ".." not in name.split("/")
            assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)


# Images


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A black PNG of grey pixels, with `chunks` before them; of a high one the first 300 rows."""
    pixels = zlib.compress(bytes((1 + width) * min(height, 300)), 1)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def gif(screen: int, frame: int) -> bytes:
    """One black pixel on a screen and a frame of any claimed side."""
    sizes = struct.pack("<HHBBB", screen, screen, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, frame, frame, 0)
    return b"GIF89a" + sizes + b"\x02\x02L\x01\0;"


def tiff(tile: int) -> bytes:
    """16 x 16 pixels in one tile of any claimed side."""
    tags = [
        (256, 16),
        (257, 16),
        (258, 8),
        (259, 8),
        (262, 1),
        (277, 1),
        (322, tile),
        (323, tile),
        (324, 200),
        (325, 20),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)).ljust(200, b"\0") + bytes(20)


BOMB = zlib.compress(bytes(200_000_000), 1)  # 900 kB
REFUSED = {
    "large": (png(30_000, 30_000), "900000000 pixels"),
    "wide": (png(30_000, 2_700), "30000 x 2700 pixels .* 80,000,000"),
    "text": (png(16, 16, (b"zTXt", b"k\0\0" + BOMB)), "too large"),
    "profile": (png(16, 16, (b"iCCP", b"k\0\0" + BOMB)), "too large"),
    "screen": (gif(65_535, 1), "4294836225 pixels"),
    "frame": (gif(1, 65_535), "4294836225 pixels"),
    "tile": (tiff(30_000), "error"),
    "truncated": (png(300, 300)[:-40], "."),
    "zip": (b"PK\x03\x04" + bytes(100), "supported image format"),
    "postscript": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nquit\n",
        "supported image format",
    ),
    "markup": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "supported image format"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_hostile_images_are_refused(kind: str) -> None:
    content, said = REFUSED[kind]
    with pytest.raises(UserError, match=said) as caught:
        decode(content, 16)
    assert str(caught.value).isprintable()


def test_a_wide_image_is_read() -> None:
    assert decode(png(30_000, 100), 16).shape == (16, 16, 3)


def test_refusing_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """Measured in a process of its own: the most that it ever had, above what it had before."""
    for kind in ("large", "text", "profile", "screen", "frame"):
        (tmp_path / kind).write_bytes(REFUSED[kind][0])
    code = f"""
import contextlib, resource
from pathlib import Path
from src.data.images import decode
from src.errors import UserError
decode(Path({str(tmp_path / "small")!r}).read_bytes(), 16)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for kind in ("large", "text", "profile", "screen", "frame"):
    with contextlib.suppress(UserError):
        decode(Path({str(tmp_path)!r}, kind).read_bytes(), 16)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    (tmp_path / "small").write_bytes(png(16, 16))
    used = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert int(used.stdout) < 50  # MiB


def test_a_decoder_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(content: bytes, size: int) -> Decoded:
        if content == b"die":
            os.kill(os.getpid(), signal.SIGKILL)  # as the system does where memory is short
        return Decoded(np.zeros((size, size, 3), np.uint8), None)

    monkeypatch.setattr(image_folder, "decode_with_peak", dies)
    path = write_tar(tmp_path / "x.tar", tree("a/1.png", "b/2.png") | {"b/3.png": b"die"})
    with pytest.raises(UserError, match=r"pets was killed near [ab]/\d\.png"):
        image_folder.read(path, parameters(path="pets"))


# Code


class Evil:
    """Unpickled by the ordinary means, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, Path]:
    """Weights and description of a small model whose classes are NAMES, and one that no folder can have."""
    torch.manual_seed(0)
    classes = [*NAMES, "a\x1b[2J\nb"]
    network: Module = build("batch", 4, [1, 2, 2, 2], len(classes))
    paths = tmp_path / artifacts.WEIGHTS, tmp_path / artifacts.MODEL
    save_model(
        network,
        Description(
            norm="batch", width=4, strides=[1, 2, 2, 2], weight_standardization=False, classes=classes, size=16,
            mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), model_key="k", seed=0, lr=0.1, epochs=1, epoch=1,
            device="cpu", precision="fp32", hardware="", source="folder", data_digest="d",
        ),
        *paths,
    )  # fmt: skip
    return paths


@pytest.mark.parametrize("kind", ["torch", "pickle", "header", "lie"])
def test_weights_with_code_are_refused_even_with_their_hash(
    model: tuple[Path, Path], tmp_path: Path, kind: str
) -> None:
    weights, description = model
    evil = Evil(tmp_path / "pwned")
    match kind:
        case "torch":
            torch.save({"conv.weight": evil}, weights)
        case "pickle":
            weights.write_bytes(pickle.dumps(evil))
        case "header":
            weights.write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
        case "lie":
            lie = b'{"linear.bias":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
            weights.write_bytes(struct.pack("<Q", len(lie)) + lie + bytes(4))
    content = artifacts.read_json(description) | {"weights_sha256": artifacts.sha256_file(weights)}
    del content["digest"]
    artifacts.write_json(description, content | {"digest": artifacts.sha256_json(content)})
    with pytest.raises(UserError, match="does not fit the model"):
        load_model(weights, description)
    assert not (tmp_path / "pwned").exists()


def test_a_pickle_with_code_in_place_of_cifar_is_not_opened(tmp_path: Path) -> None:
    evil = pickle.dumps({b"data": Evil(tmp_path / "pwned")}, protocol=2)
    batch = {f"cifar-10-batches-py/{name}": evil for name in ("data_batch_1", "test_batch", "batches.meta")}
    write_tar(tmp_path / ARCHIVE, batch, "w:gz")
    workspace = Workspace(copy_repository(tmp_path / "workspace"))
    workspace.set_params({"data.path": str(tmp_path / ARCHIVE)})
    done = workspace.run("python", "-m", "stages.download")
    assert done.returncode == 1
    assert "is not the official cifar-10-python.tar.gz, because its md5 is" in done.stderr, failure(done)
    with pytest.raises(UserError, match="has changed since"):  # what `prepare` says
        cifar_batches.read(tmp_path / ARCHIVE, parameters())
    assert not (tmp_path / "pwned").exists()


# Names


class Page(HTMLParser):
    """The elements, and the text, of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    for name in NAMES:
        figure = new_figure(2, 1)
        figure.text(0, 0, plain(name))
        save(Described(figure, name), tmp_path / "name.png")


@pytest.mark.parametrize(
    "name", ["-x.jpg", "a\x1b[31mb.png", "a\nb.png", "y" * 250 + ".png", "<b>&$x$.png", b"\xff.png"]
)
def test_predict_prints_and_writes_any_file_name(
    model: tuple[Path, Path],
    tmp_path: Path,
    name: str | bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes(PARAMS_YAML.read_bytes())
    path = Path(os.fsdecode(name))
    path.write_bytes(picture(0))
    before = set(tmp_path.rglob("*"))
    monkeypatch.setattr("sys.argv", ["predict", "--", str(path)])
    predict.main()
    output = capsys.readouterr().out
    assert len(lines := output.splitlines()) == 1 + 5
    assert all(line.isprintable() for line in lines)
    new = set(tmp_path.rglob("*")) - before
    (written,) = (file for file in new if file.is_file())
    assert written.parent == tmp_path / "reports/predict"
    with Image.open(written) as image:
        image.load()


@pytest.mark.slow
def test_a_folder_with_such_names_goes_through_the_pipeline(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "workspace")
    images = workspace.root / "-own $(touch x) <b>&"
    write_folder(images, {f"{name}/-{i} 🐶.png": picture(i) for name in NAMES for i in range(4)})

    def outside() -> dict[Path, bytes]:
        """Every file beside the workspace; not the home of its commands, which DVC and Git write to."""
        own = (workspace.root, tmp_path / "home")
        return {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and not {*p.parents} & {*own}}

    before = outside()
    workspace.ok("dvc", "exp", "run", "-S", "data.source=folder", "-S", f"data.path='{images.name}'")
    assert outside() == before
    assert not (workspace.root / "x").exists()
    page = Page((workspace.root / "reports/run.html").read_text(encoding="utf-8"))
    assert "script" not in page.elements
    rows = artifacts.read_csv(workspace.root / "metrics/per_class.csv")
    assert [row["class"] for row in rows] == sorted(NAMES)
    assert set(NAMES) <= set(page.texts)
    (run,) = workspace.runs()
    assert run.data.tags["stages"].endswith("report")
    description = Shown(run.data.tags["mlflow.note.content"])
    assert "on image folder -own $(touch x) <b>&" in description.text
    assert "b" not in description.tags
    card = Shown((workspace.root / "reports/model_card.md").read_text(encoding="utf-8"))
    assert {seen(name) for name in NAMES} <= {seen(cell) for cell in card.cells}
    assert {"b", "script", "a"}.isdisjoint(card.tags)
