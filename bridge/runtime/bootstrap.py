"""The program that becomes the zygote of a plugin: ``python bootstrap.py CONTROL [PATH ...]``.

The folder of this file becomes the package ``bridge``, whatever is installed. CONTROL is the descriptor of the socket
to the nursery. PATH is what modules are searched in; without any it is what the interpreter knows by itself.

Any Python can read this, so that one that is too old can say so. What ``multiprocessing`` starts afresh in a worker
runs this too, by another name, and gets the same package.
"""

import os
import sys

IS_ZYGOTE = __name__ == "__main__"

if IS_ZYGOTE:
    control, path = int(sys.argv[1]), sys.argv[2:]
    if sys.version_info < (3, 9):
        said = ("it needs Python >= 3.9, and this is %d.%d.%d" % sys.version_info[:3], "PYTHON_TOO_OLD", "")
        texts = [bytearray((0xD9, len(text))) + bytearray(text.encode("ascii")) for text in said]
        os.write(control, b"\x94\x12" + b"".join(map(bytes, texts)))  # ``zygote_messages.StartFailed``
        sys.exit(1)
    if path:
        sys.path[:] = path
    elif not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the folder of this file

if IS_ZYGOTE or __name__ == "__mp_main__":
    from importlib.util import module_from_spec, spec_from_file_location

    folder = os.path.dirname(os.path.abspath(__file__))
    file = os.path.join(folder, "__init__.py")
    spec = spec_from_file_location("bridge", file, submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        raise ImportError("there is no package in " + folder)
    sys.modules["bridge"] = package = module_from_spec(spec)
    spec.loader.exec_module(package)

if IS_ZYGOTE:
    from importlib import import_module

    import_module("bridge.zygote").main(control)
