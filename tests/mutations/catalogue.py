"""All mutations. Each module has those of one subject; importing it enters them."""

from tests.mutations import commits, groups_and_fencing, producers, recovery, settling
from tests.mutations.patch import MUTATIONS, Mutation, Patch

__all__ = ["MUTATIONS", "Mutation", "Patch", "commits", "groups_and_fencing", "producers", "recovery", "settling"]
