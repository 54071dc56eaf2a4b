"""How long `mace_smile_run_train --help` takes, against `mace_run_train --help`.

CPU seconds of the process, the two commands in turn, so that a busy machine is fair to both::

    python benchmarks/startup.py --repeats 9
"""

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

COMMANDS = ("mace_run_train", "mace_smile_run_train")


def cpu_seconds(command: str) -> float:
    """User and system time of one call."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    path = str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", "")
    executable = shutil.which(command, path=path)
    if executable is None:
        raise SystemExit(f"{command} is not installed")
    subprocess.run([executable, "--help"], check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="calls of each command")
    args = parser.parse_args()
    for command in COMMANDS:
        cpu_seconds(command)  # the first call reads the files from disk
    times = {command: [] for command in COMMANDS}
    for _ in range(args.repeats):
        for command in COMMANDS:
            times[command].append(cpu_seconds(command))
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores")
    for command, values in times.items():
        shown = f"{min(values):.2f} to {max(values):.2f}"
        median = statistics.median(values)
        print(f"{command:22s} {median:5.2f} CPU s, median of {len(values)} ({shown})")
    ours, theirs = (statistics.median(times[command]) for command in reversed(COMMANDS))
    print(f"ratio {ours / theirs:.2f} (wanted: at most 1.20)")


if __name__ == "__main__":
    main()
