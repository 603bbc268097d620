"""How a torch network is called: which of its parameters are inputs, and in which form it takes them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from whyserve.errors import ModelFault
from whyserve.export.package.background import is_flat
from whyserve.export.package.given import plain_array
from whyserve.export.package.torch_operations import float32_only

P = inspect.Parameter
# What the tokenizers of transformers give beside the ids of a text, computed from the ids and the id of padding.
FROM_IDS: Mapping[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "attention_mask": lambda ids, pad: (ids != pad).long(),
    "token_type_ids": lambda ids, pad: torch.zeros_like(ids),
}
# What a single argument that holds all inputs may be.
FORMS: tuple[Callable[[dict[str, torch.Tensor]], Any], ...] = (lambda held: held, lambda held: tuple(held.values()))


@dataclass(frozen=True, slots=True)
class Call:
    """names: of the inputs, in order. positional: the number of inputs that are positional arguments; the others are
    keyword arguments. form: makes the network's single argument, if there is one for all inputs. flat: the inputs that
    the network takes with shape (rows,). derived: the arguments that are computed from the ids. pad: the id of padding.
    A call of it calls a network with one tensor of shape (rows, …) per input.
    """

    names: tuple[str, ...]
    positional: int
    form: Callable[[dict[str, torch.Tensor]], Any] | None
    flat: frozenset[str]
    derived: tuple[str, ...]
    pad: int

    def __call__(self, network: nn.Module, *inputs: torch.Tensor) -> Any:
        given = [x.squeeze(1) if name in self.flat else x for name, x in zip(self.names, inputs, strict=True)]
        if self.form is not None:
            return network(self.form(dict(zip(self.names, given, strict=True))))
        keywords = dict(zip(self.names[self.positional :], given[self.positional :], strict=True))
        ids = next((x for x in given if not x.is_floating_point() and x.ndim == 2), given[0])
        derived = {name: FROM_IDS[name](ids, self.pad) for name in self.derived}
        return network(*given[: self.positional], **keywords, **derived)


def call_with(network: nn.Module, background: Any, tokenizer: Any = None) -> Call:
    """How the network is called with the inputs that the background names. Raises ModelFault.

    A parameter with a default value is an input if the background names it, and otherwise keeps that value.
    Names that are no parameters go to *args or **kwargs, or all of them into a single argument.
    tokenizer: the network's PaddedTokenizer; what the tokenizer gives beside the ids is not an input.
    """
    parameters = _parameters(network)
    kinds = {p.kind for p in parameters}
    given = tuple(map(str, background)) if isinstance(background, Mapping) else ()
    derived = tuple(
        p.name
        for p in parameters
        if tokenizer and p.name in FROM_IDS and (p.default is p.empty or p.name in {*tokenizer.names, *given})
    )
    named = [p for p in parameters if p.kind not in (P.VAR_POSITIONAL, P.VAR_KEYWORD) and p.name not in derived]
    names = [p.name for p in named if p.default is p.empty or p.name in given]
    known = {*(p.name for p in named), *(FROM_IDS if tokenizer else ())}
    others = [name for name in given if name not in known]
    takes_more = kinds & {P.VAR_POSITIONAL, P.VAR_KEYWORD} and (names or not named)
    if not names and named:
        names = [getattr(network, "main_input_name", None) or named[0].name]
    elif not names and not others:
        others = ["x"]  # as in forward(*inputs)
    if not names and not takes_more:
        raise ModelFault("the forward method of the network takes no inputs; give it one parameter for each input")
    single = others and not takes_more and len(names) == 1 and names[0] not in given
    form = _form(network, background) if single else None
    order = [p.name for p in parameters if p.kind in (P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD)]
    positional = next((i for i, name in enumerate(names) if order[i : i + 1] != [name]), len(names))
    if form:
        names = others
    elif takes_more and P.VAR_POSITIONAL in kinds and positional == len(order):
        names[positional:positional], positional = others, positional + len(others)
    elif takes_more:
        names += others
    values = background if isinstance(background, Mapping) else {names[0]: background}
    flat = frozenset(name for name in names if is_flat(values.get(name)))
    return Call(tuple(names), positional, form, flat, derived, tokenizer.pad if tokenizer else 0)


def _parameters(network: nn.Module) -> list[inspect.Parameter]:
    if not isinstance(network, torch.jit.ScriptModule):
        return list(inspect.signature(network.forward).parameters.values())
    schema = network._c._get_method("forward").schema.arguments[1:]
    return [
        P(a.name, P.POSITIONAL_OR_KEYWORD, default=a.default_value if a.has_default_value() else P.empty)
        for a in schema
    ]


def _form(network: nn.Module, background: Mapping[str, Any]) -> Callable[[dict[str, torch.Tensor]], Any] | None:
    """The form of the single argument that the network takes. The first rows of the background are tried."""
    dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    try:
        held = {str(name): torch.as_tensor(plain_array(value)[:2]) for name, value in background.items()}
    except (TypeError, ValueError):  # columns of text
        return FORMS[0] if len(background) > 1 else None
    for name, x in held.items():
        held[name] = x.to(dtype) if x.is_floating_point() else x if x.dtype == torch.bool else x.long()
    for form in FORMS:
        try:
            with torch.no_grad(), float32_only():
                network(form(held))
        except Exception:  # noqa: S112  # any exception of the network: this form is not the one
            continue
        return form
    return None
