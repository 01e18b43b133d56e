"""A workload of real processes under seeded faults, whose history the checker then judges.

Run it with ``python -m eventlog.testing.soak --seconds 60 --seed 7``.
"""
