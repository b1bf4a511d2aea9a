"""Upgrades that cannot be, that go wrong, or that never end."""

from __future__ import annotations

import asyncio
import json

import pytest

from .conftest import Start
from .raw import BINARY, CLOSE, TEXT, WebSocket, frame
from .stage import Polling, Stage


async def probing(stage: Stage, session: Polling) -> WebSocket:
    """An upgrade whose probe was answered; the session's poll, if it has one, is with a noop."""
    upgrade = await stage.websocket(sid=session.sid)
    await upgrade.send(b"2probe")
    assert await upgrade.read() == b"3probe"
    return upgrade


async def polling(stage: Stage) -> Polling:
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    return session


async def lives_on_polling(session: Polling) -> None:
    await session.send(b'428["echo","polled"]')
    while (packet := await session.read()) == b"6":
        pass
    assert packet == b'438["polled"]'


async def complete(session: Polling, upgrade: WebSocket) -> None:
    await upgrade.send(b"5")
    await upgrade.send(b'427["echo","moved"]')
    assert await upgrade.read() == b'437["moved"]'


@pytest.mark.hostings("listen", "asgi", "mounted", "handover")
async def test_a_second_upgrade_while_one_is_tried(start: Start) -> None:
    """Accepted and closed, as on Node; the first is none the worse."""
    stage = await start()
    session = await polling(stage)
    first = await probing(stage, session)
    second = await stage.websocket(sid=session.sid)
    await stage.closed(second)
    await stage.one_fault("upgrade", "a second upgrade while one is being tried")
    await complete(session, first)


async def test_a_second_upgrade_after_the_first(start: Start) -> None:
    stage = await start()
    session = await polling(stage)
    first = await probing(stage, session)
    await complete(session, first)
    await stage.closed(await stage.websocket(sid=session.sid))
    await stage.one_fault("upgrade", "a second upgrade of a session that has moved")
    await first.send(b'421["echo",1]')
    assert await first.read() == b"431[1]"


async def test_an_upgrade_of_a_websocket(start: Start) -> None:
    stage = await start()
    session = await stage.websocket()
    sid = json.loads((await session.read())[1:])["sid"]
    await stage.closed(await stage.websocket(sid=sid))
    await stage.one_fault("upgrade", "a second upgrade of a session that has moved")
    await session.send(b"40")
    assert (await session.read()).startswith(b"40{")


async def test_an_upgrade_of_a_session_that_has_ended(start: Start) -> None:
    stage = await start()
    session = await polling(stage)
    await session.send(b"1")
    await stage.gone()
    assert (await stage.knock(sid=session.sid)).brief == (400, "text/html", b"Session ID unknown")
    await stage.one_fault("unknown_sid", f"no session '{session.sid[:8]}…' here: it has ended")


async def test_an_upgrade_of_a_session_that_is_ending(start: Start) -> None:
    stage = await start()
    stage.io.on("leave", lambda socket: socket.disconnect(True), inline=True)
    session = await polling(stage)
    await session.send(b'42["leave"]')
    await stage.closed(await stage.websocket(sid=session.sid))
    await stage.one_fault("upgrade", "an upgrade of a session that has ended")
    assert (await session.poll()).body == b"41"


async def test_upgrades_are_not_allowed(start: Start) -> None:
    stage = await start(allow_upgrades=False)
    session = await polling(stage)
    await stage.closed(await stage.websocket(sid=session.sid))
    await stage.one_fault("upgrade", "allow_upgrades=False")
    await lives_on_polling(session)


#: What an upgrade sends instead of its probe, or behind it.
WRONG = {
    "another probe": [b"2other"],
    "no probe": [b"2"],
    "an answer": [b"3probe"],
    "an event": [b'42["echo",1]'],
    "nothing": [b""],
    "the probe of another case": [b"2PROBE"],
    "an event behind the probe": [b"2probe", b'42["echo",1]'],
    "a close behind the probe": [b"2probe", b"1"],
}


@pytest.mark.parametrize("packets", WRONG.values(), ids=WRONG)
async def test_an_upgrade_that_sends_something_else(start: Start, packets: list[bytes]) -> None:
    """The candidate is closed, nothing it sent is heard, and the session stays where it is."""
    stage = await start()
    session = await polling(stage)
    upgrade = await stage.websocket(sid=session.sid)
    for packet in packets:
        await upgrade.send(packet)
    await stage.closed(upgrade)
    await stage.one_fault("upgrade", "something else than its probe")
    await lives_on_polling(session)
    assert stage.heard == [("polled",)]


async def test_an_upgrade_that_sends_bytes(start: Start) -> None:
    stage = await start()
    session = await polling(stage)
    upgrade = await stage.websocket(sid=session.sid)
    await upgrade.wire.write(frame(BINARY, b"2probe"))
    await stage.closed(upgrade)
    await stage.one_fault("upgrade", "a binary message")
    await lives_on_polling(session)


