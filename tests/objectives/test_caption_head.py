import copy

import pytest
import torch
from colours import NAMES, examples

from tunescope.errors import DataError
from tunescope.methods.lora import LoRA
from tunescope.models.heads import text_head
from tunescope.objectives.caption_head import CaptionHead

TEMPLATES = ("a {} square.", "the colour {}")


def head_on(encoder) -> CaptionHead:
    return CaptionHead(encoder, NAMES, TEMPLATES, trained=True).eval()


def encoded(encoder, head, features) -> int:
    """How many texts one call of the head has encoded."""
    counted = []
    handle = encoder.model.text_model.register_forward_pre_hook(
        lambda module, args, kwargs: counted.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    head(features)
    handle.remove()
    return sum(counted)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_untuned_it_is_the_zero_shot_head(tiny, family):
    encoder = tiny(family)
    head = head_on(encoder)
    with torch.no_grad():
        features = encoder.features(examples(4, "val").inputs)
        torch.testing.assert_close(head(features), text_head(encoder, NAMES, TEMPLATES)(features))
    assert set(head.state_dict()) == {"log_scale", "bias"}
    assert {name for name, p in head.named_parameters() if p.requires_grad} == (
        {"log_scale", "bias"} if family == "siglip" else {"log_scale"}
    )


def test_classes_are_encoded_once_until_a_weight_changes_whatever_way(tiny):
    encoder = tiny("clip")
    torch.manual_seed(0)
    installed = LoRA(rank=2).install(encoder, "text")
    head, features = head_on(encoder), torch.randn(3, 24)
    first = head(features)
    assert encoded(encoder, head, features) == len(TEMPLATES)  # the one that is looked at
    assert torch.equal(head(features), first)
    weight = encoder.model.get_parameter("text_model.embeddings.token_embedding.weight")
    used = encoder.tokens([template.format(NAMES[0]) for template in TEMPLATES])["input_ids"].unique()
    unused = torch.ones(len(weight), dtype=torch.bool).index_fill(0, used, False)
    weight.data[unused] *= torch.rand(
        weight.shape[1]
    )  # no version counter tells; the first class is the same
    changed = head(features)
    assert torch.equal(changed[:, 0], first[:, 0])
    assert not torch.allclose(changed[:, 1:], first[:, 1:])
    with torch.no_grad():
        for p in installed.trainable.values():
            p.add_(0.3)
    tuned = head(features)
    assert not torch.allclose(tuned, changed)
    off = installed.without()
    assert off is not None
    with off:
        assert torch.equal(head(features), changed)
    assert torch.equal(head(features), tuned)
    installed.merge()
    torch.testing.assert_close(head(features), tuned)


def test_in_training_mode_every_class_is_encoded_each_time(tiny):
    encoder = tiny("clip")
    head, features = head_on(encoder), torch.randn(3, 24)
    expected = head(features)
    assert torch.equal(head.train()(features), expected)
    assert encoded(encoder, head, features) == encoded(encoder, head, features) == 6


def test_captions_are_drawn_anew_and_each_is_encoded_once(tiny):
    encoder = tiny("clip")
    head = head_on(encoder).train()
    labels = torch.tensor([0, 1, 0, 0, 2, 2, 1, 0])
    torch.manual_seed(5)
    drawn = torch.randint(2, (8,)).tolist()
    assert set(drawn) == {0, 1}
    lengths = []
    handle = encoder.model.text_model.register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    torch.manual_seed(5)
    found = head.captions(labels)
    handle.remove()
    prompts = [TEMPLATES[t].replace("{}", NAMES[c]) for t, c in zip(drawn, labels.tolist(), strict=True)]
    assert lengths == [len(set(prompts))]
    expected = torch.nn.functional.normalize(encoder.text_features(prompts), dim=-1)
    torch.testing.assert_close(found, expected)
    assert not torch.equal(head.captions(labels), found)


def test_a_copy_stands_by_itself(tiny):
    encoder = tiny("clip")
    head, features = head_on(encoder), torch.randn(3, 24)
    other, expected = copy.deepcopy(head), head(features)
    with torch.no_grad():
        for p in encoder.model.text_model.parameters():
            p.mul_(1.5)
    assert not torch.allclose(head(features), expected)
    assert torch.equal(other(features), expected)
    both = copy.deepcopy((head, encoder))
    assert both[0].encoder is both[1]


def test_a_template_without_a_place_for_the_name_is_refused(tiny):
    with pytest.raises(DataError, match=r"template 'a square' has no \{\}"):
        CaptionHead(tiny("clip"), NAMES, ("a square",), trained=True)
