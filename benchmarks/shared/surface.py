"""The public surface of the library: every name of `repghost.__all__` with its signature."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, Field, fields, is_dataclass
from types import FunctionType
from typing import Any

import repghost

WIDE = 100  # characters of a signature on one line


def surface() -> list[str]:
    """Return a line for each public function, class, field and method, sorted by name."""
    lines: list[str] = []
    for name in sorted(repghost.__all__):
        value = getattr(repghost, name)
        if isinstance(value, type):
            lines.append(f"class {name}")
            lines += [f"{name}.{line}" for line in [*field_lines(value), *map(first_of, members(value))]]
        elif callable(value):
            lines.append(signature(name, value))
        else:
            lines.append(f"{name}: {type(value).__name__}")
    return lines


def field_lines(kind: type) -> list[str]:
    """Return the fields of a dataclass with their types and defaults."""
    if not is_dataclass(kind):
        return []
    return [f"{it.name}: {it.type}{_default(it)}" for it in fields(kind) if not it.name.startswith("_")]


def members(kind: type) -> list[tuple[str, Any]]:
    """Return the public methods and properties that a class has of its own or from a class of ours, by name."""
    found: dict[str, Any] = {}
    for parent in reversed(kind.__mro__):
        if parent.__module__.partition(".")[0] in ("repghost", "calib", "compile"):
            found |= {name: value for name, value in vars(parent).items() if not name.startswith("_")}
    wanted = (FunctionType, property, classmethod, staticmethod)
    return [(name, found[name]) for name in sorted(found) if isinstance(found[name], wanted) or _is_cached(found[name])]


def first_of(member: tuple[str, Any]) -> str:
    """Return a member's signature; of a property its type."""
    name, value = member
    function = getattr(value, "fget", None) or getattr(value, "func", None)
    if function is not None:
        return f"{name}: {inspect.signature(function).return_annotation}"
    return signature(name, getattr(value, "__func__", value), of_class=not isinstance(value, staticmethod))


def signature(name: str, function: Any, wide: int | None = None, of_class: bool = False) -> str:
    """Return a function's signature as it stands in its source.

    Args:
        name: of the function.
        function: any callable.
        wide: put each parameter on a line of its own where one line would be longer.
        of_class: leave the first parameter out: it is the object or its class.
    """
    found = inspect.signature(function)
    parts: list[str] = []
    for parameter in list(found.parameters.values())[of_class:]:
        if parameter.kind is parameter.KEYWORD_ONLY and not any(part == "*" or part.startswith("*") for part in parts):
            parts.append("*")
        stars = "*" * (parameter.kind is parameter.VAR_POSITIONAL) + "**" * (parameter.kind is parameter.VAR_KEYWORD)
        said = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
        default = "" if parameter.default is parameter.empty else f" = {_text(parameter.default)}"
        parts.append(f"{stars}{parameter.name}{said}{default}")
    returned = "" if found.return_annotation is found.empty else f" -> {found.return_annotation}"
    line = f"{name}({', '.join(parts)}){returned}"
    if wide is None or len(line) <= wide:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){returned}"


def _is_cached(value: object) -> bool:
    return type(value).__name__ == "cached_property"


def _default(field: Field[Any]) -> str:
    if field.default is not MISSING:
        return f" = {_text(field.default)}"
    return " = ..." if field.default_factory is not MISSING else ""


def _text(value: object) -> str:
    """Return a default as a reader would write it."""
    return str(getattr(value, "__name__", None) or repr(value))
