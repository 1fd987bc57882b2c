"""The device, precision and memory layout in which the model runs."""

import os
import platform
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from src.errors import UserError
from src.processes import cores

Precision = Literal["bf16", "fp32"]

# Values of ONEDNN_MAX_CPU_ISA with which oneDNN only emulates bf16. It ignores unknown values.
WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")


def resolve_device(name: str) -> torch.device:
    """Return the device for `auto` (CUDA if available, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Raises UserError if this machine lacks the device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(f"device is {name}, but PyTorch found no CUDA device. Use -S device=auto or -S device=cpu")
        count = torch.cuda.device_count()
        if device.index is not None and device.index >= count:
            there = ", ".join(f"cuda:{i}" for i in range(count))
            raise UserError(f"device is {name}, but this machine only has {there}. Use one of them or -S device=auto")
    return device


def count_devices(wanted: int | Literal["auto"], device: torch.device) -> int:
    """Return how many devices of this node train together. `auto` means all visible GPUs, or 1 on a CPU.

    A GPU selected by its number trains by itself. A CPU counts as one device per core.
    Raises UserError if fewer devices are available than `wanted`.
    """
    if device.type == "cpu":
        there, called = cores(), "cores for device cpu"
    elif device.index is not None:
        there, called = 1, f"device, because device is {device}, which selects a single GPU"
    else:
        there, called = torch.cuda.device_count(), "CUDA devices"
    if wanted == "auto":
        return 1 if device.type == "cpu" else there
    if wanted > there:
        raise UserError(f"train.devices is {wanted}, but this machine has {there} {called}. Use -S train.devices=auto")
    return wanted


def resolve_precision(name: str, device: torch.device) -> Precision:
    """Return the precision. `auto` means bf16 if the hardware computes in bf16, else fp32."""
    if name == "bf16" or (name == "auto" and _has_bf16(device)):
        return "bf16"
    return "fp32"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """A context in which the model computes in `precision`. The weights stay fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def compiled(model: nn.Module) -> nn.Module:
    """Compile `model` with torch.compile, separately for each batch size."""
    # PyTorch's cache of compiled code does not distinguish instruction sets. Without this tag, code generated for
    # vectors of 8 numbers (AVX2, or ATEN_CPU_CAPABILITY=avx2) runs with vectors of 16 and writes past its memory.
    torch.compiler.config.cache_key_tag = torch.backends.cpu.get_cpu_capability()
    return torch.compile(model, dynamic=False)  # type: ignore[return-value]


def exact_fp32() -> AbstractContextManager[None]:
    """A context in which cuDNN does not round the inputs of convolutions to TF32.

    `flags` turns off every flag that it is not given, including cuDNN itself. So both are set.
    """
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def prefers_channels_last(norm: str, device: torch.device) -> bool:
    """Whether a ResNet with this norm trains faster in the channels-last memory layout.

    Convolutions are faster in this layout. On CUDA, GroupNorm and InstanceNorm return the contiguous layout, and each
    change of layout costs a copy. On a CPU, this layout makes PyTorch's GroupNorm with many groups nine times as slow
    in bf16, and does not change its speed in fp32.
    """
    return norm in ("batch", "layer2d", "none") or (device.type == "cpu" and norm != "group")


def hardware_name(device: torch.device) -> str:
    """The name of the GPU, or the name of the CPU with the number of usable cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    count = cores()
    return f"{name} ({count} {'core' if count == 1 else 'cores'})"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere or newer; older GPUs only emulate bf16
    if _onednn_limit() in WITHOUT_BF16:
        return False
    # These functions are private and not in every version of PyTorch, but there is no public one.
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, question, bool)() for question in questions)


def _onednn_limit() -> str:
    """The newest instruction set that oneDNN may use for convolutions, or '' for no limit.

    https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html
    """
    return (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
