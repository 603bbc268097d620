"""Seeds of Keras models on torch."""

import random

import torch


def seed_keras(seed: int) -> None:
    """The weights of keras.utils.set_random_seed, which also imports TensorFlow: that takes three seconds."""
    random.seed(seed)
    torch.manual_seed(seed)
