"""What a client says at the end, and of a server that is not what its URL says."""

from __future__ import annotations

import pytest

import duplexio
from duplexio import ConnectError, Disconnected, Server, Socket


async def test_the_reason_stays_when_a_socket_that_is_out_is_disconnected() -> None:
    io = Server(handle_signals=False)

    @io.on("leave")
    async def leave(socket: Socket) -> None:
        socket.disconnect()

    async with await io.listen("127.0.0.1", 0) as listening, duplexio.connect(listening.url) as socket:
        socket.emit("leave")
        assert await socket.wait_disconnected() == "io server disconnect"
        socket.disconnect()
        assert await socket.wait_disconnected() == "io server disconnect"
        with pytest.raises(Disconnected) as raised:
            await socket.receive("anything")
        assert raised.value.reason == "io server disconnect"
    assert await socket.wait_disconnected() == "io server disconnect"


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_server_without_tls(transport: duplexio.types.TransportName) -> None:
    async with await Server(handle_signals=False).listen("127.0.0.1", 0) as listening:
        socket = duplexio.connect(listening.url.replace("http:", "https:"), transports=[transport])
        with pytest.raises(ConnectError) as raised:
            await socket.connect()
    assert raised.value.message == "what answers there does not speak TLS (WRONG_VERSION_NUMBER)"
    assert raised.value.hint == "Is it a server without TLS? Then the URL begins with http://"
