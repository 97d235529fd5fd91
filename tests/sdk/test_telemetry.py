"""What a host sees of the work: log records with numbers, and spans where it traces."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ragturbo_sdk import CancelToken, DrawProgress, GenerationCancelledError, Generator

PROMPT = "a cat left of two pizzas on a blue background"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)
    return memory


def test_records_carry_the_event_as_a_dictionary(
    generator: Generator, nano_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "ragturbo_sdk"):
        Generator(nano_bundle, device="cpu", threads=1).close()
        result = generator.generate(PROMPT, seed=1, references=2)
    events = [record.ragturbo for record in caplog.records if hasattr(record, "ragturbo")]
    assert [event["event"] for event in events] == ["load", "generate"]
    assert events[0]["bundle"] == generator.info.name
    drawn = events[1]
    assert (drawn["pictures"], drawn["references"], drawn["device"]) == (1, 2, "cpu")
    assert drawn["milliseconds"] >= result.timings["total"]
    assert f"milliseconds={drawn['milliseconds']}" in caplog.text
    assert PROMPT not in caplog.text  # prompts are the host's users' own


def test_a_failure_is_recorded_by_name(generator: Generator, caplog: pytest.LogCaptureFixture) -> None:
    def fail(progress: DrawProgress) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.DEBUG, "ragturbo_sdk"), pytest.raises(ZeroDivisionError):
        generator.generate(PROMPT, progress=fail)
    (record,) = caplog.records
    assert record.ragturbo["error"] == "ZeroDivisionError"  # type: ignore[attr-defined]
    assert record.levelno == logging.DEBUG


def test_spans_of_a_drawing_lie_within_the_hosts_own(
    generator: Generator, exporter: InMemorySpanExporter
) -> None:
    exporter.clear()
    with trace.get_tracer("host").start_as_current_span("request"):
        generator.generate(PROMPT, seed=1)
        generator.generate(PROMPT, seed=1, cancel=CancelToken())
    spans = {span.name: span for span in exporter.get_finished_spans()}
    stages = {"text_encoder", "search", "features", "unet_encoder", "adapter", "unet_decoder", "vae_decoder"}
    assert spans.keys() == {"request", "ragturbo.generate", *(f"ragturbo.{stage}" for stage in stages)}
    request, drawing = spans["request"], spans["ragturbo.generate"]
    parents = [s.parent.span_id for s in exporter.get_finished_spans() if s.name == "ragturbo.generate"]
    assert parents == [request.context.span_id] * 2
    assert drawing.attributes["pictures"] == 1
    for stage in stages:
        span = spans[f"ragturbo.{stage}"]
        assert span.parent.span_id == drawing.context.span_id
        assert drawing.start_time <= span.start_time <= span.end_time <= drawing.end_time
    assert request.start_time <= drawing.start_time + 1_000_000
    assert drawing.end_time <= request.end_time + 1_000_000


def test_a_span_says_what_went_wrong(generator: Generator, exporter: InMemorySpanExporter) -> None:
    exporter.clear()
    token = CancelToken()
    with pytest.raises(GenerationCancelledError):
        generator.generate(PROMPT, seed=1, cancel=token, progress=lambda _: token.cancel())
    for _ in range(1000):  # the call has returned; what it had begun ends soon
        time.sleep(0.01)
        if spans := exporter.get_finished_spans():
            break
    (failed,) = spans
    assert not failed.status.is_ok
    assert failed.events[0].attributes["exception.type"].endswith("GenerationCancelledError")


def test_nothing_foreign_is_imported_for_it(nano_bundle: Path) -> None:
    code = (
        "import sys; from ragturbo_sdk import Generator\n"
        f"Generator({str(nano_bundle)!r}, device='cpu', threads=1).generate('a cat', seed=1)\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
