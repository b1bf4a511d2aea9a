"""What a request comes to that another worker has handed on, whichever way it came."""

from __future__ import annotations

from duplexio.engine.connection import Connection
from duplexio.engine.server import EngineServer
from duplexio.protocol.engine_handshake import BAD_REQUEST, UNKNOWN_SID, Refusal, Request

__all__ = ["decide"]


def decide(engine: EngineServer, request: Request) -> Connection | Refusal:
    """The session it is for, or why there is none. Nobody else is asked: it was relayed once."""
    sid = request.query.get("sid")
    if not sid:
        return Refusal(BAD_REQUEST, "relay_without_sid", "a relayed request without a session id")
    session = engine.connections.get(sid)
    if session is None:
        return Refusal(UNKNOWN_SID, "unknown_sid", "no such session in the worker of its tag: it has ended")
    # Where something around the server admits origins, the same is around it in every worker.
    request.surrounding_origins = session.request.surrounding_origins
    verdict = engine.check(request)
    assert verdict is not None
    return verdict
