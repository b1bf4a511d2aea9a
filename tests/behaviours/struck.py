"""What a cell cannot do, and why. Never a fault of ours: those are mended."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["STRUCK", "Strike", "reason_to_strike"]


@dataclass(frozen=True)
class Strike:
    """In cells with these values, what is "" being any, these behaviours are not run."""

    reason: str
    behaviours: tuple[str, ...]
    client: str = ""
    transport: str = ""
    hosting: str = ""
    parser: str = ""


STRUCK: tuple[Strike, ...] = (
    Strike(
        "the client has a query in place of `auth`, and no function of it",
        ("auth_from_a_function", "auth_function_is_asked_anew_at_each_connect"),
        client="2",
    ),
    Strike(
        "the client is in the main namespace without asking",
        ("connection_without_connect_is_closed",),
        client="2",
    ),
    Strike("the client has no `volatile`", ("client_s_volatile_before_connect_is_dropped",), client="2"),
    Strike("the client's parser takes nothing but a text as a refusal", ("refusal_with_data",), "2", parser="msgpack"),
    Strike("the bytes are in the packet itself", ("too_many_attachments_are_a_parse_error",), parser="msgpack"),
    Strike(
        "the client's encoder writes what stands behind a lone surrogate wrong",
        ("lone_surrogate_becomes_the_replacement_character",),
        parser="msgpack",
    ),
    *(
        Strike(reason, behaviours, hosting=hosting)
        for hosting in ("workers", "uvicorn-workers")
        for reason, behaviours in (
            (
                "which worker a client meets is not ours to say, and each has its own children",
                ("empty_children_are_cleaned_up",),
            ),
            (
                "what a running worker is given is that worker's",
                ("what_the_parent_learns_later_holds_for_its_children",),
            ),
        )
    ),
    *(
        Strike(
            "the server sends no header of its application with an accepted WebSocket",
            ("cookie_option_sets_the_cookie", "engine_listeners_add_headers"),
            transport="websocket",
            hosting=hosting,
        )
        for hosting in ("granian", "daphne")
    ),
    *(
        Strike(reason, behaviours, transport=transport, hosting="daphne")
        for transport in ("websocket", "upgrade")
        for reason, behaviours in (
            (
                "the server sends no WebSocket message of no bytes",
                ("empty_buffers", "a_client_without_binary_frames_sends_and_receives_bytes"),
            ),
            (
                "the server never makes a sender wait: it buffers all that a client does not read",
                ("volatile_is_dropped_for_a_slow_receiver",),
            ),
        )
    ),
)


def reason_to_strike(behaviour: str, client: str, transport: str, hosting: str, parser: str) -> str:
    """Why a behaviour is not run in a cell; "" where it is."""
    for strike in STRUCK:
        wanted = (strike.client, strike.transport, strike.hosting, strike.parser)
        cell = (client, transport, hosting, parser)
        if behaviour in strike.behaviours and all(want in ("", has) for want, has in zip(wanted, cell, strict=True)):
            return strike.reason
    return ""
