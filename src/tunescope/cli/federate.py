"""`tunescope federate FED.yaml`."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tunescope.cli.arguments import port
from tunescope.cli.run import carried_out, choices, chosen

if TYPE_CHECKING:
    from tunescope.api import StudyResult
    from tunescope.engine.events import Tell
    from tunescope.study.study import Study

FORMS = """\
The file is a study with a `federated:` part, or has the form that CLIP users write. With what holds where a
key is left out:

  model:
    type: clip
    model_name: emoji-clip          # a bundled model, a folder or a hub id; has to be given
    num_classes: null               # a number: a linear head; none: the zero-shot head
    lora:                           # left out: full fine-tuning of the vision encoder
      enabled: true                 # false: full fine-tuning of the encoders that target_modules names
      r: 8                          # 1-64
      lora_alpha: 16
      lora_dropout: 0.05            # 0-0.3
      target_modules:               # of q_proj, k_proj, v_proj, out_proj, fc1, fc2
        vision_encoder: [q_proj, v_proj, k_proj, out_proj]
        text_encoder: []            # with some, images are contrasted with captions under the zero-shot head
      rank_pattern: {}              # other ranks than r: {"vision.blocks[0-3]": 4, "text.blocks[0-]": 16}
  client:
    local_epochs: 3
    learning_rate: 1e-4             # or optimizer.learning_rate
    ranks: {}                       # LoRA's rank at single clients: {client-0: 4}
  optimizer: {weight_decay: 0.01}   # AdamW
  data:
    dataset: emoji/openmoji         # a reference, as `tunescope datasets` lists them
    label: null                     # which label, where the data have several
    batch_size: 32
    partition: iid                  # or dirichlet, pathological, by_domain
    num_clients: 4
    alpha: null                     # of dirichlet, where none is 0.5
    classes_per_client: null        # of pathological, where none is 2
    domains: []                     # of by_domain: the data of each client
  server:
    num_rounds: 10
    strategy: naive                 # as `tunescope methods` lists them, or {kind: fedprox, mu: 0.1}
    fraction_fit: 1.0
    rank_from: {}                   # LoRA's rank from a round on: {5: 4}
  seed: 0

`study`, `about`, `transfer`, `probes` and `engine` are as in a study. Several groups of runs, several seeds
and questions are for a study.

examples:
  tunescope federate studies/seed_clip_lora.yaml
  tunescope federate fed.yaml --runtime ray
  tunescope plan fed.yaml; tunescope report fed.yaml
"""
# What `deploy` has no use for: one run after the other, each by all nodes.
ALONE = ("workers", "address", "only", "limit", "fail_fast", "retry")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = FORMS
    parser.add_argument("study", type=Path, metavar="FED.yaml", help="a study file, in either form below")
    choices(parser)
    parser.add_argument(
        "--runtime",
        choices=("local", "ray", "deploy"),
        help="where clients work: one after the other in the run's process, in processes of Ray, or on "
        "machines that `tunescope join` (as engine.federation says, else local)",
    )
    deploy = parser.add_argument_group("with --runtime deploy")
    deploy.add_argument(
        "--certificates", type=Path, metavar="FOLDER", help="where `tunescope certificates` wrote them"
    )
    deploy.add_argument(
        "--host",
        default="127.0.0.1",
        help="name or address under which nodes reach this machine (%(default)s)",
    )
    deploy.add_argument("--port", type=port, help="where they reach it (a free one)")
    deploy.add_argument(
        "--here",
        action="append",
        metavar="CLIENT",
        help="have this client work on this machine; may stand often (all without certificates, none with)",
    )


def call(args: argparse.Namespace) -> int:
    """Carry out the study; print its answers and the path of its report."""
    from tunescope import api
    from tunescope.study.study import load_study

    study = load_study(args.study)
    _check(args, study)
    if args.runtime == "deploy":
        return carried_out(args, study, lambda tell: _deployed(args, tell))
    command = f"tunescope federate {shlex.quote(str(args.study))}"
    if args.runtime is not None:
        command += f" --runtime {args.runtime}"
        engine = study.engine.model_copy(update={"federation": args.runtime})
        study = study.model_copy(update={"engine": engine})
    return carried_out(args, study, lambda tell: api.run(study, args.results, tell, command, **chosen(args)))


def _deployed(args: argparse.Namespace, tell: "Tell") -> "StudyResult":
    from tunescope import api
    from tunescope.engine import deployment

    deployment.run(
        args.study,
        args.results,
        certificates=args.certificates,
        host=args.host,
        port=args.port,
        here=args.here,
        tell=tell,
    )
    given = ((name, getattr(args, name)) for name in ("certificates", "host", "port"))
    options = [f"--{name}={value}" for name, value in given if value is not None]
    options += [f"--here={client}" for client in args.here or ()]
    command = shlex.join(["tunescope", "federate", str(args.study), "--runtime", "deploy", *options])
    return api.report(args.study, args.results, command)


def _check(args: argparse.Namespace, study: "Study") -> None:
    """Whether something is federated, and the options belong to the runtime.

    Raises:
        StudyError: they do not.
    """
    from tunescope.errors import StudyError

    if all(member.spec.federated is None for member in study.members()):
        raise StudyError(
            f"{args.study}: none of its runs is federated; `tunescope run` carries out such a study; or say "
            "how it is federated, such as federated: {rounds: 10, partition: {kind: iid, clients: 4}}"
        )
    deploys = args.runtime == "deploy"
    odd = ALONE if deploys else ("certificates", "port", "here")
    for name in odd:
        if getattr(args, name) not in (None, False):
            option = f"--{name.replace('_', '-')}"
            fix = "leave it out" if deploys else "give --runtime deploy as well, or leave it out"
            raise StudyError(f"{option} is not for runtime {args.runtime or 'local'}; {fix}")
