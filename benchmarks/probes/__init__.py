"""Measurements that are no plain rate. A probe gets a directory and a size, and returns named figures."""
