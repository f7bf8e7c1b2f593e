"""Changes of structured files that leave them parsable: any part of a JSON value or of a protobuf message."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

ODD_TEXTS = ("", "0", "-1", "nan", "\u0661", "9" * 400, "../x", "a b", "\x1b[2J\nerror: forged", "\u202e", "x" * 5000)
ODD_NUMBERS = (0, 1, -1, 2, 7, 255, 65536, 2**31, -(2**63), 2**63 - 1, 0.5, -1e-300, 1e300)
ODD_JSON = (None, True, False, [], {}, [[[]]], {"name": {}}, [1, "a"], *ODD_TEXTS, *ODD_NUMBERS)


def changed_json(value: Any, seed: int) -> Any:
    """Return a JSON value with one to three parts replaced, removed, repeated or added."""
    rng, changed = random.Random(seed), copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(changed))
        if not places:
            return rng.choice(ODD_JSON)
        inside, key = rng.choice(places)
        match rng.randrange(6):
            case 0:
                del inside[key]
            case 1 if isinstance(inside, list):
                inside.append(inside[key])
            case 1:
                inside[rng.choice(ODD_TEXTS)] = inside[key]
            case _:
                inside[key] = copy.deepcopy(rng.choice(ODD_JSON))
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each list or object inside a value, with each of its keys."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def change_message(message: Message, rng: random.Random) -> None:
    """Change one field of a protobuf message or of a message inside, whatever its kind."""
    inside = [
        item
        for field, value in message.ListFields()
        if field.type == field.TYPE_MESSAGE
        for item in (
            value if isinstance(getattr(message, field.name), type(value)) and _is_repeated(value) else [value]
        )
    ]
    if inside and rng.random() < 0.85:
        change_message(rng.choice(inside), rng)
        return
    field = rng.choice(message.DESCRIPTOR.fields)
    current = getattr(message, field.name)
    if rng.random() < 0.3:
        message.ClearField(field.name)
    elif _is_repeated(current):
        if field.type == field.TYPE_MESSAGE:
            current.add().CopyFrom(rng.choice(current)) if len(current) else current.add()
        elif len(current) and rng.random() < 0.5:
            current[rng.randrange(len(current))] = _scalar(field, rng)
        else:
            current.append(_scalar(field, rng))
    elif field.type == field.TYPE_MESSAGE:
        current.SetInParent()
    else:
        setattr(message, field.name, _scalar(field, rng))


def _is_repeated(value: Any) -> bool:
    return not isinstance(value, str | bytes | Message) and hasattr(value, "__len__")


def _scalar(field: Any, rng: random.Random) -> Any:
    if field.type == field.TYPE_STRING:
        return rng.choice(ODD_TEXTS)
    if field.type == field.TYPE_BYTES:
        return rng.choice((b"", b"\xff", bytes(8), b"x" * 5000))
    if field.type == field.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return rng.choice((0.0, -1.0, 1e-30, 3e38, float("nan"), float("inf")))
    high = 2**31 - 1 if field.type in (field.TYPE_INT32, field.TYPE_SINT32) else 2**63 - 1
    return (
        rng.choice((0, 1, -1, 2, 3, 7, 16, high, -high))
        if field.type != field.TYPE_UINT64
        else rng.choice((0, 1, high))
    )
