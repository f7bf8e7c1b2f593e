"""Other tools' quantizers: one file each, with the two functions below, called in a process of its own.

    quantize(task) -> Path      makes the tool's int8 file of the network, and returns it
    PACKAGES                    names of packages, whose versions are reported

The files are QDQ ONNX. `compile.accuracy.worker` evaluates them.
"""
