"""Reads values, calls and errors in another interpreter, where the runtime is all there is; run by the tests.

``python twin.py FOLDER``: FOLDER becomes the package ``bridge``, as in a worker. Standard input has a JSON object of
lists, of which every item is base64; on standard output comes what becomes of them.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import sys


def install(folder: str) -> None:
    """Makes the folder the package ``bridge``."""
    spec = importlib.util.spec_from_file_location(
        "bridge", folder + "/__init__.py", submodule_search_locations=[folder]
    )
    sys.modules["bridge"] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def main() -> None:
    install(sys.argv[1])
    from bridge.calls import pack_result, read_request
    from bridge.values import from_any, to_any

    from bridge.errors import BridgeError
    from bridge.status import read_status, to_status

    def outcome(function, *arguments):
        try:
            return function(*arguments)
        except BridgeError as error:
            return {"status": text(to_status(error))}

    def value(item):
        url, data = to_any(from_any(item[0], base64.b64decode(item[1])))
        return [url, text(data)]

    def call(item):
        request = read_request(base64.b64decode(item))
        return text(pack_result([request.tool, request.session_id, request.arguments, request.metadata]))

    def status(item):
        return text(to_status(read_status(base64.b64decode(item))))

    asked = json.load(sys.stdin)
    answer = {
        kind: [outcome(function, item) for item in asked[kind]]
        for kind, function in (("values", value), ("calls", call), ("statuses", status))
    }
    answer["foreign"] = sorted({"google", "grpc", "msgspec", "numpy"} & set(sys.modules))
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
