"""Make this folder's model, background and example: `python models/elnino/train.py [FOLDER]`."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.metrics import r2_score
from statsmodels.datasets import elnino

STEPS, AHEAD = 6, 3
LAST_KNOWN = 1994  # later years are held out: the score of a forecast needs years that training did not use
MONTHS = [
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
]  # fmt: skip


def build(dtype: str, mean: float, spread: float) -> keras.Model:
    """Temperatures of six months and the month to forecast, to a temperature. Both scalings are layers."""
    keras.config.set_dtype_policy(dtype)
    keras.utils.set_random_seed(0)
    past = keras.Input((STEPS, 1), name="past", dtype=dtype)
    month = keras.Input((1,), name="calendar", dtype="int64")
    scaled = keras.layers.Rescaling(1 / spread, -mean / spread, name="scaling")(past)
    course = keras.layers.Conv1D(8, 3, activation="relu", name="course")(scaled)
    season = keras.layers.Embedding(len(MONTHS), 3, name="season")(month)
    joined = keras.layers.Concatenate(name="joined")(
        [keras.layers.Flatten(name="steps")(course), keras.layers.Flatten(name="of_month")(season)]
    )
    hidden = keras.layers.Dense(12, activation="relu", name="hidden")(joined)
    forecast = keras.layers.Dense(1, name="forecast")(hidden)
    degrees = keras.layers.Rescaling(spread, mean, name="degrees")(forecast)
    return keras.Model([past, month], degrees)


def main(folder: Path) -> None:
    data = elnino.load_pandas().data
    degrees = data[[month[:3].upper() for month in MONTHS]].to_numpy(np.float64).ravel()
    years = np.repeat(data["YEAR"].to_numpy(), 12)
    first = STEPS + AHEAD - 1
    past = np.lib.stride_tricks.sliding_window_view(degrees, STEPS)[: len(degrees) - first, :, None]
    month = (np.arange(first, len(degrees)) % 12)[:, None]
    y, known = degrees[first:, None], years[first:] <= LAST_KNOWN

    # Train in float64: the float32 weights then do not depend on the order in which a machine adds numbers.
    mean, spread = float(degrees[: known.sum()].mean()), float(degrees[: known.sum()].std())
    trained = build("float64", mean, spread)
    trained.compile(optimizer=keras.optimizers.AdamW(5e-3, weight_decay=1e-2), loss="mse")
    trained.fit([past[known], month[known]], y[known], epochs=60, batch_size=64, verbose=0)
    model = build("float32", mean, spread)
    model.set_weights(trained.get_weights())

    later = past[~known].astype(np.float32)
    score = r2_score(y[~known], model.predict([later, month[~known]], verbose=0))
    model.save(folder / "model.keras")
    chosen = np.random.default_rng(0).choice(int(known.sum()), 100, replace=False)
    np.savez(folder / "background.npz", past=past[known][chosen].astype(np.float32), calendar=month[known][chosen])
    row = 35  # December 1997, in an El Niño
    seen, forecast_in = later[row, :, 0], MONTHS[int(month[~known][row, 0])]
    instance = {"past": [[round(float(value), 2)] for value in seen], "month": forecast_in}
    (folder / "example.json").write_text(json.dumps({"model": "elnino", "instances": [instance]}) + "\n")
    print(f"elnino: R2 {score:.3f} on {len(later)} later months")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
