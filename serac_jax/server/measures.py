"""What is counted and timed, for Prometheus, and how often each edit answered."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from serac_jax.edits import records

SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.03, 0.06, 0.12, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)
PROCESSES = "PROMETHEUS_MULTIPROC_DIR"  # the folder in which worker processes add up


class Usage(NamedTuple):
    """How often an edit answered since the process began, and when last."""

    answers: int = 0
    last: str = ""


class Measures:
    """The metrics of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "serac_requests", "Requests", ["route", "method", "status"], registry=registry
        )
        self.answers = Counter(
            "serac_answers",
            "Answers: by an edit, the base model or the upstream",
            ["by"],
            registry=registry,
        )
        self.unsure = Counter(
            "serac_unsure", "Misses that an edit might have answered", registry=registry
        )
        self.reports = Counter(
            "serac_false_hit_reports", "Reports of false hits", registry=registry
        )
        self.seconds = Histogram(
            "serac_stage_seconds",
            "Seconds, by stage",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self.edits = Gauge(
            "serac_edits", "Edits held", registry=registry, multiprocess_mode="mostrecent"
        )
        self.running = Gauge(
            "serac_requests_running",
            "Requests at work",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.lock, self.used = threading.Lock(), dict[str, Usage]()

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Times a stage of a request."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds.labels(name).observe(time.perf_counter() - begun)

    def answered(self, edit_id: str | None, by: str, unsure: bool) -> None:
        """Counts an answer."""
        self.answers.labels("edit" if edit_id else by).inc()
        if unsure:
            self.unsure.inc()
        if edit_id:
            with self.lock:
                self.used[edit_id] = Usage(self.usage(edit_id).answers + 1, records.now())

    def usage(self, edit_id: str) -> Usage:
        """How often an edit answered."""
        return self.used.get(edit_id, Usage())

    def text(self) -> bytes:
        """All metrics, as Prometheus reads them; of all worker processes together."""
        if PROCESSES not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)
        return generate_latest(together)
