"""The scenarios of JSON-RPC; their tests are listed by ``tests.scenarios``."""

from __future__ import annotations

__all__ = ["CONCURRENCY", "FRAMING", "MESSAGES", "SOCKETS", "STDIO"]

MESSAGES = {
    "J01": ("a valid request", "one response with its id, `jsonrpc` 2.0, and either a result or an error"),
    "J02": ("ids that are strings, 0, negative, 2^53 or empty", "come back as they were"),
    "J03": ("an id that is null, an object, a bool or 1.5", "-32600 with the id null"),
    "J04": ("notifications: of methods that are there, that are not, and that fail", "no bytes come back"),
    "J05": ("what is not JSON, is cut, or goes on", "-32700 with the id null; the next message works"),
    "J06": ("what is not UTF-8; a byte order mark", "-32700; ignored"),
    "J07": ("a message that is no object or lacks a member", "-32600"),
    "J08": ("a method that is unknown, reserved or private", "-32601"),
    "J09": ("params by name, by position, absent and wrong", "work, or -32602 with the fields"),
    "J10": ("a batch of three requests and a notification", "an array of three"),
    "J11": ("a batch of notifications", "nothing"),
    "J12": ("an empty batch; a batch of what are no messages", "one -32600; an array with one for each"),
    "J13": ("a batch that is too large", "-32600, and nothing of it runs"),
    "J14": ("a handler that raises", "an error without a traceback; the connection lives"),
    "J15": ("a result that has no JSON, NaN, bytes", "a typed error or a documented form, never a torn frame"),
    "J16": ("an id that is running already", "-32600 for the second; the first is answered"),
    "J17": ("100000 `[`", "an error, no crash, no memory"),
    "J18": ("huge integers, halves of surrogate pairs, members of the same name", "as documented"),
}

FRAMING = {
    "F01": ("one byte at a time", "the same as one write"),
    "F02": ("several messages in one write; a message cut anywhere", "all are heard"),
    "F03": ("headers in other cases, with other headers; lines that end in LF", "understood"),
    "F04": (
        "a length that is missing, no number, negative, `+5`, or said twice",
        "-32700, and the connection is closed",
    ),
    "F05": ("a length of 0", "-32600; the next message works"),
    "F06": ("a message that is too long", "an error before anything of it is kept, and the connection is closed"),
    "F07": ("headers that do not end", "the connection is closed within the limit"),
    "F08": ("the end of the stream inside of a message", "a clean end; nothing runs"),
    "F09": ("half of a message and silence", "the connection is closed; others notice nothing"),
    "F10": ("messages of 10 MB and more both ways", "exact; others are answered meanwhile"),
    "F11": ("text that is not ASCII", "the length counts bytes"),
    "F12": ("a client that never reads", "is not read any more; memory is bounded; others are fine"),
    "F13": ("binary junk", "an error at once; with Content-Length the connection is closed"),
}

CONCURRENCY = {
    "C01": ("a slow request and a fast one behind it; a hundred at once", "the fast one is answered first; each once"),
    "C02": (
        "`$/cancelRequest` and `notifications/cancelled` of an async tool",
        "it is cancelled at once; -32800, or no answer in MCP",
    ),
    "C03": ("the same of a plain tool that looks for it, and of one that does not", "stops; is answered without it"),
    "C04": ("a cancel of what is unknown, has ended, or is another connection's", "ignored"),
    "C05": ("a client that disconnects in a call", "the tool is cancelled and its session released"),
    "C06": ("a deadline", "-32001, the tool is cancelled; a late answer is nobody's"),
    "C07": ("a stream", "its values in order, one end; who stops reading stops the tool"),
    "C08": ("signs of life", "renew the time of a call"),
    "C09": ("more requests than allowed at once", "refused at once"),
    "C10": ("a request to the client while its call runs", "is answered, nothing waits for itself"),
    "C11": ("the end while calls run", "they may end; then they are cancelled; the socket is gone"),
    "C12": ("SIGTERM, SIGINT and a second SIGINT", "idle: ends at once; busy: finishes; ends at once"),
}

SOCKETS = {
    "U01": ("who may connect", "its own user only, from the first instant"),
    "U02": ("the socket of a killed server", "is taken over"),
    "U03": ("a second server", "says who is running; the first goes on"),
    "U04": ("20 servers at once", "one wins"),
    "U05": ("a path that is a file, a folder, a link to nothing, or too long", "refused in clear words, never removed"),
    "U06": ("a server that ends when another has its path", "leaves the other one's socket alone"),
    "U07": ("another user", "is refused"),
    "U08": ("nobody uses it", "ends, and never in a call"),
    "U09": ("10 clients that start what does not run", "one server starts, all are connected"),
    "U10": ("the socket is removed", "is bound again, or somebody is told"),
}

STDIO = {
    "S01": ("tools, C code and children that print", "to stderr; the protocol goes on"),
    "S02": ("tools and children that read stdin", "read nothing"),
    "S03": ("the end of stdin: idle, busy and stuck", "it ends"),
    "S04": ("stdout is closed", "it ends without many words"),
    "S05": ("the host is killed", "it ends in 1 s, however its output goes"),
    "S06": ("nobody reads stderr", "nothing waits for it"),
    "S07": ("other locales and encodings", "the wire is UTF-8"),
}
