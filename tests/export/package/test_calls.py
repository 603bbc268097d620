"""How torch networks are called: defaults, keywords, dicts, *args, and the models of transformers with a tokenizer."""

import types
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn

from whyserve.errors import WhyserveError
from whyserve.export.package.network import network_of
from whyserve.export.package.output_choice import OutputChoice
from whyserve.export.package.package import package
from whyserve.export.package.text import padded_tokenizer, read_texts
from whyserve.export.package.trials import try_background
from whyserve.notebook.explainer import Explainer

RNG = np.random.default_rng(0)
X, IDS, KEEP = RNG.normal(size=(12, 4)).astype(np.float32), RNG.integers(0, 9, (12, 3)), RNG.random((12, 4)) < 0.5


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.embed = nn.Linear(4, 2), nn.Embedding(9, 4)

    def kept(self, x, keep):
        return self.linear(x * keep)


class Default(Net):
    def forward(self, x, scale=None, keep=None):
        assert scale is None
        return self.linear(x) if keep is None else self.kept(x, keep)


class Keyword(Net):
    def forward(self, x, *, keep, scale=1.0):
        return self.kept(x, keep) * scale


class Batch(Net):
    def forward(self, batch):
        return self.kept(batch["x"], batch["keep"])


class Looked(Net):
    def forward(self, batch):
        return self.linear(batch["x"] + self.embed(batch["ids"]).sum(1))


class Pair(Net):
    def forward(self, inputs):
        x, keep = inputs
        return self.kept(x, keep)


class Star(Net):
    def forward(self, *inputs, **more):
        return self.kept(*inputs)


class Keywords(Net):
    def forward(self, x, **more):
        return self.kept(x, more["keep"])


class Flat(Net):
    def forward(self, user, item):
        return (self.embed(user) * self.embed(item)).sum(-1)


def written(network, arrays):
    """The output of the network.py that is written for rows."""
    files = network.files(arrays)
    module = types.ModuleType("written")
    exec(compile(files["network.py"], "network.py", "exec"), module.__dict__)
    built = module.build().eval()
    built.load_state_dict(load(files["weights.safetensors"]))
    with torch.no_grad():
        return built(*(torch.from_numpy(arrays[name]) for name in network.names)).numpy()


def taken(model, background):
    """The names of the inputs, and the outputs of the network and of what is written."""
    network = network_of(model, background).with_output(OutputChoice())
    tried = try_background(network, background)
    return network.names, tried.table, written(network, tried.arrays)


kept = {"x": X, "keep": KEEP}
CASES = {
    "a default that the background names": (Default, kept, ("x", "keep")),
    "a default that is left alone": (Default, X, ("x",)),
    "a keyword": (Keyword, kept, ("x", "keep")),
    "a dict": (Batch, kept, ("x", "keep")),
    "a tuple": (Pair, kept, ("x", "keep")),
    "args": (Star, kept, ("x", "keep")),
    "kwargs": (Keywords, kept, ("x", "keep")),
}


@pytest.mark.parametrize("case", CASES)
def test_the_background_decides_what_the_inputs_are(case):
    kind, background, names = CASES[case]
    model = kind().eval()
    found, run, file = taken(model, background)
    with torch.no_grad():
        expected = model.linear(torch.from_numpy(X * KEEP if len(names) > 1 else X)).numpy()
    assert found == names
    np.testing.assert_allclose(run, expected, atol=1e-6)
    np.testing.assert_allclose(file, expected, atol=1e-6)


def test_ids_in_a_dict_stay_integers_and_a_number_per_row_has_no_second_dimension():
    names, run, file = taken(Looked(), {"ids": IDS, "x": X})
    assert names == ("ids", "x")
    np.testing.assert_allclose(file, run, atol=1e-6)
    model, background = Flat(), {"user": IDS[:, 0], "item": IDS[:, 1]}
    with torch.no_grad():
        expected = model(*(torch.from_numpy(each) for each in background.values())).numpy()
    np.testing.assert_allclose(taken(model, background)[2], expected, atol=1e-6)


