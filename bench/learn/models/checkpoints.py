"""Weights of BERT-like checkpoints (safetensors only) into the project's own encoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bench.errors import BenchError, UsageError
from bench.learn.encoder import Encoder, Shape
from bench.learn.language import LanguageModel
from bench.learn.model import Model
from bench.learn.objectives import Outputs


def load(
    folder: Path,
    max_length: int,
    outputs: Outputs,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Model:
    """The checkpoint with a new head for `outputs`: the project's encoder where it can run it, else
    transformers' own classes."""
    config = read_config(folder)
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    if isinstance(positions, int) and max_length > positions:
        raise UsageError(
            f"max_length={max_length} is more than the {positions} tokens that {folder} can take",
            f"--set max_length={positions}",
        )
    if outputs.per == "word":
        return _language_model(folder, config, max_length, seed, dtype, device)
    if shape := lean_shape(config, max_length):
        model = Encoder(shape, outputs.size, dtype, device, outputs.per == "token")
        model.initialise(seed)  # for what the checkpoint lacks: the head
        fill(model, config["model_type"], folder / "model.safetensors")
        return model
    from bench.learn.models.foreign import ForeignModel

    if outputs.per == "token":
        raise UsageError(f"bench can't read {config['model_type']} for an output per token")
    return ForeignModel(folder, outputs.size, seed, dtype, device)


def _language_model(
    folder: Path,
    config: dict[str, Any],
    max_length: int,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
) -> LanguageModel:
    kind = config["model_type"]
    shape = _gpt2_shape(config, max_length) if kind == "gpt2" else lean_shape(config, max_length)
    if shape is None or kind not in ("gpt2", "bert"):
        raise UsageError(
            f"bench can't read {kind} ({folder}) as a language model", "it reads gpt2 and bert"
        )
    model = LanguageModel(shape, dtype, device)
    model.initialise(seed)
    fill(model, "bert language model" if kind == "bert" else kind, folder / "model.safetensors")
    return model


def read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_bytes())
        assert isinstance(config["model_type"], str)
        return config
    except (OSError, ValueError, KeyError, AssertionError):
        raise BenchError(
            f"{folder} has no config.json that names a model_type",
            "a checkpoint is a folder of config.json, model.safetensors and tokenizer.json",
        ) from None


def lean_shape(config: dict[str, Any], max_length: int) -> Shape | None:
    """The shape of a checkpoint that the project's encoder can run, else None."""
    kind = config["model_type"]
    if kind not in _SHAPES or config.get("position_embedding_type", "absolute") != "absolute":
        return None
    if config.get("hidden_act", config.get("activation")) != "gelu":
        return None
    return _SHAPES[kind](config, max_length)


def _bert_shape(config: dict[str, Any], max_length: int) -> Shape:
    width = config["hidden_size"]
    embedding_width = config.get("embedding_size", width)
    head: Literal["gelu", "tanh"] = "gelu" if config["model_type"] == "electra" else "tanh"
    return Shape(
        vocabulary=config["vocab_size"],
        width=width,
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        hidden=config["intermediate_size"],
        positions=max_length,
        segments=config["type_vocab_size"],
        embedding_width=None if embedding_width == width else embedding_width,
        head=head,
        epsilon=config["layer_norm_eps"],
    )


def _distilbert_shape(config: dict[str, Any], max_length: int) -> Shape:
    return Shape(
        vocabulary=config["vocab_size"],
        width=config["dim"],
        layers=config["n_layers"],
        heads=config["n_heads"],
        hidden=config["hidden_dim"],
        positions=max_length,
        head="relu",
    )


def _gpt2_shape(config: dict[str, Any], max_length: int) -> Shape | None:
    """None where a checkpoint computes what the project's model does not."""
    usual = {
        "activation_function": "gelu_new", "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False, "tie_word_embeddings": True,
    }  # fmt: skip
    if any(config.get(key, value) != value for key, value in usual.items()):
        return None
    return Shape(
        vocabulary=config["vocab_size"],
        width=config["n_embd"],
        layers=config["n_layer"],
        heads=config["n_head"],
        hidden=config.get("n_inner") or 4 * config["n_embd"],
        positions=max_length,
        norm_first=True,
        causal=True,
        gelu="tanh",
        pooling="last",
        epsilon=config.get("layer_norm_epsilon", 1e-5),
    )


_SHAPES: dict[str, Callable[[dict[str, Any], int], Shape]] = {
    "bert": _bert_shape,
    "electra": _bert_shape,
    "distilbert": _distilbert_shape,
}

