"""Pure statistics and judgements that several parts make alike. May import: the contracts."""
