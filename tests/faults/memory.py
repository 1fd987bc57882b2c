"""Look for writes past memory: train small networks while glibc checks every block that is freed.

    python -m tests.faults.memory            the whole table
    python -m tests.faults.memory --short    the part that `make test-faults` runs

Eager: every norm at widths 4 to 17 in both memory layouts, forward and backward, in fp32, and in bf16 if the hardware
multiplies it. Compiled: one block with a strided shortcut at the widths around those of vectors, and a whole network,
whose memory layout torch.compile changes. Each row runs with the machine's own instruction set and with AVX2, in a
process of its own, since a damaged heap ends it or hangs.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch

from src.model.device import hardware_name, resolve_precision
from src.model.norms import NORMS
from tests.conftest import REPOSITORY

CHECKED = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3", "OMP_NUM_THREADS": "2"}
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
LAYOUTS = ("contiguous_format", "channels_last")
EAGER_WIDTHS = tuple(range(4, 18))
COMPILED_WIDTHS = (4, 7, 8, 9, 15, 16, 17)
LIMIT = 600.0  # seconds for a row: a process with a damaged heap may hang

CODE = """
import sys
import torch
from src.model.device import compiled
from src.model.resnet import build
mode, norm, layout, precision, *widths = sys.argv[1:]
layout = getattr(torch, layout)
for width in map(int, widths):
    print(width, flush=True)
    torch.manual_seed(0)
    network = build(norm, width, [1, 2, 2, 2], 10).to(memory_format=layout)
    if mode == "eager":
        step, shapes = network, [(2, 3, 16, 16), (2, 3, 64, 64)]
    elif mode == "network":
        step, shapes = compiled(network), [(16, 3, 16, 16)]
    else:
        step, shapes = compiled(network.layer2[0]), [(16, width, 16, 16)]
    for shape in shapes:
        for _ in range(3):
            images = torch.randn(shape).to(memory_format=layout).requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                out = step(images)
            out.float().sum().backward()
            [torch.empty(size) for size in range(200)]  # blocks beside those of the step
print("whole")
"""


class Row(NamedTuple):
    """One process: networks of several widths, one after the other."""

    mode: str  # eager, compiled (a block) or network (compiled)
    norm: str
    layout: str
    precision: str
    instructions: str  # own or AVX2
    widths: tuple[int, ...]

    @property
    def label(self) -> str:
        first, last = self.widths[0], self.widths[-1]
        return f"{self.mode:<9}{self.norm:<9}{self.layout:<18}{self.precision:<5}{self.instructions:<5}{first}-{last}"


def available() -> bool:
    """Whether glibc's checking allocator is here."""
    done = subprocess.run([sys.executable, "-c", ""], env=os.environ | CHECKED, capture_output=True, check=False)
    return sys.platform == "linux" and b"LD_PRELOAD" not in done.stderr


def table(precisions: Iterable[str]) -> Iterator[Row]:
    """Every row; AVX2 has no bf16."""
    for instructions in ("own", "AVX2"):
        for precision in precisions if instructions == "own" else ("fp32",):
            for layout in LAYOUTS:
                for norm in NORMS:
                    yield Row("eager", norm, layout, precision, instructions, EAGER_WIDTHS)
            for norm in ("batch", "layer2d"):
                yield Row("compiled", norm, "contiguous_format", precision, instructions, COMPILED_WIDTHS)
            yield Row("network", "batch", "contiguous_format", precision, instructions, (4, 8))


SHORT = (
    Row("eager", "layer2d", "contiguous_format", "fp32", "own", (4, 7, 15)),
    Row("eager", "batch", "channels_last", "fp32", "AVX2", (4, 7)),
    Row("network", "batch", "contiguous_format", "fp32", "AVX2", (4,)),
)


def fault(row: Row, limit: float = LIMIT) -> str:
    """What is wrong in a row: '' if nothing is."""
    environment = os.environ | CHECKED | (AVX2 if row.instructions == "AVX2" else {})
    command = [sys.executable, "-c", CODE, row.mode, row.norm, row.layout, row.precision, *map(str, row.widths)]
    try:
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired as error:
        reached = (error.stdout or b"").decode().split()[-1:]
        return f"hangs at width {''.join(reached)}"
    reached = done.stdout.split()[-1:]
    if done.returncode == 0 and reached == ["whole"]:
        return ""
    last = done.stderr.strip().splitlines()[-1:]
    return f"ends with {done.returncode} at width {''.join(reached)}: {''.join(last)}"


def main() -> None:
    """Print the table; exit with 1 if a row is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="only the rows that are a test")
    short = parser.parse_args().short
    if not available():
        sys.exit("libc_malloc_debug.so.0 is missing: it comes with glibc 2.34 or newer, on Linux")

    device = torch.device("cpu")
    precisions = dict.fromkeys(("fp32", resolve_precision("auto", device)))
    print(f"{hardware_name(device)}, PyTorch {torch.__version__}", flush=True)
    wrong = 0
    for row in SHORT if short else table(precisions):
        found = fault(row)
        wrong += bool(found)
        print(f"{row.label:<56}{found or 'ok'}", flush=True)
    sys.exit(f"{wrong} rows are wrong" if wrong else 0)


if __name__ == "__main__":
    main()
