"""Metrics of what happens thousands of times per second: prometheus_client's own take four times as long."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from threading import Lock

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Observations:
    """The observations with one set of label values. Thread-safe."""

    __slots__ = ("_bounds", "_lock", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """bounds: the upper bound of each bucket, ascending. A last bucket without a bound is added."""
        self._bounds, self._lock = bounds, Lock()
        self.counts, self.total = [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        with self._lock:
            self.counts[bisect_left(self._bounds, value)] += 1
            self.total += value

    def buckets(self) -> list[tuple[str, int]]:
        """(upper bound, the number of observations up to it) of each bucket."""
        sums = accumulate(list(self.counts))
        bounds = (*self._bounds, float("inf"))
        return [(floatToGoString(bound), count) for bound, count in zip(bounds, sums, strict=True)]  # type: ignore[no-untyped-call]


class FastHistogram(Collector):
    """One metric of the default registry, with the same text as prometheus_client's Histogram."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], *, buckets: Sequence[float]) -> None:
        self._family = name, documentation, None, None, tuple(labels)
        self._bounds, self._observations = tuple(buckets), dict[tuple[str, ...], Observations]()
        REGISTRY.register(self)

    def labels(self, *values: str) -> Observations:
        """values: one per label, in their order. Callers that observe often keep the result."""
        return self._observations.setdefault(values, Observations(self._bounds))

    def describe(self) -> Iterator[HistogramMetricFamily]:
        yield HistogramMetricFamily(*self._family)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(*self._family)
        for values, each in list(self._observations.items()):
            family.add_metric(values, each.buckets(), each.total)
        yield family


class RequestMetrics(Collector):
    """Two metrics of the default registry from one observation per request: a Counter of requests by route, model and
    status, and a Histogram of their seconds by route and model. One thread observes.
    """

    def __init__(self, counter: tuple[str, str], histogram: tuple[str, str], *, buckets: Sequence[float]) -> None:
        """counter, histogram: the name and the documentation of each."""
        self._counter = *counter, None, ("route", "model", "status")
        self._histogram = *histogram, None, None, ("route", "model")
        self._bounds, self._observations = tuple(buckets), dict[tuple[str, str, int], Observations]()
        REGISTRY.register(self)

    def observe(self, route: str, model: str, status: int, seconds: float) -> None:
        """Count one request."""
        observed = self._observations.get((route, model, status))
        if observed is None:
            observed = self._observations[route, model, status] = Observations(self._bounds)
        observed.observe(seconds)

    def describe(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        yield CounterMetricFamily(*self._counter)
        yield HistogramMetricFamily(*self._histogram)

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        requests, seconds = CounterMetricFamily(*self._counter), HistogramMetricFamily(*self._histogram)
        by_model: dict[tuple[str, str], Observations] = {}
        for (route, model, status), each in list(self._observations.items()):
            requests.add_metric((route, model, str(status)), sum(each.counts))
            together = by_model.setdefault((route, model), Observations(self._bounds))
            together.counts = [a + b for a, b in zip(together.counts, each.counts, strict=True)]
            together.total += each.total
        for labels, each in by_model.items():
            seconds.add_metric(labels, each.buckets(), each.total)
        yield requests
        yield seconds
