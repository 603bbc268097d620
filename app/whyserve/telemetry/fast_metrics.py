"""Metrics of what happens thousands of times per second: prometheus_client's own take four times as long."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
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
            below, buckets = 0, []
            for bound, count in zip((*self._bounds, float("inf")), list(each.counts), strict=True):
                below += count
                buckets.append((floatToGoString(bound), below))  # type: ignore[no-untyped-call]
            family.add_metric(values, buckets, each.total)
        yield family


class FastCounter(Collector):
    """Like FastHistogram, for a Counter. One thread counts."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._family = name, documentation, None, tuple(labels)
        self.counts: dict[tuple[str | int, ...], int] = {}
        REGISTRY.register(self)

    def inc(self, *values: str | int) -> None:
        """values: one per label, in their order."""
        self.counts[values] = self.counts.get(values, 0) + 1

    def describe(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(*self._family)

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(*self._family)
        for values, count in list(self.counts.items()):
            family.add_metric(list(map(str, values)), count)
        yield family
