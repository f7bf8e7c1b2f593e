"""How a user compares the ways to quantize a network on images of their own: `repghost accuracy`.

network        a checkpoint, its images, and the predictions of its float form
methods        the table of what is measured: a row per way to quantize
row            what was measured of one of them
ours           our quantized files, run as code compiled for this machine
float_trained  the float network with the same further training
foreign        other tools' files, made and run by an interpreter that has the tool (`worker`, `tools/`)
arm64          the compiled arm64 build under emulation, image by image
evidence       all of it for each checkpoint, as one JSON document
goals          what may be lost at most
page           the document as Markdown
"""
