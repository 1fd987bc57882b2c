"""CPU and memory use during training."""

import psutil
import torch

GIB = 2**30


class SystemMeter:
    """Measures CPU and memory. The CPU load covers the time since the previous reading, or since the meter was made."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.process = psutil.Process()
        psutil.cpu_percent(interval=None)

    def read(self) -> dict[str, float | None]:
        """Return cpu_percent of the machine, memory_gib of this process, and peak gpu_memory_gib (None on the CPU)."""
        gpu = torch.cuda.max_memory_allocated(self.device) / GIB if self.device.type == "cuda" else None
        return {
            "cpu_percent": psutil.cpu_percent(interval=None),
            "memory_gib": self.process.memory_info().rss / GIB,
            "gpu_memory_gib": gpu,
        }
