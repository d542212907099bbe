"""What prompts are about, by keywords; a rough guide, not a classifier."""

from collections.abc import Iterable

# An image counts for every subject of which its prompt has a word, as `split_words`
# gives it.
SUBJECTS = {
    "people": "portrait portraits person people man men woman women girl girls boy "
    "boys child children baby face faces human humans king queen prince princess "
    "warrior soldier knight wizard witch lady goddess selfie actor singer president",
    "animals": "animal animals cat cats kitten dog dogs puppy bird birds horse horses "
    "fish fox wolf bear lion tiger elephant rabbit owl butterfly dinosaur snake frog "
    "monkey whale shark crocodile mouse cow pig sheep goat insect spider bee",
    "landscapes": "landscape landscapes mountain mountains forest forests sea ocean "
    "beach river lake sky clouds desert valley island waterfall sunset sunrise field "
    "meadow jungle garden tree trees flower flowers nature hills snow",
    "architecture": "architecture building buildings house houses castle city "
    "cityscape town village street bridge tower temple church cathedral palace ruins "
    "interior room skyscraper skyscrapers mansion cottage",
    "vehicles": "vehicle vehicles car cars truck train ship boat spaceship spacecraft "
    "airplane plane aircraft helicopter motorcycle bicycle bus tank submarine yacht",
    "food": "food fruit fruits apple bread cake pizza burger coffee tea wine soup "
    "sushi ramen taco cheese chocolate cream salad meat vegetable vegetables meal",
    "fantasy and space": "fantasy dragon dragons demon demons angel magic magical "
    "elf elves fairy unicorn monster alien aliens robot robots cyborg cyberpunk mecha "
    "space planet planets galaxy nebula astronaut futuristic",
    "abstract": "abstract fractal fractals geometric pattern patterns psychedelic "
    "surreal surrealism surrealist minimalist",
}


def find_categories(words: Iterable[str], category_of: dict[str, str]) -> set[str]:
    """Finds the categories of which a prompt has a word, else `none of these`.

    Args:
        words: words of the prompt.
        category_of: dict from word to category, from `keywords.index_keywords`.
    """
    found = {category_of[word] for word in words if word in category_of}
    return found or {"none of these"}
