"""Generated learners: all names, addresses and numbers are fictitious."""

import random
import unicodedata
from dataclasses import dataclass

from faker import Faker

LOCALES = ("en_GB", "en_GB", "en_GB", "en_IN", "pl_PL", "fr_FR", "de_DE")
_NAMES_EACH = 60


@dataclass(frozen=True, slots=True)
class Learner:
    """A learner in Rogo and in the learning management system."""

    first_name: str
    surname: str
    email: str
    membership_number: str
    rogo_user_id: str
    rogo_user_name: str
    ti_user_id: str

    @property
    def full_name(self) -> str:
        return f"{self.first_name} {self.surname}"


class People:
    """The learners of one data set; the same seed gives the same learners."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"people {seed}")
        self._first_names, self._surnames = _names(seed)
        self._known: list[Learner] = []

    def any_learner(self) -> Learner:
        """In one of four cases an earlier learner, else a new one."""
        if self._known and self._rng.random() < 0.25:
            return self._rng.choice(self._known)
        return self.new_learner()

    def new_learner(self) -> Learner:
        """A learner without earlier submissions."""
        number = 20_001 + 3 * len(self._known)
        first_name = self._rng.choice(self._first_names)
        surname = self._rng.choice(self._surnames)
        learner = Learner(
            first_name=first_name,
            surname=surname,
            email=f"{_ascii_letters(first_name)}.{_ascii_letters(surname)}{number}@learners.example",
            membership_number=f"{self._rng.randrange(10**7, 10**8)}",
            rogo_user_id=str(number),
            rogo_user_name=f"{_ascii_letters(surname)[:6]}{_ascii_letters(first_name)[:1]}{number}",
            ti_user_id=self._ti_user_id(number),
        )
        self._known.append(learner)
        return learner

    def _ti_user_id(self, number: int) -> str:
        """Mostly a number; some systems use text."""
        if self._rng.random() < 0.1:
            return f"TI-{self._rng.getrandbits(40):010x}-{number}"
        return str(480_000 + number)


def _names(seed: int) -> tuple[list[str], list[str]]:
    faker = Faker(list(dict.fromkeys(LOCALES)))
    faker.seed_instance(seed)
    first_names = ["Seán", "Anne Marie", "Zoë", "Li-Wei", "Đorđe"]
    surnames = ["O'Neill", "Smith-Jones", "van der Berg", "Nuñez", "İnönü"]
    for locale in LOCALES:
        for _ in range(_NAMES_EACH):
            first_names.append(_normalised(faker[locale].first_name()))
            surnames.append(_normalised(faker[locale].last_name()))
    return first_names, surnames


def _normalised(name: str) -> str:
    return unicodedata.normalize("NFC", " ".join(name.split()))


def _ascii_letters(name: str) -> str:
    """The ASCII letters of a name in lower case, for addresses and user names."""
    letters = unicodedata.normalize("NFKD", name)
    return "".join(c for c in letters if c.isascii() and c.isalpha()).lower() or "x"
