"""The control plane as a WSGI application: its routes, who may use them, and how failures are told."""

from __future__ import annotations

import logging
import os
import threading

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as Answer

from regrain.errors import SpecError
from regrain.hosts import names_loopback
from regrain_watchdog.front.door import FUNCTION_STATUS
from regrain_watchdog.gateway.build import endpoint
from regrain_watchdog.gateway.control import answers
from regrain_watchdog.gateway.control.about import About
from regrain_watchdog.gateway.control.front import Front
from regrain_watchdog.gateway.control.functions import Functions
from regrain_watchdog.gateway.control.later import Later
from regrain_watchdog.gateway.control.logs import Logs
from regrain_watchdog.gateway.control.namespaces import Namespaces
from regrain_watchdog.gateway.control.secrets import Secrets
from regrain_watchdog.gateway.credentials import OPEN, REALM, REFUSED, Credentials
from regrain_watchdog.gateway.database import StoreError
from regrain_watchdog.gateway.later.table import Table
from regrain_watchdog.gateway.secret_files import SecretFiles
from regrain_watchdog.gateway.settings import Settings
from regrain_watchdog.gateway.store import InUseError, Store

logger = logging.getLogger(__name__)

READING = ("GET", "HEAD")


def make(settings: Settings, ending: threading.Event) -> Flask:
    """Return the application; the settings' folder is its own from here on.

    ending: is set once no more requests are taken, so that none lasts that could end.
    """
    app = Flask(__name__, static_folder=None)
    store = Store(settings.database)
    front = Front(settings.front_socket)
    app.register_blueprint(Functions(store, front).blueprint())
    app.register_blueprint(Secrets(store, SecretFiles(settings.secrets)).blueprint())
    app.register_blueprint(Namespaces(store).blueprint())
    app.register_blueprint(Logs(store, settings.log, ending).blueprint())
    app.register_blueprint(Later(Table(settings.database), front).blueprint())
    app.register_blueprint(About(store, front).blueprint())
    app.register_blueprint(endpoint.make(settings.folder, store, settings.key, os.environ))
    app.before_request(Door(Credentials.load(settings.folder) if settings.auth else None).refusal)
    app.register_error_handler(SpecError, lambda error: answers.text(str(error), 400))
    app.register_error_handler(InUseError, lambda error: answers.text(str(error), 409))
    app.register_error_handler(StoreError, _unkept)
    app.register_error_handler(OSError, _unkept)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(Exception, _failed)
    return app


class Door:
    """Lets requests in.

    Without a password this machine is enough, and a web page must not speak for it: requests name loopback as their
    host. A callback comes from this machine too, with a URL of anybody's choice: none is answered.
    What changes something does not come from another site's page, with which browsers send a password along.

    Args:
        credentials: None to ask for none.
    """

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials

    def refusal(self) -> Response | None:
        """Return the answer to a request that may not come in; None for one that may."""
        if request.path in OPEN:
            return None
        if self._credentials is not None:
            if not self._credentials.admit(request.headers.get("Authorization", "")):
                answers.body()  # a client that still sends hears no answer
                refused = answers.text(REFUSED, 401)
                refused.headers["WWW-Authenticate"] = REALM
                return refused
        elif not names_loopback(request.host):
            return answers.text(
                f"without a password only loopback hosts are answered, not {request.host!r}", 403
            )
        elif FUNCTION_STATUS in request.headers:
            answers.body()  # as above
            return answers.text("without a password callbacks are taken by functions alone", 403)
        origin = request.headers.get("Origin", "")
        if request.method not in READING and origin and origin.partition("://")[2] != request.host:
            return answers.text(f"changes are not taken from a page of {origin!r}", 403)
        return None


def _unkept(error: Exception) -> Response:
    logger.error("%s %s: %s", request.method, request.path, error)
    return answers.text(f"this could not be kept: {error}", 507)


def _refused(error: HTTPException) -> Answer:
    response = error.get_response()
    response.data = (error.description or error.name).encode()
    response.mimetype = "text/plain"
    return response


def _failed(error: Exception) -> Response:
    logger.error("%s %s", request.method, request.path, exc_info=error)
    return answers.text("the gateway failed at this; its log says how", 500)
