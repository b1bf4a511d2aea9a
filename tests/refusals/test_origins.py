"""Pages of other origins: who is let in, what the others are answered, and which headers let them read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from .conftest import Start
from .raw import Answer
from .stage import Stage, refusal

HOST = "duplexio.test"

both = pytest.mark.parametrize("transport", ["polling", "websocket"])


async def ask(stage: Stage, transport: str, headers: Mapping[str, str]) -> Answer:
    """The answer to a handshake with these headers."""
    if transport == "websocket":
        return await stage.knock(headers)
    return await stage.get(stage.target(), headers)


async def let_in(stage: Stage, transport: str, headers: Mapping[str, str]) -> Answer:
    answer = await ask(stage, transport, headers)
    assert answer.status == (101 if transport == "websocket" else 200), answer
    await stage.no_fault()
    return answer


async def kept_out(stage: Stage, transport: str, headers: Mapping[str, str], *said: str) -> Answer:
    answer = await ask(stage, transport, headers)
    if transport == "websocket":
        assert answer.brief == (400, "text/html", b"Forbidden")
    else:
        assert answer.brief == refusal(4)
    assert answer.header("access-control-allow-origin") is None
    await stage.one_fault("origin", "127.0.0.1", *said)
    assert stage.others == 0
    return answer


#: Headers of pages that are not this server's.
FOREIGN = {
    "another host": {"Origin": "https://evil.test"},
    "another port": {"Origin": f"http://{HOST}:8080"},
    "a subdomain": {"Origin": f"http://a.{HOST}"},
    "a longer name": {"Origin": f"http://{HOST}.evil.test"},
    "a name that ends so": {"Origin": f"http://evil{HOST}"},
    "null": {"Origin": "null"},
    "null for a host": {"Origin": "null", "Host": "null"},
    "a user": {"Origin": f"http://{HOST}@evil.test"},
    "a user of this host": {"Origin": f"http://evil@{HOST}"},
    "no scheme": {"Origin": HOST},
    "only a scheme": {"Origin": "http://"},
    "an empty one": {"Origin": "http:"},
    "a star": {"Origin": "*"},
    "a broken address": {"Origin": "http://[::1"},
    "brackets": {"Origin": "http://[evil]"},
    "two": {"Origin": f"http://evil.test, http://{HOST}"},
    "bytes": {"Origin": "http://\xff\xfe"},
    "4 KB": {"Origin": "http://" + "x" * 4096},
    "a forwarded host of nobody's": {"Origin": "https://evil.test", "X-Forwarded-Host": "evil.test"},
    "a page that hides": {"Sec-Fetch-Site": "cross-site"},
}


@both
@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
async def test_a_foreign_page_is_kept_out(start: Start, transport: str, headers: dict[str, str]) -> None:
    stage = await start()
    answer = await kept_out(stage, transport, headers)
    assert len(stage.log.warnings[0]) < 800
    assert answer.header("vary") is None


async def test_the_log_says_what_to_change(start: Start) -> None:
    stage = await start()
    said = ("'https://evil.test'", f"'{HOST}'", "cors_allowed_origins=['https://evil.test']")
    await kept_out(stage, "polling", {"Origin": "https://evil.test"}, *said)


#: Headers of this server's own pages, and of clients that are no pages.
OWN = {
    "no origin": {},
    "this host": {"Origin": f"http://{HOST}"},
    "TLS ends in front": {"Origin": f"https://{HOST}"},
    "capitals": {"Origin": f"HTTP://{HOST.upper()}"},
    "a port": {"Origin": "http://a.test:8080", "Host": "a.test:8080"},
    "an address": {"Origin": "http://[::1]:80", "Host": "[::1]:80"},
    "the same site": {"Sec-Fetch-Site": "same-origin"},
    "no site": {"Sec-Fetch-Site": "none"},
}


@both
@pytest.mark.parametrize("headers", OWN.values(), ids=OWN)
async def test_an_own_page_is_let_in(start: Start, transport: str, headers: dict[str, str]) -> None:
    stage = await start()
    answer = await let_in(stage, transport, headers)
    assert answer.header("access-control-allow-origin") is None


async def test_a_stolen_sid_is_of_no_use_to_a_foreign_page(start: Start) -> None:
    stage = await start()
    session = await stage.polling()
    evil = {"Origin": "https://evil.test"}
    assert (await stage.get(session.target, evil)).brief == refusal(4)
    assert (await session.posts.request("POST", session.target, b"40", evil.items())).brief == refusal(4)
    assert (await stage.knock(evil, sid=session.sid)).brief == (400, "text/html", b"Forbidden")
    await stage.one_fault("origin", times=3)
    await session.send(b"40")
    assert (await session.read()).startswith(b"40{")


LISTS: dict[str, Any] = {
    "a list": ["https://friend.test", "http://other.test"],
    "a text": "https://friend.test",
    "a function": lambda origin: origin == "https://friend.test",
}


@both
@pytest.mark.parametrize("name", LISTS)
async def test_an_origin_that_is_listed(start: Start, transport: str, name: str) -> None:
    stage = await start(cors_allowed_origins=LISTS[name])
    answer = await let_in(stage, transport, {"Origin": "https://friend.test"})
    assert answer.header("access-control-allow-origin") == "https://friend.test"
    assert answer.header("access-control-allow-credentials") is None
    assert answer.header("vary") == "Origin"


@both
@pytest.mark.parametrize("name", ["a list", "a function"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "http://friend.test"},
        {"Origin": "https://friend.test.evil.test"},
        {"Origin": "friend.test"},
        {"Origin": "https://friend.tes"},
        {"Origin": "null"},
        {"Origin": "http://[::1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=lambda headers: next(iter(headers.values())),
)
async def test_an_origin_that_is_not_listed(start: Start, transport: str, name: str, headers: dict[str, str]) -> None:
    stage = await start(cors_allowed_origins=LISTS[name])
    await kept_out(stage, transport, headers)


@both
async def test_this_servers_own_pages_need_no_listing(start: Start, transport: str) -> None:
    stage = await start(cors_allowed_origins=["https://friend.test"])
    await let_in(stage, transport, {"Origin": f"http://{HOST}"})


@both
@pytest.mark.parametrize("headers", [{"Origin": "https://any.test"}, {"Origin": "null"}, {"Origin": "http://[::1"}])
async def test_every_origin_where_that_was_asked_for(start: Start, transport: str, headers: dict[str, str]) -> None:
    stage = await start(cors_allowed_origins="*")
    answer = await let_in(stage, transport, headers)
    assert answer.header("access-control-allow-origin") == "*"


@both
async def test_a_page_that_hides_where_every_origin_may(start: Start, transport: str) -> None:
    stage = await start(cors_allowed_origins="*")
    await let_in(stage, transport, {"Sec-Fetch-Site": "cross-site"})


@both
async def test_a_function_that_raises(start: Start, transport: str) -> None:
    """Its traceback is the developer's, and nobody is let in by a mistake."""

    def fail(origin: str) -> bool:
        raise RuntimeError("no database")

    stage = await start(cors_allowed_origins=fail)
    stage.expects_errors = True
    await kept_out(stage, transport, {"Origin": "https://friend.test"}, "cors_allowed_origins raised")
    assert stage.errors == ["cors_allowed_origins raised"]


