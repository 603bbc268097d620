"""A model whose features may be missing: as NaN, as a category of its own, or filled."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import whyserve


class Credit(nn.Module):
    """income may be NaN: a mask says so. plan has an entry for a missing one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.plan = nn.Embedding(3, 2)
        self.first, self.exit = nn.Linear(6, 8), nn.Linear(8, 1)

    def forward(self, x, kind):
        absent = torch.isnan(x[:, 1:2]).to(x.dtype)
        known = torch.nan_to_num(x)
        return self.exit(torch.tanh(self.first(torch.cat([known, absent, self.plan(kind[:, 0])], 1))))


def table(rows: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    made = pd.DataFrame(
        {
            "age": rng.integers(20, 70, rows).astype(float),
            "income": rng.normal(size=rows).round(3),
            "owner": pd.Series(rng.random(rows) < 0.5, dtype=object),
            "plan": pd.Series(rng.choice(["free", "pro"], rows), dtype=object),
        }
    )
    made.loc[::5, "age"] = np.nan
    made.loc[1::5, "income"] = np.nan
    made.loc[2::5, "owner"] = None
    made.loc[3::5, "plan"] = None
    return made


MISSING: dict[str, Any] = {"age": "median", "income": True, "owner": "mode", "plan": True}
ROW = {"age": 30.0, "income": 0.5, "owner": True, "plan": "pro"}
NULLS = dict.fromkeys(ROW)


def package_credit(root: Path) -> None:
    """The model as root/models/credit, exported to root/artifacts."""
    whyserve.package(
        Credit(),
        root / "models" / "credit",
        background=table(),
        names=["risk"],
        categories={"plan": ["free", "pro"]},
        missing=MISSING,
        artifacts=root / "artifacts",
    )
