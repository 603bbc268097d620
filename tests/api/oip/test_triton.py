"""tritonclient against every shipped model."""

import numpy as np
import pytest
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.api.oip.conftest import inputs_of, rows_of
from tests.conftest import example, shipped
from whyserve.model.manifest import read_manifest


def predicted(client, name):
    """The answer of /predict for the same rows, as a table."""
    found = client.post("/predict", json=example(name)).json()["predictions"]
    return np.array([list(_numbers(each)) for each in found])


def _numbers(prediction):
    return prediction["scores"].values() if "scores" in prediction else [prediction["value"]]


def test_health_and_server_metadata(triton):
    assert triton.is_server_live()
    assert triton.is_server_ready()
    server = triton.get_server_metadata()
    assert server["name"] == "whyserve"
    assert {"binary_tensor_data", "statistics", "explain"} <= set(server["extensions"])


@pytest.mark.parametrize("version", ["", "1"])
def test_model_metadata_matches_the_manifest(version, triton, artifacts):
    for name in shipped():
        assert triton.is_model_ready(name, version)
        manifest, _ = read_manifest(artifacts / name)
        shown = triton.get_model_metadata(name, version)
        assert (shown["name"], shown["versions"], shown["platform"]) == (name, ["1"], "onnx_onnxv1")
        assert [(i["name"], i["shape"]) for i in shown["inputs"]] == [
            (item.name, [-1, *item.row_shape]) for item in manifest.spec.inputs
        ]
        assert shown["outputs"] == [{"name": "output", "datatype": "FP32", "shape": [-1, manifest.columns]}]
    penguins = triton.get_model_metadata("penguins")
    assert [(i["name"], i["datatype"]) for i in penguins["inputs"]] == [("measured", "FP32"), ("known", "INT64")]


def test_the_repository_index_lists_the_served_models(triton, client):
    listed = triton.get_model_repository_index()
    assert {model["name"] for model in listed} == set(shipped())
    assert {(model["version"], model["state"]) for model in listed} == {("1", "READY")}
    assert set(client.get("/v2/models").json()["models"]) == set(shipped())


@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("into", [True, False], ids=["binary in", "JSON in"])
@pytest.mark.parametrize("out", [True, False], ids=["binary out", "JSON out"])
@pytest.mark.parametrize("name", ["penguins", "digits"])
def test_tensors_go_both_ways_in_both_encodings(  # noqa: PLR0917 — every pair of them
    name, out, into, encoding, triton, client
):
    answer = triton.infer(
        name,
        inputs_of(rows_of(name), binary=into),
        outputs=[tritonclient.http.InferRequestedOutput("output", binary_data=out)],
        request_id="17",
        request_compression_algorithm=encoding,
    )
    said = answer.get_response()
    assert (said["id"], said["model_name"], said["model_version"]) == ("17", name, "1")
    assert ("data" in said["outputs"][0]) is not out
    np.testing.assert_allclose(answer.as_numpy("output"), predicted(client, name), rtol=1e-6)


@pytest.mark.parametrize("name", shipped())
def test_every_model_answers_like_predict(name, triton, client):
    rows = rows_of(name)
    many = {key: np.concatenate([array] * 3) for key, array in rows.items()}
    once = predicted(client, name)
    answer = triton.infer(name, inputs_of(many), model_version="1").as_numpy("output")
    np.testing.assert_allclose(answer, np.concatenate([once] * 3), rtol=2e-6, atol=1e-7)
    assert answer.dtype == np.float32


def test_inputs_in_any_order_and_encoding(triton):
    measured, known = inputs_of(rows_of("penguins"))
    alone = triton.infer("penguins", [measured, known]).as_numpy("output")
    (plain,) = inputs_of({"known": rows_of("penguins")["known"]}, binary=False)
    mixed = triton.infer("penguins", [plain, measured]).as_numpy("output")
    np.testing.assert_array_equal(alone, mixed)


def test_classification_extension(triton, client):
    """Score, index and label of the largest outputs, as strings in both encodings."""
    scores = client.post("/predict", json=example("wine")).json()["predictions"][0]["scores"]
    best = sorted(scores, key=scores.__getitem__, reverse=True)[:2]
    for binary in (True, False):
        output = tritonclient.http.InferRequestedOutput("output", binary_data=binary, class_count=2)
        answer = triton.infer("wine", inputs_of(rows_of("wine")), outputs=[output])
        words = [w.decode() if isinstance(w, bytes) else w for w in answer.as_numpy("output")[0]]
        assert [word.split(":")[2] for word in words] == best
        assert float(words[0].split(":")[0]) == pytest.approx(scores[best[0]], abs=1e-6)


