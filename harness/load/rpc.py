"""Closed-loop load over gRPC, and the no-op gRPC server that it is compared with.

The client sends and receives bytes that were encoded beforehand; the no-op decodes the same request
and encodes the same answer as the server under test does, on the same grpc.aio and uvloop, and does
nothing in between. The only benchmark that imports grpc.
"""

import argparse
import asyncio
import signal
import time
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path

import grpc
import uvloop

from harness.load.loadgen import Load, Plan, Window, measure
from harness.load.traffic import Pictures, Traffic, encode_label
from serving.grpc.messages import SERVICE, Messages

INFER = f"/{SERVICE}/ModelInfer"
_RAW_LABEL = b"\x32\x08"  # ModelInferResponse.raw_output_contents, eight bytes
# Same as Sparing's own options, so that the comparison does not depend on them.
_OPTIONS = (("grpc.so_reuseport", 0), ("grpc.compression_enabled_algorithms_bitset", 1))


def encode_grpc(route: str, picture: Pictures) -> bytes:
    """Encode a ModelInferRequest of one picture [H,W], with raw contents."""
    message = Messages().infer_request(model_name=route, raw_input_contents=[picture.tobytes()])
    message.inputs.add(name="image", datatype="UINT8", shape=[1, *picture.shape])
    raw: bytes = message.SerializeToString()
    return raw


def expect_label(label: int) -> bytes:
    """Return the bytes of a raw ModelInferResponse that hold this label."""
    return _RAW_LABEL + encode_label(label)


def call_once(port: int, body: bytes) -> bytes:
    """Call ModelInfer once, with bytes in and out."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer: bytes = channel.unary_unary(INFER)(body, timeout=30, wait_for_ready=True)
        return answer


async def load_grpc(plan: Plan, traffic: Traffic, port: int, method: str) -> Load:
    """Closed-loop unary calls, `plan.connections` at a time over `plan.channels` connections."""
    window = Window(traffic, plan.count, asyncio.Event())
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", own))
            for _ in range(plan.channels)
        ]
        calls = cycle([channel.unary_unary(method) for channel in channels])

        async def serve() -> None:
            call = next(calls)
            while not window.stopping:
                index = window.take()
                sent_at = time.perf_counter()
                try:
                    answer, ok = await call(traffic.bodies[index]), True
                except grpc.aio.AioRpcError:
                    answer, ok = b"", False
                window.note(index, answer, ok, time.perf_counter() - sent_at)

        return await measure(plan, window, serve)


async def run_no_op(port: int, reply: bytes) -> None:
    """Answer every ModelInfer with `reply`, until SIGTERM."""
    messages = Messages()
    message = messages.infer_response.FromString(reply)

    async def infer(request: object, context: object) -> object:
        return message

    handler = grpc.unary_unary_rpc_method_handler(
        infer,
        request_deserializer=messages.infer_request.FromString,
        response_serializer=messages.infer_response.SerializeToString,
    )
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": handler}),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--reply", type=Path, required=True, help="a serialised ModelInferResponse")
    options = parser.parse_args()
    uvloop.run(run_no_op(options.port, options.reply.read_bytes()))


if __name__ == "__main__":
    main()
