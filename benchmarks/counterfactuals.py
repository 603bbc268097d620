"""Compare counterfactuals with those of dice-ml 0.12: distance in quantiles of the background, and processor time.

dice-ml gets an environment of its own: it needs packages that Whyserve does not use.
"""

import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np

from whyserve.predict.predictor import load_predictor

MODEL, ROWS = Path("artifacts/breast_cancer"), 20
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


def main() -> None:
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
        subprocess.run([python(Path(folder)), "-c", RIVAL, given, MODEL / "model.onnx", made], check=True)
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
    """The interpreter of an environment with dice-ml; that of the first argument, if there is one."""
    if len(sys.argv) > 1:
        return sys.argv[1]
    venv.create(folder / "env", with_pip=True)
    found = str(folder / "env/bin/python")
    subprocess.run([found, "-m", "pip", "install", "-q", "dice-ml==0.12", "onnxruntime"], check=True)
    return found


if __name__ == "__main__":
    main()
