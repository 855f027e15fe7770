"""YAML as our files are written in it: nothing is executed, `1e-5` is a number, and a key stands once."""

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Safe YAML in which `1e-5` is a number and a key may stand once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # pyright: ignore[reportUnknownMemberType]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def read_yaml(text: str) -> Any:
    """What a text says, as plain types.

    Raises:
        yaml.YAMLError: it is not YAML, or a key stands twice.

    >>> read_yaml("{lr: 1e-5}")
    {'lr': 1e-05}
    """
    return yaml.load(text, Loader=_Loader)
