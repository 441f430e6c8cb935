"""Who may learn what: histories, pseudo-queries, draws. Every leakage rule stands here, once."""
