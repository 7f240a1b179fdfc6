"""Requests to a server, and what went wrong with them as one line."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NoReturn

import httpx

from serac_jax.core.console import escaped
from serac_jax.core.errors import UserError
from serac_jax.edits import records
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import Conflict
from serac_jax.serving.insert import ContradictionRefused

CONNECTING = 10.0  # seconds in which a server should be reached


class Unserved(UserError):
    """The server refused a request.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class Connection:
    """Sends requests to one server; threads may share it.

    Args:
        url: where `serac serve` listens, such as http://127.0.0.1:8800.
        api_key: one that `serac serve key` made; None or "": the server asks for none.
        timeout: seconds that an answer may take.
        transport: what requests go through, in tests.

    Raises:
        UserError: this is no URL of a server, or no API key.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout: float = 120.0,
        transport: httpx.BaseTransport | None = None,
    ):
        self.url = str(url).strip().rstrip("/")
        wanted = "a URL such as http://127.0.0.1:8800"
        try:
            parsed = httpx.URL(self.url)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise UserError(f"the server should be {wanted}, not {self.url[:200]!r}") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise UserError(f"the server should be {wanted}, not {self.url[:200]!r}")
        headers = {"Accept": "application/json"}
        if api_key:
            if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
                raise UserError("the API key should be one word, such as sk-serac-…")
            headers["Authorization"] = f"Bearer {api_key}"
        self.http = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=CONNECTING),
            transport=transport,
            verify=parsed.scheme == "https",  # reading all certificates takes time
            follow_redirects=False,  # the key is for this server
        )

    def json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The object that a request is answered with. Raises UserError."""
        return self.object(self.send(method, path, **request))

    @contextmanager
    def reading(self) -> Generator[None]:
        """Raises UserError where fields of an answer are not those that a server gives."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self.stranger(200) from error

    def object(self, response: httpx.Response) -> dict[str, Any]:
        """The body of a response. Raises UserError where it is no JSON object."""
        try:
            fields = json.loads(response.content)
        except (ValueError, RecursionError):
            fields = None
        if not records.is_object(fields):
            raise self.stranger(response.status_code)
        return fields

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The response to a request that was served. Raises UserError for all others."""
        try:
            response = self.http.request(method, path, **request)
        except httpx.ConnectError as error:
            raise UserError(
                f"there is no server at {self.url} ({reason(error)}); `serac serve` starts one"
            ) from error
        except httpx.TimeoutException as error:
            raise UserError(f"{self.url} took too long to answer; try again") from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise UserError(f"{self.url} did not answer ({reason(error)}); try again") from error
        if not response.is_success:
            self.refuse(response)
        return response

    def refuse(self, response: httpx.Response) -> NoReturn:
        """Raises the UserError that a refusal stands for."""
        status = response.status_code
        if response.is_redirect:
            raise self.stranger(status)
        error = self.object(response).get("error")
        if not records.is_object(error) or not isinstance(error.get("message"), str):
            raise self.stranger(status)
        if error.get("code") == "contradiction" and records.is_list(error.get("conflicts")):
            raise ContradictionRefused([self.conflict(one) for one in error["conflicts"]])
        message = escaped(error["message"])
        if status == 401:
            message = "an API key of this server is needed; give it as api_key or $SERAC_API_KEY"
        wait = response.headers.get("Retry-After", "")
        if wait.isdecimal() and "wait" not in message:
            message += f"; try again in {wait} s"
        raise Unserved(f"{self.url}: {message}", status)

    def stranger(self, status: int) -> UserError:
        """The error for something else that listens there."""
        return UserError(
            f"{self.url} answered {status}, but not as `serac serve` does; look at the address"
        )

    def edit(self, fields: Any) -> Edit:
        """The edit of an answer's fields, checked. Raises UserError."""
        if not records.is_object(fields):
            raise UserError(f"{self.url}: expected an edit, not {records.shown(fields)}")
        named = {name: value for name, value in fields.items() if name in records.FIELDS}
        return records.from_fields(named, self.url)

    def conflict(self, fields: dict[str, Any]) -> Conflict:
        """The conflict of an answer's fields."""
        new, old = self.edit(fields["new"]), self.edit(fields["old"])
        return Conflict(fields["kind"], new, old, fields["old_by_new"], fields["new_by_old"])


def reason(error: Exception) -> str:
    """What went wrong, in a few words."""
    return escaped(str(error))[:200] or type(error).__name__
