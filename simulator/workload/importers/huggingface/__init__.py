"""Hugging Face configurations: `hf:config.json`, or `hf:folder` with one inside, without any weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from simulator.errors import InputError, SimulatorError
from simulator.workload import families
from simulator.workload.dataset import NO_DATASET, Dataset, load_dataset
from simulator.workload.families.vision_tower import SeeingNetwork, Tower
from simulator.workload.families.vision_tower import build as build_tower
from simulator.workload.importers import Request
from simulator.workload.importers.huggingface import experts as experts
from simulator.workload.importers.huggingface import hybrids as hybrids
from simulator.workload.importers.huggingface import models as models
from simulator.workload.importers.huggingface import selective as selective
from simulator.workload.importers.huggingface import traced as others
from simulator.workload.importers.huggingface import two_sided as two_sided
from simulator.workload.importers.huggingface import variants as variants
from simulator.workload.importers.huggingface import vision as vision
from simulator.workload.importers.huggingface.config import FILE, Config, read_config
from simulator.workload.importers.huggingface.inputs import OF_TYPE, inputs_of
from simulator.workload.workload import Network, Workload, check_inputs

MOST_PARAMETERS = 10**15
BATCH = 8

TRANSLATIONS: dict[str, models.Translate] = {
    **variants.TRANSLATIONS,
    **two_sided.TRANSLATIONS,
    **hybrids.TRANSLATIONS,
    **selective.TRANSLATIONS,
    "bert": models.bert,
    "clip": vision.clip,
    "deepseek (own)": experts.deepseek_own,
    "deepseek_v2": experts.deepseek,
    "deepseek_v3": experts.deepseek,
    "deepseek_v32": experts.deepseek,
    "gemma": models.gemma,
    "gemma2": models.gemma2,
    "gemma3": models.gemma3,
    "gemma3_text": models.gemma3,
    "gemma4": experts.gemma4,
    "gemma4_text": experts.gemma4,
    "glm4_moe": experts.glm4_moe,
    "gpt2": models.gpt2,
    "gpt_oss": experts.gpt_oss,
    "gptj": models.gptj,
    "kimi_k2": experts.deepseek,
    "llama": models.llama,
    "llama4": experts.llama4,
    "llama4_text": experts.llama4,
    "mistral": models.mistral,
    "mixtral": models.mixtral,
    "opt": models.opt,
    "phi": models.phi,
    "phi-msft": models.phi,
    "phi3": models.phi3,
    "qwen2": models.qwen2,
    "qwen2_moe": models.qwen2_moe,
    "qwen3": models.qwen3,
    "qwen3_moe": models.qwen3_moe,
    "t5": models.t5,
    "vit": models.vit,
}
"""`model_type` -> how its configuration is read."""

CORPUS = "c4-en-512"
"""The text that models of tokens run over, in sequences of `CORPUS_LENGTH`."""
CORPUS_LENGTH = 512

SIGNS = {"inter_dim": "deepseek (own)", "type_vocab_size": "bert"}
"""A key that tells the architecture of a configuration without `model_type`."""


def load(location: str, request: Request) -> Workload:
    """A workload from a configuration's architecture and sizes.

    LLaMA 4, Gemma 3 and Gemma 4 read an image a sample too, whose tokens stand before the text's.

    Raises
    ------
    UnsupportedError
        For an architecture without a rule of ours where transformers, which builds any, is not installed.
    InputError
        One line that names the file, the key and what it may hold.
    """
    config = read_config(location)
    kind = architecture(config)
    if _is_others(config, kind):
        return _traced(config, kind, request, _name(Path(location), config))
    text = config.part("text_config") if kind not in OF_TYPE else Config({}, config.where)
    part = Config(config.values | text.values, config.where) if text.values else config
    family, arguments = TRANSLATIONS[kind](part)
    arguments["attention"] = request.attention or ("eager" if family == "t5" else "fused")
    tower = _tower(kind, config, request, arguments) if text.values else None
    asked = replace(request, image_size=None) if tower else request
    inputs = check_inputs([*inputs_of(kind, family, part, asked), *([tower.image] if tower else [])], config.where)
    net = SeeingNetwork(inputs) if tower else Network(inputs)
    _fill(net, tower, (family, arguments), config.where)
    return Workload(
        name=_name(Path(location), config),
        inputs=net.inputs,
        layers=tuple(net.layers),
        dataset=NO_DATASET if family == "vit" else _corpus(net.inputs[0][0]),
        batch=BATCH,
        description=f"{kind}, from its configuration" + _extent(net, config, multimodal=bool(text.values)),
        source=config.where,
        context=part.integer("max_position_embeddings", "n_positions", default=0) or None,
    )


def _tower(kind: str, config: Config, request: Request, arguments: dict[str, Any]) -> Tower | None:
    return vision.read(kind, config, vision.TowerAsked(request.image_size, arguments["attention"], arguments["hidden"]))


def _extent(net: Network, config: Config, *, multimodal: bool) -> str:
    """What of a model of several inputs, or with a small head, is built, for its description."""
    named = models.nearly_built(config)
    if not multimodal:
        return f"; without the head of {named}" if named else ""
    if not isinstance(net, SeeingNetwork):
        return ", the language model alone"
    side, tokens = net.inputs[1][-1], net.shape(net.seen)[0]
    return f"; one image of {side} x {side} a sample, its {tokens} tokens before the text's"


def _corpus(length: int) -> Dataset:
    """The corpus in sequences of another length."""
    corpus = load_dataset(CORPUS)
    samples = max(1, corpus.samples * CORPUS_LENGTH // length)
    sample_bytes = None if corpus.sample_bytes is None else corpus.sample_bytes * length // CORPUS_LENGTH
    return msgspec.structs.replace(corpus, name=f"c4-en-{length}", samples=samples, sample_bytes=sample_bytes or None)


def architecture(config: Config) -> str:
    """The `model_type`, or what a configuration without one must be.

    Raises
    ------
    UnsupportedError
        If it has no rule and transformers, which builds any, is not installed.
    """
    kind = config.text("model_type")
    if not kind:
        kind = next((name for key, name in SIGNS.items() if key in config.values), "")
    if not kind:
        raise InputError(f"{config.where}: the key model_type is missing")
    if kind not in TRANSLATIONS and not others.installed():
        raise others.missing(config, kind, TRANSLATIONS)
    return kind


def _is_others(config: Config, kind: str) -> bool:
    """Whether transformers must build it: no rule of ours builds the class that the configuration names."""
    if kind not in TRANSLATIONS or models.builds(config):
        return kind not in TRANSLATIONS
    return others.installed() or not models.nearly_built(config)


def _traced(config: Config, kind: str, request: Request, name: str) -> Workload:
    """What transformers builds from the configuration; of tokens, over the corpus."""
    if not others.installed():
        raise others.missing(config, ", ".join(config.names("architectures")) or kind, TRANSLATIONS)
    workload: Workload = others.trace(config, kind, request, name)
    _held(workload.parameters, config.where)
    tokens = len(workload.inputs[0]) == 1 and workload.inputs[0][0] != others.SECOND
    dataset = _corpus(workload.inputs[0][0]) if tokens else workload.dataset
    return replace(workload, dataset=dataset, batch=BATCH)


def _fill(net: Network, tower: Tower | None, model: models.Family, where: str) -> None:
    """The tower's layers, if there is one, then the model's."""
    family, arguments = model
    try:
        if tower is not None and isinstance(net, SeeingNetwork):
            build_tower(net, tower)
        families.build(family, arguments, net, where)
    except SimulatorError as error:
        text = str(error)
        raise error if text.startswith(where) else InputError(f"{where}: {text}") from None
    _held(sum(layer.parameters for layer in net.layers), where)


def _held(parameters: int, where: str) -> None:
    """Refuse a network that no machine holds."""
    if parameters > MOST_PARAMETERS:
        raise InputError(f"{where}: {parameters:.3g} parameters are more than any machine holds")


def _name(path: Path, config: Config) -> str:
    """The name that the configuration gives, else its folder's, or the file's without its endings."""
    given = config.values.get("_name_or_path")
    if isinstance(given, str) and given.strip("/. "):
        return given.rstrip("/").rpartition("/")[2]
    if path.name == FILE:
        path = path.resolve().parent
    return path.name.removesuffix(".json").removesuffix(".config") or "huggingface"
