"""How many processors this process may use, and how processes beside each other share them."""

import os


def num_cores() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shared_environment(num_processes: int) -> dict[str, str]:
    """Variables for one of several processes beside each other: no more threads than its share of the processors.

    What the user has set stays.
    """
    threads = str(max(1, num_cores() // num_processes))
    return {"OMP_NUM_THREADS": threads, "POLARS_MAX_THREADS": threads} | os.environ
