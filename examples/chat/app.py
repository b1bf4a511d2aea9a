"""A chat: rooms, who is here, who is typing, pictures, and messages that are known to have arrived.

    duplexio run app:app --host 127.0.0.1 --port 3000

Everything is kept in memory, and all of it is bounded. What a client sends is an `object` until it has been checked.
"""

import hashlib
import re
import secrets
import time
import unicodedata
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from page_files import page

from duplexio import ConnectRefused, EventError, Server, Socket

ROOMS_AT_START = ("lobby", "ideas", "music")
MOST_ROOMS = 40
MESSAGES_KEPT = 50  # of each room
PICTURES_KEPT = 32_000_000  # bytes, of all rooms together
LONGEST_NAME = 24
LONGEST_ROOM = 32
LONGEST_TEXT = 2_000
LARGEST_PICTURE = 500_000  # bytes; as base64 on polling it is still under max_http_buffer_size
LONGEST_SIDE = 4_096

# A Socket.IO room per chat room; the prefix keeps them apart from the rooms which every socket has by its id.
PREFIX = "room:"


@dataclass(slots=True)
class Allowance:
    """How often something may be done: a few times at once, then at a steady rate."""

    at_once: float
    per_second: float
    spent: float = 0.0
    at: float = field(default_factory=time.monotonic)

    def take(self) -> bool:
        now = time.monotonic()
        self.spent = max(0.0, self.spent - (now - self.at) * self.per_second)
        self.at = now
        if self.spent + 1 > self.at_once:
            return False
        self.spent += 1
        return True


@dataclass(slots=True)
class Person:
    """Who is at the other end of a socket. The server makes one for each, and the middleware fills it in."""

    id: str = ""
    name: str = ""
    room: str = ""
    requests: Allowance = field(default_factory=lambda: Allowance(at_once=20, per_second=3))
    typing: Allowance = field(default_factory=lambda: Allowance(at_once=5, per_second=1))
    pictures: Allowance = field(default_factory=lambda: Allowance(at_once=60, per_second=3))

    def public(self) -> dict[str, str]:
        return {"id": self.id, "name": self.name}


@dataclass(slots=True)
class Room:
    name: str
    messages: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MESSAGES_KEPT))
    used: float = field(default_factory=time.monotonic)

    def summary(self) -> dict[str, Any]:
        return {"name": self.name, "people": len(sockets_in(self.name))}


