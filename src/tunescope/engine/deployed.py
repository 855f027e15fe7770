"""What a deployment runs on its machines: a study's rounds on the server's, a client's part on each node's.

Nothing is sent but arrays, numbers and a run's spec, which is validated where it arrives and never executed.
"""

import hashlib
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

from tunescope.engine.elsewhere import Elsewhere
from tunescope.engine.events import Event, sparing
from tunescope.engine.execute import execute
from tunescope.engine.options import Options
from tunescope.engine.plan import fingerprints, plan
from tunescope.engine.runtime import Runtime
from tunescope.errors import DataError, Stopped, StudyError, TunescopeError, nearest
from tunescope.federated.apps import CLIENT, client_app, server_app
from tunescope.federated.client import TuningJob
from tunescope.federated.flower import ClientApp, Context, Grid, Message
from tunescope.federated.holdings import DOMAINS, clients_of
from tunescope.federated.job import Config
from tunescope.federated.rounds import ATTEMPT
from tunescope.results.store import Store
from tunescope.study.run import RunSpec
from tunescope.study.study import load_study

RUN = "run"  # in what clients are told: a run's spec, and digests of what every machine must have
STUDY, RESULTS, TOLD, PATIENCE = "study", "results", "told", "patience"  # in what the server is told
DATA, KEEP, THREADS = "data", "keep", "threads"  # in a node's configuration
SECONDS = 0.5  # between two words about how far a run is
PRIVATE = "client:"


class OnNode(ClientApp):
    """The clients' app: what a message asks for, of the job that its own run makes on this machine."""

    def __call__(self, message: Message, context: Context) -> Message:
        """The answer."""
        return client_app(partial(job_of, message))(message, context)


def job_of(message: Message, context: Context) -> TuningJob:
    """The job of a message's run, with what this node's client holds and nothing of the others.

    Args:
        message: with the run in its settings.
        context: of a node that knows its client, the folder that it keeps things in, and its threads; it may
            know where the client's data are.

    Raises:
        TunescopeError: the run is none, has no such client, or this machine has other data or another model
            than the server.
    """
    said = [config for config in message.content.config_records.values() if {RUN, ATTEMPT} <= config.keys()]
    if len(said) != 1:
        raise StudyError("the server's message names no run; expected a tunescope of the same version there")
    told = json.loads(str(said[0][RUN]))
    spec, node = RunSpec.parse(told["spec"], "the server's run"), context.node_config
    name, keep = str(node[CLIENT]), Path(str(node[KEEP]))
    places = _places(spec, name, str(node[DATA]) if node.get(DATA) else None)
    moments = moments_of(keep, *(str(said[0][word]) for word in (RUN, ATTEMPT)))
    decoded = keep / "decoded"
    decoded.mkdir(parents=True, exist_ok=True)
    try:
        _check(spec, places, told["holds"])
        return Elsewhere(spec, decoded, int(node[THREADS]), moments, name, tuple(places.items()))()
    except (DataError, OSError) as error:
        if not node.get(DATA):
            raise
        print(error, file=sys.stderr)  # paths of this machine are not the server's business
        raise DataError("the data that its node names cannot be used; the node's own log says why") from None


def moments_of(keep: Path, run: str, attempt: str) -> Path:
    """The folder of a run's moments; those of other attempts at the run are removed.

    Args:
        keep: the folder that the node keeps things in.
        run: what the server says of the run.
        attempt: the server's word for this one; a run that could not go on where it stood begins another.
    """
    of_run, of_attempt = (hashlib.sha256(words.encode()).hexdigest()[:16] for words in (run, attempt))
    folder = keep / "moments" / of_run
    for other in folder.glob("*"):
        if other.name != of_attempt:
            shutil.rmtree(other, ignore_errors=True)  # another client of this machine may be at it
    return folder / of_attempt


def _places(spec: RunSpec, client: str, data: str | None) -> dict[str, str]:
    """Where this client's data are, by the run's reference to them, where they are its own.

    Raises:
        StudyError: the run has no such client, or deals out one set, and the node names its own.
    """
    from tunescope.data.client import client_of

    federated = spec.federated
    clients = () if federated is None else clients_of(federated)
    if federated is None or client not in clients:
        raise StudyError(f"this node is client {client!r}, which the run lacks; {nearest(client, clients)}")
    if federated.partition.kind != DOMAINS:
        if data is not None:
            raise StudyError(
                "this node names data of its own, and the run's partition "
                f"{federated.partition.kind} deals one set out; start the node without --data, or have the "
                "study say partition: by_domain"
            )
        return {}
    return {ref: data or ref for ref in federated.data if client_of(ref) == client}


def _check(spec: RunSpec, places: dict[str, str], holds: dict[str, str]) -> None:
    """Whether this machine has what the server has, by content, but for data that are a client's alone."""
    from tunescope.data.load import fingerprint
    from tunescope.models.fingerprint import fingerprint as model_fingerprint

    own = {ref: at for ref, at in places.items() if not ref.startswith(PRIVATE)}
    for ref, at in {spec.task.data: spec.task.data, **own}.items():
        if fingerprint(at) != holds[ref]:
            raise StudyError(
                f"this machine's {ref!r} is not the server's (its content differs); copy the server's, or, "
                "where data are a client's own, have the study call them client:NAME"
            )
    if model_fingerprint(spec.model) != holds[spec.model]:
        raise StudyError(f"this machine's model {spec.model!r} is not the server's; copy the server's")


def tells(spec: RunSpec) -> Config:
    """What clients are told of a run: its spec, and digests of the model and data that all machines have."""
    seen = {spec.model, spec.task.data, *(() if spec.federated is None else spec.federated.data)}
    holds = {ref: digest for ref, digest in fingerprints(spec).items() if ref in seen}
    return {RUN: json.dumps({"spec": spec.model_dump(mode="json"), "holds": holds}, sort_keys=True)}


def serve(grid: Grid, context: Context) -> None:
    """Carry out what is missing of a study; each event, and what ended it, is a line of a file.

    Args:
        grid: the way to the nodes.
        context: with the paths of the study, its results and that file, and the nodes' patience.
    """
    config = context.run_config
    with open(str(config[TOLD]), "a", encoding="utf-8") as told:

        def say(line: dict[str, Any]) -> None:
            told.write(json.dumps(line) + "\n")
            told.flush()

        def tell(event: Event) -> None:
            of = {"run": event.run.id, "step": event.step, "steps": event.steps, "text": event.text}
            say({"kind": event.kind, **of})

        patience = float(config[PATIENCE])
        runtime = Runtime(lambda job, rounds: rounds(grid), apart=True, patience=patience, tells=tells)
        study, store = load_study(str(config[STUDY])), Store(Path(str(config[RESULTS])) / "store")
        try:
            options = Options(executor="serial", runtime=runtime)
            execute(study, plan(study, store), store, sparing(tell, SECONDS), options)
            store.compact_if_worth()
        except TunescopeError as error:
            say({"error": str(error)})
        except Stopped as stopped:
            say({"stopped": str(stopped)})


client = OnNode()
server = server_app(serve)
