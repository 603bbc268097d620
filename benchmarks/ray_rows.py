"""Rows of breast_cancer with `deep` on a Ray node of this machine: rows per second of one core, and the engine's share.

    python -m benchmarks.ray_rows [--rows 1000000] [--cores 2]

Needs an environment with Ray, such as .venv-remote. The engine's share is the processor time of the explanation method
divided by that of the processes that explain, which also read and check the rows and write the answers. Both are
measured in these processes, and are medians of partitions, so that other work on the machine affects both. The first
partition of a process also prepares the method, which is shown apart. Ray's own processes are not counted.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
MODEL, PARTITION = "breast_cancer", 20480


def make_rows(folder: Path, count: int) -> None:
    """Rows of the background with two per cent of noise, so that no two are equal."""
    from whyserve.model.arrays import read_npz
    from whyserve.model.spec import read_spec

    names = read_spec(Path("models", MODEL)).keys
    base = read_npz(Path("models", MODEL, "background.npz").read_bytes())["x"]
    generator = np.random.default_rng(0)
    for first in range(0, count, 250_000):
        size = min(250_000, count - first)
        x = base[generator.integers(0, len(base), size)] * generator.normal(1, 0.02, (size, base.shape[1]))
        columns = dict(zip(names, x.T.astype(np.float32), strict=True))
        path = folder / f"rows-{first // 250_000:04d}.parquet"
        pa.parquet.write_table(pa.table(columns), path, row_group_size=PARTITION)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    import ray

    from whyserve.batch import on_ray
    from whyserve.batch.arrow import Loader, loaded
    from whyserve.tables.explain import Question
    from whyserve.tables.rows import EVERY

    folder = Path(tempfile.mkdtemp(prefix="rows"))
    seconds = folder / "seconds"
    seconds.mkdir()

    class Timed(on_ray._Actor):
        """Writes the processor time of each partition, and that of the method, into a file."""

        def __init__(self, work):
            super().__init__(work)
            self.method = self._explainer._model.explainer("deep")
            self.explain, self.inside = self.method.explain, 0.0
            self.method.explain = self.timed

        def timed(self, *arguments, **options):
            began = time.process_time()
            found = self.explain(*arguments, **options)
            self.inside += time.process_time() - began
            return found

        def __call__(self, row):
            began, self.inside = time.process_time(), 0.0
            found = super().__call__(row)
            (seconds / row["name"]).write_text(f"{time.process_time() - began} {self.inside}")
            return found

    try:
        make_rows(folder, given.rows)
        ray.init(num_cpus=given.cores, log_to_driver=False, include_dashboard=False)
        on_ray._Actor = Timed
        loader = Loader(str(Path("models").absolute()), str(Path("artifacts", MODEL).absolute()))
        work = on_ray.Work(loader, Question(method="deep"), EVERY, str(folder / "answers"))
        places = [str(path) for path in sorted(folder.glob("*.parquet"))]
        how = {"partition_rows": PARTITION, "force": False, "on_progress": lambda *_: None}
        began = time.perf_counter()
        totals = on_ray.explain_on_ray(work, loaded(loader), places, **how)
        wall = time.perf_counter() - began
        assert (totals.rows, totals.refused) == (given.rows, 0)
        spent = np.array([path.read_text().split() for path in seconds.iterdir()], float)
        whole, engine = np.median(spent, axis=0) / min(PARTITION, given.rows)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| rows | cores | rows/s | rows/s per core | method, µs | whole, µs | engine's share | preparing, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print(
        f"| {given.rows:,} | {given.cores} | {given.rows / wall:,.0f} | {1 / whole:,.0f} | {engine * 1e6:.1f} |"
        f" {whole * 1e6:.1f} | {engine / whole:.2f} | {spent[:, 0].sum() - whole * given.rows:.1f} |"
    )


if __name__ == "__main__":
    main()
