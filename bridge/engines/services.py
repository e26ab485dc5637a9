"""What answers on a server beside our own methods: the services of others, as their generated code registers them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bridge.engines.base import Method
from bridge.errors import BridgeError, Code

__all__ = ["Services"]


class Services:
    """Services of others, and whatever methods of ours stand beside them.

    It takes the place of the server in what generated code calls: ``add_XServicer_to_server(servicer, services)`` works
    with the code of every version of grpcio-tools, and with servicers for ``grpc.aio`` as well as blocking ones, whose
    methods run in threads. Everything has to be added before the server starts.

    Every ``add_`` method raises ``BridgeError``: ALREADY_EXISTS, reason ``SERVICE_EXISTS``, for a second service or
    method of one name; FAILED_PRECONDITION, reason ``SERVER_STARTED``, when it is too late.
    """

    def __init__(self) -> None:
        self._generic: dict[str, Any] = {}
        self._registered: dict[str, dict[str, Any]] = {}
        self._methods: dict[str, Method] = {}
        self._unnamed: list[Any] = []
        self._is_sealed = False

    def __repr__(self) -> str:
        return f"<Services {', '.join(self.names) or 'none'}>"

    @property
    def names(self) -> tuple[str, ...]:
        """``package.Service`` of all there is, in order. A generic handler that says no name is not among them."""
        return tuple(sorted({*self._generic, *self._registered, *map(service_of, self._methods)}))

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """Adds ``grpc.GenericRpcHandler`` objects. Generated code calls it."""
        self._check_open()
        for handler in generic_rpc_handlers:
            name = handler.service_name() if hasattr(handler, "service_name") else None
            if not name:
                self._unnamed.append(handler)
                continue
            if name in self._generic:
                raise _exists(name)
            self._check_no_methods(name)
            self._generic[name] = handler

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Adds ``grpc.RpcMethodHandler`` objects by the names of their methods. Generated code since grpcio-tools 1.65
        calls it, after ``add_generic_rpc_handlers`` with the same service."""
        self._check_open()
        if service_name in self._registered:
            raise _exists(service_name)
        self._check_no_methods(service_name)
        self._registered[service_name] = dict(method_handlers)

    def add_methods(self, methods: Iterable[Method]) -> None:
        """Adds methods of ours; those of one service may come in several goes."""
        self._check_open()
        for method in methods:
            service = service_of(method.path)
            if service in self._generic or service in self._registered:
                raise _exists(service)
            if method.path in self._methods:
                raise _exists(method.path[1:])
            self._methods[method.path] = method

    def seal(self) -> None:
        """Takes nothing more. The engine calls it: what came later would never be asked."""
        self._is_sealed = True

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods of ours."""
        return tuple(self._methods.values())

    @property
    def handlers(self) -> dict[str, Any]:
        """The ``grpc.RpcMethodHandler`` of every path that is known."""
        return {
            f"/{service}/{name}": handler
            for service, handlers in self._registered.items()
            for name, handler in handlers.items()
        }

    @property
    def generic_handlers(self) -> tuple[Any, ...]:
        """Who has to be asked for the handler of a path, one after the other; those without a name come last."""
        asked = [handler for name, handler in self._generic.items() if name not in self._registered]
        return (*asked, *self._unnamed)

    def _check_open(self) -> None:
        if self._is_sealed:
            raise BridgeError(
                Code.FAILED_PRECONDITION,
                "the server has started: add services before that, in Plugin.register or before engine.start",
                reason="SERVER_STARTED",
            )

    def _check_no_methods(self, service: str) -> None:
        if any(service_of(path) == service for path in self._methods):
            raise _exists(service)


def service_of(path: str) -> str:
    """``package.Service`` of ``/package.Service/Method``."""
    return path.split("/")[1]


def _exists(name: str) -> BridgeError:
    return BridgeError(
        Code.ALREADY_EXISTS,
        f"there is a {name} already: one server answers to a name once; leave one of the two out, or give it a server "
        "of its own",
        reason="SERVICE_EXISTS",
    )
