"""`duplexio client` without its prompt: what it prints where, and what it ends with."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.hosting.processes import free_port

from .command import SECONDS, client, make_server, serving, start


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# One event.


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["add", "2", "3"], 5),
        (["add", "two ", "words"], "two words"),
        (["both"], [1, {"base64": "AAE="}]),
        (["nothing"], None),
    ],
)
async def test_an_acknowledgement(words: list[str], printed: Any) -> None:
    """Alone on stdout."""
    async with serving() as url:
        ended = await client(url, "--emit", *words, "--wait-ack")
    assert (ended.code, json.loads(ended.out)) == (0, printed)
    assert "connected to http://127.0.0.1" in ended.err
    assert "welcome" in ended.err
    assert "disconnected" not in ended.err


async def test_an_event_that_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(b"\x01\x02")
    async with serving() as url:
        ended = await client(url, "--emit", "echo", "hi", '{"a": [1]}', f"@{file}", "-1", "--wait-event", "echoed")
        assert (ended.code, json.loads(ended.out)) == (0, ["hi", {"a": [1]}, {"base64": "AQI="}, -1])
        assert 'hi is no JSON: sent as the text "hi"' in ended.err
        ended = await client(url, "--wait-event", "welcome", "--json")
        assert (ended.code, json.loads(ended.out)[0]) == (0, {"name": "Zoë"})
        assert [line["type"] for line in objects(ended.err)] == ["connect"]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_an_event_that_nobody_answers_arrives(transport: str) -> None:
    """The command does not leave before it is sent."""
    io = make_server()
    arrived: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()

    @io.on("news")
    async def news(*args: Any) -> None:
        arrived.set_result(args[1:])

    async with serving(io=io) as url:
        ended = await client(url, "--emit", "news", "1", '"two"', "--transport", transport)
        assert ended.code == 0
        assert await asyncio.wait_for(arrived, SECONDS) == (1, "two")


async def test_several_events_go_in_order() -> None:
    io = make_server()
    arrived: list[tuple[Any, ...]] = []

    @io.on("log", ordered=True)
    async def log(*args: Any) -> int:
        arrived.append(args[1:])
        return len(arrived)

    words = ("--emit", "log", "1", "--emit", "log", "2", "two", "--emit", "log")
    async with serving(io=io) as url:
        ended = await client(url, *words, "--wait-ack")
        assert (ended.code, ended.out) == (0, "1\n2\n3\n"), ended.err
        assert arrived == [(1,), (2, "two"), ()]
        ended = await client(url, *words, "--emit", "add", "1", "2", "--wait-ack", "--transport", "polling")
        assert (ended.code, ended.out) == (0, "4\n5\n6\n3\n"), ended.err
        ended = await client(url, "--emit", "echo", "1", "--emit", "echo", "2", "--count", "3")
        assert re.findall(r"echoed (\d)", ended.out) == ["1", "2"]


async def test_the_first_event_without_an_acknowledgement_is_the_last() -> None:
    async with serving() as url:
        ended = await client(
            url, *("--emit", "add", "1", "2", "--emit", "never", "--emit", "both"), "--wait-ack", "--timeout", "3"
        )
    assert (ended.code, ended.out) == (3, "3\n")
    assert "no acknowledgement of never within 3 s" in ended.err


async def test_nothing_in_time() -> None:
    async with serving() as url:
        # It is the time for connecting, too.
        ended = await client(url, "--emit", "never", "--wait-ack", "--timeout", "3")
        assert (ended.code, ended.out) == (3, "")
        assert "no acknowledgement of never within 3 s" in ended.err
        ended = await client(url, "--wait-event", "nosuch", "--timeout", "3")
        assert (ended.code, ended.out) == (3, "")
        assert "no event nosuch within 3 s" in ended.err
        ended = await client(url, "--count", "2", "--for", "1")
        assert ended.code == 3
        assert "fewer than 2 events within 1 s" in ended.err


async def test_a_connection_that_ends() -> None:
    async with serving() as url:
        ended = await client(url, "--emit", "kick", "--wait-ack")
        assert ended.code == 4
        assert "the connection was lost (io server disconnect)" in ended.err
        ended = await client(url, "--emit", "kick", "--wait-event", "nosuch")
        assert (ended.code, ended.out) == (4, "")
        assert "no event nosuch: the connection has ended" in ended.err
        ended = await client(url, "--emit", "kick", "--listen")
        assert ended.code == 4
        assert "disconnected: io server disconnect, the server has ended it, and it stays so" in ended.err


# Listening.


async def test_events_as_a_person_reads_them() -> None:
    async with serving() as url:
        ended = await client(url, "--count", "1")
        assert ended.code == 0
        assert re.fullmatch(r'\d\d:\d\d:\d\d\.\d{3} welcome {"name":"Zoë"} <bytes 12: 0001020304050607…>\n', ended.out)
        ended = await client(url, "--emit", "echo", '"\\u001b[31m"', "--count", "2")
        assert ended.out.endswith('echoed "\\u001b[31m"\n')
        ended = await client(url, "--for", "0.5", "--emit", "nothing")
        assert (ended.code, len(ended.out.splitlines())) == (0, 1)
        assert "\x1b" not in ended.out + ended.err


async def test_events_as_objects() -> None:
    async with serving() as url:
        ended = await client(url, "--json", "--count", "2", "--emit", "echo", "1")
    assert (ended.code, ended.err) == (0, "")
    found = [line for line in objects(ended.out) if line["type"] != "upgrade"]
    assert [line["type"] for line in found] == ["connect", "event", "event"]
    assert (found[0]["namespace"], found[0]["recovered"]) == ("/", False)
    assert found[1]["args"] == [{"name": "Zoë"}, {"base64": "AAECAwQFBgcICQoL"}]
    assert (found[2]["event"], found[2]["args"]) == ("echoed", [1])


async def test_ctrl_c() -> None:
    async with serving() as url:
        process = await start(url, "--listen")
        assert process.stdout is not None
        async with asyncio.timeout(SECONDS):
            assert b"welcome" in await process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
        assert process.returncode == 130
        assert b"Traceback" not in err


async def test_a_reader_that_has_enough() -> None:
    """As `head -1`."""
    io = make_server()

    @io.on("flood")
    async def flood(socket: Any) -> None:
        for number in range(200):
            socket.emit("drop", number)
            await asyncio.sleep(0.05)

    async with serving(io=io) as url:
        process = await start(url, "--listen", "--emit", "flood")
        assert process.stdout is not None
        async with asyncio.timeout(SECONDS):
            await process.stdout.readline()
            process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
            assert process.stderr is not None
            err = await process.stderr.read()
            assert await process.wait() == 0
        assert b"Error" not in err, err.decode()


async def test_a_server_that_comes_back() -> None:
    port = free_port()
    async with serving(port) as url:
        process = await start(url, "--count", "2")
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(SECONDS):
            await process.stdout.readline()
    async with asyncio.timeout(SECONDS):
        err = b""
        while b"cannot connect" not in err:
            err += await process.stderr.readline()
    async with serving(port), asyncio.timeout(SECONDS):
        out, rest = await process.communicate()
    assert process.returncode == 0
    assert b"welcome" in out
    said = (err + rest).decode()
    for words in (
        "disconnected: transport close, the connection was lost; it is being opened again",
        "connecting again, attempt 1",
        "nobody listens there: the server is not running, or on another port",
    ):
        assert words in said, said
    # Of what the library logs as well, one line is enough.
    assert said.count("connected to") == 2
    assert said.count("disconnected") == 1
    assert "has ended" not in said
    assert "trying again" not in said


async def test_a_lost_connection_is_not_opened_again_where_that_is_unwanted() -> None:
    async with serving() as url:
        process = await start(url, "--listen", "--no-reconnect")
        assert process.stdout is not None
        async with asyncio.timeout(SECONDS):
            await process.stdout.readline()
    async with asyncio.timeout(SECONDS):
        _, err = await process.communicate()
    assert process.returncode == 4
    assert b"opened again" not in err


# Connecting.


async def test_what_the_server_is_told() -> None:
    async with serving() as url:
        ended = await client(
            url,
            *("--auth", '{"token": "a", "level": 1}', "--auth", "token=b", "--header", "X-Who: Zoe"),
            *("--query", "room=4", "--transport", "websocket", "--emit", "told", "--wait-ack"),
        )
    assert json.loads(ended.out) == {
        "auth": {"token": "b", "level": 1},
        "header": "Zoe",
        "query": "4",
        "transport": "websocket",
    }


async def test_auth_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    file.write_text('{"token": "abc"}')
    async with serving() as url:
        for arguments in [url, "-n", "/admin"], [url, "-n", "admin"], [f"{url}/admin"]:
            ended = await client(*arguments, "--auth", f"@{file}", "--for", "0.1")
            assert ended.code == 0, ended.err
            assert ", namespace /admin" in ended.err


@pytest.mark.parametrize(
    ("server", "options"),
    [
        ({"allow_eio3": True}, ["--eio", "3"]),
        ({"parser": "msgpack"}, ["--parser", "msgpack"]),
        ({"path": "/ws"}, ["--path", "/ws"]),
        ({}, ["--transport", "polling"]),
    ],
)
async def test_other_servers(server: dict[str, Any], options: list[str]) -> None:
    async with serving(io=make_server(**server)) as url:
        ended = await client(url, *options, "--emit", "add", "1", "2", "--wait-ack")
    assert (ended.code, ended.out) == (0, "3\n"), ended.err


async def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    files: dict[str, Any] = {"ssl_certfile": str(tmp_path / "cert.pem"), "ssl_keyfile": str(tmp_path / "key.pem")}
    async with serving(**files) as url:
        assert url.startswith("https://")
        for options in ["--ca", str(tmp_path / "ca.pem")], ["--insecure"]:
            ended = await client(url, *options, "--emit", "add", "1", "2", "--wait-ack")
            assert (ended.code, ended.out) == (0, "3\n"), ended.err
        ended = await client(url, "--listen")
        assert ended.code == 1
        assert "certificate does not hold" in ended.err
        assert "--ca FILE names its authority, --insecure trusts any" in ended.err


async def test_a_namespace_that_refuses() -> None:
    async with serving() as url:
        ended = await client(f"{url}/admin", "--listen")
        assert (ended.code, ended.out) == (1, "")
        assert 'the server refuses the namespace /admin: who are you?; data: {"retry":false}' in ended.err
        ended = await client(f"{url}/nosuch", "--listen", "--json")
        assert ended.code == 1
        refused = objects(ended.out)[-1]
        assert (refused["type"], refused["message"]) == ("connect_error", "Invalid namespace")


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("options", [[], ["--parser", "msgpack"]])
async def test_a_server_with_another_parser(transport: str, options: list[str]) -> None:
    io = make_server(**{} if options else {"parser": "msgpack"})
    async with serving(io=io) as url:
        ended = await client(url, "--listen", "--transport", transport, *options)
    assert ended.code == 1
    assert "Does the server write packets with another parser? --parser names it" in ended.err


async def test_where_nobody_listens() -> None:
    ended = await client(f"127.0.0.1:{free_port()}", "--listen")
    assert ended.code == 1
    assert re.search(r"cannot connect to http://127.0.0.1:\d+ by polling: nobody listens there", ended.err)
    assert len(ended.err.splitlines()) == 1


async def test_a_plain_http_server() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"
        )
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for transport in "polling", "websocket":
            ended = await client(url, "--listen", "--transport", transport)
            assert ended.code == 1
            assert f"cannot connect to {url} by {transport}: " in ended.err
            assert len(ended.err.splitlines()) == 1
        ended = await client(url, "--listen")
        assert "a web page. Is the server's endpoint elsewhere? --path says where" in ended.err


# Wrong usage.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: URL; it goes first"),
        (["--emit", "a", "1", "http://127.0.0.1:1"], "URL; it goes first, since --emit takes all the words behind it"),
        (["ftp://example.com"], "expected the URL of a server"),
        (["http://127.0.0.1:1/socket.io"], "leave it out, and give --path where"),
        (["http://127.0.0.1:x"], "expected the URL of a server"),
        (["127.0.0.1:1/a", "-n", "/b"], "the URL's path says that the namespace is /a"),
        (["127.0.0.1:1", "-n", "/a,b"], "no namespace has a comma"),
        (["127.0.0.1:1", "--wait-ack"], "--wait-ack belongs to --emit"),
        (["127.0.0.1:1", "--listen", "--wait-event", "a"], "only one of the two"),
        (
            ["127.0.0.1:1", "--emit", "a", '{"b": }'],
            'argument 1, {"b": }, is no JSON: expecting value, at its character 7',
        ),
        (["127.0.0.1:1", "--emit", "a", "@no/such"], "'no/such' cannot be read: No such file"),
        (["127.0.0.1:1", "--emit"], "argument --emit: expected at least one argument"),
        (["127.0.0.1:1", "--auth", "{a}"], "the value is no JSON: Expecting property name"),
        (["127.0.0.1:1", "--auth", "[1]"], "no object of JSON"),
        (["127.0.0.1:1", "--auth", "@no/such"], "the file 'no/such' cannot be read"),
        (["127.0.0.1:1", "--header", "Cookie"], "'Cookie': 'Name: value' is expected"),
        (["127.0.0.1:1", "--query", "a"], "'a': KEY=VALUE is expected"),
        (["127.0.0.1:1", "--timeout", "soon"], "'soon': seconds are expected"),
        (["127.0.0.1:1", "--count", "0"], "'0': a number from 1 is expected"),
        (["127.0.0.1:1", "--transport", "pigeon"], "invalid choice: 'pigeon'"),
        (["127.0.0.1:1", "--proxy", "pigeon://x"], "expected a URL that begins with"),
        (["127.0.0.1:1", "--ca", "no/such"], "no file 'no/such'"),
        (["127.0.0.1:1", "--ca", __file__], "no certificate in PEM format"),
        (["127.0.0.1:1", "--ca", __file__, "--insecure"], "not allowed with argument"),
    ],
)
async def test_wrong_arguments(arguments: list[str], message: str) -> None:
    ended = await client(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err


async def test_help_tells_the_exit_codes() -> None:
    ended = await client("--help")
    assert ended.code == 0
    assert re.findall(r"^  (\d+) ", ended.out, re.MULTILINE) == ["0", "1", "2", "3", "4", "130"]


# Commands of a file.


async def test_commands_of_a_file() -> None:
    async with serving() as url:
        lines = '# a comment\n\nack add 1 2\nack both\nemit echo hi {"a": 1}\nack nothing\nevents\nstatus\nhelp\n'
        ended = await client(url, stdin=lines)
    assert ended.code == 0
    for pattern in (
        r"^ack add: 3 \(\d+(\.\d)? ms\)$",
        r"^ack both: 1 <bytes 2: 0001> \(",
        r'^\d\d:\d\d:\d\d.\d{3} echoed "hi" {"a":1}$',
        r"^ack nothing: null \(",
        r"^welcome  1 received, 0 sent$",
        r"^state      connected$",
        r"^emit EVENT JSON\.\.\.  send an event$",
    ):
        assert re.search(pattern, ended.out, re.MULTILINE), (pattern, ended.out)


async def test_commands_with_answers_as_objects() -> None:
    async with serving() as url:
        ended = await client(url, "--json", stdin="ack add 1 2\nack both\nevents\nquit\nnosuch\n")
    found = {line["type"]: line for line in objects(ended.out)}
    assert ended.code == 0
    assert found["ack"]["value"] == [1, {"base64": "AAE="}]
    assert found["ack"]["milliseconds"] > 0
    assert found["events"]["events"]["add"] == {"received": 0, "sent": 1}


@pytest.mark.parametrize(
    ("lines", "code", "message"),
    [
        ("ack add 1 2\nemit add [1\n", 2, "line 2: argument 1 is no JSON: expecting ',' delimiter, at character 12\n"),
        ("nosuch\n", 2, "line 1: there is no command 'nosuch': `help` lists them"),
        ("quit now\n", 2, "quit takes nothing more: 'now'"),
        ("emit connect\n", 2, "connect cannot be sent: 'connect' is a reserved event name"),
        ("ack add 100000000000000000000 1\n", 2, "add cannot be sent"),
        ("emit\n", 2, "the name of the event is missing"),
        ("ack never\nquit\n", 3, "line 1: no acknowledgement of never within 5 s"),
        ("ack kick\n", 4, "no acknowledgement of kick: the connection was lost"),
        ("disconnect\nemit add\n", 4, "line 2: not connected: `connect` does"),
        ("disconnect\nconnect\nack add 1 2\ndisconnect\n", 0, "disconnected: io client disconnect, as you wanted"),
    ],
)
async def test_a_script_ends_where_it_fails(lines: str, code: int, message: str) -> None:
    async with serving() as url:
        ended = await client(url, "--timeout", "5", stdin=lines)
    assert ended.code == code, ended.err
    assert message in ended.err


async def test_the_place_of_a_mistake_is_pointed_at() -> None:
    async with serving() as url:
        ended = await client(url, stdin='emit chat {"text": hello}\n')
    _, place, pointer = ended.err.splitlines()[-3:]
    assert place[pointer.index("^") :] == "hello}"