FAULTS = {
    "an unknown name": (Default, {"x": X, "kep": KEEP}, '"kep" in the background is not an input of the network'),
    "another name": (nn.Linear, {"y": X}, 'input "input" is missing from the background; the inputs are input'),
    "no inputs": (type("None", (Net,), {"forward": lambda self: self.linear(torch.rand(1, 4))}), X, "takes no inputs"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_background_that_does_not_fit_is_refused_with_the_names(fault):
    kind, background, words = FAULTS[fault]
    with pytest.raises(WhyserveError, match=words):
        taken(kind(4, 2) if kind is nn.Linear else kind(), background)


def test_a_notebook_takes_a_dict_too():
    explained = Explainer(Batch().eval(), kept, method="permutation")({"x": X[:2], "keep": KEEP[:2]})
    assert np.abs(explained.residuals).max() < 1e-5


# -- transformers ---------------------------------------------------------------------------------

TEXTS = ["a good film", "a very bad film", "not good", "very very good", "bad", "a film"]


def words(pad=0):
    from transformers import PreTrainedTokenizerFast  # it loads slowly

    known = ["[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "not", "very", "a"]
    known.insert(pad, "[PAD]")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = [(token, known.index(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")


def classifier(name, **config):
    import transformers

    torch.manual_seed(0)
    made = getattr(transformers, f"{name}Config")(vocab_size=12, num_labels=3, **config)
    return getattr(transformers, f"{name}ForSequenceClassification")(made).eval()


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TEXT_MODELS = {
    "Bert": (0, {**SMALL, "max_position_embeddings": 16}),
    "Roberta": (1, {**SMALL, "max_position_embeddings": 20, "pad_token_id": 1}),
    "DistilBert": (0, {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 16}),
    "GPT2": (0, {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16, "pad_token_id": 0}),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n != "Bert" else ()) for n in TEXT_MODELS])
def test_a_text_gets_the_mask_that_its_tokenizer_gives(name):
    pad, config = TEXT_MODELS[name]
    model, tokenizer = classifier(name, **config), words(pad)
    with torch.no_grad():
        expected = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in TEXTS]).numpy()
    both = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    for background in (TEXTS, both):  # `both` has the mask beside the ids
        padded = padded_tokenizer(tokenizer, model)
        network = network_of(model, background, padded).with_output(OutputChoice())
        text = read_texts(padded, background, network, {})
        tried = try_background(network, text.background)
        assert network.names == ("input_ids",)
        np.testing.assert_allclose(tried.table, expected, atol=1e-5)
        np.testing.assert_allclose(written(network, tried.arrays), expected, atol=1e-5)
    wrong = {**both, "attention_mask": torch.ones_like(both["attention_mask"])}
    with pytest.raises(WhyserveError, match='"attention_mask" is not what the ids give'):
        read_texts(padded, wrong, network_of(model, wrong, padded), {})


@pytest.mark.slow
def test_bert_is_packaged_and_served_as_text(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers deprecates parts of itself
        model = classifier("Bert", **TEXT_MODELS["Bert"][1])
        made = package(
            model, tmp_path / "models" / "opinion", background=TEXTS, tokenizer=words(), labels=list("abc"),
            artifacts=tmp_path / "artifacts",
        )  # fmt: skip
    methods = made.manifest.certificate["methods"]
    assert [item.name for item in made.manifest.spec.inputs] == ["input_ids"]
    assert methods["permutation"]["fits"]
    assert methods["deep"]["fits"]
    assert methods["deep"]["residual"] < 1e-5
    assert "no gradient passes" in methods["gradient"]["why"]


@pytest.mark.slow
def test_a_vision_transformer_takes_pixel_values():
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    model = ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, num_labels=3, **SMALL)).eval()
    pixels = RNG.random((4, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(pixels)).logits.numpy()
    names, _, file = taken(model, pixels)
    assert names == ("pixel_values",)
    np.testing.assert_allclose(file, expected, atol=1e-5)
