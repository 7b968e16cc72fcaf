"""Measuring how fast checkpoints are on this machine, each measurement in a process of its own.

plan       what is measured, how often and how; the machine it is measured on
child      the process of one measurement: a job on standard input, answers on standard output
process    starting such a process, asking it, and leaving none behind
looking    measurement: what a checkpoint is, and how long it takes to load
openings   texts of a wanted number of tokens to begin with
writing    measurement: time to first token, prefill, decode and memory, through `engine.generate`
reading    measurement: how fast this machine reads memory, which bounds decoding
training   measurement: optimizer steps
others     measurement: the same texts by transformers and llama.cpp
measuring  one checkpoint's measurements, one after the other, put together

`plan`, `process` and `measuring` know no torch; the measurements are imported in the child only.
"""
