"""ModernBERT (Warner et al. 2024): rotary positions, local and global attention by turns, fused projections.

`attention.qkv` (`Wqkv`) makes queries, keys and values. `mlp.fc1` is `Wi`, whose two halves are what is
activated and what it is multiplied with: fc2(act(a) · b), (a, b) = fc1(x). Most checkpoints have no biases,
not in their norms either; the embeddings' norm does the work of the first block's `norm1`.
"""

from transformers import PreTrainedModel

from tunescope.models.modelmap import Block, ModelMap, Tower


def build(model: PreTrainedModel) -> ModelMap:
    """The map of a `ModernBertModel`."""
    config = model.config
    blocks = tuple(
        Block(
            path=f"layers.{i}",
            attention=f"layers.{i}.attn",
            qkv=f"layers.{i}.attn.Wqkv",
            o=f"layers.{i}.attn.Wo",
            fc1=f"layers.{i}.mlp.Wi",
            fc2=f"layers.{i}.mlp.Wo",
            norm1=f"layers.{i}.attn_norm" if i else None,
            norm2=f"layers.{i}.mlp_norm",
        )
        for i in range(config.num_hidden_layers)
    )
    tower = Tower(
        name="text",
        path="",
        blocks=blocks,
        heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        prefix_tokens=0,
        pooling="cls",
        embeddings="embeddings",
        final=("final_norm",),
        feature_dim=config.hidden_size,
        words="embeddings.tok_embeddings",
        max_tokens=config.max_position_embeddings,
    )
    return ModelMap("modernbert", {"text": tower})
