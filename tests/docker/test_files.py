"""What the files of the deployment say, held to each other and to the program; no engine is needed."""

import json
import re
import runpy

import pytest
import yaml
from prometheus_client import REGISTRY

import whyserve.telemetry.metrics  # noqa: F401  # registers what the dashboard may show
from tests.docker.conftest import ROOT
from whyserve import __version__
from whyserve.settings import ApiSettings, UpSettings, WorkerSettings

COMPOSE = ROOT / "docker-compose.yml"
OBSERVE = ROOT / "docker" / "observe"
BOARD = OBSERVE / "grafana" / "dashboards" / "whyserve.json"
NAME = re.compile(r"\b(?:whyserve|process)_[a-z_]+\b")
# `${NAME:-default}`, or with `-` for a default that an empty value does not bring back.
VARIABLE = re.compile(r"\$\{(\w+):?-([^}]*)\}")


def exposed() -> set[str]:
    names = {sample.name for metric in REGISTRY.collect() for sample in metric.samples}
    for metric in REGISTRY.collect():
        # Those with labels have no sample before their first use.
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""])
        names |= {metric.name + suffix for suffix in suffixes}
    return names


def panels():
    return [panel for panel in json.loads(BOARD.read_text())["panels"] if "targets" in panel]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_the_dashboard_shows_metrics_that_there_are(panel):
    for target in panel["targets"]:
        named = NAME.findall(target["expr"])
        assert named, target["expr"]
        assert set(named) <= exposed()
        assert target["expr"].count("(") == target["expr"].count(")")


def test_each_alert_asks_for_metrics_that_there_are_and_says_what_is_wrong():
    (group,) = yaml.safe_load((OBSERVE / "alerts.yml").read_text())["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"])
    for rule in group["rules"]:
        assert set(NAME.findall(rule["expr"])) <= exposed(), rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert rule["annotations"]["summary"].endswith(".")
    prometheus = yaml.safe_load((OBSERVE / "prometheus.yml").read_text())
    assert f"./docker/observe/alerts.yml:{prometheus['rule_files'][0]}:ro" in COMPOSE.read_text()


def test_the_settings_page_and_the_files_with_settings_are_those_of_the_code():
    """If this fails: python docs/make_settings.py."""
    make = runpy.run_path(str(ROOT / "docs" / "make_settings.py"))
    for path, content in make["made"]().items():
        assert path.read_text() == content, path.name
    page = make["page"]()
    for name in UpSettings.model_fields:
        assert page.count(f"| `WHYSERVE_{name.upper()}` |") == 1


def test_compose_passes_every_setting_of_api_and_worker():
    settings = yaml.safe_load(COMPOSE.read_text())["services"]["api"]["environment"]
    in_the_image = {"port", "models", "artifacts", "state", "health_file", "keys_file"}
    served = {**ApiSettings.model_fields, **WorkerSettings.model_fields}
    assert {f"WHYSERVE_{name.upper()}" for name in served.keys() - in_the_image} <= settings.keys()


def test_the_dashboard_shows_every_metric_of_the_api():
    shown = set(NAME.findall(BOARD.read_text()))
    of_the_api = {
        metric.name
        for metric in REGISTRY.collect()
        if metric.name.startswith("whyserve_") and not metric.name.startswith("whyserve_worker_")
    }
    assert not {name for name in of_the_api if not any(word.startswith(name) for word in shown)}


