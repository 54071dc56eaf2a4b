"""Timing of functions in turn, in one process, so that ratios hold on a machine that drifts."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import torch


def clock(device: str) -> float:
    """CPU seconds of this process; with a GPU, seconds on the wall when its work is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def paired_times(
    functions: list[Callable[[], None]], repeats: int, device: str, warmup: int = 2
) -> tuple[list[float], list[float]]:
    """Median seconds of each function, called in turn, and median ratios to the first."""
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + warmup):
        for number, function in enumerate(functions):
            start = clock(device)
            function()
            end = clock(device)
            if repeat >= warmup:
                times[number].append(end - start)
    ratios = [
        statistics.median(own / first for own, first in zip(values, times[0], strict=True))
        for values in times
    ]
    return [statistics.median(values) for values in times], ratios


def print_header(device: str, threads: int) -> None:
    """Hardware and versions."""
    hardware = torch.cuda.get_device_name() if device != "cpu" else f"{os.cpu_count()} cores"
    print(f"# {platform.machine()}, {hardware}, {threads} threads")
    names = ("torch", "mace-torch", "torch-pme", "e3nn")
    print("# " + ", ".join(f"{name} {version(name)}" for name in names), flush=True)
