"""The Hugging Face Hub and huggingface_hub's own cache: search, download, verify, delete, push. Knows no torch.

fetching     a checkpoint's folder for whoever loads it, from the cache first
failures     what went wrong, each in a sentence of its own
search       the Hub, with the known story models of `curated` first; `asking` puts several questions at once
needed       which files of a repository are wanted                            planning what a download would fetch
worker       the process that downloads one plan (only a process can be cancelled); `reporting` is how it tells of it,
             `worker_process` its other end
downloads    several of them in a queue, with progress; `history` keeps the ended ones
checksums    of files                                                          verifying a checkpoint against them
cache        what lies in the cache, every revision and every partial file
deletion     what deleting would free        trash   deleting with a way back; `putting_back` is that way
pushing      uploading a folder
"""
