"""Where and in which precision the model runs."""

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

# Values of ONEDNN_MAX_CPU_ISA with which oneDNN only emulates bf16; it ignores a value that it does not know.
WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")


def resolve_device(name: str) -> torch.device:
    """The device for `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`; UserError where it is absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(f"device is {name}, but PyTorch finds no CUDA device here; allowed: auto or cpu")
        count = torch.cuda.device_count()
        if device.index is not None and device.index >= count:
            there = ", ".join(f"cuda:{i}" for i in range(count))
            raise UserError(f"device is {name}, but this machine has {there}")
    return device


def count_devices(wanted: int | Literal["auto"], device: torch.device) -> int:
    """How many devices of this node train together, for `auto` all GPUs that are visible; UserError where they lack.

    A GPU that is named by its number trains alone. On a CPU there are as many as cores, and `auto` is 1: the processes
    share them.
    """
    if device.type == "cpu":
        there, called = cores(), "cores for device cpu"
    elif device.index is not None:
        there, called = 1, f"for device {device}: a GPU named by its number trains alone"
    else:
        there, called = torch.cuda.device_count(), "CUDA devices"
    if wanted == "auto":
        return 1 if device.type == "cpu" else there
    if wanted > there:
        raise UserError(f"{wanted} devices are wanted, and this machine has {there} {called}")
    return wanted


def resolve_precision(name: str, device: torch.device) -> Precision:
    """`bf16` and `fp32` as they are; `auto` is bf16 where the hardware multiplies bf16 itself, else fp32."""
    if name == "bf16" or (name == "auto" and _has_bf16(device)):
        return "bf16"
    return "fp32"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """A context in which the model computes in `precision`; its weights stay fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def compiled(model: nn.Module) -> nn.Module:
    """`model` with its steps compiled, for each size of batch by itself."""
    # PyTorch's cache of compiled code does not tell instruction sets apart. Code that was written for vectors of 8
    # numbers (AVX2, or ATEN_CPU_CAPABILITY=avx2) is then built with vectors of 16, and writes past its memory.
    torch.compiler.config.cache_key_tag = torch.backends.cpu.get_cpu_capability()
    return torch.compile(model, dynamic=False)  # type: ignore[return-value]


def exact_fp32() -> AbstractContextManager[None]:
    """A context in which cuDNN rounds no input of a convolution to TF32.

    Both arguments, because `flags` turns off what it is not given, cuDNN itself too.
    """
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def prefers_channels_last(norm: str, device: torch.device) -> bool:
    """Whether a ResNet with this norm trains faster with the channels innermost in memory.

    Convolutions do. On CUDA, GroupNorm and InstanceNorm return the other layout, and each change costs a copy. On a CPU
    PyTorch's GroupNorm with many groups takes nine times as long in this layout in bf16, and as long in fp32.
    """
    return norm in ("batch", "layer2d", "none") or (device.type == "cpu" and norm != "group")


def hardware_name(device: torch.device) -> str:
    """The name of the GPU, or of the processor with its number of usable cores."""
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
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere; older ones only emulate it
    if _onednn_limit() in WITHOUT_BF16:
        return False
    # Private, and not in every version of PyTorch; there is no public question for it.
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, question, bool)() for question in questions)


def _onednn_limit() -> str:
    """The newest instruction set that oneDNN, which computes the convolutions, may use; '' for no limit.

    https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html
    """
    return (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
