"""One module a way to measure; TESTS in `table` names them. May import: `ends` and the contracts."""
