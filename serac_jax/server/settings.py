"""What `serac serve` was asked for."""

from __future__ import annotations

import ipaddress
import json
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from serac_jax.core.errors import UserError

MODES = ("answer", "inject")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class Settings(NamedTuple):
    """The options of `serac serve`; plain values, so that worker processes get them as JSON.

    Attributes:
        editor: the editor's name, as for `serac_jax.load`.
        memory: the memory file.
        author: who signs changes where there are no API keys.
        rerank: a cross-attention classifier, as for `serac_jax.load`.
        mesh, dtype: devices to work on, and in what, as for `serac_jax.load`.
        host, port: where it listens.
        workers: how many processes.
        upstream: the URL of an OpenAI-compatible server; empty: the editor's base model answers.
        mode: what happens to a hit in front of an upstream, one of MODES.
        template: a file with the text that `inject` puts in place of the question.
        api_keys: the file of keys; empty: nobody needs one, and only this machine is listened to.
        origins: other web origins that may call.
        reports: the file of reported false hits; empty: beside the memory.
        max_body: bytes of a request's body.
        max_prompt: characters of a question.
        rate: requests a minute of one key; 0: any number.
        concurrent: requests at once.
        timeout: seconds that an answer may take to begin, or a request's body to arrive.
        grace: seconds in which requests may finish when the server is stopped.
        log_texts: whether questions and answers are logged.
        warm_up: whether programs are compiled before the server says that it is ready.
    """

    editor: str = "mini"
    memory: str = "edits.jsonl"
    author: str | None = None
    rerank: str = ""
    mesh: dict[str, int] | None = None
    dtype: str | None = None
    host: str = "127.0.0.1"
    port: int = 8800
    workers: int = 1
    upstream: str = ""
    mode: str = "answer"
    template: str = ""
    api_keys: str = ""
    origins: tuple[str, ...] = ()
    reports: str = ""
    max_body: int = 8 << 20
    max_prompt: int = 20_000
    rate: int = 0
    concurrent: int = 256
    timeout: float = 120.0
    grace: int = 30
    log_texts: bool = False
    warm_up: bool = True

    def as_json(self) -> str:
        """All fields."""
        return json.dumps(self._asdict())

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """What `as_json` wrote."""
        fields = json.loads(text)
        return cls(**fields | {"origins": tuple(fields["origins"])})

    @property
    def reports_file(self) -> Path:
        """Where reported false hits are kept."""
        return Path(self.reports or f"{self.memory}.reports.jsonl")

    def check(self) -> None:
        """Raises UserError where the settings do not fit together."""
        if not self.api_keys and not is_loopback(self.host):
            raise UserError(
                f"--host={self.host} can be reached from other machines, and there are no API keys;"
                " make one with `serac serve key NAME --api-keys=FILE`, and give --api-keys=FILE"
            )
        if self.mode not in MODES:
            raise UserError(f"--mode should be one of {', '.join(MODES)}, not {self.mode!r}")
        if self.upstream and urlsplit(self.upstream).scheme not in ("http", "https"):
            raise UserError(
                f"--upstream should be a URL such as http://127.0.0.1:8000/v1, not"
                f" {self.upstream[:200]!r}"
            )
        if not self.upstream and (self.mode == "inject" or self.template):
            raise UserError("--mode=inject needs --upstream=URL, the model that answers")
        least = {"max_body": 1, "max_prompt": 1, "rate": 0, "concurrent": 1, "workers": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise UserError(f"--{name.replace('_', '-')} should be at least {lowest}")
        if not 0 < self.timeout < float("inf"):
            raise UserError("--timeout should be a number of seconds above 0")


@lru_cache(16)
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK_NAMES
