"""One file per library. A case prepares, yields the work to be timed, checks it, cleans up."""
