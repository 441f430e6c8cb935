"""The published rivals, one file each, from their papers alone: how each would choose among the very answers HYDRA has.

What each took from its paper, what it had to change and how it fares stands in docs/rivals.md. They run where they are
named: `hydra-ml arena --task T --methods all`, or `evaluate.methods` in params.yaml.
"""