@pytest.mark.parametrize("probed", [False, True])
async def test_an_upgrade_that_never_ends(start: Start, probed: bool) -> None:
    stage = await start(upgrade_timeout=0.2)
    session = await polling(stage)
    if probed:
        upgrade = await probing(stage, session)
    else:
        upgrade = await stage.websocket(sid=session.sid)
    await stage.closed(upgrade)
    await stage.one_fault("upgrade", "0.2 s", "upgrade_timeout")
    assert stage.counts["upgrade_timeouts"] == 1
    await lives_on_polling(session)
    # Another try is as good as the first.
    await complete(session, await probing(stage, session))


@pytest.mark.parametrize("way", ["close", "abort"])
async def test_an_upgrade_whose_client_vanishes(start: Start, way: str) -> None:
    """A network that changes; no fault of the client's."""
    stage = await start()
    session = await polling(stage)
    upgrade = await probing(stage, session)
    getattr(upgrade.wire, way)()
    await asyncio.sleep(0.05)
    await lives_on_polling(session)
    await complete(session, await probing(stage, session))
    await stage.no_fault()


@pytest.mark.hostings("listen", "asgi", "mounted", "handover")
async def test_an_upgrade_after_one_that_was_given_up(start: Start) -> None:
    """The first one's connection may end late: that ends nothing of the second's."""
    stage = await start()
    session = await polling(stage)
    first = await stage.websocket(sid=session.sid)
    await first.send(b"nonsense")
    assert (await first.closing()).opcode == CLOSE
    second = await probing(stage, session)
    first.wire.close()
    await asyncio.sleep(0.1)
    # The client moves when its poll is answered.
    assert (await session.poll()).brief == (200, "text/plain; charset=UTF-8", b"6")
    await complete(session, second)
    await stage.one_fault("upgrade", "something else than its probe")


@pytest.mark.parametrize("packet", [b"2probe", b"5", b'42["echo",1]', None])
async def test_a_session_that_ends_while_it_upgrades(start: Start, packet: bytes | None) -> None:
    """A client that was told to move learns it on the new transport, whatever it does there, or nothing at all."""
    stage = await start(upgrade_timeout=0.2)
    session = await polling(stage)
    upgrade = await probing(stage, session)
    await session.send(b"42[]")
    await stage.gone()
    if packet is not None:
        await upgrade.send(packet)
    await stage.closed(upgrade)
    await stage.one_fault("parse_error", "cannot be []")
    assert stage.heard == []


async def test_a_session_that_ends_before_its_upgrade_is_probed(start: Start) -> None:
    stage = await start()
    session = await polling(stage)
    upgrade = await stage.websocket(sid=session.sid)
    await session.send(b"42[]")
    await stage.closed(upgrade)
    await stage.gone()
    await stage.one_fault("parse_error", "cannot be []")


async def test_an_upgrade_without_a_probe(start: Start) -> None:
    """As on Node: the client says that it has moved, and it has."""
    stage = await start()
    session = await polling(stage)
    await complete(session, await stage.websocket(sid=session.sid))
    await stage.no_fault()


@pytest.mark.parametrize("ending", [frame(CLOSE, b""), frame(TEXT, b"2probe", masked=False)], ids=["close", "broken"])
async def test_an_upgrade_that_goes_on_behind_its_end(start: Start, ending: bytes) -> None:
    """A transport that has ended is never a session's next one."""
    stage = await start()
    session = await polling(stage)
    upgrade = await probing(stage, session)
    await upgrade.wire.write(ending + frame(TEXT, b"5") + frame(TEXT, b'42["echo",1]'))
    await upgrade.closing()
    await asyncio.sleep(0.05)
    await lives_on_polling(session)
    assert stage.heard == [("polled",)]


async def test_an_upgrade_with_a_broken_frame(start: Start) -> None:
    """The candidate's connection ends; the session does not."""
    stage = await start()
    session = await polling(stage)
    upgrade = await stage.websocket(sid=session.sid)
    await upgrade.wire.write(frame(1, b"2probe", masked=False))
    assert (await upgrade.closing()).code == 1002
    await asyncio.sleep(0.02)
    await lives_on_polling(session)
    assert stage.others == 1


async def test_what_waits_comes_over_the_new_transport(start: Start) -> None:
    """Emitted between the last poll and the end of the upgrade."""
    stage = await start()
    stage.io.on("tell", lambda socket: socket.emit("told"), inline=True)
    session = await polling(stage)
    upgrade = await probing(stage, session)
    await session.send(b'42["tell"]')
    await upgrade.send(b"5")
    assert await upgrade.read() == b'42["told"]'
    await stage.no_fault()


async def test_a_poll_that_is_open_is_released(start: Start) -> None:
    stage = await start()
    session = await polling(stage)
    poll = await stage.open_poll(session)
    upgrade = await probing(stage, session)
    assert (await poll).brief == (200, "text/plain; charset=UTF-8", b"6")
    await complete(session, upgrade)
    await stage.no_fault()