_EMBEDDINGS = {
    "positions": "embeddings.position_embeddings",
    "segments": "embeddings.token_type_embeddings",
    "embedding_norm": "embeddings.LayerNorm",
}
_BERT_LAYER = {
    "mix": "attention.output.dense",
    "mix_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "down_norm": "output.LayerNorm",
}
_DISTILBERT_LAYER = {
    "mix": "attention.out_lin",
    "mix_norm": "sa_layer_norm",
    "up": "ffn.lin1",
    "down": "ffn.lin2",
    "down_norm": "output_layer_norm",
}
_BERT_QKV = [f"attention.self.{part}" for part in ("query", "key", "value")]
_GPT2_LAYER = {
    "mix": "attn.c_proj",
    "mix_norm": "ln_1",
    "up": "mlp.c_fc",
    "down": "mlp.c_proj",
    "down_norm": "ln_2",
}
# model_type -> names of its layers, of q, k and v in one, of a layer's parts, of what lies outside
_NAMES: dict[str, tuple[str, list[str], dict[str, str], dict[str, str]]] = {
    "bert": (
        "encoder.layer",
        _BERT_QKV,
        _BERT_LAYER,
        _EMBEDDINGS | {"head": "pooler.dense", "classes": "classifier"},
    ),
    "electra": (
        "encoder.layer",
        _BERT_QKV,
        _BERT_LAYER,
        _EMBEDDINGS
        | {
            "projection": "embeddings_project",
            "head": "classifier.dense",
            "classes": "classifier.out_proj",
        },
    ),
    "distilbert": (
        "transformer.layer",
        [f"attention.{part}" for part in ("q_lin", "k_lin", "v_lin")],
        _DISTILBERT_LAYER,
        _EMBEDDINGS | {"head": "pre_classifier", "classes": "classifier"},
    ),
    "gpt2": (
        "h",
        ["attn.c_attn"],
        _GPT2_LAYER,
        {"tokens": "wte", "positions": "wpe", "last_norm": "ln_f"},
    ),
    "bert language model": (
        "encoder.layer",
        _BERT_QKV,
        _BERT_LAYER,
        _EMBEDDINGS
        | {
            "tokens": "embeddings.word_embeddings",
            "head": "cls.predictions.transform.dense",
            "head_norm": "cls.predictions.transform.LayerNorm",
            "scores": "cls.predictions",
        },
    ),
}
_TOKENS = "embeddings.word_embeddings.weight"


def fill(model: Encoder | LanguageModel, kind: str, path: Path) -> None:
    """Copy the file's weights into the model; a classifier's head may be missing from the file."""
    transposed = kind == "gpt2"  # its matrices are [in, out], its tables are not
    new = ("head.", "classes.") if isinstance(model, Encoder) else ()
    try:
        with safe_open(path, framework="pt") as file:
            names = _without_prefix(list(file.keys()), kind)
            if isinstance(model, Encoder):
                model.table.rows.copy_(file.get_tensor(names[_TOKENS]))
            for ours, weight in model.parameters.named().items():
                theirs = [names[n] for n in their_names(ours, kind) if n in names]
                if ours.startswith("classes.") and not _are_shaped(file, theirs, weight):
                    theirs = []  # of other classes: they stay new
                if theirs:
                    found = torch.cat([file.get_tensor(n) for n in theirs])
                    table = ours in ("tokens", "positions")
                    _copy(weight, found.t() if transposed and not table else found)
                elif not ours.startswith(new):
                    raise KeyError(next(their_names(ours, kind)))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise BenchError(f"{path} can't be read: {str(error).splitlines()[0]}") from None
    except KeyError as error:
        raise BenchError(f"{path} is not a {kind} checkpoint: it lacks {error.args[0]}") from None


def _without_prefix(names: list[str], kind: str) -> dict[str, str]:
    """Name without the model's own prefix -> name in the file; old norms are gamma and beta."""
    renamed = {}
    for name in names:
        short = name.removeprefix("transformer." if kind == "gpt2" else f"{kind.split()[0]}.")
        short = short.replace("LayerNorm.gamma", "LayerNorm.weight")
        renamed[short.replace("LayerNorm.beta", "LayerNorm.bias")] = name
    return renamed


def their_names(ours: str, kind: str) -> Iterator[str]:
    """The checkpoint's names of one of our weights: three for the joined q, k and v."""
    layers, qkv, layer_parts, others = _NAMES[kind]
    if not ours.startswith("layers."):
        part, _, end = ours.partition(".")
        yield f"{others[part]}.{end or 'weight'}"
        return
    _, i, part, end = ours.split(".")
    for their_part in qkv if part == "qkv" else [layer_parts[part]]:
        yield f"{layers}.{i}.{their_part}.{end}"


def _are_shaped(file: Any, names: list[str], weight: Tensor) -> bool:
    return [file.get_slice(name).get_shape() for name in names] == [list(weight.shape)]


def _copy(weight: Tensor, found: Tensor) -> None:
    """`found` may have more rows than are wanted: positions beyond the longest text."""
    if found.shape[1:] != weight.shape[1:] or len(found) < len(weight):
        raise RuntimeError(f"shape {tuple(found.shape)} where {tuple(weight.shape)} is wanted")
    weight.copy_(found[: len(weight)])
