"""The text example, with the real pretrained encoder and the real sentences that its packages carry."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import tunescope as ts
from tunescope.models.seam import watch

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build/text-example"


@pytest.fixture(scope="module", autouse=True)
def fetched():
    """`make test` has fetched it before; a bare pytest does it here."""
    done = subprocess.run(
        [sys.executable, "tools/text_example.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_minilm_is_read_as_plain_transformers_reads_it_and_watched_as_it_attends():
    texts = ["a gorgeous, witty, seductive movie", "dull"]
    encoder = ts.load(FOLDER / "all-MiniLM-L6-v2", max_tokens=48)
    plain = AutoModel.from_pretrained(FOLDER / "all-MiniLM-L6-v2", attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(FOLDER / "all-MiniLM-L6-v2")
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = plain(**batch, output_attentions=True)
        with watch(encoder, "text") as seen:
            features = encoder.features(np.array(texts, dtype=object))
    torch.testing.assert_close(features, expected.last_hidden_state[:, 0], atol=2e-6, rtol=1e-5)
    rows = torch.stack(expected.attentions)[:, :, :, 0]
    torch.testing.assert_close(seen.rows, rows, atol=2e-6, rtol=1e-5)


def test_it_learns_to_tell_praise_from_complaint():
    tuned = ts.tune(
        str(FOLDER / "all-MiniLM-L6-v2"),
        f"text:{FOLDER}/sentences/movies.csv",
        adapt="linear_probe",
        lr=1e-2,
        train={"epochs": 10, "batch_size": 32},
        probes=["transfer"],
        max_tokens=32,
    )
    found = {(row.metric, row.split): row.value for row in ts.measure(tuned).rows}
    assert found["transfer.acc1", "test"] > 0.62  # half of them are praise
    assert found["transfer.matthews", "test"] > 0.25
