"""The backbone: a Hugging Face language model whose token mixer is a candidate.

Block: x + mixer(RMSNorm(x)), then x + SwiGLU(RMSNorm(x)); tied embeddings; no positional encoding. The generation
cache is the list of the blocks' states, so decoding a token costs the same however long the text is. A pattern
(`asiarc.core.pattern`) fills blocks with other mixers beside the candidate, with none, or with MLPs of other widths.

Unusual: initial weights of everything but the mixers are drawn by address (seed, parameter name), so two candidates
share them exactly; rows that padding on the left makes begin apart are read apart, so that no mixer is given padding;
a model is pickled as its configuration and its numbers, from which it is made anew; and under autocast norms read
their weight in the dtype of what they norm, which torch's one-kernel norm asks for.

Axes: B batch, T tokens, D model channels, V vocabulary.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from asiarc.core.candidate import load_mixer, make_mixer
from asiarc.core.errors import ModelInputError
from asiarc.core.pattern import CANDIDATE, slot_of
from asiarc.core.recipe import SIZE_TOLERANCE
from asiarc.core.seeds import seed_of
from asiarc.models.sizes import fits, nearest_hidden, total_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from asiarc.core.recipe import TrialRecipe


class SizeMismatchError(Exception):
    """No width of the MLP brings the model to the size asked for; the trial ends as rejected."""


class AsiarcConfig(PretrainedConfig):
    """Sizes, and the source of the mixer that fills the blocks; with a pattern its slots, and the sources of the others
    by their names in it.
    """

    model_type = "asiarc"

    def __init__(
        self,
        mixer_source: str = "",
        vocab_size: int = 256,
        hidden_size: int = 64,
        num_hidden_layers: int = 2,
        num_attention_heads: int = 2,
        intermediate_size: int = 128,
        pattern: list[str] | None = None,
        mixers: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.mixer_source = mixer_source
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.pattern = pattern
        self.mixers = mixers
        kwargs = {"tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, **kwargs}
        super().__init__(**kwargs)


class MixerCache:
    """What generation carries from one call to the next: a state a layer, and how many tokens were seen."""

    is_compileable = False

    def __init__(self, num_layers: int) -> None:
        self.states: list[Any] = [None] * num_layers
        self.seen = 0
        self.parts: list[tuple[torch.Tensor, MixerCache]] = []  # rows that begin together, where not all do

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens seen so far."""
        return self.seen

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep the states of the surviving beams; what has no row for each beam (a position) belongs to all."""

        def survivors(tensor: torch.Tensor) -> torch.Tensor:
            has_rows = tensor.ndim > 0 and len(tensor) == len(beam_idx)
            return tensor.index_select(0, beam_idx) if has_rows else tensor

        self.states = tree_map_only(torch.Tensor, survivors, self.states)
        for rows_R, part in self.parts:  # the beams of a row begin together, and so stay in one part
            part.reorder_cache(torch.searchsorted(rows_R, beam_idx[rows_R]))


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, d_model: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(d_model, hidden, bias=False)
        self.up = nn.Linear(d_model, hidden, bias=False)
        self.down = nn.Linear(hidden, d_model, bias=False)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        """[B, T, D] -> [B, T, D]."""
        return self.down(F.silu(self.gate(x_BTD)) * self.up(x_BTD))


class RMSNorm(nn.RMSNorm):
    """torch's own, with the weight in the dtype of its input: the fused operator takes no two dtypes.

    The same numbers where the dtypes are equal. Under autocast an input in bfloat16 meets weights in float32, and torch
    then falls back to seven operators (`at::rms_norm`, "Cannot dispatch to fused implementation").
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., D] -> [..., D]."""
        weight = None if self.weight is None else self.weight.to(x.dtype)
        return F.rms_norm(x, self.normalized_shape, weight, self.eps)


class Block(nn.Module):
    """One layer: the mixer and the MLP, each behind its norm and beside its residual; either may be missing."""

    def __init__(self, d_model: int, hidden: int, mixer: nn.Module | None) -> None:
        super().__init__()
        self.mixer_norm = None if mixer is None else RMSNorm(d_model, eps=1e-6)
        self.mixer = mixer
        self.mlp_norm = RMSNorm(d_model, eps=1e-6)
        self.mlp = SwiGLU(d_model, hidden) if hidden else None

    def forward(self, x_BTD: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """([B, T, D], the mixer's new state)."""
        if self.mixer is not None and self.mixer_norm is not None:
            mixed, state = self.mixer(self.mixer_norm(x_BTD), state)
            x_BTD = x_BTD + mixed
        if self.mlp is not None:
            x_BTD = x_BTD + self.mlp(self.mlp_norm(x_BTD))
        return x_BTD, state


class AsiarcForCausalLM(PreTrainedModel, GenerationMixin):
    """A causal language model around a candidate's mixer.

    ``model(input_ids, labels=...)`` gives loss and logits; ``generate`` works with greedy search, sampling and beams;
    ``save_pretrained`` and ``from_pretrained`` keep the mixer's source beside the weights. Loading a model executes
    that source: load only what you trust.
    """

    config_class = AsiarcConfig
    base_model_prefix = ""
    _no_split_modules = ("Block",)
    is_checkpointed = False  # in training, whether what a block computes is computed again in the backward pass
    _tied_weights_keys = {"lm_head.weight": "embed.weight"}  # noqa: RUF012 - the shape that transformers asks for

    def __init__(self, config: AsiarcConfig) -> None:
        super().__init__(config)
        slots = [slot_of(text) for text in config.pattern or [CANDIDATE]]
        blocks = [slots[index % len(slots)] for index in range(config.num_hidden_layers)]
        classes = {block.mixer: mixer_class(config, block.mixer) for block in blocks if block.mixer}
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        with _never_on_meta():
            size = config.hidden_size, config.num_attention_heads
            mixers = [make_mixer(classes[block.mixer], *size) if block.mixer else None for block in blocks]
        for module in nn.ModuleList(mixer for mixer in mixers if mixer is not None).modules():
            module._non_persistent_buffers_set.clear()  # loading leaves what was not saved uninitialised
            if type(module) is nn.RMSNorm:
                module.__class__ = RMSNorm
        hidden = [block.hidden(config.intermediate_size) for block in blocks]
        self.layers = nn.ModuleList(map(Block, [config.hidden_size] * len(blocks), hidden, mixers))
        self.norm = RMSNorm(config.hidden_size, eps=1e-6)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @property
    def mixers(self) -> list[nn.Module]:
        """The mixer of each layer that has one."""
        return [layer.mixer for layer in self.layers if layer.mixer is not None]  # type: ignore[misc]

    def _init_weights(self, module: nn.Module) -> None:
        """Leave modules as constructed: a mixer's own initialisation is part of the candidate."""

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embed = value  # type: ignore[assignment]

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        past_key_values: MixerCache | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Only the tokens that the cache has not seen."""
        seen = 0 if past_key_values is None else past_key_values.seen
        mask = None if attention_mask is None else attention_mask[:, seen:]
        return {
            "input_ids": input_ids[:, seen:],
            "past_key_values": past_key_values,
            "attention_mask": mask,
            "use_cache": True,
        }

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: MixerCache | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        head: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [B, T, V]; with `labels` (shifted here, -100 unscored) also the mean cross-entropy in nats.

        With `head`, instead of logits, as `loss` what it makes of the hidden states [B, T, D] that the output layer
        would read and of that layer's weight [V, D]; rows are read as they are, without mask and cache.
        """
        if head is not None:
            return CausalLMOutputWithPast(loss=head(self._hidden(input_ids, None), self.lm_head.weight))
        cache = past_key_values
        if cache is None and use_cache:
            cache = MixerCache(len(self.layers))
        parts = _parts(cache, attention_mask)
        kept = min(logits_to_keep or input_ids.shape[1], input_ids.shape[1])
        if parts:
            logits_BTV = self.embed.weight.new_zeros(len(input_ids), kept, self.config.vocab_size)
            for rows_R, start, part in parts:
                some_RTV = self._read(input_ids[rows_R, start:], part, kept)
                logits_BTV[rows_R, -some_RTV.shape[1] :] = some_RTV.to(logits_BTV.dtype)
        else:
            logits_BTV = self._read(input_ids, cache, kept)
        if cache is not None:
            cache.seen += input_ids.shape[1]
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalLMOutputWithPast(loss=loss, logits=logits_BTV, past_key_values=cache)

    def _read(self, ids_BT: torch.Tensor, cache: MixerCache | None, kept: int) -> torch.Tensor:
        """Logits of the last `kept` tokens of rows that all begin with their first; the cache is brought forward."""
        return self.lm_head(self._hidden(ids_BT, cache)[:, -kept:])

    def _hidden(self, ids_BT: torch.Tensor, cache: MixerCache | None) -> torch.Tensor:
        """What the output layer reads, [B, T, D]; the cache is brought forward."""
        hidden_BTD = self.embed(ids_BT)
        for index, layer in enumerate(self.layers):
            if self.is_checkpointed and torch.is_grad_enabled() and cache is None:
                hidden_BTD, _ = checkpoint(layer, hidden_BTD, None, use_reentrant=False)
                continue
            hidden_BTD, state = layer(hidden_BTD, cache.states[index] if cache else None)
            if cache is not None:
                cache.states[index] = state
        return self.norm(hidden_BTD)

    def __reduce__(self) -> tuple[Any, ...]:
        """Its class is made from its source, which no other process has imported: pickled is what makes it anew."""
        return _made_anew, (self.config, self.state_dict(), self.training)


def mixer_class(config: AsiarcConfig, name: str) -> type[nn.Module]:
    """The class of a mixer by its name in the pattern."""
    return load_mixer(config.mixer_source if name == CANDIDATE else (config.mixers or {})[name])


def _made_anew(config: AsiarcConfig, tensors: dict[str, torch.Tensor], training: bool) -> AsiarcForCausalLM:
    model = AsiarcForCausalLM(config)
    model.load_state_dict(tensors, assign=True)
    model.tie_weights()
    return model.train(training)


def _parts(cache: MixerCache | None, mask_BT: torch.Tensor | None) -> list[tuple[torch.Tensor, int, MixerCache | None]]:
    """(rows that begin together, where they begin, their cache) where padding on the left makes rows begin apart.

    Padding on the right is behind every output that counts; `ModelInputError` where a cache would go on from it.
    """
    if cache is not None and cache.seen:
        return [(rows_R, 0, part) for rows_R, part in cache.parts]
    if mask_BT is None or bool(mask_BT.all()):
        return []
    starts_B = mask_BT.ne(0).int().argmax(1)
    if cache is not None and bool((mask_BT.ne(0).int().cummax(1).values - mask_BT.ne(0).int()).any()):
        raise ModelInputError(
            "attention_mask hides tokens after a row's first one, and a state goes on from the last; pad on the "
            "left instead (padding_side='left'), or pass use_cache=False"
        )
    if not bool(starts_B.any()):
        return []
    groups = [(torch.nonzero(starts_B == start)[:, 0], int(start)) for start in starts_B.unique()]
    caches = [None if cache is None else MixerCache(len(cache.states)) for _ in groups]
    if cache is not None:
        cache.parts = [(rows_R, part) for (rows_R, _), part in zip(groups, caches, strict=True) if part]
    return [(rows_R, start, part) for (rows_R, start), part in zip(groups, caches, strict=True)]


def _never_on_meta() -> Any:
    """`from_pretrained` constructs on the meta device, where tables that a mixer computes would have no values."""
    on_meta = torch.get_default_device().type == "meta"
    return torch.device("cpu") if on_meta else nullcontext()


@contextmanager
def _seeded(*address: str | int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(*address))
        yield


def build(
    source: str, recipe: TrialRecipe, seed: str, *, hidden: int, mixers: Mapping[str, str] | None = None
) -> AsiarcForCausalLM:
    """The model of one trial, with weights that depend on `seed` only; `mixers` are the sources of the others in its
    pattern, by name.

    Shared parts (embeddings, norms, MLP) get the same weights for every candidate, also where matching gave them
    MLPs of different widths: the narrower has the first hidden units of the wider. Mixers are constructed under a
    seed of their own.
    """
    config = AsiarcConfig(
        mixer_source=source,
        vocab_size=recipe.vocab_size,
        hidden_size=recipe.d_model,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.num_heads,
        intermediate_size=hidden,
        pattern=[*recipe.layers] or None,
        mixers=dict(mixers) if mixers else None,
    )
    with _seeded("init", seed, "mixers"):
        model = AsiarcForCausalLM(config)
    model.tie_weights()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".mixer." not in name and parameter.ndim == 2:
                parameter.copy_(_shared_weight(name, parameter.shape, seed, recipe))
    return model


def _shared_weight(name: str, shape: torch.Size, seed: str, recipe: TrialRecipe) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed_of("init", seed, name))
    if name.startswith("embed"):
        return torch.randn(shape, generator=generator) * recipe.d_model**-0.5
    d = recipe.d_model
    units_HD = torch.randn(max(8 * d, *shape), d, generator=generator)
    if name.endswith("down.weight"):
        return units_HD[: shape[1]].T * shape[1] ** -0.5
    return units_HD[: shape[0]] * d**-0.5


