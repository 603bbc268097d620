"""Serve a Keras or PyTorch model over REST and say, for every prediction, why."""

__version__ = "0.1.0"
