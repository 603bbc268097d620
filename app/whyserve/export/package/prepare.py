"""The caller's network as it will be served, after a run on its background."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from whyserve.errors import InvalidInput
from whyserve.export.package.checks import check_codes, check_expected
from whyserve.export.package.network import as_served, network_of
from whyserve.export.package.output_choice import OutputChoice
from whyserve.export.package.preprocess import Front
from whyserve.export.package.text import TextBackground, padded_tokenizer, read_texts
from whyserve.export.package.trials import Tried, try_background
from whyserve.model.spec import ModelSpec
from whyserve.model.text import text_readers


@dataclass(frozen=True, slots=True)
class Prepared:
    """tried: the network and its background. text: the texts of the background. origin: of a network of another form.

    answers: the original's answers for the background as given, of a model that had preprocessing layers.
    fronted: compares the layers of `preprocess` with scikit-learn, and returns a note.
    """

    background: Any
    tried: Tried
    text: TextBackground
    origin: str
    answers: Callable[[Any], Any] | None
    fronted: Callable[[ModelSpec], str] | None

    def compare(self, spec: ModelSpec, expected: Any) -> tuple[str, ...]:
        """Compare requests with the original's answers. Returns notes. Raises InvalidInput, ModelFault."""
        readers = text_readers(spec, lambda name: self.text.files[name])
        notes: tuple[str, ...] = (self.fronted(spec),) if self.fronted else ()
        for truth in (expected, self.answers):
            if truth is not None:
                network = self.tried.network
                notes += check_expected(truth, self.background, self.tried, network, spec=spec, readers=readers)
        return notes


def prepare(
    model: Any,
    background: Any,
    *,
    choice: OutputChoice,
    tokenizer: Any,
    kinds: Mapping[str, str],
    categories: Mapping[str, Any],
    preprocess: Any,
    features: Any,
) -> Prepared:
    """Run a network on its background. The arguments are those of `package`. Raises InvalidInput, ModelFault."""
    tokenizer = padded_tokenizer(tokenizer, model)
    network = network_of(model, background, tokenizer).with_output(choice)
    inside, answers = getattr(network, "front", None), None
    given = as_served(network, background, categories)
    if inside:
        answers = inside.answers if choice.output is None and not choice.reduce else None
        if inside.texts and tokenizer is not None:
            raise InvalidInput("the model has a TextVectorization layer; leave tokenizer out")
        tokenizer = next(iter(inside.texts.values()), tokenizer)
        kinds = {**dict.fromkeys(inside.texts, "tokens"), **kinds}
    text = read_texts(tokenizer, given, network, kinds)
    if preprocess is None:
        tried = try_background(network, text.background, categories=categories)
        fronted = None
    else:
        front = Front.of(preprocess, text.background, features)
        network, layers = network.with_front(front)
        tried = try_background(network, text.background, categories=categories, read=front.read)

        def fronted(spec: ModelSpec) -> str:
            return front.check(layers, spec, tried.arrays, tried.kept)

    check_codes(tried.network, tried.arrays, tried.columns)
    return Prepared(background, tried, text, getattr(network, "origin", ""), answers, fronted)
