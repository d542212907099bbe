"""One task per kind of model: its options, data, batches and loss."""

from tf_prompt.models import presets
from tf_prompt.models.captioner import Captioner
from tf_prompt.models.ensemble import Ensemble
from tf_prompt.models.interrogator import CLIPInterrogator
from tf_prompt.models.language import LanguageCaptioner
from tf_prompt.models.linear_tagger import LinearTagger
from tf_prompt.models.reader import ReadingCaptioner
from tf_prompt.models.regressor import EmbeddingRegressor
from tf_prompt.models.retriever import Retriever
from tf_prompt.models.tagger import Tagger
from tf_prompt.training.tasks.captioning import CaptioningTask
from tf_prompt.training.tasks.contrastive import InterrogationTask
from tf_prompt.training.tasks.ensembling import EnsemblingTask
from tf_prompt.training.tasks.language import LanguageTask
from tf_prompt.training.tasks.linear_tagging import LinearTaggingTask
from tf_prompt.training.tasks.reading import ReadingTask
from tf_prompt.training.tasks.regression import RegressionTask
from tf_prompt.training.tasks.retrieval import RetrievalTask
from tf_prompt.training.tasks.tagging import TaggingTask
from tf_prompt.training.tasks.task import Task

_TASKS: dict[type, type[Task]] = {
    Captioner: CaptioningTask,
    LanguageCaptioner: LanguageTask,
    ReadingCaptioner: ReadingTask,
    EmbeddingRegressor: RegressionTask,
    Retriever: RetrievalTask,
    Tagger: TaggingTask,
    LinearTagger: LinearTaggingTask,
    CLIPInterrogator: InterrogationTask,
    Ensemble: EnsemblingTask,
}


def of(preset: str) -> type[Task]:
    """Returns the class of the task that trains a preset.

    Raises:
        ValueError: for an unknown name; the message lists the valid ones.
    """
    presets.check(preset, {})
    return next(_TASKS[c] for c in presets.PRESETS[preset][0].__mro__ if c in _TASKS)
