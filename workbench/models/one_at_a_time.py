"""One model is read from disk at a time.

While transformers builds a model it changes settings of the whole process. Of two that are built at
once, in two threads, weights stay as they were allocated: loading the default base in two threads
three times each, five of the six were refused by the engine's probe (transformers 5.23).
"""

import threading

LOADING = threading.RLock()
"""Held by everything that builds a model from files, sentence encoders too."""
