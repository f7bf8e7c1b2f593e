"""From a float network to scales, integers and the QDQ file; nothing here knows machines or compilers."""
