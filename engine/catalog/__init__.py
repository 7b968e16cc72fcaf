"""Everything that can be written with: the shipped model, checkpoints of own runs, the Hub's cache, folders that were added.

Reads headers and small files only, never a weight, and knows no torch; `engine.checkpoints` opens what is chosen here.

    entries    `Entry` and `Facts`: a row, and what the headers told
    facts      from the headers of weight files to `Facts`; `vocabularies` tells what lies beside them
    listing    all places together
    notes      what a person chose: added folders, the standing checkpoint, settings of a checkpoint, when it was last used
    newer      which of them have moved on at the Hub since they were downloaded
    fit        the memory it will need, and whether that is there
    holding    which checkpoints a process has in use
"""
