"""The base class of captioners with a vision-language model of KerasHub."""

import math

import keras
import keras_hub
import numpy as np
from keras import ops

from tf_prompt.layers.arguments import check_positive
from tf_prompt.layers.augmentation import Augmentation
from tf_prompt.models.fingerprints import fingerprint

# The first tokens of each of our vocabularies, see `data.text`: padding, unknown, start
# and end.
NUM_SPECIAL = 4
# Lower than any logit, and finite.
_NEVER = -1e9


class _Held:
    """Holds a network where Keras does not look for it when it saves a model."""

    network = None


class LanguageCaptioner(keras.Model):
    """Writes the prompt of an image with a vision-language model, the base.

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
            and `std` of pixels 0-1, one number per channel. For a pretrained base also
            `prefix_ids` and `end_id`, in its own ids, and `sha256`, see
            `fingerprint`.
        max_tokens: int > 0, longest prompt in tokens, the end token included.
        lora_rank: int >= 0, rank of the matrices that are trained beside frozen
            weights; 0 trains the weights themselves, None trains nothing.
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
    # Text that asks a pretrained base for a prompt.
    request = ""
    # Names of the layers that get low-rank matrices, in the text and the image part.
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
        # A base that is not pretrained has its special tokens last.
        own = {"end_id": pieces, "image_id": pieces + 2}
        own["prefix_ids"] = self.own_prefix(base, pieces + 1, pieces + 2)
        return {**named, **own, **base}

    def own_prefix(self, base, start: int, image: int) -> list[int]:
        """Returns the prefix of a base that is not pretrained, a list of token ids.

        Args:
            base: see the class.
            start, image: ids of the start token and of the image's placeholder.
        """
        return [start]

    @property
    def is_whole(self) -> bool:
        """Whether the model's files contain the base too."""
        return "sha256" not in self.base

    def task(self) -> keras.Model:
        """Returns the base, a KerasHub task; as a property, it would be saved too.

        Raises:
            ValueError: if it is pretrained and not yet attached.
        """
        if self._held.network is None:
            raise ValueError("the base must be attached first. Received: none")
        return self._held.network

    @property
    def base_vocab_size(self) -> int:
        """Vocabulary size of a base that is not pretrained: our pieces and 3 more."""
        return self.vocab_size - NUM_SPECIAL + 3

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """The layers that Keras saves: all but the base."""
        return [x for x in super().layers if x is not self._held.network]

    def attach(self, network: keras.Model) -> None:
        """Gives the model its pretrained base.

        Args:
            network: an unchanged KerasHub task of the family.

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
        """Sets the base, without the check of its weights that `attach` does."""
        self._held.network = network
        # What setting an attribute does, but Keras would save an attribute.
        self._layers.append(network)
        backbone = network.backbone
        backbone.trainable = self.lora_rank is not None
        if self.lora_rank:
            seeing = self.vision_targets if self.train_vision else ()
            targets = sorted({*self.text_targets, *seeing})
            backbone.enable_lora(self.lora_rank, targets)
            for layer in self._adapted_layers():
                # Keras would go on training it.
                if layer.bias is not None:
                    layer.bias.trainable = False
        if not self.train_vision:
            for part in self.vision(backbone):
                # Not `part.trainable`, which is already False: KerasHub sets it, and
                # still trains low-rank matrices inside the part.
                for variable in part.variables:
                    variable.trainable = False
        if self._waiting is not None:
            values, self._waiting = self._waiting, None
            self.set_weights(values)

    def _adapted_layers(self) -> list[keras.layers.Layer]:
        """The layers of the base that have low-rank matrices."""
        layers = self.task().backbone._flatten_layers(include_self=False)
        return [layer for layer in layers if getattr(layer, "lora_enabled", False)]

    def merge(self) -> None:
        """Adds the low-rank matrices to the base's weights, and sets them to zero."""
        for layer in self._adapted_layers():
            # `kernel` is already the sum; the stored variable has an underscore.
            layer._kernel.assign(layer.kernel)
            layer.lora_kernel_b.assign(ops.zeros_like(layer.lora_kernel_b))

    @property
    def kept_weights(self) -> list:
        """The variables that the model's files contain."""
        return self.weights if self.is_whole else self.trainable_weights

    def count_parameters(self) -> tuple[int, int]:
        """Counts all parameters, the base's included, and the trained ones."""
        kept = sum(np.size(value) for value in self.get_weights())
        if not self.is_whole:
            return self.base["parameters"] + kept, kept
        trained = sum(math.prod(weight.shape) for weight in self.trainable_weights)
        return kept, trained

    def get_weights(self):
        """Returns the values of `kept_weights`, a list of numpy arrays."""
        if self._waiting is not None:
            return self._waiting
        return [ops.convert_to_numpy(weight) for weight in self.kept_weights]

    def set_weights(self, weights):
        """Sets `kept_weights`, now or when the base is attached.

        Raises:
            ValueError: if the number of arrays or a shape differs.
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
        """Scales pixels 0-255 for the base: `(batch, height, width, 3)` in and out."""
        mean, std = (np.float32(self.base[name]) for name in ("mean", "std"))
        scaled = (ops.cast(images, "float32") / 255 - mean) / std
        return ops.cast(scaled, self.compute_dtype)

    def score(self, hidden):
        """Computes the base's logits of the next token from its hidden states."""
        return self.task().backbone.token_embedding(hidden, reverse=True)

    def to_base(self, token_ids):
        """Converts our ids to the base's; start becomes the prefix's last token."""
        special = np.int32([self.base["end_id"]] * NUM_SPECIAL)
        special[2] = self.base["prefix_ids"][-1]
        special = ops.take(special, ops.minimum(token_ids, 3))
        return ops.where(token_ids < NUM_SPECIAL, special, token_ids - NUM_SPECIAL)

    def to_own_logits(self, logits):
        """Converts the base's logits to those of our ids, `(…, vocab_size)`."""
        pieces = logits[..., : self.vocab_size - NUM_SPECIAL]
        end = logits[..., self.base["end_id"], None]
        never = ops.zeros_like(end) + ops.cast(_NEVER, end.dtype)
        return ops.concatenate([never, never, never, end, pieces], axis=-1)

    def prefix(self, batch):
        """Returns the prefix in the base's ids, int `(batch, tokens)`."""
        return ops.tile(np.int32([self.base["prefix_ids"]]), (batch, 1))

    def pad_prefix(self, batch):
        """Returns the prefix with room for a prompt after it, and the prefix's mask.

        Returns:
            token_ids: int `(batch, tokens + max_tokens)`, in the base's ids.
            mask: bool, of that shape.
        """
        length = len(self.base["prefix_ids"])
        token_ids = np.pad(np.int32(self.base["prefix_ids"]), (0, self.max_tokens))
        mask = np.arange(len(token_ids)) < length
        return ops.tile(token_ids[None], (batch, 1)), ops.tile(mask[None], (batch, 1))

    def join_prefix(self, token_ids):
        """Puts the prefix before prompts `(batch, tokens)`; returns the base's ids."""
        prefix = self.prefix(ops.shape(token_ids)[0])
        return ops.concatenate([prefix, self.to_base(token_ids[:, 1:])], axis=1)

    @classmethod
    def task_class(cls) -> type:
        """Returns the family's KerasHub class that generates text."""
        return getattr(keras_hub.models, cls.task_name)

    @classmethod
    def tokenizer_class(cls) -> type:
        """Returns the family's KerasHub tokenizer class."""
        return getattr(keras_hub.models, cls.tokenizer_name)

    @classmethod
    def find_special(cls, tokenizer, backbone) -> dict:
        """Finds `prefix_ids` and `end_id` for a base's tokenizer and backbone."""
        asked = encode_text(tokenizer, cls.request)
        return {
            "prefix_ids": [int(tokenizer.start_token_id), *asked],
            "end_id": int(tokenizer.end_token_id),
        }

    @classmethod
    def image_side(cls, backbone) -> int:
        """Returns the side of a base's images in pixels."""
        return int(backbone.image_size)

    def extract_features(self, images, training=None):
        """Computes the mean image token, `(batch, depth)`, for nearest neighbours."""
        return ops.mean(self.see(self.scale(images)), axis=1)

    def write_transformers(self, folder) -> None:
        """Writes the trained model in the format of the library transformers.

        Args:
            folder: folder to write; created if needed.

        Raises:
            ValueError: if KerasHub cannot write the image part of the family.
        """
        raise ValueError(
            "--to transformers works for Gemma 3 only, since KerasHub does not write "
            f"the image part of other models. Received: {self.backbone_class}"
        )

    def build_network(self) -> keras.Model:
        """Builds the base, a KerasHub task, with random weights."""
        raise NotImplementedError

    def vision(self, backbone) -> list[keras.layers.Layer]:
        """Returns the layers of a base that process images."""
        raise NotImplementedError

    def see(self, pixels):
        """Computes the image tokens of scaled images, `(batch, tokens, depth)`."""
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
    """Encodes a text, which may contain special tokens, with a KerasHub tokenizer."""
    return [int(i) for i in ops.convert_to_numpy(tokenizer(request))] if request else []