def test_one_input_without_json(client, service):
    """With a JSON length of 0, the body is one row of the only tensor, and the answer is binary."""
    rows = rows_of("breast_cancer")["x"][:1]
    answer = client.post(
        "/v2/models/breast_cancer/infer", content=rows.tobytes(), headers={"Inference-Header-Content-Length": "0"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    size = int(answer.headers["inference-header-content-length"])
    found = np.frombuffer(answer.content[size:], "<f4")
    np.testing.assert_allclose(found, predicted(client, "breast_cancer")[0][-found.size :], rtol=1e-6)


def test_the_default_id_is_the_request_id(client):
    tensor = {"name": "past", "datatype": "FP32", "shape": [1, 20], "data": [[50.0] * 20]}
    answer = client.post("/v2/models/sunspots/infer", json={"inputs": [tensor]}, headers={"X-Request-Id": "abc"})
    assert answer.json()["id"] == "abc"
    assert answer.headers["content-type"] == "application/json"
    given = client.post("/v2/models/sunspots/infer", json={"id": "", "inputs": [tensor]})
    assert given.json()["id"] == ""


def test_concurrent_requests_get_their_own_answers(triton, service):
    rows = rows_of("wine")["x"]
    asked = [rows * (1 + i / 100) for i in range(20)]
    address = service.address.removeprefix("http://")
    with tritonclient.http.InferenceServerClient(address, concurrency=4, network_timeout=60) as client:
        waiting = [client.async_infer("wine", inputs_of({"x": row}), request_id=str(i)) for i, row in enumerate(asked)]
        answers = [request.get_result() for request in waiting]
    for i, (answer, row) in enumerate(zip(answers, asked, strict=True)):
        assert answer.get_response()["id"] == str(i)
        alone = triton.infer("wine", inputs_of({"x": row})).as_numpy("output")
        np.testing.assert_allclose(answer.as_numpy("output"), alone, rtol=1e-6)


def test_errors_arrive_as_client_exceptions(triton):
    with pytest.raises(InferenceServerException, match=r"unknown model; available models: .*wine") as unknown:
        triton.infer("nope", inputs_of(rows_of("wine")))
    assert unknown.value.status() == "404"
    assert not triton.is_model_ready("nope")
    assert not triton.is_model_ready("wine", "7")
    with pytest.raises(InferenceServerException, match='input "known" is missing') as missing:
        triton.infer("penguins", inputs_of(rows_of("penguins"))[:1])
    assert missing.value.status() == "400"
    with pytest.raises(InferenceServerException, match="INT64, but must have FP32"):
        triton.infer("wine", inputs_of({"x": rows_of("wine")["x"].astype(np.int64)}))
    with pytest.raises(InferenceServerException, match=r"has shape \(1, 12\)"):
        triton.infer("wine", inputs_of({"x": rows_of("wine")["x"][:, 1:]}))
    with pytest.raises(InferenceServerException, match="holds a number that is not finite"):
        triton.infer("wine", inputs_of({"x": rows_of("wine")["x"] * np.float32("nan")}))
    with pytest.raises(InferenceServerException, match='holds a code outside the categories of "island"'):
        triton.infer("penguins", inputs_of({**rows_of("penguins"), "known": np.array([[3, 0]])}))


def test_statistics_count_rows_runs_and_failures(triton, client):
    def figures(version=""):
        (found,) = triton.get_inference_statistics("fclayer", version)["model_stats"]
        return found

    before, rows = figures(), rows_of("fclayer")
    many = {name: np.repeat(array[:1], 8, axis=0) for name, array in rows.items()}
    triton.infer("fclayer", inputs_of(many))
    client.post("/predict", json=example("fclayer"))
    with pytest.raises(InferenceServerException, match="not finite"):
        triton.infer("fclayer", inputs_of({name: np.full_like(array, 3e38) for name, array in many.items()}))
    after = figures("1")

    def grown(*path):
        old, new = before, after
        for key in path:
            old, new = old[key], new[key]
        return new - old

    assert grown("inference_count") == 8 + len(rows["x"])
    assert grown("execution_count") == 3
    assert grown("inference_stats", "success", "count") == 2
    assert grown("inference_stats", "fail", "count") == 1
    assert grown("inference_stats", "success", "ns") > 0
    assert grown("inference_stats", "compute_input", "ns") > 0
    assert grown("inference_stats", "compute_output", "ns") > 0
    eight = {each["batch_size"]: each["compute_infer"] for each in after["batch_stats"]}[8]
    assert eight["count"] >= 2
    assert eight["ns"] > 0
    assert after["last_inference"] >= before["last_inference"]
    assert {each["name"] for each in triton.get_inference_statistics()["model_stats"]} == set(shipped())
