"""The fast metrics against prometheus_client's own."""

import random
import re

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest

from whyserve.telemetry.fast_metrics import FastHistogram, RequestMetrics

BUCKETS = (0.5, 1.0, 2.0, 10.0)


def text_of(registry, name):
    lines = generate_latest(registry).decode().splitlines()
    # Only the library's own histogram has the time of its creation.
    return sorted(line for line in lines if re.search(rf"\b{name}", line) and "_created" not in line)


def test_the_text_of_a_histogram_is_that_of_the_library():
    other = CollectorRegistry()
    own = FastHistogram("own_seconds", "Seconds.", ["model"], buckets=BUCKETS)
    library = Histogram("own_seconds", "Seconds.", ["model"], buckets=BUCKETS, registry=other)
    numbers = random.Random(3)
    for _ in range(200):
        model, value = numbers.choice("ab"), numbers.choice((*BUCKETS, numbers.uniform(0, 20)))
        own.labels(model).observe(value)
        library.labels(model).observe(value)
    try:
        assert text_of(REGISTRY, "own_seconds") == text_of(other, "own_seconds")
    finally:
        REGISTRY.unregister(own)


def test_the_text_of_requests_is_that_of_the_library():
    other = CollectorRegistry()
    own = RequestMetrics(("own_requests", "Requests."), ("own_seconds", "Seconds."), buckets=BUCKETS)
    counter = Counter("own_requests", "Requests.", ["route", "model", "status"], registry=other)
    histogram = Histogram("own_seconds", "Seconds.", ["route", "model"], buckets=BUCKETS, registry=other)
    numbers = random.Random(3)
    for _ in range(100):
        route, model, status = numbers.choice(("/a", "/b")), numbers.choice("ab"), numbers.choice((200, 422))
        # Sums of such numbers are exact in any order.
        seconds = numbers.choice((*BUCKETS, numbers.randrange(20_000) / 1024))
        own.observe(route, model, status, seconds)
        counter.labels(route, model, status).inc()
        histogram.labels(route, model).observe(seconds)
    try:
        for name in ("own_requests", "own_seconds"):
            assert text_of(REGISTRY, name) == text_of(other, name)
    finally:
        REGISTRY.unregister(own)