def test_grafana_is_given_the_source_that_its_panels_ask():
    (source,) = yaml.safe_load((OBSERVE / "grafana" / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in panels()} == {source["uid"]}
    compose = yaml.safe_load(COMPOSE.read_text())
    host, port = source["url"].removeprefix("http://").split(":")
    assert (host, port) == ("prometheus", "9090")
    assert host in compose["services"]
    (provider,) = yaml.safe_load((OBSERVE / "grafana" / "dashboards" / "whyserve.yml").read_text())["providers"]
    assert f"{provider['options']['path']}/{BOARD.name}" in COMPOSE.read_text()


def test_prometheus_asks_the_api_and_the_workers():
    jobs = yaml.safe_load((OBSERVE / "prometheus.yml").read_text())["scrape_configs"]
    settings = yaml.safe_load(COMPOSE.read_text())["services"]["worker"]["environment"]
    asked = {
        job["job_name"]: [(name, found["port"]) for found in job["dns_sd_configs"] for name in found["names"]]
        for job in jobs
    }
    port = int(settings["WHYSERVE_WORKER_METRICS_PORT"])
    assert asked == {"whyserve": [("api", 8000)], "whyserve-worker": [("worker", port)]}
    assert 'job="whyserve"' in panels()[-1]["targets"][0]["expr"]
    assert ':8000"' in COMPOSE.read_text()


def test_prometheus_has_a_key_where_there_are_keys():
    jobs = {job["job_name"]: job for job in yaml.safe_load((OBSERVE / "prometheus.yml").read_text())["scrape_configs"]}
    place = jobs["whyserve"]["authorization"]["credentials_file"]
    mounts = yaml.safe_load(COMPOSE.read_text())["services"]["prometheus"]["volumes"]
    assert f"${{PROMETHEUS_KEY_FILE:-./docker/observe/no-key}}:{place}:ro" in mounts
    assert (OBSERVE / "no-key").read_bytes() == b""
    assert jobs["whyserve-worker"]["authorization"] == jobs["whyserve"]["authorization"]


def test_what_is_mounted_is_there():
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    mounted = [v.split(":")[0] for s in services.values() for v in s.get("volumes", []) if v.startswith("./")]
    assert mounted
    assert all((ROOT / path).exists() for path in mounted)


def test_the_example_of_settings_documents_each_with_its_default():
    used = dict(VARIABLE.findall(COMPOSE.read_text()))
    lines = (ROOT / ".env.example").read_text().splitlines()
    documented = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    undocumented = {"REVISION"}  # the release's, not a person's
    assert documented == {name: default for name, default in used.items() if name not in undocumented}


def test_compose_passes_settings_that_there_are_with_their_defaults():
    defaults = {f"WHYSERVE_{name.upper()}": field.default for name, field in UpSettings.model_fields.items()}
    own = {"WHYSERVE_PUBLISH", "WHYSERVE_IMAGES", "WHYSERVE_LOG_LEVEL", "WHYSERVE_KEYS", "WHYSERVE_ALLOW_ANONYMOUS"}
    for name, default in VARIABLE.findall(COMPOSE.read_text()):
        if name.startswith("WHYSERVE_") and name not in own:
            expected = defaults[name]
            # The environment spells true and false in lower case.
            shown = "" if expected is None else str(expected).lower() if isinstance(expected, bool) else str(expected)
            assert shown == default, name


def test_a_container_has_longer_to_stop_than_its_requests_have():
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    drain_s = UpSettings.model_fields["drain_s"].default
    assert int(services["api"]["stop_grace_period"].removesuffix("s")) > drain_s
    assert int(services["worker"]["stop_grace_period"].removesuffix("s")) > drain_s


def test_the_manifests_leave_time_for_each_step_of_a_stop():
    folder = ROOT / "deploy" / "kubernetes"
    pod = next(yaml.safe_load_all((folder / "api.yaml").read_text()))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (waits_s,) = re.findall(r"sleep\((\d+)\)", container["lifecycle"]["preStop"]["exec"]["command"][-1])
    delay_s = float(yaml.safe_load((folder / "settings.yaml").read_text())["data"]["WHYSERVE_SHUTDOWN_DELAY_S"])
    assert delay_s > container["readinessProbe"]["periodSeconds"]
    assert float(waits_s) + delay_s + UpSettings.model_fields["drain_s"].default < pod["terminationGracePeriodSeconds"]


def test_a_change_in_the_program_installs_nothing_again():
    """No stage installs once it has, or stands on one that has, any of app/ or models/."""
    carries: dict[str, bool] = {}
    stage = ""
    for line in (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines():
        words = line.split()
        if line.startswith("FROM "):
            stage = words[3]
            carries[stage] = carries.get(words[1], False)
        elif line.startswith("COPY "):
            origin = words[1].removeprefix("--from=")
            carries[stage] |= words[1] in ("app", "models") or carries.get(origin, False)
        elif line.startswith("RUN ") and "pip install" in line:
            assert not carries[stage], line
    assert carries["export"]
    assert carries["api"]
    assert not carries["install-api"]


def test_the_version_is_the_program_s():
    assert f"\nARG VERSION={__version__}\n" in (ROOT / "Dockerfile").read_text()
    kustomization = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "kustomization.yaml").read_text())
    assert {image["newTag"] for image in kustomization["images"]} == {__version__}
