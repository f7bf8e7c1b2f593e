"""Quantize a .tflite file to int8 inside, with float32 at its two ends: LiteRT.js takes no int8 images.

    python quantize_tflite.py FLOAT.tflite INPUTS.npy OUTPUT.tflite

It is run by the interpreter that has AI Edge Quantizer and imports nothing of ours. INPUTS.npy holds normalized images,
float32 [N, C, H, W].
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import qtyping, quantizer, recipe
from ai_edge_quantizer.algorithm_manager import AlgorithmName


def main(source: str, inputs: str, output: str) -> None:
    """Quantize with its static recipe; the images calibrate."""
    work = quantizer.Quantizer(source, recipe.static_wi8_ai8())
    for end in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        work.update_quantization_recipe(regex=".*", operation_name=end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    signature, names = next(iter(Interpreter(source).get_signature_list().items()))
    images = np.load(inputs, allow_pickle=False).transpose(0, 2, 3, 1)
    samples = [{names["inputs"][0]: np.ascontiguousarray(image[None])} for image in images]
    result = work.quantize(work.calibrate({signature: samples}, num_threads=1), enable_progress_report=False)
    result.export_model(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
