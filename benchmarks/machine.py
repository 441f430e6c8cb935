"""What this machine can do at best, measured now: matrix products and memory; and what it is, in words."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import torch


def describe() -> dict[str, Any]:
    """The machine and the versions that matter."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in facts.items()}
    flags = named.get("flags", "").split()
    return {
        "processor": named.get("model name", platform.processor()),
        "cores": os.cpu_count(),
        "amx_bf16": "amx_bf16" in flags,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def matmul_gflops(dtype: torch.dtype, *, size: int = 2048, threads: int | None = None, device: str = "cpu") -> float:
    """The best of several square matrix products, GFLOP/s."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def once() -> float:
        _settle(device)
        started = time.perf_counter()
        a @ b
        _settle(device)
        return time.perf_counter() - started

    best = min(once() for _ in range(12))
    torch.set_num_threads(before)
    return 2 * size**3 / best / 1e9


def memory_gb_s(*, megabytes: int = 512) -> float:
    """Bytes read and written per second by the best of several copies, GB/s."""
    source = torch.ones(megabytes * 2**20 // 4)
    target = torch.empty_like(source)

    def once() -> float:
        started = time.perf_counter()
        target.copy_(source)
        return time.perf_counter() - started

    return 2 * source.nbytes / min(once() for _ in range(6)) / 1e9


def _settle(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()
