"""The page over all widths: which network, at which precision, for which machine.

    JSON files of runs, benchmarks and boards -> sources/ -> facts.Summary -> tables.py -> page, Markdown, CSV
                                                                           -> plots.py  -> SVG

Everything that is shown is in the JSON of a `Summary`, and every renderer is given that and nothing else.

submit.py makes what somebody may send of a board from such files, submission.py reads it; board_advice.py says which
build a board takes.
"""
