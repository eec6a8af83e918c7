"""The application: which module answers which address.

Every module gets only a `Web`. The modules that answer provide their routes: `routes(web)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.types import ASGIApp

from collector.clock import Clock, utc_now
from collector.settings.models import Settings
from collector.web import api, health, metrics, pages
from collector.web.data import Data
from collector.web.guard import Guard

if TYPE_CHECKING:
    from collector.service.view import View


@dataclass(frozen=True)
class Web:
    """What pages, API, metrics and health need."""

    data: Data
    """Queries the database."""
    settings: Settings
    clock: Clock = utc_now
    running: Callable[[], View] | None = None
    """Returns the state of the service in this process; None: this process does not poll."""

    def view(self) -> View | None:
        """The current state of the service in this process, if it polls."""
        return self.running() if self.running else None

    def polled(self) -> frozenset[str]:
        """Names of the sources that are to be polled."""
        view = self.view()
        return frozenset(each.name for each in (view.sources if view else self.settings.sources))

    def receivers(self) -> frozenset[str]:
        """Names of the receivers of events."""
        return frozenset(each.name for each in self.settings.webhooks)


def make_app(web: Web) -> ASGIApp:
    """Pages, API, metrics and health, behind the guard."""
    routes = [route for module in (pages, api, metrics, health) for route in module.routes(web)]
    app = Starlette(routes=routes, exception_handlers=pages.handlers(web))
    return Guard(app, web.settings)
