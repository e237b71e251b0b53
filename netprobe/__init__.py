"""The network probe: an agent that answers, an agent that measures, and the same by hand. May import: the contracts, and the
judgements that several parts share."""
