"""Rows of breast_cancer with `deep` on a Ray node of this machine: rows per second of one core, and the engine's share.

    python -m benchmarks.ray_rows [--rows 1000000] [--cores 2]

Needs an environment with Ray, such as .venv-ray. The engine's share is the processor time of the explanation method
alone, on the same rows in memory, divided by the processor time of the processes that explain, which also read and
check the rows and write the answers. Both are medians: of partitions, and of parts of a partition's size. The first
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


def engine_seconds(rows: Path, count: int) -> float:
    """Processor time of the method alone, per row."""
    import torch

    from whyserve.batch.arrow import Loader
    from whyserve.explain.game.base import Limits
    from whyserve.tables.explain import CHUNK_ROWS

    model = Loader("models", f"artifacts/{MODEL}").load()
    explainer = model.explainer("deep")
    table = pa.parquet.read_table(rows).slice(0, count)
    x = torch.tensor(np.stack([column.to_numpy() for column in table.columns], axis=1))
    outputs = torch.zeros((CHUNK_ROWS, 1), dtype=torch.int64)
    explainer.explain({"x": x[:CHUNK_ROWS]}, outputs[: len(x)], Limits())
    times = []
    for some in x.split(PARTITION):
        began = time.process_time()
        for part in some.split(CHUNK_ROWS):
            explainer.explain({"x": part}, outputs[: len(part)], Limits())
        times.append((time.process_time() - began) / len(some))
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    import ray

    from whyserve.batch import on_ray
    from whyserve.batch.arrow import Loader
    from whyserve.tables.explain import Question
    from whyserve.tables.rows import EVERY

    folder = Path(tempfile.mkdtemp(prefix="rows"))
    seconds = folder / "seconds"
    seconds.mkdir()

    class Timed(on_ray._Actor):
        """Writes the processor time of each partition into a file."""

        def __call__(self, row):
            began = time.process_time()
            found = super().__call__(row)
            (seconds / str(row["number"])).write_text(str(time.process_time() - began))
            return found

    try:
        make_rows(folder, given.rows)
        ray.init(num_cpus=given.cores, log_to_driver=False, include_dashboard=False)
        on_ray._Actor = Timed
        loader = Loader(str(Path("models").absolute()), str(Path("artifacts", MODEL).absolute()))
        work = on_ray.Work(loader, Question(method="deep"), EVERY, str(folder / "answers"))
        places = [str(path) for path in sorted(folder.glob("*.parquet"))]
        how = {"partition_rows": PARTITION, "force": False, "on_progress": lambda *_: None}
        alone = [engine_seconds(folder / "rows-0000.parquet", 2 * PARTITION)]
        began = time.perf_counter()
        totals = on_ray.explain_on_ray(work, loader.load(), places, **how)
        wall = time.perf_counter() - began
        alone.append(engine_seconds(folder / "rows-0000.parquet", 2 * PARTITION))
        assert (totals.rows, totals.refused) == (given.rows, 0)
        spent = [float(path.read_text()) for path in seconds.iterdir()]
        whole = float(np.median(spent)) / min(PARTITION, given.rows)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    engine = sum(alone) / 2
    print("| rows | cores | rows/s | rows/s per core | method alone, µs | whole, µs | engine's share | preparing, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print(
        f"| {given.rows:,} | {given.cores} | {given.rows / wall:,.0f} | {1 / whole:,.0f} | {engine * 1e6:.1f} |"
        f" {whole * 1e6:.1f} | {engine / whole:.2f} | {sum(spent) - whole * given.rows:.1f} |"
    )


if __name__ == "__main__":
    main()
