"""From an ONNX file to a QdqGraph: checked, with other tools' habits translated to ours. Plans nothing."""
