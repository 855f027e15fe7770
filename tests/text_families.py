"""Tiny text encoders and their small tokenizers: what `families.save_tiny` saves of the text families."""

from typing import Any

from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DebertaV2Tokenizer,
    DistilBertConfig,
    DistilBertModel,
    DistilBertTokenizer,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizer,
)

TEXT_FAMILIES = ("bert", "roberta", "distilbert", "deberta", "modernbert")
POSITIONS = 64
LETTERS = [*"abcdefghijklmnopqrstuvwxyz0123456789.,!?'"]

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": POSITIONS,
}
# Settings of v3, whose positions are relative and whose projections serve contents and positions alike.
DEBERTA_V3: dict[str, Any] = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
}


def tokenizer(family: str) -> PreTrainedTokenizerBase:
    """One token a letter, with the special tokens of the family."""
    if family in ("bert", "distilbert"):
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS)]
        cls = BertTokenizer if family == "bert" else DistilBertTokenizer
        return cls(vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=POSITIONS)
    if family == "deberta":
        pieces = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "▁", *LETTERS, "[MASK]"]
        scores = [(piece, 0.0 if piece[0] == "[" else -2.0) for piece in pieces]
        return DebertaV2Tokenizer(vocab=scores, unk_id=3, model_max_length=POSITIONS)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    if family == "roberta":
        pieces = ["<s>", "<pad>", "</s>", "<unk>", *letters, "<mask>"]
        vocabulary = {piece: i for i, piece in enumerate(pieces)}
        return RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=POSITIONS)
    vocabulary = {
        piece: i for i, piece in enumerate([*letters, "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    }
    inner: Any = Tokenizer(BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(piece, vocabulary[piece]) for piece in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "attention_mask"],
    )


def model(family: str, overrides: dict[str, Any]) -> PreTrainedModel:
    """As checkpoints come: some with a head for classes or for masked words, some bare."""
    ids = tokenizer(family)
    said = SIZES | {"vocab_size": len(ids), "pad_token_id": ids.pad_token_id} | overrides
    if family == "bert":
        return BertForSequenceClassification(BertConfig(**said))
    if family == "roberta":
        said["max_position_embeddings"] += said["pad_token_id"] + 1
        return RobertaForMaskedLM(RobertaConfig(type_vocab_size=1, **said))
    if family == "distilbert":
        names = {"hidden_size": "dim", "intermediate_size": "hidden_dim"}
        names |= {"num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
        return DistilBertModel(DistilBertConfig(**{names.get(key, key): said[key] for key in said}))
    if family == "deberta":
        return DebertaV2ForSequenceClassification(DebertaV2Config(**(DEBERTA_V3 | said)))
    special = {"bos_token_id": None, "eos_token_id": None, "cls_token_id": ids.cls_token_id}
    special["sep_token_id"] = ids.sep_token_id
    return ModernBertForMaskedLM(ModernBertConfig(local_attention=8, **special, **said))