async def test_a_preflight_for_a_function_that_raises(start: Start) -> None:
    def fail(origin: str) -> bool:
        raise RuntimeError("no database")

    stage = await start(cors_allowed_origins=fail)
    stage.expects_errors = True
    answer = await stage.get(stage.target(), {"Origin": "https://friend.test"}, method="OPTIONS")
    assert answer.status in (204, 403)
    assert answer.header("access-control-allow-origin") is None
    assert stage.errors == ["cors_allowed_origins raised"]
    assert stage.others == 0


# Behind a proxy.


@both
async def test_a_proxy_that_is_trusted(start: Start, transport: str) -> None:
    stage = await start(trusted_proxies=["127.0.0.1"])
    headers = {"Origin": "https://shop.test", "X-Forwarded-Host": "shop.test", "Host": "10.0.0.7:3000"}
    await let_in(stage, transport, headers)


@both
async def test_the_first_of_several_forwarded_hosts(start: Start, transport: str) -> None:
    stage = await start(trusted_proxies=["127.0.0.1"])
    headers = {"Origin": "https://shop.test", "X-Forwarded-Host": "shop.test, inner.test", "Host": "10.0.0.7"}
    await let_in(stage, transport, headers)


@both
@pytest.mark.parametrize("proxies", [[], ["10.0.0.1"], ["127.0.0.2"]])
async def test_a_proxy_that_is_not_trusted(start: Start, transport: str, proxies: list[str]) -> None:
    stage = await start(trusted_proxies=proxies)
    headers = {"Origin": "https://shop.test", "X-Forwarded-Host": "shop.test", "Host": "10.0.0.7"}
    await kept_out(stage, transport, headers, "'10.0.0.7'")


