"""The base class of captioners over a language model of KerasHub that sees images."""

import math

import keras
import keras_hub
import numpy as np
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.layers.augmentation import Augmentation
from tf_prompt.models.fingerprints import fingerprint

# The first tokens of every vocabulary of ours, see `data.text`: padding, unknown,
# start and end.
NUM_SPECIAL = 4
# Lower than any logit, and finite.
_NEVER = -1e9


class _Held:
    """Holds a network where Keras' saving does not look for it."""

    network = None


class LanguageCaptioner(keras.Model):
    """Writes the prompt of an image with a language model that sees it.

    Token ids are those of our vocabularies: four special tokens, then the base's own
    ids, each four higher. The prefix, which asks for a prompt, is part of the model.

    The model's files do not contain a pretrained base, only the weights that are
    trained; `attach` adds the base. A base without pretrained weights is saved whole.

    A subclass is a family of bases: it defines `build_network`, `vision`,
    `see`, `read`, `encode` and `step`.

    Args:
        vocab_size: int > 4, size of the vocabulary, special tokens included.
        image_size: int > 0, side of the images, pixels.
        base: dict of `arguments`, those of the backbone's class in KerasHub; `mean`
            and `std` of pixels 0-1, a number a channel. A pretrained one has
            `prefix_ids` and `end_id`, in its own ids, and `sha256`, see
            `fingerprint`.
        max_tokens: int > 0, longest prompt in tokens, the end token included.
        lora_rank: int >= 0, rank of the matrices that are trained beside frozen
            weights; 0 trains the weights themselves, None nothing.
        train_vision: whether the image tower is trained too.
        rotation_degrees, flip, erasing_rate: see `Augmentation`.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        inputs: see `Captioner`; without `regions`.

    Returns:
        See `Captioner`.

    Reference: low-rank adaptation, Hu et al., 2021, https://arxiv.org/abs/2106.09685.
    """

    # Names in `keras_hub.models`.
    backbone_class = task_name = tokenizer_name = ""
    # What asks a pretrained base for a prompt.
    request = ""
    # Names of the layers that get matrices of low rank: of the language, of the image.
    text_targets: tuple[str, ...] = ()
    vision_targets: tuple[str, ...] = ()

    def __init__(
        self,
        vocab_size,
        image_size,
        base,
        max_tokens=76,
        lora_rank=0,
        train_vision=True,
        rotation_degrees=0.0,
        flip=False,
        erasing_rate=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(image_size=image_size, max_tokens=max_tokens)
        if vocab_size <= NUM_SPECIAL or (lora_rank or 0) < 0:
            raise ValueError(
                "`vocab_size` must exceed 4, and `lora_rank` must not be negative. "
                f"Received: vocab_size={vocab_size}, lora_rank={lora_rank}"
            )
        self.vocab_size = vocab_size
        self.image_size = image_size
        self.base = self._complete(base)
        self.max_tokens = max_tokens
        self.lora_rank = lora_rank
        self.train_vision = train_vision
        self.rotation_degrees = rotation_degrees
        self.flip = flip
        self.erasing_rate = erasing_rate
        self.augmentation = Augmentation(rotation_degrees, flip, erasing_rate)
        self.built = True
        self._held, self._waiting = _Held(), None
        if self.is_whole:
            self.adopt(self.build_network())

    def _complete(self, base) -> dict:
        pieces = self.vocab_size - NUM_SPECIAL
        pixels = {"mean": [0.5] * 3, "std": [0.5] * 3}
        named = {"class_name": self.backbone_class, "arguments": {}, **pixels}
        if "sha256" in base:
            return {**named, **base}
        # Of a base that is not pretrained the special tokens come last.
        own = {"end_id": pieces, "image_id": pieces + 2}
        own["prefix_ids"] = self.own_prefix(base, pieces + 1, pieces + 2)
        return {**named, **own, **base}

    def own_prefix(self, base, start: int, image: int) -> list[int]:
        """Gives the prefix of a base that is not pretrained.

        Args:
            base: see the class.
            start, image: ids of the start and of what stands where the image is.
        """
        return [start]

    @property
    def is_whole(self) -> bool:
        """Whether files of the model hold the base too."""
        return "sha256" not in self.base

    def task(self) -> keras.Model:
        """Gives the base, a task of KerasHub; saving would follow a property.

        Raises:
            ValueError: if it is pretrained and not yet attached.
        """
        if self._held.network is None:
            raise ValueError("the base must be attached first. Received: none")
        return self._held.network

    @property
    def base_vocab_size(self) -> int:
        """Tokens of a base that is not pretrained: our pieces, three special ones."""
        return self.vocab_size - NUM_SPECIAL + 3

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """The layers that Keras' saving follows: all but the base."""
        return [x for x in super().layers if x is not self._held.network]

    def attach(self, network: keras.Model) -> None:
        """Gives the model its pretrained base.

        Args:
            network: a task of KerasHub, of the family, not yet changed.

        Raises:
            ValueError: if its weights are not those that the model was trained on.
        """
        found = fingerprint(network.backbone)
        if found != self.base["sha256"]:
            raise ValueError(
                f"the base must have the SHA-256 {self.base['sha256'][:12]}…, on which "
                f"the run was trained. Received: {found[:12]}…"
            )
        self.adopt(network)

    def adopt(self, network: keras.Model) -> None:
        """Takes a base as it is; `attach` also checks its weights."""
        self._held.network = network
        # As setting an attribute does, without one that saving would follow.
        self._layers.append(network)
        backbone = network.backbone
        backbone.trainable = self.lora_rank is not None
        if self.lora_rank:
            seeing = self.vision_targets if self.train_vision else ()
            targets = sorted({*self.text_targets, *seeing})
            backbone.enable_lora(self.lora_rank, targets)
            for layer in self._adapted_layers():
                # Keras goes on training it.
                if layer.bias is not None:
                    layer.bias.trainable = False
        if not self.train_vision:
            for part in self.vision(backbone):
                # Not `part.trainable`, which is False already: KerasHub sets it, and
                # then lets matrices of low rank within it learn.
                for variable in part.variables:
                    variable.trainable = False
        if self._waiting is not None:
            values, self._waiting = self._waiting, None
            self.set_weights(values)

    def _adapted_layers(self) -> list[keras.layers.Layer]:
        """The layers of the base that have matrices of low rank."""
        layers = self.task().backbone._flatten_layers(include_self=False)
        return [layer for layer in layers if getattr(layer, "lora_enabled", False)]

    def merge(self) -> None:
        """Adds the matrices of low rank to the base's weights, and empties them."""
        for layer in self._adapted_layers():
            # `kernel` is already the sum; what Keras keeps has an underscore.
            layer._kernel.assign(layer.kernel)
            layer.lora_kernel_b.assign(ops.zeros_like(layer.lora_kernel_b))

    @property
    def kept_weights(self) -> list:
        """The variables that a file of the model holds."""
        return self.weights if self.is_whole else self.trainable_weights

    def count_parameters(self) -> tuple[int, int]:
        """Counts the numbers in the model, its base's too, and those it trains."""
        kept = sum(np.size(value) for value in self.get_weights())
        if not self.is_whole:
            return self.base["parameters"] + kept, kept
        trained = sum(math.prod(weight.shape) for weight in self.trainable_weights)
        return kept, trained

    def get_weights(self):
        """Gives the values of `kept_weights`."""
        if self._waiting is not None:
            return self._waiting
        return [ops.convert_to_numpy(weight) for weight in self.kept_weights]

    def set_weights(self, weights):
        """Sets `kept_weights`, now or when the base is attached.

        Raises:
            ValueError: if they are not as many, or of other shapes.
        """
        if self._held.network is None:
            self._waiting = list(weights)
            return
        kept, given = self.kept_weights, len(weights)
        if given != len(kept):
            raise ValueError(f"weights must be {len(kept)} arrays. Received: {given}")
        for variable, value in zip(kept, weights, strict=True):
            variable.assign(value)

    def save_own_variables(self, store):
        for index, value in enumerate(self.get_weights()):
            store[str(index)] = value

    def load_own_variables(self, store):
        self.set_weights([np.asarray(store[str(i)]) for i in range(len(store.keys()))])

    def call(self, inputs, training=None):
        images = self.augmentation(inputs["images"], training=training)
        token_ids = inputs["token_ids"]
        hidden = self.read(self.scale(images), token_ids)
        hidden = hidden[:, -ops.shape(token_ids)[1] :]
        logits = self.score(hidden)
        if "target_ids" not in inputs:
            return self.to_own_logits(logits)
        # The base's own logits: a second copy with our ids would be as large.
        logits = ops.cast(logits, "float32")
        targets = self.to_base(inputs["target_ids"])
        target = ops.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        losses = ops.logsumexp(logits, axis=-1) - target
        hits = ops.cast(target >= ops.max(logits, axis=-1), "float32")
        return ops.stack([losses, hits], axis=-1)

    def scale(self, images):
        """Scales pixels 0-255 as the base wants them."""
        mean, std = (np.float32(self.base[name]) for name in ("mean", "std"))
        scaled = (ops.cast(images, "float32") / 255 - mean) / std
        return ops.cast(scaled, self.compute_dtype)

    def score(self, hidden):
        """Computes the base's logits of the next token from its hidden states."""
        return self.task().backbone.token_embedding(hidden, reverse=True)

    def to_base(self, token_ids):
        """Turns our ids into the base's; start is the last token of the prefix."""
        special = np.int32([self.base["end_id"]] * NUM_SPECIAL)
        special[2] = self.base["prefix_ids"][-1]
        special = ops.take(special, ops.minimum(token_ids, 3))
        return ops.where(token_ids < NUM_SPECIAL, special, token_ids - NUM_SPECIAL)

    def to_own_logits(self, logits):
        """Turns the base's logits into those of our ids; only its end is special."""
        pieces = logits[..., : self.vocab_size - NUM_SPECIAL]
        end = logits[..., self.base["end_id"], None]
        never = ops.zeros_like(end) + ops.cast(_NEVER, end.dtype)
        return ops.concatenate([never, never, never, end, pieces], axis=-1)

    def prefix(self, batch):
        """The prefix in the base's ids, int `(batch, tokens)`."""
        return ops.tile(np.int32([self.base["prefix_ids"]]), (batch, 1))

    def pad_prefix(self, batch):
        """The prefix and room for a prompt, and which of both is the prefix.

        Returns:
            token_ids: int `(batch, tokens + max_tokens)`, in the base's ids.
            mask: bool, of that shape.
        """
        length = len(self.base["prefix_ids"])
        token_ids = np.pad(np.int32(self.base["prefix_ids"]), (0, self.max_tokens))
        mask = np.arange(len(token_ids)) < length
        return ops.tile(token_ids[None], (batch, 1)), ops.tile(mask[None], (batch, 1))

    def join_prefix(self, token_ids):
        """Puts the prefix before prompts: what the base reads, in its ids."""
        prefix = self.prefix(ops.shape(token_ids)[0])
        return ops.concatenate([prefix, self.to_base(token_ids[:, 1:])], axis=1)

    @classmethod
    def task_class(cls) -> type:
        """The family's class in KerasHub that generates texts."""
        return getattr(keras_hub.models, cls.task_name)

    @classmethod
    def tokenizer_class(cls) -> type:
        """The family's tokenizer in KerasHub."""
        return getattr(keras_hub.models, cls.tokenizer_name)

    @classmethod
    def find_special(cls, tokenizer, backbone) -> dict:
        """Gives `prefix_ids` and `end_id` by a base's tokenizer and backbone."""
        asked = encode_text(tokenizer, cls.request)
        return {
            "prefix_ids": [int(tokenizer.start_token_id), *asked],
            "end_id": int(tokenizer.end_token_id),
        }

    @classmethod
    def image_side(cls, backbone) -> int:
        """Gives the side of a base's images, pixels."""
        return int(backbone.image_size)

    def extract_features(self, images, training=None):
        """Computes the mean token of an image, `(batch, depth)`, for neighbours."""
        return ops.mean(self.see(self.scale(images)), axis=1)

    def write_transformers(self, folder) -> None:
        """Writes the model, with what it has learned, as transformers reads it.

        Args:
            folder: where; made if needed.

        Raises:
            ValueError: if KerasHub does not write the image part of the family.
        """
        raise ValueError(
            "to transformers goes with Gemma 3 alone, of which KerasHub writes the "
            f"image part too. Received: {self.backbone_class}"
        )

    def build_network(self) -> keras.Model:
        """Builds the base with random weights, a task of KerasHub."""
        raise NotImplementedError

    def vision(self, backbone) -> list[keras.layers.Layer]:
        """The parts of a base that see."""
        raise NotImplementedError

    def see(self, pixels):
        """Computes the tokens of scaled images: `(batch, tokens, depth)`."""
        raise NotImplementedError

    def read(self, pixels, token_ids):
        """Computes the hidden states of scaled images, prefix and prompts.

        Args:
            pixels: float `(batch, image_size, image_size, 3)`.
            token_ids: int `(batch, tokens)`, our ids, starting with the start token.

        Returns:
            float `(batch, all tokens, width)`, those of `token_ids` last.
        """
        raise NotImplementedError

    def encode(self, images):
        """Starts decoding, see `Captioner.encode`."""
        raise NotImplementedError

    def step(self, token_ids, position, state, memory):
        """Decodes one step for each prompt, see `Captioner.step`."""
        raise NotImplementedError

    def get_build_config(self):
        return None  # The constructor has built every layer.

    def get_config(self):
        return {
            **super().get_config(),
            "vocab_size": self.vocab_size,
            "image_size": self.image_size,
            "base": self.base,
            "max_tokens": self.max_tokens,
            "lora_rank": self.lora_rank,
            "train_vision": self.train_vision,
            "rotation_degrees": self.rotation_degrees,
            "flip": self.flip,
            "erasing_rate": self.erasing_rate,
        }


def encode_text(tokenizer, request: str) -> list[int]:
    """Encodes a text by a tokenizer of KerasHub, special tokens in it too."""
    return [int(i) for i in ops.convert_to_numpy(tokenizer(request))] if request else []
