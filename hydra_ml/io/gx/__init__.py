"""Great Expectations: what is expected of tables and drops, and the pages that show it."""