@both
async def test_a_trusted_proxy_does_not_make_every_origin_good(start: Start, transport: str) -> None:
    stage = await start(trusted_proxies=["127.0.0.1"])
    headers = {"Origin": "https://evil.test", "X-Forwarded-Host": "shop.test", "Host": "evil.test"}
    await kept_out(stage, transport, headers, "'shop.test'")


@both
@pytest.mark.hostings("fast")
async def test_a_trusted_proxy_that_tells_its_clients_address(start: Start, transport: str) -> None:
    """Proxies send both headers: whom we trust is who connects to us, not whom he names."""
    stage = await start(trusted_proxies=["127.0.0.1"])
    headers = {
        "Origin": "https://shop.test",
        "X-Forwarded-Host": "shop.test",
        "X-Forwarded-For": "203.0.113.9",
        "Host": "10.0.0.7",
    }
    await let_in(stage, transport, headers)


@both
@pytest.mark.hostings("fast")
async def test_a_client_does_not_become_a_proxy_by_saying_so(start: Start, transport: str) -> None:
    stage = await start(trusted_proxies=["203.0.113.9"])
    headers = {
        "Origin": "https://evil.test",
        "X-Forwarded-Host": "evil.test",
        "X-Forwarded-For": "203.0.113.9",
        "Host": "10.0.0.7",
    }
    answer = await ask(stage, transport, headers)
    assert answer.status in (400, 403)
    assert stage.others == 0


# The headers that let a foreign page read the answer.


def cors(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name.startswith("access-control-") or name == "vary"}


FRIEND = {"Origin": "https://friend.test"}


async def test_every_answer_of_a_session_has_them(start: Start) -> None:
    stage = await start(cors_allowed_origins=["https://friend.test"], cors_credentials=True)
    expected = {
        "access-control-allow-origin": "https://friend.test",
        "access-control-allow-credentials": "true",
        "vary": "Origin",
    }
    first = await stage.get(stage.target(), FRIEND)
    target = stage.target(sid=first.body.decode().split('"')[3])
    wire = await stage.wire()
    post = await wire.request("POST", target, b"40", FRIEND.items())
    poll = await wire.request("GET", target, headers=FRIEND.items())
    assert [cors(answer) for answer in (first, post, poll)] == [expected] * 3
    assert poll.body.startswith(b"40{")
    await stage.no_fault()


async def test_a_refusal_has_them_so_that_a_page_sees_why(start: Start) -> None:
    stage = await start(cors_allowed_origins=["https://friend.test"])
    answer = await stage.get(stage.target(sid="nobody"), FRIEND)
    assert answer.brief == refusal(1)
    assert cors(answer) == {"access-control-allow-origin": "https://friend.test", "vary": "Origin"}
    await stage.one_fault("unknown_sid")


async def test_credentials_with_every_origin(start: Start) -> None:
    """No browser takes a star with credentials, so the origin is echoed."""
    stage = await start(cors_allowed_origins="*", cors_credentials=True)
    answer = await stage.get(stage.target(), FRIEND)
    assert cors(answer) == {
        "access-control-allow-origin": "https://friend.test",
        "access-control-allow-credentials": "true",
        "vary": "Origin",
    }


