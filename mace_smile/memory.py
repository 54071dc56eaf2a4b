"""How freed memory is kept for the next step.

The C library of Linux returns arrays above 32 MB to the system when they are freed and asks for
them again in the next step; the system clears every page anew. From some ten thousand atoms
on, that takes more time on a CPU than the arithmetic.
"""

import ctypes
import sys

# glibc's numbers of these settings, from malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the process, instead of returning it at once.

    It holds for the whole process: what was once used stays with it until it ends. Engines that
    are started by others take the same from the environment::

        export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2147483647

    :return: whether the C library took it; False where it is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1))
    return all(bool(library.mallopt(name, value)) for name, value in settings)
