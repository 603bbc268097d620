"""Make this folder's model, background and example: `python models/wine/train.py [FOLDER]`."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_wine
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

FEATURES = [
    "alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids",
    "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280_od315", "proline",
]  # fmt: skip


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    data = load_wine()
    x, y = data.data.astype(np.float32), data.target
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)

    scaling = keras.layers.Normalization(name="scaling")
    scaling.adapt(x)
    model = keras.Sequential(
        [
            keras.Input((13,), name="x"),
            scaling,
            keras.layers.Dense(32, name="hidden"),
            keras.layers.BatchNormalization(name="centred"),
            keras.layers.Activation("relu", name="active"),
            keras.layers.Dense(16, activation="relu", name="narrow"),
            keras.layers.Dense(3, activation="softmax", name="cultivar"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    model.fit(x, y, epochs=60, batch_size=16, verbose=0)

    score = accuracy_score(y_test, model.predict(x_test, verbose=0).argmax(1))
    model.save(folder / "model.keras")
    chosen = np.random.default_rng(0).choice(len(x), 100, replace=False)
    np.savez(folder / "background.npz", x=x[chosen])
    instance = {name: round(float(value), 2) for name, value in zip(FEATURES, x_test[0], strict=True)}
    example = {"model": "wine", "instances": [instance]}
    (folder / "example.json").write_text(json.dumps(example, indent=2) + "\n")
    print(f"wine: accuracy {score:.3f} on {len(x_test)} held-out bottles")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
