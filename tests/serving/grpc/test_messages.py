"""The protocol's text, its compiled form and a stock client's idea of it agree."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from tritonclient.grpc import service_pb2

from serving.grpc.messages import DESCRIPTORS, Messages

MESSAGES = Messages()


def test_the_compiled_descriptors_are_those_of_the_proto_file(tmp_path: Path) -> None:
    compiled = tmp_path / "oip.binpb"
    source = DESCRIPTORS.with_name("oip.proto")
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={source.parent}"),
            *(f"--descriptor_set_out={compiled}", str(source)),
        ],
        check=True,
    )
    assert compiled.read_bytes() == DESCRIPTORS.read_bytes()


def test_every_message_and_method_has_the_names_and_numbers_of_a_stock_client() -> None:
    def fields(descriptor: Any) -> set[tuple[object, ...]]:
        own = {
            (descriptor.name, one.name, one.number, one.type, one.is_repeated)
            for one in descriptor.fields
        }
        return own.union(*(fields(nested) for nested in descriptor.nested_types))

    file: Any = MESSAGES.pool.FindFileByName("oip.proto")
    theirs = service_pb2.DESCRIPTOR
    assert file.package == theirs.package
    for name, descriptor in file.message_types_by_name.items():
        assert fields(descriptor) == fields(theirs.message_types_by_name[name])
    service = theirs.services_by_name["GRPCInferenceService"]
    for method in MESSAGES.methods():
        assert method.path == f"/{service.full_name}/{method.name}"
        known = service.methods_by_name[method.name]
        assert known.input_type.name == method.request.DESCRIPTOR.name
        assert known.server_streaming == method.streams