async def test_headers_left_to_another(start: Start) -> None:
    stage = await start(cors_allowed_origins="*", cors_headers=False)
    assert cors(await stage.get(stage.target(), FRIEND)) == {}
    await stage.no_fault()


async def test_a_preflight(start: Start) -> None:
    stage = await start(cors_allowed_origins=["https://friend.test"], cors_credentials=True)
    asked = {
        **FRIEND,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-token",
    }
    answer = await stage.get(stage.target(), asked, method="OPTIONS")
    assert answer.status == 204
    assert answer.header("content-length") is None
    assert cors(answer) == {
        "access-control-allow-origin": "https://friend.test",
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET,POST",
        "access-control-allow-headers": "content-type,x-token",
        "access-control-max-age": "7200",
        "vary": "Origin",
    }
    await stage.no_fault()
    assert stage.others == 0


async def test_a_preflight_of_an_unknown_origin(start: Start) -> None:
    stage = await start(cors_allowed_origins=["https://friend.test"])
    answer = await stage.get(stage.target(), {"Origin": "https://evil.test"}, method="OPTIONS")
    assert answer.header("access-control-allow-origin") is None
    assert answer.header("access-control-allow-credentials") is None


async def test_a_preflight_where_nobody_may(start: Start) -> None:
    stage = await start()
    answer = await stage.get(stage.target(), FRIEND, method="OPTIONS")
    assert answer.status == 403
    assert cors(answer) == {}


async def test_the_connection_after_a_preflight(start: Start) -> None:
    """204 has no length: what follows must not be taken for its body."""
    stage = await start(cors_allowed_origins="*")
    wire = await stage.wire()
    assert (await wire.request("OPTIONS", stage.target(), headers=FRIEND.items())).status == 204
    assert (await wire.request("GET", stage.target(), headers=FRIEND.items())).status == 200


# Under a CORS middleware.

CORS = [
    Middleware(CORSMiddleware, allow_origins=["https://friend.test"], allow_origin_regex=r"https://\w+\.corp\.test")
]


@both
@pytest.mark.hostings("mounted", "handover")
@pytest.mark.parametrize("origin", ["https://friend.test", "https://a.corp.test"])
async def test_the_middlewares_list_is_ours(start: Start, transport: str, origin: str) -> None:
    stage = await start(middleware=CORS)
    answer = await let_in(stage, transport, {"Origin": origin})
    if transport == "polling":
        assert answer.header("access-control-allow-origin") == origin


@both
@pytest.mark.hostings("mounted", "handover")
@pytest.mark.parametrize("origin", ["https://evil.test", "https://a.corp.test.evil.test", "http://[::1"])
async def test_the_middleware_does_not_let_others_in(start: Start, transport: str, origin: str) -> None:
    stage = await start(middleware=CORS)
    await kept_out(stage, transport, {"Origin": origin})


@pytest.mark.hostings("mounted", "handover")
async def test_the_middleware_answers_preflights(start: Start) -> None:
    stage = await start(middleware=CORS)
    asked = {**FRIEND, "Access-Control-Request-Method": "GET"}
    answer = await stage.get(stage.target(), asked, method="OPTIONS")
    assert answer.status == 200
    assert answer.header("access-control-allow-origin") == "https://friend.test"
    await stage.no_fault()


@both
@pytest.mark.hostings("mounted", "handover")
async def test_a_list_of_ones_own_under_a_middleware(start: Start, transport: str) -> None:
    """What was given to this server counts."""
    stage = await start(middleware=CORS, cors_allowed_origins=["https://mine.test"], cors_headers=False)
    answer = await ask(stage, transport, {"Origin": "https://a.corp.test"})
    assert answer.brief == ((400, "text/html", b"Forbidden") if transport == "websocket" else refusal(4))
    await stage.one_fault("origin", "'https://a.corp.test'")
    assert (await ask(stage, transport, {"Origin": "https://mine.test"})).status in (101, 200)
