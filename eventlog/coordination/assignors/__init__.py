"""How a group's partitions are shared among its members. Pure: data in, data out."""
