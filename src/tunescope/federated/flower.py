"""Flower, with nothing sent to anybody; every module here that needs it takes it from this one."""

import logging
import os
import warnings

from tunescope.errors import StudyError

QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
os.environ.update(QUIET)  # Flower reads them when it is imported, and its processes inherit them

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the click that Flower's typer uses
        from flwr.app import (
            Array,
            ArrayRecord,
            ConfigRecord,
            Context,
            Error,
            Message,
            Metadata,
            MetricRecord,
            RecordDict,
        )
        from flwr.clientapp import ClientApp
        from flwr.clientapp.mod import adaptiveclipping_mod, fixedclipping_mod
        from flwr.clientapp.typing import ClientAppCallable
        from flwr.serverapp import Grid, ServerApp
        from flwr.serverapp import strategy as strategies
except ImportError as error:
    raise StudyError(
        f"federated runs need Flower, which could not be imported ({error}); "
        "install it with: pip install 'tunescope[federated]'"
    ) from error

logging.getLogger("flwr").setLevel(logging.ERROR)  # what the rounds were is told by `rounds`

__all__ = [
    "QUIET",
    "Array",
    "ArrayRecord",
    "ClientApp",
    "ClientAppCallable",
    "ConfigRecord",
    "Context",
    "Error",
    "Grid",
    "Message",
    "Metadata",
    "MetricRecord",
    "RecordDict",
    "ServerApp",
    "adaptiveclipping_mod",
    "fixedclipping_mod",
    "strategies",
]
