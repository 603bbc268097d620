"""What each image has, and what it has not."""

import json
import sys
from pathlib import Path

import pytest

from tests.conftest import MODELS, shipped
from tests.docker.conftest import BASE, IMAGES, ROOT, Project, run

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

MEGABYTE = 1_000_000
ABSENT = {
    f"{IMAGES}-api": ["torch", "tensorflow", "keras", "shap", "tf2onnx", "onnx", "pip"],
    f"{IMAGES}-worker": ["tensorflow", "fastapi", "uvicorn", "onnxruntime", "tf2onnx", "pip"],
}
PRESENT = {
    f"{IMAGES}-api": ["fastapi", "onnxruntime", "redis", "uvicorn"],
    f"{IMAGES}-worker": ["torch", "keras", "shap", "redis"],
}

FIND = """
import importlib.util, json, sys
print(json.dumps({name: importlib.util.find_spec(name) is not None for name in sys.argv[1:]}))
"""


def inside(image: str, *command: str) -> str:
    return run("docker", "run", "--rm", "--network=none", "--entrypoint", command[0], image, *command[1:]).stdout


@pytest.mark.parametrize("image", ABSENT)
def test_it_has_what_it_needs_and_no_more(image, project: Project):
    found = json.loads(inside(image, "python", "-c", FIND, *ABSENT[image], *PRESENT[image]))
    assert found == dict.fromkeys(ABSENT[image], False) | dict.fromkeys(PRESENT[image], True)


@pytest.mark.parametrize("image", ABSENT)
def test_no_compiler_and_no_cache(image, project: Project):
    words = inside(
        image, "sh", "-c", "for tool in gcc cc g++ make; do command -v $tool; done; ls -d /root/.cache ~/.cache; true"
    )
    assert words.strip() == ""


def files(image: str) -> set[str]:
    """The files in the folder of the program that are not its own, by the name of each in its build or folder."""
    listed = inside(image, "find", "-H", ".", "-type", "f", "-not", "-path", "./app/*").splitlines()
    assert listed
    return set(listed)


def test_the_api_has_what_was_exported_and_nothing_of_what_it_was_made_of(project: Project):
    held = files(f"{IMAGES}-api")
    tokenizers = [name for name in shipped() if (MODELS / name / "tokenizer.json").exists()]
    assert tokenizers
    assert len(held) == 2 * len(shipped()) + len(tokenizers)
    assert {Path(name).name for name in held} == {"manifest.json", "model.onnx", "tokenizer.json"}
    assert {Path(name).parts[:2] for name in held} == {("artifacts", ".builds")}


def test_the_worker_has_manifests_and_originals_alone(project: Project):
    held = {Path(name).relative_to("artifacts/.builds") for name in files(f"{IMAGES}-worker")}
    manifests = {path.parts[0] for path in held if path.name == "manifest.json"}
    assert len(manifests) == len(shipped())
    originals = held - {Path(build, "manifest.json") for build in manifests}
    assert {path.parts[:2] for path in originals} == {(build, "original") for build in manifests}
    assert not {path.name for path in originals} & {"model.onnx", "train.py"}


def test_the_api_adds_little_to_its_base(project: Project):
    base, api = (
        int(run("docker", "image", "inspect", "-f", "{{.Size}}", image).stdout) for image in (BASE, f"{IMAGES}-api")
    )
    assert api - base <= 350 * MEGABYTE


@pytest.mark.parametrize("image", [*ABSENT, f"{IMAGES}-redis"])
def test_it_runs_as_nobody_in_particular_and_says_what_it_is(image, project: Project):
    (config,) = (entry["Config"] for entry in json.loads(run("docker", "image", "inspect", image).stdout))
    user = inside(image, "id", "-u").strip()
    assert user != "0"
    assert image == f"{IMAGES}-redis" or int(user) >= 10000
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["title"] == image.replace(IMAGES, "whyserve")
    assert labels["licenses"] == "Apache-2.0"
    assert labels["description"]
    assert labels["version"]
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert "curl" not in " ".join(config["Healthcheck"]["Test"])
    assert isinstance(config["Entrypoint"], list)
    assert config["Entrypoint"][0] != "/bin/sh"


def test_the_dockerfile_is_clean(project: Project):
    assert run(str(Path(sys.executable).with_name("hadolint")), str(ROOT / "Dockerfile")).stdout == ""


def test_the_compose_file_is_valid(project: Project):
    assert "services:" in project.compose("config").stdout
    assert "grafana" in project.compose("--profile", "observe", "config").stdout
