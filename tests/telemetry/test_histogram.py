"""Our histogram exports the same text as prometheus_client's own."""

import threading

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from whyserve.telemetry.histogram import Histograms

BOUNDS = (1e-9, 0.0005, 0.5, 1.0, 10.0)


def told(registry):
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_output_equals_prometheus_client():
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tallies = Histograms("waits", "How long.", ["route", "model"], buckets=BOUNDS, registry=ours)
    histogram = Histogram("waits", "How long.", ["route", "model"], buckets=BOUNDS, registry=theirs)
    for labels, values in {("/a", "x"): [0.0005, 0.0006, 1.0, 11.0, 0.0], ("/b", ""): [0.25], ("/c", 'q"'): []}.items():
        for value in values:
            tallies.labels(*labels).observe(value)
            histogram.labels(*labels).observe(value)
        tallies.labels(*labels)
        histogram.labels(*labels)
    assert told(ours) == told(theirs)


def test_a_name_is_registered_once():
    registry = CollectorRegistry()
    Histograms("waits", "How long.", [], buckets=BOUNDS, registry=registry)
    with pytest.raises(ValueError, match="waits"):
        Histograms("waits", "How long.", [], buckets=BOUNDS, registry=registry)


def test_observations_of_all_threads_count():
    tally = Histograms("waits", "How long.", [], buckets=BOUNDS, registry=CollectorRegistry()).labels()

    def observe():
        for _ in range(20_000):
            tally.observe(0.5)

    threads = [threading.Thread(target=observe) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(tally.counts) == 80_000
    assert tally.total == 40_000
