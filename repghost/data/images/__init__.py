"""One image: from the bytes of a file to pixels and on to the input of a network; nothing of labels or sets."""
