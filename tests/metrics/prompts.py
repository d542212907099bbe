"""Six pairs that other implementations scored; the tests store their numbers."""

REFERENCES = [
    "a red fox in the snow by greg rutkowski",
    "portrait of an old man with a white beard oil on canvas",
    "a castle on a hill at sunset highly detailed",
    "a cat",
    "a red car in the snow highly detailed trending on artstation",
    "two dogs playing in the park",
]
PREDICTIONS = [
    "a red fox in the forest by greg rutkowski",
    "portrait of a old man with a beard painting on canvas",
    "castle on the hill highly detailed highly detailed highly detailed",
    "a cat sitting on a mat",
    "a red car in the snow",
    "a watercolor of three boats",
]