class Pictures:
    """The newest pictures, as many as the budget holds."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.size = 0
        self.by_message: OrderedDict[str, bytes] = OrderedDict()

    def keep(self, message_id: str, picture: bytes) -> None:
        self.by_message[message_id] = picture
        self.size += len(picture)
        while self.size > self.budget:
            _, oldest = self.by_message.popitem(last=False)
            self.size -= len(oldest)

    def get(self, message_id: str) -> bytes | None:
        return self.by_message.get(message_id)


io = Server(data=Person)
app = io.wrap(page)
sockets = io.sockets.sockets  # by id; a socket appears in it and vanishes by itself
rooms = {name: Room(name) for name in ROOMS_AT_START}
pictures = Pictures(PICTURES_KEPT)


def sockets_in(room: str) -> list[Socket]:
    return [sockets[socket_id] for socket_id in io.rooms.get(PREFIX + room, ()) if socket_id in sockets]


def refusal(text: str) -> EventError:
    return EventError({"error": text})


def printable(value: object, lines: bool = False) -> str:
    """Text without the characters that would change how the text around it is shown."""
    if not isinstance(value, str):
        return ""
    joiner = "\u200d"  # holds emoji together
    kept = (
        character
        for character in unicodedata.normalize("NFC", value[: 4 * LONGEST_TEXT])
        if character == joiner or (lines and character == "\n") or unicodedata.category(character)[0] != "C"
    )
    return "".join(kept).strip()


def name_from(value: object) -> str:
    return " ".join(printable(value).split())[:LONGEST_NAME].strip()


def room_name_from(value: object) -> str:
    words = re.findall(r"\w+", printable(value).casefold())
    return "-".join(words)[:LONGEST_ROOM].strip("-")


def side_from(value: object) -> int:
    return value if type(value) is int and 1 <= value <= LONGEST_SIDE else 0


def picture_kind(picture: bytes) -> str | None:
    """What the first bytes say: a name or a type that a client states proves nothing."""
    if picture.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if picture.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if picture.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if picture.startswith(b"RIFF") and picture[8:12] == b"WEBP":
        return "image/webp"
    return None


def free_name(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 1
    while name.casefold() in taken:
        number += 1
        name = f"{wanted[: LONGEST_NAME - len(str(number)) - 1]} {number}"
    return name


def room_for(name: str) -> Room:
    """The room of this name, made if need be; where there are too many, the one empty for longest makes way."""
    if name in rooms:
        return rooms[name]
    if len(rooms) >= MOST_ROOMS:
        empty = [room for room in rooms.values() if room.name not in ROOMS_AT_START and not sockets_in(room.name)]
        if not empty:
            raise refusal("There are too many rooms. Join one of those.")
        oldest = min(empty, key=lambda room: room.used)
        del rooms[oldest.name]
        io.emit("room closed", oldest.name)
    rooms[name] = Room(name)
    return rooms[name]


def leave_room(socket: Socket) -> None:
    person: Person = socket.data
    if not person.room:
        return
    room, person.room = person.room, ""
    socket.leave(PREFIX + room)
    io.to(PREFIX + room).emit("left", room, person.public())
    if room in rooms:
        rooms[room].used = time.monotonic()
        io.emit("room", rooms[room].summary())


@io.use
async def introduce(socket: Socket) -> None:
    """Lets in who brings a name. The key, a secret of the page, makes someone who comes back the same person."""
    auth = socket.handshake.auth if isinstance(socket.handshake.auth, dict) else {}
    name, key = name_from(auth.get("name")), auth.get("key")
    if not name:
        raise ConnectRefused("A name is needed", {"field": "name"})
    if not isinstance(key, str) or not 16 <= len(key) <= 64:
        key = secrets.token_hex(16)
    person: Person = socket.data
    person.name = name
    person.id = hashlib.sha256(key.encode(errors="replace")).hexdigest()[:16]


@io.on("connection")
async def connected(socket: Socket) -> None:
    person: Person = socket.data
    others = [other for other in sockets.values() if other is not socket]
    for other in others:
        if other.data.id == person.id:
            other.emit("replaced")
            other.disconnect()
    taken = {other.data.name.casefold() for other in others if other.data.id != person.id}
    person.name = free_name(person.name, taken)
    socket.emit("welcome", person.public(), [room.summary() for room in rooms.values()])


@io.on("join")
async def join(socket: Socket, name: object) -> dict[str, Any]:
    person: Person = socket.data
    if not person.requests.take():
        raise refusal("That was a bit fast. Wait a moment.")
    wanted = room_name_from(name)
    if not wanted:
        raise refusal("A room's name needs a letter or a digit.")
    room = room_for(wanted)
    if person.room != room.name:
        leave_room(socket)
        person.room = room.name
        socket.join(PREFIX + room.name)
        socket.to(PREFIX + room.name).emit("joined", room.name, person.public())
        io.emit("room", room.summary())
    people = [member.data.public() for member in sockets_in(room.name)]
    return {"room": room.name, "people": people, "messages": list(room.messages)}


@io.on("message")
async def message(socket: Socket, sent: object, picture: object = None) -> dict[str, Any]:
    person: Person = socket.data
    if not isinstance(sent, dict) or not isinstance(sent.get("id"), str) or not isinstance(sent.get("text"), str):
        raise refusal("That is not a message.")
    room = rooms.get(person.room)
    if room is None or sent.get("room") != room.name:
        raise refusal("You are not in that room.")
    if not re.fullmatch(r"[0-9a-zA-Z-]{8,64}", sent["id"]):
        raise refusal("That is not a message.")
    message_id = f"{person.id}.{sent['id']}"
    for earlier in room.messages:
        if earlier["id"] == message_id:  # sent again, since the answer to the first was lost on its way
            return {"at": earlier["at"]}
    if not person.requests.take():
        raise refusal("That was a bit fast. Wait a moment.")
    text = printable(sent["text"], lines=True)
    if len(text) > LONGEST_TEXT:
        raise refusal(f"A message has at most {LONGEST_TEXT} characters.")
    if not text and picture is None:
        raise refusal("The message is empty.")

    entry: dict[str, Any] = {"id": message_id, "author": person.public(), "at": int(time.time() * 1000), "text": text}
    if picture is not None:
        if not isinstance(picture, bytes) or (kind := picture_kind(picture)) is None:
            raise refusal("That is not a picture.")
        if len(picture) > LARGEST_PICTURE:
            raise refusal("The picture is too large.")
        width, height = side_from(sent.get("width")), side_from(sent.get("height"))
        entry["picture"] = {"kind": kind, "width": width, "height": height}
        pictures.keep(message_id, picture)
    room.messages.append(entry)
    room.used = time.monotonic()

    # The picture's bytes travel beside the entry, as a binary attachment; who comes later asks for those he sees.
    if picture is None:
        socket.to(PREFIX + room.name).emit("message", room.name, entry)
    else:
        socket.to(PREFIX + room.name).emit("message", room.name, entry, picture)
    io.except_(PREFIX + room.name).volatile.emit("activity", room.name)
    return {"at": entry["at"]}


@io.on("picture")
async def picture(socket: Socket, message_id: object) -> bytes | None:
    """The bytes of a picture in the history of the room one is in; None where they are no longer kept."""
    room = rooms.get(socket.data.room)
    if room is None or not isinstance(message_id, str) or not socket.data.pictures.take():
        return None
    return pictures.get(message_id) if any(entry["id"] == message_id for entry in room.messages) else None


@io.on("typing", inline=True)
def typing(socket: Socket) -> None:
    person: Person = socket.data
    if person.room and person.typing.take():
        socket.to(PREFIX + person.room).volatile.emit("typing", person.room, person.id)


@io.on("disconnecting")
async def disconnecting(socket: Socket, reason: str) -> None:
    leave_room(socket)
