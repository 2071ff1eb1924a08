"""Weights that a run keeps, and a start from them: named as in transformers where it has the
architecture, else bench's own, whose `model_type` begins with bench. Nothing imports torch at the
top."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, UsageError
from bench.learn.models import elmo
from bench.learn.models.download import OWN, config_of, kind_of

if TYPE_CHECKING:
    from torch import Tensor

    from bench.learn.encoder import Encoder
    from bench.learn.encoder import Shape as EncoderShape
    from bench.learn.language import LanguageModel
    from bench.learn.model import Model
    from bench.learn.models.wanted import Wanted
    from bench.learn.objectives import Outputs
    from bench.learn.translator import Translator

SMALL_WIDTH, RATE_OF_SMALL = 512, 3e-4
"""Small models want a higher rate: the upper end of what Turc et al. 2019 fine-tune theirs with."""


def settings(folder: str | Path) -> dict[str, Any]:
    """What weights that a run of bench has kept ask of a recipe."""
    config = config_of(folder)
    if "bench_run" not in config:
        return {}
    found: dict[str, Any] = {}
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    positions = config.get("positions", positions)
    if isinstance(positions, int) and positions < 128:
        found["max_length"] = positions
    widths = [config.get(name) for name in ("hidden_size", "n_embd", "dim", "width")]
    if any(isinstance(width, int) and width < SMALL_WIDTH for width in widths):
        found["learning_rate"] = RATE_OF_SMALL
    return found


# --- writing -------------------------------------------------------------------------------------


def write(model: Model, tokenizer: Any, outputs: Outputs, folder: Path, run_id: str) -> None:
    """Weights, config.json and the tokenizer of a trained model into an empty folder."""
    from safetensors.torch import save_file

    config, tensors = described(model, outputs)
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(whole, folder / "model.safetensors", {"format": "pt"})
    _write(folder / "config.json", {**config, "bench_run": run_id})
    if config["model_type"] != "bench-elmo":
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.save(str(folder / "tokenizer.json"))
        _write(folder / "tokenizer_config.json", _tokenizer_config(tokenizer))


def _write(path: Path, facts: dict[str, Any]) -> None:
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _tokenizer_config(tokenizer: Any) -> dict[str, Any]:
    """So that transformers takes tokenizer.json as it is."""
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    named = {
        f"{name}_token": token
        for name, token in special.items()
        if tokenizer.token_to_id(token) is not None
    }
    return {"tokenizer_class": "PreTrainedTokenizerFast", **named}


def described(model: Model, outputs: Outputs) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the weights by name."""
    from bench.learn.elmo import Elmo
    from bench.learn.encoder import Encoder
    from bench.learn.language import LanguageModel
    from bench.learn.models.foreign import ForeignModel
    from bench.learn.translator import Translator

    if isinstance(model, Encoder | LanguageModel):
        kind = _architecture(model.shape)
        if kind in OWN:
            return _own(kind, model.shape), {**_tokens(model), **model.parameters.named()}
        return _config(kind, model.shape, outputs), dict(_renamed(model, kind, outputs))
    if isinstance(model, ForeignModel):
        return model.config(), model.parameters.named()
    if isinstance(model, Elmo):
        return _own("bench-elmo", model.shape), model.parameters.named()
    assert isinstance(model, Translator)
    return _own("bench-encoder-decoder", model.shape), model.parameters.named()


def refill(model: Model, outputs: Outputs, tensors: Mapping[str, Tensor]) -> None:
    """Back into a model of the same shape what `write` has kept of it. BenchError unless these are
    its weights by name and shape."""
    from bench.learn.encoder import Encoder

    _, places = described(model, outputs)
    if why := differs({n: tuple(t.shape) for n, t in tensors.items()}, shapes(model, outputs)):
        raise BenchError(why)
    for name, place in places.items():
        place.copy_(tensors[name])
    if isinstance(model, Encoder):  # whose table was copied out
        rows = places[_table_name(model)]
        order = slice(None) if model.order is None else model.order
        model.table.rows.copy_(rows[order])


