"""The manifests, held to the published schemas of Kubernetes; they need no engine."""

import json
import re
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.docker.conftest import ROOT
from whyserve import __version__
from whyserve.settings import ApiSettings, UpSettings

FOLDER = ROOT / "deploy" / "kubernetes"
VERSION = "1.33"
# Of another maker, with schemas of their own.
CUSTOM = {
    "Kustomization",
    "ScaledObject",
    "TriggerAuthentication",
    "PrometheusRule",
    "ServingRuntime",
    "InferenceService",
}
# Field names and types of `spec` in the resource definitions of KServe v0.20 (config/crd/full, commit aaac4e2).
KSERVE = json.loads((Path(__file__).parent / "kserve_schema.json").read_text())


def documents(folder=FOLDER):
    return [
        (f"{path.name}-{number}", document)
        for path in sorted(folder.rglob("*.yaml"))
        for number, document in enumerate(yaml.safe_load_all(path.read_text()))
    ]


@pytest.mark.parametrize(("name", "document"), documents(), ids=[name for name, _ in documents()])
def test_it_is_what_kubernetes_takes(name, document):
    if document["kind"] not in CUSTOM:
        kubernetes_validate.validate(document, VERSION, strict=True)


def of_kserve():
    return {document["kind"]: document for _, document in documents() if document["kind"] in KSERVE}


def test_the_runtime_and_its_service_are_what_kserve_takes():
    for kind, document in of_kserve().items():
        jsonschema.validate(document["spec"], KSERVE[kind])
    spec = of_kserve()["ServingRuntime"]["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "runtime"}}
    kubernetes_validate.validate(
        {**pod, "spec": {key: spec[key] for key in ("containers", "volumes")}}, VERSION, strict=True
    )
    broken = {**of_kserve()["InferenceService"]["spec"]["predictor"], "storageUri": "s3://models"}
    with pytest.raises(jsonschema.ValidationError, match="storageUri"):
        jsonschema.validate({"predictor": broken}, KSERVE["InferenceService"])


def test_the_service_of_kserve_fits_its_runtime_and_our_settings():
    runtime, service = of_kserve()["ServingRuntime"], of_kserve()["InferenceService"]
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    formats = [{key: each[key] for key in ("name", "version")} for each in runtime["spec"]["supportedModelFormats"]]
    assert model["modelFormat"] in formats
    api, worker = runtime["spec"]["containers"]
    # The storage initializer mounts the models into containers of these names.
    assert (api["name"], worker["name"]) == ("kserve-container", "transformer-container")
    names = {f"WHYSERVE_{name.upper()}" for name in UpSettings.model_fields}
    assert {each["name"] for each in api["env"]} <= names
    assert {"name": "WHYSERVE_ARTIFACTS", "value": "/mnt/models"} in worker["env"]
    assert [container["image"].split(":")[1] for container in (api, worker)] == [__version__] * 2


def test_the_overlay_for_cuda_gives_each_worker_one_gpu():
    (patch,) = yaml.safe_load((FOLDER / "cuda" / "kustomization.yaml").read_text())["patches"]
    overlay = yaml.safe_load(patch["patch"])
    base = yaml.safe_load((FOLDER / "worker.yaml").read_text())
    assert overlay["metadata"]["name"] == base["metadata"]["name"]
    (container,), (own,) = (each["spec"]["template"]["spec"]["containers"] for each in (overlay, base))
    assert container["name"] == own["name"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["env"] == [{"name": "WHYSERVE_DEVICE", "value": "cuda"}]
    compose = yaml.safe_load((ROOT / "docker" / "cuda.yml").read_text())["services"]["worker"]
    assert compose["environment"] == {"WHYSERVE_DEVICE": "cuda"}
    assert set(compose["build"]["args"]) <= set(re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.M))


def test_a_mistake_would_be_found():
    broken = dict(documents())["api.yaml-0"]
    broken["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


def test_the_base_lists_every_file():
    base = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert {*base["resources"], "kustomization.yaml"} == {path.name for path in FOLDER.glob("*.yaml")}


def test_every_pod_is_restricted_and_no_worker_is_reached():
    pods = [d["spec"]["template"]["spec"] for _, d in documents() if d["kind"] == "Deployment"]
    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
    policies = {d["metadata"]["name"]: d["spec"] for _, d in documents() if d["kind"] == "NetworkPolicy"}
    assert "Ingress" in policies["worker"]["policyTypes"]
    assert "ingress" not in policies["worker"]
    selected = {d["spec"]["selector"]["app.kubernetes.io/component"] for _, d in documents() if d["kind"] == "Service"}
    assert selected == {"api"}


def test_the_alerts_are_those_of_compose():
    rules = yaml.safe_load((FOLDER / "alerts" / "rules.yaml").read_text())
    assert rules["spec"] == yaml.safe_load((ROOT / "docker" / "observe" / "alerts.yml").read_text())


def test_the_ingress_leads_to_the_service_and_waits_longer_than_it():
    (ingress,) = [document for name, document in documents() if document["kind"] == "Ingress"]
    (service,) = [document for name, document in documents() if document["kind"] == "Service"]
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    backend = path["backend"]["service"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    settings, given = ApiSettings.model_fields, ingress["metadata"]["annotations"]
    nginx = {name.rpartition("/")[2]: value for name, value in given.items()}
    assert float(nginx["proxy-read-timeout"]) > settings["explain_wait_s"].default
    assert nginx["proxy-body-size"] == f"{settings['max_body_mb'].default}m"


def test_no_service_s_variables_look_like_settings():
    """A service named whyserve would set WHYSERVE_PORT to an address."""
    pods = [d["spec"]["template"]["spec"] for _, d in documents() if d["kind"] == "Deployment"]
    assert [pod["enableServiceLinks"] for pod in pods] == [False, False]
