"""BERT (Devlin et al. 2019; MiniLM is one): a text encoder read by [CLS], with norms behind its sums."""

from transformers import PreTrainedModel

from tunescope.models.modelmap import Block, ModelMap, Tower


def build(model: PreTrainedModel) -> ModelMap:
    """The map of a `BertModel`."""
    return ModelMap("bert", {"text": text(model.config, model.config.max_position_embeddings)})


def text(config, max_tokens: int) -> Tower:
    """BERT's tower, which RoBERTa shares."""
    return Tower(
        name="text",
        path="",
        blocks=blocks(config.num_hidden_layers, "query", "key", "value"),
        heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        prefix_tokens=0,
        pooling="cls",
        embeddings="embeddings",
        positions="embeddings.position_embeddings",
        feature_dim=config.hidden_size,
        words="embeddings.word_embeddings",
        max_tokens=max_tokens,
    )


def blocks(count: int, q: str, k: str, v: str) -> tuple[Block, ...]:
    """BERT's block, which RoBERTa shares, and DeBERTa but for the names of its projections."""
    return tuple(
        Block(
            path=f"encoder.layer.{i}",
            attention=f"encoder.layer.{i}.attention.self",
            q=f"encoder.layer.{i}.attention.self.{q}",
            k=f"encoder.layer.{i}.attention.self.{k}",
            v=f"encoder.layer.{i}.attention.self.{v}",
            o=f"encoder.layer.{i}.attention.output.dense",
            fc1=f"encoder.layer.{i}.intermediate.dense",
            fc2=f"encoder.layer.{i}.output.dense",
            norm1=f"encoder.layer.{i}.attention.output.LayerNorm",
            norm2=f"encoder.layer.{i}.output.LayerNorm",
        )
        for i in range(count)
    )
