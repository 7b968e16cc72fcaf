"""The Hugging Face Hub and huggingface_hub's own cache: search, download, verify, delete, push. Knows no torch.

    fetching      a checkpoint's folder for whoever loads it, from the cache first
    failures      what went wrong, each in a sentence of its own
    needed        which files of a repository are wanted
    planning      what a download would fetch, and whether it fits
    worker        the process that downloads one plan (only a process can be cancelled)
    downloads     several of them in a queue, with progress
    search        the Hub and the list of known story models
    cache         what lies in the cache, every revision and every partial file
    verifying     checksums          trash   deleting with a way back          pushing   uploading a folder
"""
