"""Code as in a notebook: three networks, trained here, each packaged in one call.

python tests/notebook.py FOLDER
"""

import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_diabetes, load_iris
from torch import nn

from whyserve.export.package.package import package

root = Path(sys.argv[1])
artifacts = root / "artifacts"

# %% A torch class that exists only in this file: the species of an iris from four measurements.
iris = load_iris()
x, y = torch.tensor(iris.data, dtype=torch.float32), torch.tensor(iris.target)


class Flower(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", x.mean(0))
        self.layers = nn.Sequential(nn.Linear(4, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.1), nn.Linear(12, 3))

    def forward(self, measures):
        return torch.softmax(self.layers(measures - self.mean), dim=-1)


torch.manual_seed(0)
flower = Flower()
optimizer = torch.optim.Adam(flower.parameters(), lr=1e-2)
for _ in range(100):
    optimizer.zero_grad()
    nn.functional.nll_loss(flower(x).clamp_min(1e-9).log(), y).backward()
    optimizer.step()
table = pd.DataFrame(iris.data, columns=["sepal_length", "sepal_width", "petal_length", "petal_width"])
print(package(flower, root / "models" / "flower", background=table, labels=iris.target_names, artifacts=artifacts))

# %% A functional Keras model with two inputs, numbers and categories: the progression of diabetes.
data = load_diabetes(scaled=False, as_frame=True)
people = data.data[["bmi", "bp"]].copy()
people["sex"] = pd.Categorical(data.data["sex"].map({1: "one", 2: "other"}))
numbers = keras.Input((2,), name="numbers")
sex = keras.Input((1,), name="sex_of", dtype="int64")
scaling = keras.layers.Normalization()
scaling.adapt(people[["bmi", "bp"]].to_numpy())
known = keras.layers.Flatten()(keras.layers.Embedding(2, 2)(sex))
hidden = keras.layers.Dense(8, "relu")(keras.layers.Concatenate()([scaling(numbers), known]))
course = keras.Model([numbers, sex], keras.layers.Dense(1)(hidden))
course.compile("adam", "mse")
codes = people["sex"].cat.codes.to_numpy()[:, None].astype("int64")
course.fit([people[["bmi", "bp"]].to_numpy(), codes], data.target.to_numpy(), epochs=5, verbose=0)
print(
    package(
        course, root / "models" / "course", background=people, names=["progression"], unit="points",
        units={"bmi": "kg/m²", "bp": "mm Hg"}, artifacts=artifacts,
    )
)  # fmt: skip

# %% A program of torch.export: the next value of a wave.
time = torch.arange(400, dtype=torch.float32)
wave = torch.sin(time / 5) + 0.1 * torch.sin(time)
windows = wave.unfold(0, 7, 1)


class Next(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory, self.exit = nn.GRU(1, 6, batch_first=True), nn.Linear(6, 1)

    def forward(self, past):
        return self.exit(self.memory(past)[0][:, -1])


forecast = Next()
optimizer = torch.optim.Adam(forecast.parameters(), lr=2e-2)
for _ in range(60):
    optimizer.zero_grad()
    (forecast(windows[:, :6, None]) - windows[:, 6:]).square().mean().backward()
    optimizer.step()
batch = torch.export.Dim("batch")
program = torch.export.export(forecast.eval(), (windows[:3, :6, None],), dynamic_shapes=({0: batch},))
rows = windows[::10, :6, None].numpy().astype(np.float32)
print(package(program, root / "models" / "wave", background=rows, names=["next"], artifacts=artifacts))
