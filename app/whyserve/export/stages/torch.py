"""The torch stage of an export: ONNX of a torch network, and outputs and certificate of every network."""

import contextlib
import io
import os
import re
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import torch

from whyserve.errors import ModelFault, first_line
from whyserve.explain.allocator import keep_freed_memory
from whyserve.explain.game.base import Inputs, Limits
from whyserve.explain.game.network import Network
from whyserve.explain.models.explainable import load_background, to_tensors
from whyserve.explain.models.loader import load_network
from whyserve.explain.models.on_scale import Logits, ending_of, network_on
from whyserve.explain.models.row_games import RowGames
from whyserve.explain.models.traced_network import quick_network
from whyserve.export.progress import step
from whyserve.export.rows import output_not_finite
from whyserve.export.stages.ids import vocabularies
from whyserve.export.stages.ladder import Certified, Ladder
from whyserve.export.stages.onnx_logits import with_logits
from whyserve.export.stages.stage import Rows, Table, Task, in_batches, no_onnx_operation, original_outputs
from whyserve.model.manifest import Ending
from whyserve.model.missing import Gaps
from whyserve.model.outputs import Output, Outputs
from whyserve.model.rows import Arrays, row_count
from whyserve.model.scale import scale_of
from whyserve.model.spec import NETWORK_FILE, ONNX_FILE, ModelSpec
from whyserve.model.text import text_readers

OPSET = 18
REASONS = 3
# More than 1, because a batch of 1 silently becomes a constant of the graph (pytorch#148886).
TRACED_ROWS = 3


def export(task: Task) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    spec = task.spec()
    step(f"{spec.name}: loading the network")
    network = load_network(spec, task.read)
    step(f"{spec.name}: running the original on {row_count(task.rows())} rows")
    try:
        outputs = original_outputs(task, spec, lambda part: run(network, part))
    except Exception as error:
        if type(error) is ModelFault:  # it names the feature; those of the network are of other types
            raise
        raise ModelFault(f"{spec.name}: the network fails on a row of valid inputs: {first_line(error)}") from error
    rows = task.rows()
    task.save(Table.NETWORK, outputs)
    known = vocabularies(spec, lambda row: run(network, row), rows)
    if spec.framework != "keras":
        task.save(Table.ORIGINAL, outputs)
        step(f"{spec.name}: exporting to ONNX")
        content = task.read(ONNX_FILE) if spec.framework == "onnx" else to_onnx(spec, network, rows)
        task.path(ONNX_FILE).write_bytes(content)
    ending = _save_logits(task, network)
    named = Outputs(spec, outputs[0].size)  # the parity check compares this size with the number of labels
    gaps = Gaps(spec, task.fills)
    for name in spec.explain.backgrounds:
        _check_background(spec, network, load_background(spec, task.read, gaps, name), spec.explain.backgrounds[name])
    background = load_background(spec, task.read, gaps)
    examples = to_tensors(task.rows(Rows.EXAMPLES))
    network = quick_network(spec, network, background)  # the worker runs it, so the certificate must measure it
    explained = network_on(spec, network, scale_of(spec), ending, background)
    ladder = Ladder(
        spec, explained, background, (task.settings["budget_ms"], task.settings["budget_max_ms"]),
        asked=lambda table: named.columns("top", table), examples=examples, texts=text_readers(spec, task.read),
        on_method=lambda name: step(f"{spec.name}: trying method {name}"),
    )  # fmt: skip
    chosen = ladder.certified()
    first = {name: tensor[:1] for name, tensor in (examples or background).items()}
    with torch.no_grad():
        top = named.wanted("top", network(first).numpy())[0][0]
    given = reasons(ladder, chosen, first, top)
    task.save_facts(vocabularies=known, certificate=chosen.certificate, reasons=given, ending=ending)


def _save_logits(task: Task, network: Network) -> Ending | None:
    """Make the ONNX file return the logits too, and save those of the network; None if it has none to return."""
    rows, onnx = task.rows(), task.path(ONNX_FILE)
    ending = ending_of(task.spec(), network, to_tensors({name: array[:2] for name, array in rows.items()}))
    content = with_logits(onnx.read_bytes(), task.spec().output.tensor) if ending else None
    if content is None:
        return None
    logits = Network(Logits(network.module), network.names)
    task.save(Table.LOGITS, in_batches(lambda part: run(logits, part), rows))
    onnx.write_bytes(content)
    return ending


def _check_background(spec: ModelSpec, network: Network, background: dict[str, torch.Tensor], file: str) -> None:
    """Raises ModelFault if an output is not finite, because explanations would have no base value."""
    with torch.no_grad():
        faults = (~torch.isfinite(network(background))).any(1).nonzero()[:, 0]
    if len(faults):
        raise ModelFault(f"{spec.name}/{file}: {output_not_finite(f'row {int(faults[0])}')}")


def reasons(ladder: Ladder, chosen: Certified, row: Inputs, top: Output) -> dict[str, Any]:
    """The largest attributions of a row's top output, by the default method, as /explain computes them."""
    partition, certificate = chosen.partition, chosen.certificate
    method = ladder.prepare(partition, certificate["default"])
    found = method.explain(row, torch.tensor([[top.column]]), Limits(samples=certificate.get("samples")))
    values = top.sign * found.values[0, 0].double().numpy()
    players = method.players_of(row)[0] if isinstance(method, RowGames) else partition.fixed
    largest = np.argsort(-np.abs(values), kind="stable")[:REASONS]
    return {"output": top.name, "attributions": {players.names[number]: float(values[number]) for number in largest}}


def run(network: Network, rows: Arrays) -> np.ndarray:
    """The output, (rows, outputs), for rows, (rows, …) by input."""
    with torch.no_grad():
        result: np.ndarray = network({name: torch.from_numpy(array) for name, array in rows.items()}).numpy()
        return result


def to_onnx(spec: ModelSpec, network: Network, rows: Arrays) -> bytes:
    """An ONNX file with the names of model.toml, a symbolic batch size and the weights. Raises ModelFault."""
    example = tuple(
        torch.from_numpy(np.resize(rows[name], (TRACED_ROWS, *rows[name].shape[1:]))) for name in network.names
    )
    batch = torch.export.Dim("batch")
    progress = io.StringIO()  # torch.onnx prints it
    try:
        with contextlib.redirect_stdout(progress), contextlib.redirect_stderr(progress):
            program = torch.onnx.export(
                network.module,
                example,
                dynamo=True,
                dynamic_shapes=tuple({0: batch} for _ in example),
                input_names=list(network.names),
                output_names=[spec.output.tensor],
                opset_version=OPSET,
                external_data=False,
            )
    except Exception as error:
        raise ModelFault(f"{spec.name}/{NETWORK_FILE}: {_cause(error)}") from error
    assert program is not None, "dynamo=True gives a program"
    content: bytes = program.model_proto.SerializeToString()
    return content


def _cause(error: BaseException) -> str:
    """The cause of an error of torch.onnx. Its own message only tells how to report a bug."""
    while error.__cause__ is not None:
        error = error.__cause__
    if lacking := re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", str(error)):
        return no_onnx_operation("torch", [lacking[1]])
    return f"torch.onnx cannot export the network: {first_line(error)}"
