"""Both sides of a TLS handshake, in memory."""

from __future__ import annotations

import ssl


class Talk:
    """A client and a server that hear each other."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(down, up, server_hostname=name)
        self.server = server.wrap_bio(up, down, server_side=True)

    def shake_hands(self) -> tuple[ssl.SSLError | None, ssl.SSLError | None]:
        """What goes wrong, at the client and at the server."""
        errors: list[ssl.SSLError | None] = [None, None]
        for _ in range(4):
            for index, side in enumerate((self.client, self.server)):
                try:
                    if errors[index] is None:
                        side.do_handshake()
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError as error:
                    errors[index] = error
        return errors[0], errors[1]
