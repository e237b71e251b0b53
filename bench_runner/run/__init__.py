"""One run from its plan to its result: warm-up, stages, repetitions, searches; files, signals and exit codes around
it. May import: team and below."""
