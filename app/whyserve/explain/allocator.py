"""glibc's allocator, told what a worker's memory is like: large, the same sizes again and again, and freed at once.

As it comes, glibc gives a freed block of megabytes back to the system and asks for it again, whose pages are then
zeroed one by one: a chunk of a convolutional network's pairs took twice as long. Where there is no glibc, nothing is
done.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
KEPT_BYTES = 256 << 20
LARGEST_BYTES = 32 << 20  # that comes of the heap; glibc takes no more


def keep_freed_memory() -> bool:
    """Keep up to KEPT_BYTES of freed memory at hand, in this process. Whether the allocator took it."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, LARGEST_BYTES) and mallopt(_TRIM_THRESHOLD, KEPT_BYTES))
