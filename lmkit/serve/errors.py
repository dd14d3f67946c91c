"""Errors of requests: an HTTP status and a message in the shape that OpenAI's clients read."""

import logging
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from starlette.responses import Response

from lmkit import strict_json
from lmkit.errors import DataError, LmkitError, UsageError, one_line, refused_memory, with_kind

log = logging.getLogger(__name__)

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
"""The `type` of an error by its status; others of 4xx are "invalid_request_error", of 5xx "server_error"."""
LONGEST_SHOWN = 80
"""Characters of a request's value that an error repeats, so that a long value gives no long answer."""


class ApiError(Exception):
    """An answer other than 200.

    status: of HTTP. param: the field of the request that is wrong. code: for programs. retry_after: seconds after
    which the client may try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)

    def body(self) -> dict[str, Any]:
        """The object that clients expect, also in a chunk of a stream."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The HTTP response."""
        return json_response(self.body(), self.status, self.headers)


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response of strict JSON, in which numbers that JSON lacks are null with the reason."""
    return Response(strict_json.report(value), status, headers, "application/json")


def shown(text: str) -> str:
    """A value of a request as an error repeats it: in quotes, and cut if it is long."""
    return repr(text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…")


def invalid(param: str, problem: str) -> ApiError:
    """The error for a wrong value of a field."""
    return ApiError(400, f"{param}: {problem}", param=param)


def unknown_model(name: str, names: Iterable[str]) -> ApiError:
    """The error for a model that is not served."""
    return ApiError(
        404,
        f"the model {shown(name)} is not served; give one of: {', '.join(names)}",
        param="model",
        code="model_not_found",
    )


def too_long(param: str, problem: str) -> ApiError:
    """The error for more than a limit allows."""
    return ApiError(413, f"{param}: {problem}", param=param, code="too_long")


def busy(seconds: int) -> ApiError:
    """The error for a full queue."""
    return ApiError(
        429,
        "the server has too many requests waiting (--max-queue); try again",
        code="busy",
        retry_after=seconds,
    )


def stopping() -> ApiError:
    """The error while the server ends."""
    return ApiError(
        503, "the server is stopping; send the request again later", code="stopping", retry_after=5
    )


def too_slow(seconds: float) -> ApiError:
    """The error for a request that reached the time limit."""
    return ApiError(
        503,
        f"no answer within {seconds:g} seconds (--timeout); ask for fewer tokens, or again later",
        code="timeout",
        retry_after=5,
    )


def as_api_error(error: BaseException, places: Mapping[str, str] = MappingProxyType({})) -> ApiError:
    """The answer for any exception: the user's mistakes in words, those of the server without details.

    places: public names of runs by their directories, which messages of models begin with.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, LmkitError):
        message = one_line(error)
        for place, name in places.items():
            message = message.replace(place, name)
        return ApiError(400, message, code=None if isinstance(error, UsageError | DataError) else "model")
    if (refusal := refused_memory(error)) is not None:
        log.warning("%s", refusal)
        return ApiError(
            503, "not enough memory for this request; ask for less", code="memory", retry_after=10
        )
    log.error("a request failed: %s", with_kind(error), exc_info=error)
    return ApiError(500, "the server failed at this request; its log has the details", code="internal")
