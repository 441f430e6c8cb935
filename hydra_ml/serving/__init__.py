"""A release opened: core and files joined, for batch scoring, the gate and the served model alike."""
