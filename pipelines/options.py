"""The flags that decide which images become records, and how; light to import."""

import dataclasses

from tf_prompt.config import option, require_positive


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filters:
    """Which DiffusionDB images are kept."""

    square: bool = option(True, "keep only images whose width is their height")
    drop_blurred: bool = option(True, "drop images blurred for image_nsfw = 2")
    min_cfg: float = option(0.0, "least guidance scale kept")
    min_step: int = option(10, "fewest denoising steps kept")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion(Filters):
    """All that a record depends on besides the source."""

    image_size: int = option(224, "side of the stored image, pixels")
    max_pixels: int = option(2**26, "pixels above which an image is refused unread")

    def __post_init__(self):
        require_positive(self, "image_size", "max_pixels")

    @classmethod
    def of(cls, config: "Conversion") -> "Conversion":
        """Takes these options out of a verb's larger set, to compare and to store."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: getattr(config, name) for name in names})
