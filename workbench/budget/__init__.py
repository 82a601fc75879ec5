"""What adapting a model would cost, from its config alone: nothing is loaded, nothing is measured.

`shape` reads a config, `known` holds configs and devices, `trained` counts what a method trains,
`memory` what a step holds, `plan` puts it together and `advice` says what to try.
"""
