"""`make bench-explain`: write distances and times of every method, ours and others, to docs/."""

import argparse
import os

os.environ["KERAS_BACKEND"] = "torch"

import torch

from benchmarks import certificates, explain_distances, explain_speed
from whyserve.explain.allocator import keep_freed_memory

PARTS = {
    "certificates": certificates.main,
    "speed": explain_speed.main,
    "distances": explain_distances.main,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="The tables to make. Default: all")
    torch.set_num_threads(1)
    keep_freed_memory()  # as a worker does
    for part in parser.parse_args().parts or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
