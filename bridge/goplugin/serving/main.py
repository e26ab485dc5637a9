"""A plugin as a process of its own: from the start of a script to its exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from bridge.errors import BridgeError, Code
from bridge.foreground import close_loop
from bridge.goplugin.handshake import HandshakeConfig, check_cookie
from bridge.goplugin.output.start_failures import ERROR
from bridge.goplugin.output.stdio import is_worker, protect_stdout

if TYPE_CHECKING:
    from bridge.goplugin.plugin import PluginSet
    from bridge.goplugin.transport.identity import Tls

__all__ = ["serve"]


def serve(
    *,
    handshake: HandshakeConfig,
    plugins: PluginSet | None = None,
    versioned_plugins: Mapping[int, PluginSet] | None = None,
    tls: Tls | None = None,
    test: bool = False,
    **settings: Any,
) -> None:
    """Serves plugins to the host that has started this process, and returns when that wants them to end (``Serve`` of
    go-plugin). To be called in the main thread, as the last thing that a plugin's script does.

    Ends the process with exit code 1 if no host has started it, or it cannot be served; why stands on stderr. What
    comes after it, threads that still run included, has 1.8 seconds, and is then ended by force. Raises ``BridgeError``
    FAILED_PRECONDITION, reason ``SERVE_PLACE``, in another thread or in an event loop.

    Args:
        handshake: what the plugin and its hosts have agreed on.
        plugins: by name, where there is one version of them, that of ``handshake``.
        versioned_plugins: by version of the application's protocol, and name.
        tls: of one's own, see ``static_tls``, instead of AutoMTLS.
        test: for tests and debuggers: there need be no host. What one needs to connect stands on stdout as JSON, SIGINT
            and SIGTERM end the plugin, and hosts never do.
        settings: as in ``ServeSettings``; what is not given is taken from the environment.
    """
    if is_worker():
        _fail(
            "a process that multiprocessing has started imports the plugin's script, and must not serve it: "
            'call `serve` under `if __name__ == "__main__":`\n'
        )
    _check_place()
    if not test:
        advice = check_cookie(handshake, os.environ)
        if advice is not None:
            _fail(advice)
        protect_stdout()
        _Signals.take()
    from bridge.goplugin.serving.lifetime import limit_exit  # only who is run by a host has to wait for imports

    loop = asyncio.new_event_loop()
    main = loop.create_task(
        _serve(handshake, {"plugins": plugins, "versioned_plugins": versioned_plugins, "tls": tls, **settings}, test)
    )
    try:
        loop.run_until_complete(main)
    except BridgeError as error:
        _fail(f"{'' if test else ERROR}the plugin cannot be served: {error.message}\n")
    finally:
        if not test:
            limit_exit()
    close_loop(loop)
    _Signals.leave()


def _check_place() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        if threading.current_thread() is threading.main_thread():
            return
    message = "`serve` is for the main thread, outside of event loops; `async with plugin_server(...)` serves in one"
    raise BridgeError(Code.FAILED_PRECONDITION, message, reason="SERVE_PLACE")


async def _serve(handshake: HandshakeConfig, arguments: Mapping[str, Any], test: bool) -> None:
    from bridge.goplugin.serving.server import plugin_server  # only who is run by a host has to wait for its imports

    async with plugin_server(handshake=handshake, test=test, **arguments) as server:
        if test:
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, server.stop)
            sys.stdout.write(server.reattach.to_json() + "\n")
            sys.stdout.flush()
        await server.wait()
        _Signals.over = True


class _Signals:
    """What SIGINT and SIGTERM do before the plugin serves and after it: end the process, and nothing. A plugin that is
    about to exit is asked a second time by hosts that do not wait, and by people; it has sockets to remove, and its
    exit code to give."""

    over = False
    """Whether the plugin has served."""

    @classmethod
    def take(cls) -> None:
        """To be called in the main thread. What somebody has set, or ignores, stays."""
        cls.over = False
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, cls._come)

    @classmethod
    def leave(cls) -> None:
        """To be called last: Python gives up handlers of its own before it is gone itself."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) == cls._come:
                signal.signal(number, signal.SIG_IGN)

    @classmethod
    def _come(cls, number: int, frame: FrameType | None) -> None:
        if not cls.over:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _fail(message: str) -> NoReturn:
    sys.stderr.write(message)
    sys.exit(1)
