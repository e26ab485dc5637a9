"""The floor: a JSON-RPC echo without validation, limits, errors, sessions. ``python -m bench.jsonrpc.floor SOCKET``"""

import asyncio
import sys

import msgspec


class Message(msgspec.Struct):
    id: int
    params: dict[str, dict[str, object] | str]


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.buffer = transport, bytearray()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            size = end + 4 + int(self.buffer[16:end])
            if len(self.buffer) < size:
                return
            message = decode(self.buffer[end + 4 : size])
            del self.buffer[:size]
            text = encode({"jsonrpc": "2.0", "id": message.id, "result": message.params["arguments"]})
            self.transport.write(b"Content-Length: %d\r\n\r\n" % len(text) + text)  # type: ignore[attr-defined]


async def serve(path: str) -> None:
    await (await asyncio.get_running_loop().create_unix_server(Echo, path)).serve_forever()


decode, encode = msgspec.json.Decoder(Message).decode, msgspec.json.Encoder().encode
if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
