"""Make this folder's tokenizer, weights, background and example: `python models/places/train.py [FOLDER]`."""

import gettext
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pycountry
import torch
from network import PIECES, build
from safetensors.torch import save_file
from sklearn.metrics import accuracy_score
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch.nn import functional as F

LANGUAGES = ["fr", "de", "hu", "it", "lt", "pl"]  # in the order of model.toml's labels
PLACES = {"iso3166-1": pycountry.countries, "iso3166-2": pycountry.subdivisions}
TOKENS = 14  # enough for 95% of the names
EXAMPLE = "Naujoji Zelandija"  # New Zealand
SPECIAL = ["[PAD]", "[UNK]"]
HELD_OUT = 5  # one place in five is held out, with its names in all languages

Names = list[tuple[str, int]]


def main(folder: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    known, held_out = names(rng)
    tokenizer = trained([name for name, _ in known])
    x, y = read(tokenizer, known)
    x_test, y_test = read(tokenizer, held_out)

    # Train in float64: the float32 weights then do not depend on the order in which a machine adds numbers.
    network = build().double()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=3e-1)
    rare = 1 / torch.bincount(y).double()
    for _ in range(20):
        for part in torch.tensor(rng.permutation(len(x))).split(256):
            optimizer.zero_grad()
            F.cross_entropy(network.logits(x[part]), y[part], weight=rare, label_smoothing=0.05).backward()
            optimizer.step()

    network.eval().float()
    with torch.no_grad():
        score = accuracy_score(y_test, network(x_test).argmax(1).numpy())
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file(network.state_dict(), folder / "weights.safetensors")
    np.savez(folder / "background.npz", name=x[rng.choice(len(x), 100, replace=False)].numpy())
    example = {"model": "places", "instances": [{"name": EXAMPLE}]}
    (folder / "example.json").write_text(json.dumps(example, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"places: accuracy {score:.3f} on {len(x_test)} names of held-out places")


def names(rng: np.random.Generator) -> tuple[Names, Names]:
    """(training, held out): names with the index of their language. Names that two languages share are left out."""
    found: dict[tuple[str, int], str] = {}
    for domain, places in PLACES.items():
        english = sorted({place.name for place in places})
        for number, language in enumerate(LANGUAGES):
            translate = gettext.translation(domain, pycountry.LOCALES_DIR, languages=[language]).gettext
            found |= {(translate(name), number): name for name in english if translate(name) != name}
    languages_of = Counter(name for name, _ in found)
    own = sorted(pair for pair in found if languages_of[pair[0]] == 1)
    places = sorted({found[pair] for pair in own})
    held_out = set(rng.choice(places, len(places) // HELD_OUT, replace=False))
    return (
        [pair for pair in own if found[pair] not in held_out],
        [pair for pair in own if found[pair] in held_out],
    )


def trained(texts: list[str]) -> Tokenizer:
    """A byte-pair encoding of frequent word pieces. A piece that starts a word begins with ▁."""
    empty, unknown = SPECIAL
    tokenizer = Tokenizer(models.BPE(unk_token=unknown))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    # No prefix for pieces inside words, although it reads better: with a prefix, each training gives other pieces.
    trainer = trainers.BpeTrainer(vocab_size=PIECES, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.enable_padding(length=TOKENS, pad_id=0, pad_token=empty)
    return tokenizer


def read(tokenizer: Tokenizer, names: Names) -> tuple[torch.Tensor, torch.Tensor]:
    """The ids, (names, TOKENS), and the language indices, (names,). Longer names are left out."""
    rows = [(tokenizer.encode(name).ids, language) for name, language in names]
    fit = [(ids, language) for ids, language in rows if len(ids) == TOKENS]
    return torch.tensor([ids for ids, _ in fit]), torch.tensor([language for _, language in fit])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
