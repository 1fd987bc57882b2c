"""Inputs, devices, and a model's way to disk and back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from src import artifacts
from src.errors import UserError
from src.model.device import autocast, hardware_name, resolve_device, resolve_precision
from src.model.inputs import to_input
from src.model.resnet import ResNet18, build
from src.model.saved import Description, load_model, save_model

CPU = torch.device("cpu")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


def test_input_is_normalised_per_channel() -> None:
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[1, 2, 3] = (255, 51, 102)
    images.setflags(write=False)  # as memory-mapped images are
    x = to_input(images, MEAN, STD, CPU)
    assert x.shape == (2, 3, 8, 8)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x[1, :, 2, 3], torch.tensor([2.5, -0.8, 0.2]))
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor([-2.5, -1.6, -0.6]))


def test_input_is_the_same_in_both_layouts_and_from_tensors() -> None:
    images = torch.arange(2 * 8 * 8 * 3, dtype=torch.uint8).view(2, 8, 8, 3)
    plain = to_input(images, MEAN, STD, CPU)
    last = to_input(images, MEAN, STD, CPU, channels_last=True)
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain, last)
    assert images[0, 0, 1, 0] == 3  # not changed in place


def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    with pytest.raises(UserError, match="no CUDA device"):
        resolve_device("cuda")


def test_a_cuda_device_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="cuda:0, cuda:1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize(
    ("avx512", "amx", "limit", "auto"),
    [
        (True, False, None, "bf16"),
        (False, True, None, "bf16"),
        (False, False, None, "fp32"),
        (True, True, "AVX2", "fp32"),
        (True, True, "avx512_core", "fp32"),
        (True, True, "AVX512_CORE_BF16", "bf16"),
        (True, True, "DEFAULT", "bf16"),
        (False, False, "DEFAULT", "fp32"),
    ],
)
def test_automatic_precision_asks_the_processor_and_the_limit_of_onednn(
    avx512: bool, amx: bool, limit: str | None, auto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(variable, raising=False)
    if limit is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert resolve_precision("auto", CPU) == auto
    assert resolve_precision("fp32", CPU) == "fp32"
    assert resolve_precision("bf16", CPU) == "bf16"


def test_autocast_computes_in_the_precision() -> None:
    linear = torch.nn.Linear(4, 4)
    with autocast(CPU, "bf16"):
        assert linear(torch.ones(1, 4)).dtype == torch.bfloat16
    with autocast(CPU, "fp32"):
        assert linear(torch.ones(1, 4)).dtype == torch.float32


def test_the_processor_has_a_name() -> None:
    assert "core" in hardware_name(CPU)


@pytest.fixture
def description() -> Description:
    return Description(
        norm="layer", width=4, strides=[1, 2, 2, 2], weight_standardization=False, classes=["a", "b", "c"],
        size=16, mean=MEAN, std=STD, model_key="k", seed=0, lr=0.1, epochs=2, epoch=2, device="cpu",
        precision="fp32", hardware="none", source="shapes", data_digest="d",
    )  # fmt: skip


@pytest.fixture
def model() -> ResNet18:
    torch.manual_seed(1)
    return build("layer", 4, [1, 2, 2, 2], 3)


def test_a_saved_model_comes_back(model: ResNet18, description: Description, tmp_path: Path) -> None:
    paths = tmp_path / "models" / "w.safetensors", tmp_path / "models" / "m.json"
    saved = save_model(model.to(memory_format=torch.channels_last), description, *paths)
    loaded, read = load_model(*paths)
    assert read == saved
    assert read.parameters == sum(p.numel() for p in model.parameters())
    assert read.weights_sha256 == artifacts.sha256_file(paths[0])
    assert not loaded.training
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(loaded(x), model.eval()(x))


def test_a_saved_model_keeps_its_standardised_convolutions(description: Description, tmp_path: Path) -> None:
    model = build("layer", 4, [1, 2, 2, 2], 3, weight_standardization=True).eval()
    paths = tmp_path / "w.safetensors", tmp_path / "m.json"
    save_model(model, replace(description, weight_standardization=True), *paths)
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(load_model(*paths)[0](x), model(x))


def test_damage_is_noticed(model: ResNet18, description: Description, tmp_path: Path) -> None:
    weights, json = tmp_path / "w.safetensors", tmp_path / "m.json"
    with pytest.raises(UserError, match=r"m\.json is missing"):
        load_model(weights, json)
    save_model(model, description, weights, json)
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"w\.safetensors is damaged"):
        load_model(weights, json)
    weights.unlink()
    with pytest.raises(UserError, match=r"w\.safetensors is missing"):
        load_model(weights, json)
    content = artifacts.read_json(json)
    for damaged, said in [({"norm": "batch"}, "width"), (content | {"size": 24}, "its digest")]:
        artifacts.write_json(json, damaged)
        with pytest.raises(UserError, match=f"damaged or from another version .*{said}.* dvc repro train"):
            load_model(weights, json)
    json.write_text("{")
    with pytest.raises(UserError, match=r"m\.json is damaged"):
        load_model(weights, json)


def test_weights_of_another_shape_do_not_load(model: ResNet18, description: Description, tmp_path: Path) -> None:
    weights, json = tmp_path / "w.safetensors", tmp_path / "m.json"
    save_model(model, replace(description, classes=["a", "b", "c", "d"]), weights, json)
    with pytest.raises(UserError, match=r"does not fit the model(.|\n)*linear\.bias"):
        load_model(weights, json)
