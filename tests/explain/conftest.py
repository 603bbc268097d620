import os

# Keras reads its backend once, at import.
os.environ["KERAS_BACKEND"] = "torch"

import torch

torch.set_num_threads(1)
