"""Numbers: from a float graph to scales, integers and the QDQ file. Knows networks, not machines or compilers."""
