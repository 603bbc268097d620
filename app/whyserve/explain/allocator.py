"""Make glibc keep the memory that a worker frees.

A worker allocates large blocks of the same sizes again and again. By default, glibc returns each freed block to the
operating system and requests new memory, and the system must fill every new page with zeros. This doubled the time of
one chunk of a convolutional network. Without glibc, nothing changes.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
KEPT_BYTES = 256 << 20
LARGEST_BYTES = 32 << 20  # largest block that comes from the heap; glibc accepts no higher value


def keep_freed_memory() -> bool:
    """Keep up to KEPT_BYTES of freed memory in this process. Return whether the allocator accepted the settings."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, LARGEST_BYTES) and mallopt(_TRIM_THRESHOLD, KEPT_BYTES))
