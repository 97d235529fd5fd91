"""From captioned pictures to the rows of a library, with ONNX Runtime alone."""
