"""The caller's network as it will be served, after a run on its background."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from whyserve.errors import InvalidInput
from whyserve.export.package.background import read_background
from whyserve.export.package.checks import check_codes, check_expected
from whyserve.export.package.gaps import fill_gaps
from whyserve.export.package.network import network_of
from whyserve.export.package.output_choice import OutputChoice
from whyserve.export.package.preprocess import Front
from whyserve.export.package.text import TextBackground, padded_tokenizer, read_texts
from whyserve.export.package.trials import MOST_ROWS, Tried, try_background
from whyserve.model.spec import ModelSpec
from whyserve.model.text import text_readers


@dataclass(frozen=True, slots=True)
class Prepared:
    """tried: the network and its background. text: the texts of the background. origin: of a network of another form.

    compare: compares requests with the original and with the argument `expected`. Returns notes. Raises InvalidInput,
    ModelFault.
    """

    tried: Tried
    text: TextBackground
    origin: str
    compare: Callable[[ModelSpec, Any], tuple[str, ...]]


def prepare(
    model: Any,
    background: Any,
    *,
    choice: OutputChoice,
    categories: Mapping[str, Any],
    missing: Mapping[str, Any] = MappingProxyType({}),
    tokenizer: Any = None,
    kinds: Mapping[str, str] = MappingProxyType({}),
    preprocess: Any = None,
    features: Any = None,
    most: int | None = MOST_ROWS,
) -> Prepared:
    """Run a network on its background. most: the number of rows to keep, drawn at random; None for all. The other
    arguments are those of `package`. Raises InvalidInput, ModelFault.
    """
    background, gaps = fill_gaps(background, missing)
    tokenizer = padded_tokenizer(tokenizer, model)
    network = network_of(model, background, tokenizer).with_output(choice)
    inside, front, layers = getattr(network, "front", None), None, None
    if inside and inside.texts:
        if tokenizer is not None:
            raise InvalidInput("the model has a TextVectorization layer; leave tokenizer out")
        tokenizer, kinds = next(iter(inside.texts.values())), {**dict.fromkeys(inside.texts, "tokens"), **kinds}
    given = inside.background(background, categories) if inside else background  # without the network's own layers
    text = read_texts(tokenizer, given, network, kinds)
    if preprocess is not None:
        if hasattr(network, "no_front"):
            raise InvalidInput(network.no_front)
        front = Front.of(preprocess, text.background, features)
        network, layers = network.with_front(front)
    if front and gaps:
        raise InvalidInput("a network with preprocess takes rows without gaps; leave missing out, and fill the rows")
    read = front.read if front else partial(read_background, missing=gaps)
    tried = try_background(network, text.background, most, categories, read)
    check_codes(tried.network, tried.arrays, tried.columns)

    def compare(spec: ModelSpec, expected: Any) -> tuple[str, ...]:
        readers = text_readers(spec, lambda name: text.files[name])
        notes: tuple[str, ...] = (front.check(layers, spec, tried.arrays, tried.kept),) if front else ()
        whole = choice.output is None and not choice.reduce
        for truth in (expected, inside.answers if inside and whole else None):
            if truth is not None:
                notes += check_expected(truth, background, tried, spec=spec, readers=readers)
        return notes

    return Prepared(tried, text, getattr(network, "origin", ""), compare)
