"""Protobuf messages from compiled .proto files.

Each file gets a descriptor pool of its own: protobuf's common one refuses a second file that has the same
names, and other clients of the Open Inference Protocol bring theirs. A descriptor set, unlike generated
Python, works with every version of protobuf.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass


def load(path: Path) -> tuple[DescriptorPool, dict[str, type[Message]]]:
    """Return the messages of a descriptor set by their names, and the pool that knows them."""
    pool = DescriptorPool()
    names = []
    for file in FileDescriptorSet.FromString(path.read_bytes()).file:
        pool.Add(file)
        prefix = f"{file.package}." if file.package else ""
        names += [prefix + message.name for message in file.message_type]
    return pool, {
        name.rpartition(".")[2]: GetMessageClass(pool.FindMessageTypeByName(name)) for name in names
    }
