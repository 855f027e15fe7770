import by_hand
import torch

from tunescope.methods.pfeiffer import Pfeiffer


def test_it_is_the_forward_pass_written_out_by_hand(tiny):
    encoder = tiny("vit")
    model = by_hand.plain(encoder)
    state = by_hand.stirred(Pfeiffer(rank=4, blocks="1-").install(encoder))

    def after(layer, x, y):
        return y if layer == 0 else y + by_hand.bottleneck(state, f"layers.{layer}.adapter_mlp", y)

    expected, *_ = by_hand.forward(model, by_hand.pixels(), mlp=after)
    with torch.no_grad():
        found = encoder.image_features(by_hand.pixels())
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
