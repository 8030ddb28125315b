"""Everything that Regrain raises, in one tree.

RegrainError
├── SpecError                a value that the user wrote is outside what is allowed (the command exits 2)
│   ├── GrainError           a grain that is no partition of the app's stages into convex groups
│   └── TraceError           a flow that cannot be traced; names the line
├── LoadError                the app's module, or a stage of it, could not be loaded
├── UnsupportedValueError    a value that cannot travel between stages; names its type
└── RequestError             a request that ends without its answer; carries the HTTP status

Only the ingress turns a RequestError into a response.
"""

from http import HTTPStatus


class RegrainError(Exception):
    """Anything that Regrain raises on purpose."""


class SpecError(RegrainError, ValueError):
    """A value that the user wrote is outside what is allowed; the message names both."""


class GrainError(SpecError):
    """A grain that is no partition of the app's stages into convex groups."""


class TraceError(SpecError):
    """A flow that cannot be traced; the message names the file, the line and what is allowed."""


class LoadError(RegrainError):
    """The app's module, or a stage of it, could not be loaded."""


class UnsupportedValueError(RegrainError, TypeError):
    """A value that cannot travel between stages; the message names its type."""


class RequestError(RegrainError):
    """A request that ends without its answer.

    Attributes:
        status: the HTTP status that the caller gets.
        detail: one sentence for the caller; never a traceback.
        stage: the stage at which the request ended, or "" where it reached none.
        headers: more response headers, such as Retry-After (seconds). Of what a stage raises those go that
            regrain.headers lets pass: 16 of ASCII text, and none that belongs to the connection or the body.
    """

    def __init__(
        self, status: HTTPStatus, detail: str, *, stage: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.stage = stage
        self.headers = headers or {}
