"""`tunescope probes`."""

import argparse
import dataclasses
import json


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def call(args: argparse.Namespace) -> int:
    """Print every probe and the declaration of every metric."""
    from tunescope.study.component import component_class, names

    found = {name: component_class("probe", name) for name in names("probe")}
    if args.json:
        metrics = {
            name: [dataclasses.asdict(m) for m in getattr(cls, "metrics", ())] for name, cls in found.items()
        }
        print(json.dumps(metrics, indent=1, ensure_ascii=False))
        return 0
    for name, cls in found.items():
        print(f"{name}: {cls.summary()}")
        for metric in getattr(cls, "metrics", ()):
            print(f"  {metric.name:34} {metric.definition} ({metric.unit}) [{metric.source}]")
            if metric.derived:
                print(f"  {'':34} and {', '.join('.' + derived for derived in metric.derived)}")
    return 0
