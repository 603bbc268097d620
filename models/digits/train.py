"""Make this folder's model, background and example: `python models/digits/train.py [FOLDER]`."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split


def build(dtype: str) -> keras.Model:
    """Grey levels from 0 to 16, channels last, to probabilities. The scaling is a layer of the network."""
    keras.config.set_dtype_policy(dtype)
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image", dtype=dtype),
            keras.layers.Rescaling(1 / 16, name="scaling"),
            keras.layers.Conv2D(12, 3, strides=2, padding="same", activation="relu", name="strokes"),
            keras.layers.Conv2D(24, 3, activation="relu", name="shapes"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(10, activation="softmax", name="digit"),
        ]
    )


def main(folder: Path) -> None:
    data = load_digits()
    x, y = data.images[..., None], data.target
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)

    # Train in float64: the float32 weights then do not depend on the order in which a machine adds numbers.
    trained = build("float64")
    trained.compile(optimizer=keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy")
    trained.fit(x, y, epochs=25, batch_size=32, verbose=0)
    model = build("float32")
    model.set_weights(trained.get_weights())

    score = accuracy_score(y_test, model.predict(x_test.astype(np.float32), verbose=0).argmax(1))
    model.save(folder / "model.keras")
    # Two rows of each digit: the time of an explanation grows with the number of background rows.
    chosen = np.concatenate([np.flatnonzero(y == digit)[:2] for digit in range(10)])
    np.savez(folder / "background.npz", image=x[chosen].astype(np.float32))
    example = {"model": "digits", "instances": [{"image": x_test[0].tolist()}]}
    (folder / "example.json").write_text(json.dumps(example) + "\n")
    print(f"digits: accuracy {score:.3f} on {len(x_test)} held-out digits")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
