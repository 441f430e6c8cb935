"""How good it is: methods side by side, intervals, users compared, and whether a release may go live."""
