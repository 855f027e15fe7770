"""Prompt templates and class names: what a class is called when a text tower is asked about it.

Templates and names of EuroSAT, Oxford-IIIT Pets and CIFAR are those of CLIP's authors (Radford et al. 2021,
`data/prompts.md` of their repository).
"""

import re
from collections.abc import Iterable

GENERIC = ("a photo of a {}.",)
# By label, worded as the captions that emoji-clip learnt from.
EMOJI = {"name": ("{}",), "subgroup": ("a kind of {}",), "group": ("a kind of {}",)}
PETS = ("a photo of a {}, a type of pet.",)
EUROSAT = (
    "a centered satellite photo of {}.",
    "a centered satellite photo of a {}.",
    "a centered satellite photo of the {}.",
)
CIFAR = (
    "a photo of a {}.",
    "a blurry photo of a {}.",
    "a black and white photo of a {}.",
    "a low contrast photo of a {}.",
    "a high contrast photo of a {}.",
    "a bad photo of a {}.",
    "a good photo of a {}.",
    "a photo of a small {}.",
    "a photo of a big {}.",
    "a photo of the {}.",
    "a blurry photo of the {}.",
    "a black and white photo of the {}.",
    "a low contrast photo of the {}.",
    "a high contrast photo of the {}.",
    "a bad photo of the {}.",
    "a good photo of the {}.",
    "a photo of the small {}.",
    "a photo of the big {}.",
)

# What the data calls a class (lower case, letters only) and what CLIP's authors call it.
EUROSAT_NAMES = {
    "annualcrop": "annual crop land",
    "forest": "forest",
    "herbaceousvegetation": "brushland or shrubland",
    "highway": "highway or road",
    "industrial": "industrial buildings or commercial buildings",
    "pasture": "pasture land",
    "permanentcrop": "permanent crop land",
    "residential": "residential buildings or homes or apartments",
    "river": "river",
    "sealake": "lake or sea",
}
PETS_NAMES = (
    "Abyssinian", "Bengal", "Birman", "Bombay", "British Shorthair", "Egyptian Mau", "Maine Coon",
    "Persian", "Ragdoll", "Russian Blue", "Siamese", "Sphynx", "american bulldog",
    "american pit bull terrier", "basset hound", "beagle", "boxer", "chihuahua",
    "english cocker spaniel", "english setter", "german shorthaired", "great pyrenees", "havanese",
    "japanese chin", "keeshond", "leonberger", "miniature pinscher", "newfoundland", "pomeranian", "pug",
    "saint bernard", "samoyed", "scottish terrier", "shiba inu", "staffordshire bull terrier",
    "wheaten terrier", "yorkshire terrier",
)  # fmt: skip
CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_NAMES = (
    "apple", "aquarium fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup",
    "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house",
    "kangaroo", "keyboard", "lamp", "lawn mower", "leopard", "lion", "lizard", "lobster", "man",
    "maple tree", "motorcycle", "mountain", "mouse", "mushroom", "oak tree", "orange", "orchid", "otter",
    "palm tree", "pear", "pickup truck", "pine tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet pepper",
    "table", "tank", "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle",
    "wardrobe", "whale", "willow tree", "wolf", "woman", "worm",
)  # fmt: skip


def bare(name: str) -> str:
    """A class name in lower case and letters and digits only, as the key to another spelling of it.

    >>> bare("Egyptian_Mau"), bare("SeaLake")
    ('egyptianmau', 'sealake')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


def readable(names: Iterable[str]) -> tuple[str, ...]:
    """Names of folders or labels as words; as they are, where two would become one.

    >>> readable(["face-smiling", "great_white__shark"]), readable(["a-b", "a_b"])
    (('face smiling', 'great white shark'), ('a-b', 'a_b'))
    """
    names = tuple(names)
    words = tuple(re.sub(r"[-_\s]+", " ", name).strip() or name for name in names)
    return words if len(set(words)) == len(set(names)) else names
