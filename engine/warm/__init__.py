"""A warm engine: a worker that stays behind a Unix socket, with torch imported and a checkpoint held, for whoever asks next.

    place     where its socket lies, and whether it may be trusted
    server    `python -m engine.warm.server`: one worker a connection, one checkpoint for all; ends by itself after idle minutes
    client    talking to it from a program that waits
    relay     `python -m engine.warm.relay`: a pipe to it for a program that wants a child process, or a worker where there is none

It speaks `engine.protocol`, as a worker on pipes does. Knows no torch but in `server`.
"""
