"""Make this folder's model, background and example: `python models/linear/train.py [FOLDER]`."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

FEATURES = ["bmi", "bp"]


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    data = load_diabetes(as_frame=True, scaled=False)
    x = data.data[FEATURES].to_numpy(np.float32)
    y = data.target.to_numpy(np.float32)[:, None]
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, random_state=0)

    scaling = keras.layers.Normalization(name="scaling")
    scaling.adapt(x)
    model = keras.Sequential([keras.Input((2,), name="x"), scaling, keras.layers.Dense(1, name="progression")])
    # With Adam's default of 0.001, the bias would move by about one point in 1,100 steps; the mean is 152.
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.5), loss="mean_squared_error")
    model.fit(x, y, epochs=100, batch_size=32, verbose=0)

    score = r2_score(y_test, model.predict(x_test, verbose=0))
    model.save(folder / "model.keras")
    chosen = np.random.default_rng(0).choice(len(x), 100, replace=False)
    np.savez(folder / "background.npz", x=x[chosen])
    instance = {name: round(float(value), 2) for name, value in zip(FEATURES, x_test[0], strict=True)}
    example = {"model": "linear", "instances": [instance]}
    (folder / "example.json").write_text(json.dumps(example, indent=2) + "\n")
    print(f"linear: R2 {score:.3f} on {len(x_test)} held-out people")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
