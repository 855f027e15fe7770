"""Text encoders as they are loaded, mapped and read: against the same folder in plain transformers."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from families import TEXT_FAMILIES, save_tiny
from safetensors.torch import load_file
from text_families import POSITIONS, SIZES, tokenizer
from torch import nn
from transformers import AutoModel, BertConfig, BertModel

from tunescope.errors import MethodError, ModelError
from tunescope.models import encoder as module
from tunescope.models.load import OPTIONS, load
from tunescope.models.modelmap import module_at
from tunescope.models.seam import watch

TEXTS = np.array(["a cat", "is it a somewhat longer dog, or a wolf?", ""], dtype=object)
PAIRS = np.array([["a cat", "sat"], ["is it", "a somewhat longer dog?"], ["", "tea"]], dtype=object)

every_family = pytest.mark.parametrize("family", TEXT_FAMILIES)


def plain(folder: Path, attention: str, **options: Any) -> Any:
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    options = OPTIONS.get(kind, {}) | {"attn_implementation": attention} | options
    return AutoModel.from_pretrained(folder, **options).eval()


@torch.no_grad()
def cls(model: Any, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
    return model(**tokens).last_hidden_state[:, 0]


@every_family
@pytest.mark.parametrize("inputs", [TEXTS, PAIRS], ids=["texts", "pairs"])
def test_features_are_the_cls_state_of_the_plain_model(tiny, tiny_folder, family, inputs):
    encoder, folder = tiny(family), tiny_folder(family)
    tokens = dict(tokenizer(family)(*inputs.reshape(3, -1).T.tolist(), padding=True, return_tensors="pt"))
    if family in ("roberta", "deberta"):
        tokens.pop("token_type_ids", None)  # these tell no two texts apart
    with torch.no_grad():
        found = encoder.features(inputs)
    assert found.shape == (3, encoder.feature_dim) == (3, 32)
    assert torch.equal(found, cls(plain(folder, "eager" if family == "deberta" else "sdpa"), tokens))
    torch.testing.assert_close(found, cls(plain(folder, "eager"), tokens), atol=1e-5, rtol=0)


@every_family
def test_a_text_does_not_depend_on_what_it_is_batched_with(tiny, family, monkeypatch):
    encoder = tiny(family)
    with torch.no_grad():
        for inputs in (TEXTS, PAIRS):
            together = encoder.features(inputs)
            alone = torch.cat([encoder.features(inputs[i : i + 1]) for i in range(3)])
            torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)
        monkeypatch.setattr(module, "TEXT_BATCH", 2)
        torch.testing.assert_close(encoder.features(PAIRS), together, atol=1e-5, rtol=0)
        assert encoder.features(TEXTS[:0]).shape == (0, 32)


@every_family
def test_pairs_are_told_apart_where_the_model_can(tiny, family):
    encoder = tiny(family)
    tokens = encoder.tokens(PAIRS.tolist())
    names = {"input_ids", "attention_mask"} | ({"token_type_ids"} if family == "bert" else set())
    assert tokens.keys() == names
    with torch.no_grad():
        swapped = encoder.features(PAIRS[:, ::-1])
        assert not torch.allclose(encoder.features(PAIRS), swapped, atol=1e-3)
        if family == "bert":
            assert tokens["token_type_ids"].sum(1).tolist() == [
                len("sat") + 1,
                len("asomewhatlongerdog?") + 1,
                4,
            ]
            untold = {name: value for name, value in tokens.items() if name != "token_type_ids"}
            assert not torch.allclose(cls(encoder.model, untold), encoder.features(PAIRS), atol=1e-3)


@every_family
def test_texts_are_cut_where_positions_end_or_where_it_was_said(tiny, tiny_folder, family):
    encoder = tiny(family)
    assert encoder.max_tokens == POSITIONS
    long = "word " * 100
    end = encoder.tokens(["x"])["input_ids"][0, -1]
    ids = encoder.tokens([long])["input_ids"]
    assert ids.shape == (1, POSITIONS)
    assert ids[0, -1] == end
    assert encoder.features(np.array([long], dtype=object)).isfinite().all()
    shorter = load(tiny_folder(family), max_tokens=16)
    assert shorter.max_tokens == 16
    assert shorter.tokens([long, "a"])["input_ids"].shape == (2, 16)
    ids = shorter.tokens([[long, "ab"]])["input_ids"]  # only the longer of the two is cut
    assert torch.equal(ids[0, -3:], encoder.tokens([["x", "ab"]])["input_ids"][0, -3:])
    for said in (7, 65):
        with pytest.raises(ModelError, match=rf"max_tokens {said}: expected 8 to 64"):
            load(tiny_folder(family), max_tokens=said)


def test_max_tokens_and_image_size_are_for_those_who_have_them(tiny_folder):
    assert load(tiny_folder("clip"), max_tokens=10).tokens(["a photo of a cat"])["input_ids"].shape == (1, 10)
    with pytest.raises(ModelError, match="padded to 64 tokens"):
        load(tiny_folder("siglip"), max_tokens=32)
    with pytest.raises(ModelError, match="max_tokens 16, but vit reads no texts"):
        load(tiny_folder("vit"), max_tokens=16)
    with pytest.raises(ModelError, match="image_size 48, but bert reads no images"):
        load(tiny_folder("bert"), image_size=48)


def test_what_a_tower_cannot_read_is_refused(tiny):
    bert, clip = tiny("bert"), tiny("clip")
    images = np.zeros((1, 32, 32, 3), np.uint8)
    with pytest.raises(MethodError, match=r"bert has no 'vision' tower; .*text"):
        bert.features(images)
    with pytest.raises(ModelError, match=r"\(bert\) has no vision tower: no zero-shot head"):
        bert.logit_scale  # noqa: B018, reading is what raises
    with pytest.raises(ModelError, match="one text at a time, not pairs"):
        clip.features(PAIRS)
    with pytest.raises(MethodError, match="vit has no 'text' tower"):
        tiny("vit").max_tokens  # noqa: B018
    assert (bert.joint, bert.preprocess) == (False, None)


@every_family
def test_the_map_covers_every_matrix_of_a_block(tiny, family):
    encoder = tiny(family)
    tower = encoder.map.tower("text")
    roles = dict(encoder.map.roles())
    found = {path for path, part in encoder.model.named_modules() if isinstance(part, nn.Linear)}
    assert found == {path for role, path in roles.items() if "norm" not in role}
    fused = family == "modernbert"
    assert len(roles) == 3 * (6 if fused else 8) - fused
    wide = {"fc1": (128 if fused else 64, 32), "fc2": (32, 64), "qkv": (96, 32)}
    for role, path in roles.items():
        weight = module_at(encoder.model, path).get_parameter("weight")
        assert weight.shape == ((32,) if "norm" in role else wide.get(role.rsplit(".", 1)[-1], (32, 32))), (
            role
        )
    assert (tower.heads, tower.head_dim, tower.pooling, tower.prefix_tokens) == (4, 8, "cls", 0)
    assert (tower.path, tower.grid, tower.max_tokens) == ("", None, POSITIONS)
    for path in (
        tower.embeddings,
        tower.words,
        tower.positions,
        *tower.final,
        *(b.path for b in tower.blocks),
    ):
        module_at(encoder.model, path or "")
    assert module_at(encoder.model, tower.words or "").get_parameter("weight").shape == (
        len(encoder.tokenizer),
        32,
    )


def test_modernbert_has_no_norm_before_its_first_block(tiny):
    found = tiny("modernbert").map
    assert found.paths("blocks[1-].norm1", "text") == ["layers.1.attn_norm", "layers.2.attn_norm"]
    for pattern, use in (
        ("norm1", r"use blocks\[1-\]\.norm1"),
        ("gate", "use mlp.fc1"),
        ("k", "attention.qkv"),
    ):
        with pytest.raises(MethodError, match=use):
            found.paths(pattern, "text")


@every_family
def test_the_weights_are_those_of_the_file_whatever_head_it_was_saved_with(tiny, tiny_folder, family):
    saved = load_file(tiny_folder(family) / "model.safetensors")
    prefix = {"bert": "bert.", "roberta": "roberta.", "deberta": "deberta.", "modernbert": "model."}.get(
        family, ""
    )
    state = tiny(family).model.state_dict()
    for name, value in state.items():
        assert torch.equal(value, saved[prefix + name]), name
    left = {name.removeprefix(prefix) for name in saved} - state.keys()
    assert all(name.startswith(("classifier", "pooler", "lm_head", "head", "decoder")) for name in left)


def test_a_bare_bert_with_its_pooler_as_sentence_encoders_are_saved(tiny_folder, tmp_path):
    config = BertConfig(vocab_size=len(tokenizer("bert")), **SIZES)
    BertModel(config).save_pretrained(tmp_path)
    tokenizer("bert").save_pretrained(tmp_path)
    (tmp_path / "modules.json").write_text("[]")
    encoder = load(tmp_path)
    assert encoder.model.pooler is None
    tokens = encoder.tokens(TEXTS.tolist())
    with torch.no_grad():
        assert torch.equal(
            encoder.features(TEXTS), cls(plain(tmp_path, "sdpa", add_pooling_layer=True), tokens)
        )


@every_family
def test_a_missing_or_foreign_tokenizer_is_refused(tiny_folder, tmp_path, family):
    folder = Path(shutil.copytree(tiny_folder(family), tmp_path / family))
    other = tokenizer(family)
    other.add_tokens([f"[{i}]" for i in range(3)])
    other.save_pretrained(folder)
    rows = len(tokenizer(family))
    with pytest.raises(ModelError, match=f"{rows + 3} tokens, the model knows {rows}"):
        load(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer \(.*vocab.txt.*spm.model\).*copy"):
        load(folder)


def test_a_vocabulary_of_lines_is_enough_for_bert(tiny, tiny_folder, tmp_path):
    folder = Path(shutil.copytree(tiny_folder("bert"), tmp_path / "bert"))
    (folder / "tokenizer.json").unlink()
    pieces = sorted(tokenizer("bert").get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece, _ in pieces), encoding="utf-8")
    assert torch.equal(load(folder).features(TEXTS), tiny("bert").features(TEXTS))


def test_positions_that_are_absolute_too_and_projections_of_their_own(tmp_path):
    """DeBERTa as v2's largest models are: a convolution beside the first block."""
    settings = {
        "position_biased_input": True,
        "share_att_key": False,
        "conv_kernel_size": 3,
        "type_vocab_size": 2,
    }
    encoder = load(save_tiny("deberta", tmp_path, **settings))
    assert encoder.map.tower("text").positions == "embeddings.position_embeddings"
    model = plain(tmp_path, "eager")
    tokens = encoder.tokens(PAIRS.tolist())
    assert "token_type_ids" in tokens
    with torch.no_grad(), watch(encoder, "text") as seen:
        assert torch.equal(encoder.features(PAIRS), cls(model, tokens))
    expected = torch.stack(model(**tokens, output_attentions=True).attentions)[:, :, :, 0]
    torch.testing.assert_close(seen.rows, expected, atol=1e-6, rtol=0)


def test_deberta_warns_nobody_of_the_attention_that_it_does_not_have(tiny_folder, capfd):
    assert transformers.logging.get_verbosity() <= logging.WARNING
    load(tiny_folder("deberta"))
    assert capfd.readouterr() == ("", "")
