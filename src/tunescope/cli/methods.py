"""`tunescope methods`."""

import argparse
import json

TABLES = {
    "adapt": "ways to tune",
    "objective": "objectives",
    "penalty": "penalties",
    "optimizer": "optimisers",
    "after": "what is done with the tuned weights",
    "partition": "ways to deal data out to clients",
    "strategy": "ways to join what clients send",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("--json", action="store_true", help="print it as JSON, settings included")


def call(args: argparse.Namespace) -> int:
    """Print every component that a run is composed of, with its settings and source."""
    from tunescope.study.component import component_class, names

    found = {table: {name: component_class(table, name) for name in names(table)} for table in TABLES}
    if args.json:
        document = {
            table: {
                name: {
                    "summary": cls.summary(),
                    "source": cls.source,
                    "settings": cls.model_json_schema()["properties"],
                }
                for name, cls in classes.items()
            }
            for table, classes in found.items()
        }
        print(json.dumps(document, indent=1, ensure_ascii=False))
        return 0
    for table, classes in found.items():
        print(f"{TABLES[table]} ({table})")
        for name, cls in classes.items():
            print(f"  {name:16} {cls.summary()}{f' [{cls.source}]' if cls.source else ''}")
    return 0
