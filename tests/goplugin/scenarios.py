"""The scenarios of go-plugin; their tests are listed by ``tests.scenarios``."""

from __future__ import annotations

__all__ = ["HOST", "PLUGIN"]

PLUGIN = {
    "GP01": ("a Go host puts and gets values", "they are kept; the plugin ends with exit code 0"),
    "GP02": ("the same with AutoMTLS", "the same, and nothing is warned of"),
    "GP03": ("somebody connects with a certificate that is not the host's", "an alert of TLS, and no answer"),
    "GP04": ("AutoMTLS over TCP", "works"),
    "GP05": ("the plugin calls its host back through the broker, and the host the plugin", "both are answered"),
    "GP06": ("the same with AutoMTLS", "the same"),
    "GP07": ("the same where all connections share one", "the same"),
    "GP08": ("the same with both", "the same"),
    "GP09": ("200 calls, each with a connection of the broker", "descriptors, threads and sockets are what they were"),
    "GP10": ("the host multiplexes and the plugin does not", "go-plugin's host says so, and nothing hangs"),
    "GP11": ("the host says that it does not want to multiplex", "a seventh segment, and connections as without it"),
    "GP12": (
        "host and plugin have versions",
        "the highest in common, with its own plugins; else the lowest is offered",
    ),
    "GP13": ("somebody starts a plugin by hand", "exit code 1, nothing on stdout, a few lines on stderr"),
    "GP14": ("health is asked for", "`plugin` and the server as a whole serve; others are not found"),
    "GP15": ("reflection is asked for", "the services of go-plugin and the plugin's, in both versions"),
    "GP16": ("the plugin prints, by Python and by C", "every byte reaches the host, in order"),
    "GP17": ("it prints 10 MB and nobody takes them", "it goes on within five seconds, with bounded memory"),
    "GP18": ("something is printed before the plugin is served", "the host connects, and gets what was printed"),
    "GP19": ("the host kills the plugin", "it ends by itself with exit code 0 and leaves nothing"),
    "GP20": ("a call runs then, or blocks the event loop", "the plugin ends before the host uses force"),
    "GP21": ("SIGINT, three times", "the plugin goes on"),
    "GP22": ("SIGTERM", "the plugin ends with exit code 0 and leaves nothing"),
    "GP23": ("the host is killed", "the plugin is gone within two seconds and leaves nothing"),
    "GP24": (
        "the plugin logs, and logs an exception",
        "the host gets level, logger and pairs; a traceback is an error",
    ),
    "GP25": ("streams of all shapes, and a host that takes small messages only", "they come whole, or are refused"),
    "GP26": ("messages of 5 and 64 MB", "go there and back; too large ones are refused with both numbers"),
    "GP27": (
        "the host names a directory and a group for sockets",
        "all sockets lie there, belong to it and have mode 0660",
    ),
    "GP28": ("a plugin in test mode", "hosts find it by its JSON and do not end it"),
    "GP29": ("a second host attaches", "it can use and end the plugin, which outlives the first"),
    "GP30": ("a certificate of one's own", "clients are asked for theirs, or not, as was wished"),
    "GP31": ("a range of ports, perhaps without a free one", "the first free one; or an error that names the range"),
    "GP32": ("100 plugins come and go", "no process, socket or directory is left"),
    "GP33": (
        "Terraform runs a provider, with TLS, without, and in a debugger",
        "its schema is shown, a resource applied",
    ),
}

HOST = {
    "GP34": ("a Python host, a plugin in Go", "values are kept"),
    "GP35": ("the same with AutoMTLS", "the same, with both sides verified"),
    "GP36": ("the plugin calls its host back through the broker, and the host the plugin", "both are answered"),
    "GP37": ("the answer to the wish that the plugin ends is lost with its connection", "that is taken for success"),
    "GP38": ("a plugin misbehaves as it starts", "the error has the words of go-plugin's host"),
    "GP39": ("the plugin's file is to have a checksum", "it is started only if it has"),
    "GP40": ("lines of 4 to 7 segments, other ends of lines, padded certificates", "taken or refused as by Go"),
    "GP41": ("five minutes without a call", "no connection is lost"),
    "GP42": ("the plugin crashes in a call", "the error has its exit code and its last output, at once"),
    "GP43": ("the plugin is behind a shell", "no process is left"),
    "GP44": ("a message is too large for the plugin", "its error is passed on; the host itself takes 2 GiB"),
    "GP45": ("plugins of all makes", "work as far as they can"),
    "GP46": ("the plugin is not to have the host's environment", "it has the cookie, and nothing else of ours"),
}
