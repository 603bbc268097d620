"""The picture and the sentence of one explained row, for a notebook."""

from collections.abc import Mapping, Sequence
from typing import Any

from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec
from whyserve.notebook.answers import from_answer
from whyserve.notebook.explanation import Explanation


def drawn(
    spec: ModelSpec, answer: Mapping[str, Any], instances: Sequence[Mapping[str, Any]], arrays: Arrays
) -> Explanation:
    """`from_answer`, with pictures. arrays: the same rows; an image that is not among them is not drawn."""

    def draw(one: Explanation) -> tuple[str, str]:
        (number,) = one.numbers
        output = next(each for each in answer["explanations"][number]["outputs"] if each["output"] == one.outputs[0][0])
        here = {name: array[number : number + 1] for name, array in arrays.items()}
        from whyserve.explain.pictures.draw import svg_and_words  # noqa: PLC0415  # matplotlib, if a picture is wanted

        return svg_and_words(spec, instances[number], here, answer, output)

    return from_answer(answer, instances, draw)
