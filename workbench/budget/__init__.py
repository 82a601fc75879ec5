"""What adapting a model would cost, from its config alone: nothing is loaded, nothing is measured.

`shape` is a model as plain numbers, `counting` takes them from the empty model of a config, `known`
holds those of well-known models and of devices, `trained` counts what a method trains, `memory`
what a step holds, `plan` puts it together and `advice` says what to try.
"""
