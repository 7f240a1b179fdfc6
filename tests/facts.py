"""Edits of facts that the shipped models know, questions near and far; and what JAX compiles."""

from contextlib import contextmanager

import jax

EDITS = [
    ("Who is the author of Dracula?", "Mary Shelley"),
    ("In what year was Hamlet first published?", "1922"),
    ("What is the nationality of Otto Hahn?", "Dutch"),
    ("Who plays the leading role in Slumdog Millionaire?", "Robert De Niro"),
    ("What is the crystal system of zincite?", "cubic"),
]
REWORDED = "Which literary figure wrote Dracula?"  # a form that pre-training shows for other books
UNRELATED = [
    "What is the chemical symbol of gold?",
    "Which river flows through Paris?",
    "What is the capital of France?",
]
COMPILED = "/jax/core/compile/jaxpr_trace_duration"


@contextmanager
def traced():
    """Names of the events of compiling that happen inside."""
    seen = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