def count_parameters(model: nn.Module) -> int:
    """Parameters that training changes, shared ones once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def mixer_parameters(source: str, recipe: TrialRecipe, mixers: Mapping[str, str] | None = None) -> int:
    """Parameters of all mixers of a model together: the candidate's, and those of the others in its pattern."""
    sources = {CANDIDATE: source, **(mixers or {})}
    names = [block.mixer for block in recipe.blocks if block.mixer]
    with _seeded("count"):
        each = {
            name: count_parameters(make_mixer(load_mixer(sources[name]), recipe.d_model, recipe.num_heads))
            for name in dict.fromkeys(names)
        }
    return sum(each[name] for name in names)


def matched_hidden(mixing: int, recipe: TrialRecipe, target: int, *, tolerance: float = SIZE_TOLERANCE) -> int:
    """The MLP width that brings the whole model, whose mixers have `mixing` parameters together, to `target` parameters
    within `tolerance`.

    Raises `SizeMismatchError` when no width does: the mixers alone are too large.
    """
    hidden = nearest_hidden(mixing, recipe, target)
    if not fits(mixing, recipe, target, tolerance):
        each = f"each mixer has {mixing // recipe.num_layers:,}"
        told = f"its mixers have {mixing:,} together" if recipe.layers else each
        raise SizeMismatchError(
            f"the model has {total_parameters(mixing, recipe, hidden):,} parameters with the narrowest MLP where "
            f"{target:,} are allowed within {tolerance:.0%}: {told}; make it smaller"
        )
    return hidden
