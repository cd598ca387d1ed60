"""A converter and a server of files that stand for llama.cpp's: fake models behind four letters.

`convert PATH FILE [KIND]` and `serve FILE PORT`, as programs of a user's.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from selfboost.engines.fake import FILE, Fake, FakeModel, write_fake
from served import llama_cpp_reply, served

MAGIC = b"GGUF"


def convert(path: Path, into: Path, kind: str) -> None:
    """Write a model's file; KIND is how the converter misbehaves."""
    if kind == "unknown":
        print("loading", "NotImplementedError: BPE pre-tokenizer was not recognized", sep="\n")
        sys.exit(1)
    if kind == "other":
        with TemporaryDirectory() as folder:
            write_fake(Path(folder), FakeModel(name="other", skill=0.0))
            path = Path(folder)
            into.write_bytes(MAGIC + (path / FILE).read_bytes())
    elif kind != "nothing":
        into.write_bytes(MAGIC + (path / FILE).read_bytes())


def serve(file: Path, port: int) -> None:
    """Answer as the model in a file does; does not return."""
    with TemporaryDirectory() as folder:
        (Path(folder) / FILE).write_bytes(file.read_bytes().removeprefix(MAGIC))
        listed = {"owned_by": "llamacpp"}
        with served(Fake(), folder, reply=llama_cpp_reply, listed=listed, chat=True, port=port):
            time.sleep(600)


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        convert(Path(sys.argv[2]), Path(sys.argv[3]), (*sys.argv[4:], "")[0])
    else:
        serve(Path(sys.argv[2]), int(sys.argv[3]))
