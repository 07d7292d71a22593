"""How files of other formats become ONNX: one sentence for each suffix, with the command."""

from collections.abc import Mapping
from types import MappingProxyType

TORCH = (
    "export it: torch.onnx.export(model.eval(), (example,), 'model.onnx', dynamo=True, "
    "dynamic_shapes=({0: 'N'},))"
)
SKLEARN = "export it: skl2onnx.to_onnx(model, X[:1], options={'zipmap': False})"
SAVED_MODEL = (
    "export it with tf2onnx: python -m tf2onnx.convert --saved-model DIR --output model.onnx"
)
KERAS = (
    "export it with Keras 3: keras.models.load_model(FILE).export('model.onnx', format='onnx'), "
    "or with tf2onnx: python -m tf2onnx.convert --keras FILE --output model.onnx"
)
_EXPORTED_PROGRAM = (
    "load it and export it: torch.onnx.export(torch.export.load(FILE), f='model.onnx', "
    "dynamo=True); its batch is free only if torch.export.export got dynamic_shapes"
)
_GRAPH = (
    "export it with tf2onnx: python -m tf2onnx.convert --graphdef FILE --inputs x:0 --outputs y:0 "
    "--output model.onnx; of a SavedModel give --saved-model DIR instead of --graphdef"
)
_TFLITE = "export it with tf2onnx: python -m tf2onnx.convert --tflite FILE --output model.onnx"
_WEIGHTS = (
    "it holds weights without their network; a model of Hugging Face becomes ONNX by "
    "optimum-cli export onnx --model DIR OUT; else build the network, load the weights with "
    f"safetensors.torch.load_model(model, FILE), and {TORCH}"
)
_ENGINE = (
    "it is compiled for one kind of GPU and cannot be turned back; give the ONNX file that it was "
    "built from (trtexec --onnx=…), or export the model that was trained"
)
_CORE_ML = (
    "export the model that was trained; if there is only this file, onnxmltools converts the older "
    "kinds: onnxmltools.convert_coreml(coremltools.utils.load_spec(FILE), 'model')"
)
_COMPILED = "it is made from an ONNX file for one version of a runtime; give that ONNX file"

EXPORTS: Mapping[str, str] = MappingProxyType(
    {
        ".pt": TORCH,
        ".pth": TORCH,
        ".ckpt": TORCH,
        ".bin": TORCH,
        ".pt2": _EXPORTED_PROGRAM,
        ".pkl": SKLEARN,
        ".pickle": SKLEARN,
        ".joblib": SKLEARN,
        ".h5": KERAS,
        ".hdf5": KERAS,
        ".keras": KERAS,
        ".pb": _GRAPH,
        ".tflite": _TFLITE,
        ".safetensors": _WEIGHTS,
        ".engine": _ENGINE,
        ".plan": _ENGINE,
        ".trt": _ENGINE,
        ".mlmodel": _CORE_ML,
        ".mlpackage": _CORE_ML,
        ".ort": _COMPILED,
    }
)
