"""Numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from flawscope.store.records import InspectionRecord

if TYPE_CHECKING:
    from flawscope.app.station import Station

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """The station's numbers, in a registry of its own."""

    def __init__(self, station: Station) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "flawscope_requests", "Requests by route and status.", ("method", "route", "status"),
            registry=self._registry,
        )  # fmt: skip
        self.request_seconds = Histogram(
            "flawscope_request_seconds", "From a request's head to its answer's.", ("route",),
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._verdicts = Counter(
            "flawscope_inspections", "Kept inspections by verdict.", ("verdict", "product"),
            registry=self._registry,
        )  # fmt: skip
        self._stages = Histogram(
            "flawscope_stage_seconds", "Stages of a verdict.", ("stage",),
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._registry.register(_LineState(station))

    def inspection(self, record: InspectionRecord) -> None:
        """Count a kept inspection."""
        self._verdicts.labels(record.verdict, record.origin.product).inc()
        for stage, ms in record.detail.get("timings_ms", {}).items():
            self._stages.labels(stage).observe(ms / 1000)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _LineState(Collector):
    def __init__(self, station: Station) -> None:
        self._station = station

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield how busy the line is at this moment."""
        state = self._station.line.state()
        yield GaugeMetricFamily("flawscope_queue_waiting", "Images accepted, not begun.", state.waiting)
        yield GaugeMetricFamily("flawscope_unanswered", "Images accepted, not answered.", state.unanswered)
        yield GaugeMetricFamily("flawscope_queue_limit", "Images accepted at most.", state.limit)
        yield GaugeMetricFamily("flawscope_workers", "Threads that judge.", state.workers)
        yield CounterMetricFamily("flawscope_accepted", "Images accepted.", state.accepted)
        yield CounterMetricFamily("flawscope_refused", "Images turned away: queue full.", state.refused)
        yield CounterMetricFamily("flawscope_graph_runs", "Runs of the graph.", state.runs)
        groups = self._station.line.recorder.groups
        yield CounterMetricFamily("flawscope_commits", "Group commits of inspections.", groups)
        journal = self._station.store.images.journal_bytes()
        yield GaugeMetricFamily("flawscope_journal_bytes", "Image journals not settled yet.", journal)
        yield GaugeMetricFamily(
            "flawscope_event_listeners", "Pages that listen.", self._station.events.listeners
        )
