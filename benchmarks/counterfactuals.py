"""`python -m benchmarks.counterfactuals`: the times of POST /counterfactual for the shipped tables.

With --rival, also a comparison with dice-ml 0.12: distance in quantiles of the background, and processor time. dice-ml
gets an environment of its own: it needs packages that Whyserve does not use.
"""

import argparse
import subprocess
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.predict_servers import whyserve_server
from tests.conftest import rows_of
from whyserve.predict.predictor import load_predictor

MODEL, ROWS = Path("artifacts/breast_cancer"), 20
TABLES: dict[str, dict[str, Any]] = {
    "breast_cancer": {}, "wine": {}, "penguins": {"output": "Gentoo"}, "linear": {"threshold": 150.0},
    "fclayer": {"threshold": 150.0},
}  # fmt: skip
ASKED = 60  # rows of each table, one per request
RIVAL = """
import sys, time, warnings
warnings.filterwarnings("ignore")
import dice_ml, numpy as np, onnxruntime, pandas as pd
given = np.load(sys.argv[1])
session = onnxruntime.InferenceSession(sys.argv[2])
names = [f"f{place}" for place in range(given["background"].shape[1])]

class Model:
    classes_ = np.array([0, 1])
    def predict_proba(self, rows):
        found = session.run(None, {session.get_inputs()[0].name: np.asarray(rows, np.float32)})[0]
        return found if found.shape[1] == 2 else np.hstack([1 - found, found])
    def predict(self, rows):
        return self.predict_proba(rows).argmax(1)

frame = pd.DataFrame(given["background"].astype(float), columns=names)
frame["y"] = Model().predict(given["background"])
data = dice_ml.Data(dataframe=frame, continuous_features=names, outcome_name="y")
search = dice_ml.Dice(data, dice_ml.Model(model=Model(), backend="sklearn"), method="random")
found, took = np.full(given["rows"].shape, np.nan), []
for at, row in enumerate(given["rows"]):
    began = time.process_time()
    try:
        asked = pd.DataFrame([row.astype(float)], columns=names)
        answer = search.generate_counterfactuals(
            asked, total_CFs=1, desired_class="opposite", random_seed=0, verbose=False
        )
        found[at] = answer.cf_examples_list[0].final_cfs_df[names].to_numpy(float)[0]
    except Exception:
        pass
    took.append(time.process_time() - began)
np.savez(sys.argv[3], found=found, took=took)
"""


def over_http() -> None:
    """One caller, one row per request. Processor time is that of the whole API process."""
    with whyserve_server() as server, httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
        print("table", "count", "p50", "p95", "largest", "processor time p50", "p95", "none found", sep=" | ")
        for name, options in TABLES.items():
            for count in (1, 3):
                walls, processors, none = [], [], 0
                for row in rows_of(name, ASKED):
                    body = {"model": name, "instances": [row], "count": count, **options}
                    began, used = time.perf_counter(), server.cpu_s()
                    (found,) = client.post("/counterfactual", json=body).raise_for_status().json()["counterfactuals"]
                    walls.append(1e3 * (time.perf_counter() - began))
                    processors.append(1e3 * (server.cpu_s() - used))
                    none += not found["found"]
                times = [*np.quantile(walls, (0.5, 0.95, 1)), *np.quantile(processors, (0.5, 0.95))]
                print(name, count, *(f"{each:.0f} ms" for each in times), none, sep=" | ", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rival", nargs="?", const="", help="Compare with dice-ml, in this interpreter or a new one")
    rival = parser.parse_args().rival
    over_http()
    if rival is not None:
        compare(rival)


def compare(rival: str) -> None:
    """rival: an interpreter that has dice-ml; empty: make one."""
    predictor = load_predictor(MODEL, 1)
    model = predictor.deciding
    distances = model.search.distances
    rows = distances.background[:ROWS]
    answers, ours = [], []
    for row in rows:
        began = time.process_time()
        answers += model.all(distances.arrays(row[None]), {})
        ours.append(time.process_time() - began)
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.npz", Path(folder) / "made.npz"
        np.savez(given, background=distances.background, rows=rows)
        subprocess.run([rival or python(Path(folder)), "-c", RIVAL, given, MODEL / "model.onnx", made], check=True)
        theirs = np.load(made)
    far = [
        distances.between(row[None], found[None], range(len(row)))[0]
        for row, found in zip(rows, theirs["found"], strict=True)
    ]
    print("row", "ours", "dice-ml", sep="\t")
    for at, (answer, distance) in enumerate(zip(answers, far, strict=True)):
        own = answer["found"][0]["distance"] if answer["found"] else np.nan
        print(at, f"{own:.3f} {ours[at]:.3f} s", f"{distance:.3f} {theirs['took'][at]:.3f} s", sep="\t")


def python(folder: Path) -> str:
    """The interpreter of a new environment with dice-ml."""
    venv.create(folder / "env", with_pip=True)
    found = str(folder / "env/bin/python")
    subprocess.run([found, "-m", "pip", "install", "-q", "dice-ml==0.12", "onnxruntime"], check=True)
    return found


if __name__ == "__main__":
    main()
