"""WHYSERVE_PROVIDERS: checked against what the installed ONNX Runtime has."""

import pytest

from whyserve.errors import ConfigurationError
from whyserve.onnx import session


def test_an_unknown_provider_is_refused_with_those_that_there_are():
    with pytest.raises(ConfigurationError, match=r"has no NoProvider; available: .*CPUExecutionProvider"):
        session.use_providers(["NoProvider", "CPUExecutionProvider"])


def test_the_provider_of_the_cpu_is_the_last_one(monkeypatch):
    monkeypatch.setattr(session, "_providers", [])
    session.use_providers([])
    assert session._providers == ["CPUExecutionProvider"]
    session.use_providers(["CPUExecutionProvider"])
    assert session._providers == ["CPUExecutionProvider"]
