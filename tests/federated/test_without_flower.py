"""Flower is an extra: who lacks it is told so, and studies are read without it."""

import subprocess
import sys


def python(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_studies_are_validated_without_flower_and_federating_says_what_to_install():
    said = python(
        "import sys\n"
        "sys.modules['flwr'] = sys.modules['cryptography'] = None\n"
        "from pathlib import Path\n"
        "import tunescope\n"
        "from tunescope.errors import TunescopeError\n"
        "from tunescope.federated.flower_rules import FedAdam, Krum\n"
        "from tunescope.study.federated import Privacy\n"
        "FedAdam(eta=0.1), Krum(), Privacy(noise=1.0)\n"
        "from tunescope.federated import certificates, job, keep, sampling, robust\n"
        "try:\n"
        "    from tunescope.federated import rounds\n"
        "except TunescopeError as error:\n"
        "    print(error)\n"
        "try:\n"
        "    certificates.make(Path('never'), ['example.org'], ['ada'])\n"
        "except TunescopeError as error:\n"
        "    print(error)\n"
        "assert 'torch' not in sys.modules\n"
    )
    assert said.count("pip install 'tunescope[federated]'") == 2


def test_nothing_is_sent_to_anybody():
    said = python(
        "import os\n"
        "os.environ['FLWR_TELEMETRY_ENABLED'] = '1'\n"
        "from tunescope.federated import rounds\n"
        "from flwr.supercore import telemetry\n"
        "print(telemetry.FLWR_TELEMETRY_ENABLED, os.environ['FLWR_DISABLE_UPDATE_CHECK'])\n"
    )
    assert said.split() == ["0", "1"]
