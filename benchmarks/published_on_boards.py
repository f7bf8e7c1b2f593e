"""What others published for boards: read by us, measured by them. 224 px and batch 1 unless the network says otherwise.

A row is a figure with its source; nothing here is compared where threads or precision are not stated.
"""

from __future__ import annotations

from dataclasses import dataclass

NCNN = "Tencent/ncnn, benchmark/README.md at a4d2ea1"
OPENCV = "opencv/opencv_zoo, benchmark/README.md at 966be4c"
ARM_COURSE = "learn.arm.com, course executorch-on-arm"
ARM_CARDS = "Hugging Face, Arm's model cards"
ARM_DEVELOPER = "developer.arm.com"
ONNXSIM = "onnxsim/onnxsim, scripts/nvidia/README.md (JetPack 6, TensorRT 10.3)"
NOT_STATED = ""


@dataclass(frozen=True)
class Published:
    """One published time.

    Attributes:
        board: a row of `compile.cycles.boards.BOARDS`, or the title of another one.
        runtime: with the processor where it is not the CPU.
        network: with its input where that is not 224 px.
        precision: "" where it is not stated.
        threads: "" where they are not stated.
        ms: milliseconds of one inference.
        top1: percent on ImageNet that the source gives beside it; None where it gives none.
        source: who says so.
    """

    board: str
    runtime: str
    network: str
    precision: str
    threads: str
    ms: float
    top1: float | None
    source: str


def _ncnn(board: str, threads: str, *rows: tuple[str, str, float]) -> tuple[Published, ...]:
    return tuple(Published(board, "ncnn", name, precision, threads, ms, None, NCNN) for name, precision, ms in rows)


def _card(network: str, ms: float, top1: float) -> Published:
    return Published(PI5, "ExecuTorch", network, "int8", NOT_STATED, ms, top1, ARM_CARDS)


PI4, PI5, RK3588, ORIN, X4 = "raspberry-pi-4", "raspberry-pi-5", "rk3588-big", "jetson-orin-nano", "dimensity-9300"
ORIN_GPU = "Jetson Orin Nano, GPU"
V1, V2, V3, B0 = "MobileNetV1", "MobileNetV2", "MobileNetV3", "EfficientNet-B0"
SHUFFLE, F16 = "ShuffleNetV2", "fp16"
PUBLISHED = (
    Published(PI5, "ExecuTorch, XNNPACK", V2, "fp32", NOT_STATED, 10.88, None, ARM_COURSE),
    Published(PI5, "ExecuTorch, XNNPACK", V2, "int8", NOT_STATED, 3.98, None, ARM_COURSE),
    _card("SqueezeNet 1.1", 2.31, 57.32),
    _card("ShuffleNetV2 1.0", 3.63, 68.76),
    _card("ResNet-18", 8.75, 69.57),
    _card("ResNet-50", 20.64, 79.26),
    _card("GoogLeNet", 25.33, 69.71),
    *_ncnn(PI5, "1", (V3, F16, 11.6), (V2, F16, 16.2), (V1, "int8", 14.4), (SHUFFLE, F16, 7.1), (B0, F16, 24.1)),
    *_ncnn(PI5, "4", (V3, F16, 7.3), (V2, F16, 10.5), (V1, "int8", 8.7), (SHUFFLE, F16, 3.4), (B0, F16, 12.3)),
    *_ncnn(PI4, "1", (V3, "", 72.5), (V1, "int8", 84.7), (B0, "", 129.0)),
    *_ncnn(PI4, "4", (V3, "", 47.1), (V1, "int8", 34.2), (B0, "", 73.9)),
    Published(PI4, "OpenCV DNN", V2, "fp32", NOT_STATED, 58.4, None, OPENCV),
    Published(PI4, "OpenCV DNN", V2, "int8", NOT_STATED, 61.3, None, OPENCV),
    *_ncnn(RK3588, "4", (V3, "", 6.6), (V2, "", 8.2), (V1, "int8", 6.9), (B0, "", 10.3)),
    Published(RK3588, "OpenCV DNN", V2, "fp32", NOT_STATED, 23.4, None, OPENCV),
    Published(RK3588, "OpenCV DNN", V2, "int8", NOT_STATED, 29.3, None, OPENCV),
    *_ncnn(ORIN, "1", (V3, "", 16.6), (V2, "", 19.3), (V1, "int8", 23.3), (B0, "", 36.7)),
    *_ncnn(ORIN, "6", (V3, "", 5.6), (V2, "", 5.9), (V1, "int8", 5.9), (B0, "", 10.1)),
    Published(ORIN, "OpenCV DNN", V2, "fp32", NOT_STATED, 17.3, None, OPENCV),
    Published(ORIN, "OpenCV DNN", V2, "int8", NOT_STATED, 24.2, None, OPENCV),
    Published(ORIN_GPU, "ncnn, Vulkan", V2, "", NOT_STATED, 3.6, None, NCNN),
    Published(ORIN_GPU, "ncnn, Vulkan", V3, "", NOT_STATED, 6.1, None, NCNN),
    Published(ORIN_GPU, "OpenCV DNN, CUDA", V2, "fp32", NOT_STATED, 9.4, None, OPENCV),
    Published(ORIN_GPU, "OpenCV DNN, CUDA", V2, "fp16", NOT_STATED, 7.9, None, OPENCV),
    Published(ORIN_GPU, "TensorRT", V2, "int8", NOT_STATED, 0.78, None, ONNXSIM),
    *_ncnn(X4, "1", (V3, "", 4.3), (V1, "int8", 4.3)),
    Published("vivo X300, phone", "LiteRT", "MobileNetV3 small", "int8", NOT_STATED, 3.05, 65.28, ARM_DEVELOPER),
    Published("vivo X300, phone", "LiteRT", "MobileNetV3 small", "float", NOT_STATED, 5.82, 66.97, ARM_DEVELOPER),
    Published("Galaxy S23, NPU", "Qualcomm AI Hub", "MobileNetV3 small", "fp16", NOT_STATED, 0.81, None, "AI Hub card"),
)
