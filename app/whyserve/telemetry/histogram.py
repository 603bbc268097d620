"""Histograms for events that happen thousands of times per second: cheaper to observe than prometheus_client's."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from threading import Lock

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class Histogram:
    """The observations with one set of labels. Thread-safe."""

    __slots__ = ("_bounds", "_lock", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds, self._lock = bounds, Lock()
        self.counts, self.total = [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        with self._lock:
            self.counts[bisect_left(self._bounds, value)] += 1
            self.total += value


class Histograms(Collector):
    """One metric: one histogram per set of labels."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, tuple(labels)
        self._bounds = tuple(buckets)
        self._histograms: dict[tuple[str, ...], Histogram] = {}
        registry.register(self)

    def labels(self, *values: str) -> Histogram:
        """The histogram of these label values, in the labels' order. Callers should keep it: the lookup costs time."""
        assert len(values) == len(self._labels)
        return self._histograms.setdefault(values, Histogram(self._bounds))

    def describe(self) -> Iterator[HistogramMetricFamily]:
        yield HistogramMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, histogram in list(self._histograms.items()):
            below, buckets = 0, []
            for bound, count in zip([*map(str, self._bounds), "+Inf"], list(histogram.counts), strict=True):
                below += count
                buckets.append((bound, below))
            family.add_metric(values, buckets, histogram.total)
        yield family
