"""The arena's page: a task's results as one file that opens anywhere."""
