"""Evidence of accuracy: every way to quantize a network, measured on the same images; `repghost accuracy`.

network    a checkpoint, its images, and what its float form answers
methods    the table of what is measured: a row per way to quantize
cells      what was measured is kept, so that a run that was stopped goes on
ours       our quantized files, answered by code compiled for this machine
foreign    other tools' files, made and answered in an interpreter of their own (`tools/`)
arm64      the compiled arm64 build under emulation, image by image
evidence   all of it for each checkpoint, as one JSON document
verdict    the bars, by paired intervals
page       the document as Markdown
"""
