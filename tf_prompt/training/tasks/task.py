"""The interface of tasks: from a run's options to a trained model."""

import pathlib
from collections.abc import Sequence

import keras

from tf_prompt.data.reading import Reading
from tf_prompt.models import backbone_weights, presets
from tf_prompt.runs import checkpoints
from tf_prompt.runs.config import FitConfig, settings
from tf_prompt.training import fitting
from tf_prompt.training.schedules import WarmUpCosine

# Options of every run.
SHARED_OPTIONS = frozenset(
    {
        *("preset", "set", "data", "run_dir", "batch_size", "seed"),
        *("strategy", "worker_timeout", "gpu_memory", "deterministic"),
    }
)
# Options of models that are trained by gradient descent in epochs.
LEARNING_OPTIONS = SHARED_OPTIONS | {
    *("epochs", "learning_rate", "warmup_steps", "weight_decay", "clip_norm"),
    *("rotation_degrees", "flip", "erasing_rate", "backbone_weights"),
    *("shuffle_buffer", "shard_by", "mixed_precision"),
    *("patience", "save_every", "time_budget"),
    *("dry_run", "find_learning_rate"),
}


class Task:
    """Data, model and loss of a run, with a subclass for each kind of model.

    Subclasses that train in epochs set `num_examples`, and define `training_batches`,
    `validation_batches` and `_learning`. Others override `compile_model`, `has_result`,
    `load_state` and `fit`.

    Args:
        config: the run's options, completed by `recipes`.
        run_dir: folder of the run.
        folder: folder of shards.

    Attributes:
        options: names of the options of `fit` that apply to the task.
        recipe: dict of default options that all presets of the task share.
        report_metrics: metrics that `fit` computes at the end; they take seconds.
        protocol: that of `evaluate` for such models; None is the usual one.
        half_precision: Keras policy for `mixed_precision`.
        num_examples: int, number of images per epoch.
    """

    options = LEARNING_OPTIONS
    recipe: dict = {}
    report_metrics: tuple[str, ...] = ("cosine", "bleu", "meteor")
    protocol: str | None = None
    half_precision = "mixed_float16"
    # Arguments of the model's constructor that follow from an option, and that option.
    derived: dict[str, str] = {}
    # Options that are arguments of the model's constructor; None leaves the preset's.
    _arguments: tuple[str, ...] = ("rotation_degrees", "flip", "erasing_rate")
    # Those of them that have another name in the constructor.
    _names: dict[str, str] = {}
    num_examples: int

    def __init__(self, config: FitConfig, run_dir: pathlib.Path, folder: pathlib.Path):
        self.config, self.run_dir, self.folder = config, run_dir, folder

    @classmethod
    def check(cls, config: FitConfig) -> None:
        """Checks completed options before anything is read or written.

        Raises:
            ValueError: if they do not fit.
        """
        if config.epochs == 0:
            raise ValueError(
                f"epochs must be positive with preset {config.preset}. Received: 0"
            )

    @classmethod
    def has_result(cls, run_dir: pathlib.Path) -> bool:
        """Whether a folder has results that a run with other options must keep."""
        return bool(checkpoints.list_checkpoints(run_dir))

    @classmethod
    def summarise(cls, run_dir: pathlib.Path) -> str:
        """Returns what else training found, as text, or "".

        Raises:
            ValueError: if a file of the run is damaged.
        """
        return ""

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches per epoch, all of them full.

        Raises:
            ValueError: if there is none.
        """
        if self.num_examples < self.config.batch_size:
            raise ValueError(
                f"batch_size must be at most the number of training examples, "
                f"{self.num_examples}. Received: {self.config.batch_size}"
            )
        return self.num_examples // self.config.batch_size

    def overrides(self) -> dict:
        """Returns the constructor arguments of the model that replace the preset's."""
        given = {
            self._names.get(name, name): getattr(self.config, name)
            for name in self._arguments
        }
        given = {name: value for name, value in given.items() if value is not None}
        return {**given, **settings(self.config.set)}

    def argument(self, name: str):
        """Returns the value of a constructor argument, overridden or the preset's."""
        return {**presets.PRESETS[self.config.preset][1], **self.overrides()}[name]

    def build_model(self) -> keras.Model:
        """Builds the model, with the pretrained weights of its backbone.

        Raises:
            ValueError: if the weights are missing, or given but not used.
        """
        return presets.build(self.config.preset, **self.overrides())

    def load_backbone(self, network: keras.Model, name: str) -> bool:
        """Loads the pretrained part of a model, according to the options.

        Args:
            network: the model's image network; changed.
            name: name of its backbone, see `backbones.describe_backbone`.

        Returns:
            False if the backbone has no weights of its own, and none were given.

        Raises:
            ValueError: if the weights are missing, or do not fit.
        """
        given = self.config.backbone_weights
        if given == "random":
            return True
        source = given or backbone_weights.find_source(name)
        if source is None:
            return False
        backbone_weights.load_weights(network, source)
        return True

    def compile_model(self, model: keras.Model) -> None:
        """Compiles a model with optimizer, learning-rate schedule, loss and metrics."""
        self.compile_for(model, self.config, self.steps_per_epoch)

    @classmethod
    def compile_for(
        cls, model: keras.Model, config: FitConfig, steps_per_epoch: int
    ) -> None:
        """Does the work of `compile_model`, for any completed config.

        Args:
            model: the model; changed.
            config: options, completed by `recipes`.
            steps_per_epoch: int > 0, number of steps per epoch.
        """
        total_steps = max(1, config.epochs * steps_per_epoch)
        schedule = WarmUpCosine(config.learning_rate, config.warmup_steps, total_steps)
        model.compile(
            **cls._learning(model, config, schedule, steps_per_epoch),
            # Batches differ in length: XLA would compile again for each.
            jit_compile=False,
        )

    @classmethod
    def _learning(cls, model, config, schedule, steps_per_epoch) -> dict:
        """Returns a dict of `optimizer`, `loss` and `metrics`."""
        raise NotImplementedError

    def training_batches(
        self, model: keras.Model, epochs: range, skip: int = 0, share=None
    ):
        """Returns the batches of several epochs, one after the other.

        Args:
            model: the model.
            epochs: numbers of the epochs.
            skip: number of steps of the first epoch to skip.
            share: `sharding.Share` of this process; None reads whole batches.

        Returns:
            `tf.data.Dataset`.
        """
        raise NotImplementedError

    def validation_batches(self, model: keras.Model, share=None):
        """Returns the batches of the validation split, once.

        Args:
            model: the model.
            share: as in `training_batches`.

        Returns:
            `tf.data.Dataset`.
        """
        raise NotImplementedError

    def describe_needs(self, model: keras.Model) -> list[tuple[str, str]]:
        """Returns further needs of a model for a dry run, pairs of name and value."""
        return []

    def read_training(
        self, model: keras.Model, epochs: range, skip: int, share
    ) -> Reading:
        """Returns the `Reading` of the training split; see `training_batches`."""
        config = self.config
        return Reading(
            folder=self.folder,
            image_size=model.image_size,
            batch_size=config.batch_size,
            share=share,
            seed=config.seed,
            shuffle_buffer=config.shuffle_buffer,
            epochs=epochs,
            skip=skip,
        )

    def read_validation(self, model: keras.Model, share) -> Reading:
        """Returns the `Reading` of the validation split; see `validation_batches`."""
        return Reading(
            folder=self.folder,
            image_size=model.image_size,
            batch_size=self.config.batch_size,
            share=share,
        )

    def load_state(self, model: keras.Model, run_dir: pathlib.Path) -> dict:
        """Restores the model of a run, and returns the state from which `fit` resumes.

        Args:
            model: compiled model; changed.
            run_dir: folder of the run; with several workers, that of the chief.

        Returns:
            JSON-compatible dict; empty for a new run.

        Raises:
            ValueError: if a file is damaged.
        """
        return checkpoints.load_checkpoint(model, run_dir) or {}

    def fit(
        self,
        model: keras.Model,
        state: dict,
        deadline: float | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> list[dict]:
        """Trains the model, and writes the best one into the run's folder.

        Args:
            model: compiled model, restored by `load_state`.
            state: the result of `load_state`.
            deadline, callbacks: see `fitting.fit_epochs`.

        Returns:
            list of one dict per epoch; empty for tasks without epochs.
        """
        return fitting.fit_epochs(self, model, state, deadline, callbacks)