def shapes(model: Model, outputs: Outputs) -> dict[str, tuple[int, ...]]:
    """Of what `write` would keep, by name."""
    return {name: tuple(t.shape) for name, t in described(model, outputs)[1].items()}


def differs(
    found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> str | None:
    """In what weights are not those of a model, if so."""
    if lacking := sorted(wanted.keys() - found.keys()):
        return f"the model has {lacking[0]}, and the weights have not"
    if odd := sorted(found.keys() - wanted.keys()):
        return f"the weights have {odd[0]}, and the model has not"
    for name, shape in wanted.items():
        if found[name] != shape:
            return f"the weights have {found[name]} for {name}, where the model has {shape}"
    return None


def _own(kind: str, shape: Any) -> dict[str, Any]:
    return {"model_type": kind, **dataclasses.asdict(shape)}


def _tokens(model: Encoder | LanguageModel) -> dict[str, Tensor]:
    """The table, where it is kept apart from the parameters."""
    from bench.learn.encoder import Encoder

    return {"tokens": model.token_rows()} if isinstance(model, Encoder) else {}


def _architecture(shape: EncoderShape) -> str:
    """The model_type that computes the same. BERT's family differs in embeddings alone, below what
    is new for a task; none has heads that are not as wide together as the model."""
    if shape.attended != shape.width:
        return "bench-decoder" if shape.causal else "bench-encoder"
    if shape.causal:
        return "gpt2"
    if shape.norm_first:
        return "bench-encoder"
    if not shape.segments:
        return "distilbert"
    return "electra" if shape.embedding_width or shape.head == "gelu" else "bert"


_CLASSES = {
    "bert": ("Bert", "ForMaskedLM"),
    "electra": ("Electra", ""),
    "distilbert": ("DistilBert", ""),
    "gpt2": ("GPT2", "LMHeadModel"),
}


def _config(kind: str, shape: EncoderShape, outputs: Outputs) -> dict[str, Any]:
    """As transformers has it."""
    name, language = _CLASSES[kind]
    heads = {"word": language, "text": "ForSequenceClassification"}
    config: dict[str, Any] = {
        "model_type": kind,
        "architectures": [name + heads.get(outputs.per, "ForTokenClassification")],
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.positions,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
    if outputs.per != "word":
        config["num_labels"] = outputs.size
    if kind == "gpt2":
        return config | {
            "n_positions": config.pop("max_position_embeddings"), "n_embd": shape.width,
            "n_layer": shape.layers, "n_head": shape.heads, "n_inner": shape.hidden,
            "layer_norm_epsilon": shape.epsilon, "activation_function": "gelu_new",
            "bos_token_id": None, "eos_token_id": None,
        }  # fmt: skip
    if kind == "distilbert":
        return config | {
            "dim": shape.width, "n_layers": shape.layers, "n_heads": shape.heads,
            "hidden_dim": shape.hidden, "activation": "gelu", "sinusoidal_pos_embds": False,
        }  # fmt: skip
    if kind == "electra":
        config["embedding_size"] = shape.embedding_width or shape.width
    return config | {
        "hidden_size": shape.width, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "intermediate_size": shape.hidden,
        "type_vocab_size": shape.segments, "hidden_act": "gelu", "layer_norm_eps": shape.epsilon,
    }  # fmt: skip


def _renamed(
    model: Encoder | LanguageModel, kind: str, outputs: Outputs
) -> Iterator[tuple[str, Tensor]]:
    """Each weight as transformers names and lays it out."""
    from bench.learn.encoder import Encoder
    from bench.learn.models.checkpoints import their_names

    language = "bert language model" if kind == "bert" and outputs.per == "word" else kind
    trunk = _trunk(kind)
    if isinstance(model, Encoder):
        yield _table_name(model), model.token_rows()
    for ours, weight in model.parameters.named().items():
        part, _, end = ours.partition(".")
        if part == "classes" and (kind == "gpt2" or outputs.per == "token"):
            yield f"{'score' if kind == 'gpt2' else 'classifier'}.{end}", weight
            continue
        names = list(their_names(ours, language))
        turned = kind == "gpt2" and weight.dim() == 2 and part not in ("tokens", "positions")
        for name, value in zip(names, weight.chunk(len(names)), strict=True):
            above = name.startswith(("cls.", "classifier.", "pre_classifier."))
            yield name if above else f"{trunk}.{name}", value.t() if turned else value


def _table_name(model: Encoder) -> str:
    """What its table of tokens is called."""
    kind = _architecture(model.shape)
    if kind in OWN:
        return "tokens"
    tokens = "wte" if kind == "gpt2" else "embeddings.word_embeddings"
    return f"{_trunk(kind)}.{tokens}.weight"


def _trunk(kind: str) -> str:
    return "transformer" if kind == "gpt2" else kind


# --- a start from bench's own ---------------------------------------------------------------------


def tokenizer(folder: Path) -> Any:
    if kind_of(folder) == "elmo":
        from bench.learn.words import Words

        return Words(elmo.read_shape(folder).longest)
    from bench.learn import tokenize

    return tokenize.load(folder)


def is_own(folder: Path) -> bool:
    return config_of(folder).get("model_type") in OWN


def build(wanted: Wanted) -> Model:
    """The model of a folder in bench's own form, with a new head where it has none that fits."""
    assert wanted.checkpoint is not None
    folder, outputs, pairs, seed = wanted.checkpoint, wanted.outputs, wanted.pairs, wanted.seed
    dtype, device, max_length = wanted.dtype, wanted.device, wanted.recipe.max_length
    kind = kind_of(folder)
    if kind == "elmo":
        return elmo.load_elmo(folder, outputs, wanted.tokenizer, pairs, seed, dtype, device)
    model: Translator | Encoder | LanguageModel
    if kind == "encoder-decoder":
        from bench.learn import translator
        from bench.learn.beam import EXTRA

        positions = max_length + EXTRA
        model = translator.Translator(_shape(folder, translator.Shape), positions, dtype, device)
    else:
        from bench.learn import encoder, language

        shape = _fitted(_shape(folder, encoder.Shape), folder, outputs, max_length, pairs)
        if outputs.per == "word":
            model = language.LanguageModel(shape, dtype, device)
        else:
            model = encoder.Encoder(shape, outputs.size, dtype, device, wanted.per_token)
    model.initialise(seed)  # for what is new
    _fill(model, folder / "model.safetensors")
    return model


def _shape(folder: Path, kind: Any) -> Any:
    config, fields = config_of(folder), dataclasses.fields(kind)
    for field in fields:  # what became one later has a default
        if field.name not in config and field.default is dataclasses.MISSING:
            raise BenchError(f"{folder / 'config.json'} does not say its '{field.name}'")
    return kind(**{f.name: config[f.name] for f in fields if f.name in config})


def _fitted(
    shape: EncoderShape, folder: Path, outputs: Outputs, max_length: int, pairs: bool
) -> EncoderShape:
    """The shape on another task."""
    if outputs.per == "word" and shape.norm_first and not shape.causal:
        raise UsageError(f"the encoder in {folder} is no language model", "bert-tiny, gpt2-tiny")
    if max_length > shape.positions:
        raise UsageError(
            f"max_length={max_length} is more than the {shape.positions} tokens of {folder}",
            f"--set max_length={shape.positions}",
        )
    segments = max(shape.segments, 2 if pairs else 0)
    return dataclasses.replace(shape, positions=max_length, segments=segments)


_NEW = ("head.", "classes.", "segments")
"""What another task may have otherwise, or not at all."""


def _fill(model: Encoder | LanguageModel | Translator, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        saved = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BenchError(f"{path} can't be read: {str(error).splitlines()[0]}") from None
    table = {} if model.table is None else {"tokens": model.table.rows}
    if table and "scores.bias" in saved:  # a head that told words apart
        saved = {name: tensor for name, tensor in saved.items() if not name.startswith("head")}
    for name, weight in {**table, **model.parameters.named()}.items():
        found = saved.get(name)
        if found is not None and name == "positions":
            found = found[: len(weight)]
        if found is not None and found.shape == weight.shape:
            weight.copy_(found)
        elif not name.startswith(_NEW):
            was = "nothing" if found is None else tuple(found.shape)
            raise BenchError(f"{path} has {was} for {name}, where {tuple(weight.shape)} is wanted")
