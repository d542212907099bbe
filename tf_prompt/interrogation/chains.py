"""Chains: prompts that grow phrase by phrase, each phrase in its usual place."""

import dataclasses
from collections.abc import Iterable

# Largest number of phrases per table in a prompt; other tables are unlimited.
ROOM = {"media": 1, "subjects": 1, "settings": 3, "artists": 2, "movements": 1}


@dataclasses.dataclass(frozen=True)
class Chain:
    """A caption and phrases, which `text` puts in the usual order of prompts.

    Args:
        caption: a captioner's prompt, or empty.
        parts: pairs of table and phrase, in the order of addition.
    """

    caption: str = ""
    parts: tuple[tuple[str, str], ...] = ()

    def add(self, table: str, phrase: str) -> "Chain":
        """Returns a chain with one more phrase."""
        return dataclasses.replace(self, parts=(*self.parts, (table, phrase)))

    def has_room(self, table: str, phrase: str) -> bool:
        """Whether a phrase is new and its table has room left.

        A caption counts as a subject.
        """
        if (table, phrase) in self.parts or phrase in self.caption:
            return False
        if table == "subjects" and self.caption:
            return False
        used = sum(part[0] == table for part in self.parts)
        return used < ROOM.get(table, len(self.parts) + 1)

    @property
    def text(self) -> str:
        """The prompt.

        Without a caption: medium "of" subject, settings, then the rest after commas.
        With a caption: it comes first, and the medium after it. With neither caption
        nor subject all phrases are joined by commas, the medium first.
        """
        groups: dict[str, list[str]] = {}
        for table, phrase in self.parts:
            groups.setdefault(table, []).append(phrase)
        media, subjects = groups.pop("media", []), groups.pop("subjects", [])
        settings = groups.pop("settings", [])
        rest = [phrase for phrases in groups.values() for phrase in phrases]
        if not self.caption and not subjects:
            return ", ".join([*media, *settings, *rest])
        scene = " ".join([*filter(None, [self.caption]), *subjects, *settings])
        if media and not self.caption:
            scene, media = f"{media[0]} of {scene}", media[1:]
        return ", ".join([scene, *media, *rest])


def chain_up(caption: str, parts: Iterable[tuple[str, str]]) -> Chain:
    """Builds a chain of all phrases for which there is room."""
    chain = Chain(caption)
    for table, phrase in parts:
        if chain.has_room(table, phrase):
            chain = chain.add(table, phrase)
    return chain
