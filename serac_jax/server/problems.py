"""Errors as responses, in the form of OpenAI's API: {"error": {"message", "type", "param",
"code"}}."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.edits.disk import CannotWrite
from serac_jax.edits.operations import OtherVersion
from serac_jax.edits.records import as_fields
from serac_jax.server.tenants import Forbidden
from serac_jax.serving.insert import ContradictionRefused

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
FULL = (errno.ENOSPC, errno.EDQUOT)


class Problem(HTTPException):
    """A request that cannot be served.

    Args:
        status: the HTTP status.
        message: one line: what was expected, and what to do.
        code: a word for programs.
        param: the field that is not right.
        headers: further headers of the response.
        more: further fields of the error.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ):
        text = message.encode(errors="replace").decode()
        super().__init__(status, text, headers)
        kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.fields = {"message": text, "type": kind, "param": param, "code": code} | more

    def response(self) -> JSONResponse:
        """The problem as a response."""
        return JSONResponse({"error": self.fields}, self.status_code, self.headers)


def of_user_error(error: UserError) -> Problem:
    """What a user can mend, with the status that fits."""
    if isinstance(error, ContradictionRefused):
        found = [
            one._asdict() | {"new": as_fields(one.new), "old": as_fields(one.old)}
            for one in error.conflicts
        ]
        message = (
            f'{error.conflicts[0]}; nothing was changed; send it again with "policy": "newest"'
            ' to replace the old edit, or "keep" to keep both'
        )
        return Problem(409, message, "contradiction", conflicts=found)
    if isinstance(error, OtherVersion):
        return Problem(409, str(error), "version", version=error.now)
    if isinstance(error, Forbidden):
        return Problem(403, str(error), "forbidden")
    if isinstance(error, CannotWrite):
        return of_system_error(error.__cause__, str(error))
    return Problem(400, str(error))


def of_system_error(error: BaseException | None, message: str = "") -> Problem:
    """A disk that is full, or a file that cannot be written."""
    full = isinstance(error, OSError) and error.errno in FULL
    if not message and isinstance(error, OSError):
        message = f"the memory cannot be written ({files.reason(error)}); nothing was changed"
    return Problem(507 if full else 503, message, "storage_full" if full else "storage")


def of_validation(error: RequestValidationError) -> Problem:
    """A body, or a parameter, that is not what the OpenAPI description says."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or None
    if first["type"] == "json_invalid":
        return Problem(400, f"the body is not JSON ({first['ctx']['error']})", "json")
    return Problem(422, f"{place or 'the request'}: {first['msg']}", "invalid", place)


def install(app: FastAPI) -> None:
    """Has the app answer errors in this form."""

    def problem(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)
        return error.response()

    def user_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, UserError)
        if reason := request.app.state.context.unreadable():
            return Problem(503, reason, "memory", headers={"Retry-After": "5"}).response()
        return of_user_error(error).response()

    def system_error(request: Request, error: Exception) -> JSONResponse:
        return of_system_error(error).response()

    def validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return of_validation(error).response()

    def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        message = f"{error.detail}: see /openapi.json for what is served"
        return Problem(error.status_code, message, headers=error.headers).response()

    def unexpected(request: Request, error: Exception) -> JSONResponse:
        return Problem(500, "something went wrong here; the log says what").response()

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(UserError, user_error)
    app.add_exception_handler(OSError, system_error)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)
