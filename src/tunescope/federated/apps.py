"""The two apps that every runtime runs: one around a job's clients, one around the server's rounds."""

from collections.abc import Callable

from tunescope.errors import Stopped, StudyError, nearest
from tunescope.federated.clipping import FILL, clip
from tunescope.federated.flower import (
    ClientApp,
    ClientAppCallable,
    ConfigRecord,
    Context,
    Error,
    Grid,
    Message,
    RecordDict,
    ServerApp,
)
from tunescope.federated.job import Arrays, Client, Config, Job
from tunescope.federated.limit import Late, check_limit, limited
from tunescope.federated.records import array_record, arrays_of, metric_record, only

CLIENT = "client"  # in a node's configuration: which of the job's clients it is
PARTITION = "partition-id"  # Flower's simulation numbers its nodes instead
TRAIN, EVALUATE, QUERY = "train", "evaluate", "query"
TIMEOUT = "timeout"  # in what clients are told: seconds for this answer
RAISED = 0  # Flower's code of a failure whose kind is not told apart


def client_app(make_job: Callable[[Context], Job]) -> ClientApp:
    """The app of a client.

    Args:
        make_job: the job as this process has it. It is asked for every message, so it keeps what is dear;
            where the app is sent to other processes it must be a function or an object that pickle can name.
    """
    app = ClientApp()

    @app.train(mods=[politely, clip])
    def train(message: Message, context: Context) -> Message:
        client, sent, config = _opened(make_job(context), message, context)
        arrays, metrics, examples = client.fit(sent, config)
        if config.get(FILL):
            arrays = {**sent, **arrays}
        content = {"arrays": array_record(arrays), "metrics": metric_record(metrics, examples)}
        return Message(RecordDict(content), reply_to=message)

    @app.evaluate(mods=[politely])
    def evaluate(message: Message, context: Context) -> Message:
        client, sent, config = _opened(make_job(context), message, context)
        return Message(
            RecordDict({"metrics": metric_record(*client.evaluate(sent, config))}), reply_to=message
        )

    @app.query(mods=[politely])
    def query(message: Message, context: Context) -> Message:
        name = _name(make_job(context), context)
        return Message(RecordDict({"config": ConfigRecord({CLIENT: name})}), reply_to=message)

    return app


def politely(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Answer in time, and where it fails with one line, no traceback: the same in every runtime."""
    seconds = _timeout(message)
    check_limit(seconds)  # no client's fault
    try:
        with limited(seconds):
            return call_next(message, context)
    except Stopped:
        raise
    except Late:
        reason = late(seconds)
    except Exception as error:  # whatever a client raises is its own
        reason = f"failed: {type(error).__name__}: {error}"
    return Message(Error(RAISED, reason), reply_to=message)


def late(seconds: float | None) -> str:
    """Why a client that took too long is left out.

    >>> late(0.5)
    'did not answer within 0.5 s'
    """
    return f"did not answer within {seconds:g} s" if seconds else "did not answer"


def _timeout(message: Message) -> float | None:
    for config in message.content.config_records.values():
        if TIMEOUT in config:
            return float(config[TIMEOUT])  # pyright: ignore[reportArgumentType]
    return None


def server_app(serve: Callable[[Grid, Context], None]) -> ServerApp:
    """The app of the server.

    Args:
        serve: carries out the rounds, and keeps what comes of them.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        serve(grid, context)

    return app


def _opened(job: Job, message: Message, context: Context) -> tuple[Client, Arrays, Config]:
    arrays = only(message.content.array_records.values(), "arrays")
    config = only(message.content.config_records.values(), "settings")
    return job.client(_name(job, context)), arrays_of(arrays), dict(config)


def _name(job: Job, context: Context) -> str:
    """Which client this node is: by name in a deployment, by number in a simulation.

    Raises:
        StudyError: the job has no such client, or the node does not say which it is.
    """
    said = context.node_config
    if CLIENT in said:
        if (name := str(said[CLIENT])) not in job.clients:
            raise StudyError(
                f"this node is client {name!r}, which the job lacks; {nearest(name, job.clients)}"
            )
        return name
    if PARTITION in said:
        return sorted(job.clients)[int(said[PARTITION])]
    raise StudyError(f"this node does not say which client it is; start it with --node-config {CLIENT}=NAME")
