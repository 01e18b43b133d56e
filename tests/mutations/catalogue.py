"""All mutations. Each module has those of one subject; importing it enters them."""

from tests.mutations import commits, groups_and_fencing, lives, producers, recovery, settling
from tests.mutations.patch import MUTATIONS, Mutation, Patch

# fmt: off
__all__ = [
    "MUTATIONS", "Mutation", "Patch", "commits", "groups_and_fencing", "lives", "producers", "recovery", "settling",
]
# fmt: on
