"""The commands of the batch door: each file is one, with its options, its help and its work.

The top of such a file imports what the options need, and its functions what the work needs, so
that help and mistyped options are answered without waiting for the deep-learning stack.
"""
