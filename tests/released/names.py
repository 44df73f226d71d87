"""Prints the names in clore-ai's modules as JSON; runs in either environment."""

import importlib
import inspect
import json

import clore_ai

LOADED = [name for name in ("client", "exceptions", "models") if hasattr(clore_ai, name)]

from pydantic import BaseModel  # noqa: E402 - after `import clore_ai` alone

NONE = "<none>"
MODULES = ("clore_ai", "clore_ai.client", "clore_ai.exceptions", "clore_ai.models")


def signature(function):
    """Its positional parameters with their defaults."""
    parameters = list(inspect.signature(function).parameters.values())
    return [
        [p.name, NONE if p.default is p.empty else repr(p.default)]
        for p in parameters
        if p.kind is p.POSITIONAL_OR_KEYWORD
    ]


def members(kind):
    """The public members of a class: the parameters of methods, None for the rest."""
    found = {}
    for name in dir(kind):
        if name.startswith("_") and name != "__init__":
            continue
        value = inspect.getattr_static(kind, name)
        ours = getattr(value, "__module__", "").startswith("clore_ai")
        if inspect.isfunction(value) and ours:
            found[name] = {
                "signature": signature(value),
                "awaited": inspect.iscoroutinefunction(value),
            }
        elif isinstance(value, property):
            found[name] = None
    return found


def described():
    """Module → its names; class → its members, and for models the values of an empty record."""
    classes, names = {}, {}
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        public = {n: getattr(module, n) for n in dir(module) if not n.startswith("_")}
        names[module_name] = sorted(public)
        for name, value in public.items():
            if not inspect.isclass(value) or not value.__module__.startswith("clore_ai"):
                continue
            classes[f"{module_name}.{name}"] = {
                "bases": [b.__name__ for b in value.__mro__ if b.__module__.startswith("clore_ai")],
                "members": members(value),
                "fields": sorted(value.model_fields) if issubclass(value, BaseModel) else None,
            }
    return {"names": names, "classes": classes, "loaded": LOADED}


print(json.dumps(described()))
