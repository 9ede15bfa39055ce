"""The examples: their whole output, and their types."""

import ast
import dataclasses
import importlib.util
import inspect
import re
import runpy
import subprocess
import sys
from pathlib import Path

import camrig
import cv2
import nbclient
import nbformat
from conftest import WATCHDOG

EXAMPLES = Path(__file__).parents[3] / "examples/python"
CHAPTER = Path(__file__).parents[3] / "docs/src/python.md"


def test_the_sums_of_a_recording(recording):
    command = [sys.executable, EXAMPLES / "sum.py", recording]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=WATCHDOG)
    expected = ""
    for frames in camrig.open(recording):
        total = sum(frames.color.tobytes()) + sum(frames.depth.tobytes())
        expected += f"{frames.camera} #{frames.sequence}: {total}\n"
    assert (found.stdout, found.stderr) == (expected, "")


def test_the_centers_of_a_rig(recording, tmp_path):
    camera = 'driver = "replay"\noptions = { file = "%s" }\n' % recording
    (tmp_path / "rig.toml").write_text(f"[camera.left]\n{camera}\n[camera.right]\n{camera}")
    command = [sys.executable, EXAMPLES / "rig.py", tmp_path / "rig.toml"]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=WATCHDOG)
    *lines, end = found.stdout.splitlines()
    for camera in ["left", "right"]:
        framesets = camrig.open(recording)[camera]
        expected = [f"{camera} #{it.sequence}: {it.depth.meters()[24, 32]:.3f} m" for it in framesets]
        assert [line for line in lines if line.startswith(camera)] == expected
    assert (len(lines), end, found.stderr) == (40, "end of all inputs", "")


def test_the_windows_of_a_recording(recording, monkeypatch):
    shown = []
    monkeypatch.setattr(cv2, "imshow", lambda title, image: shown.append((title, image.copy())))
    # The key Escape, in the twelfth window.
    monkeypatch.setattr(cv2, "waitKey", lambda millis: 27 if len(shown) == 12 else -1)
    runpy.run_path(str(EXAMPLES / "windows.py"))["main"](str(recording))
    framesets = camrig.open(recording)[:12]
    assert [title for title, _ in shown] == [frames.camera for frames in framesets]
    for (_, image), frames in zip(shown, framesets):
        assert (image == frames.color.rgb()[:, :, ::-1]).all()


def test_the_notebook():
    book = nbformat.read(EXAMPLES / "rig.ipynb", as_version=4)
    nbclient.NotebookClient(book, timeout=WATCHDOG).execute()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [it.get("text") or it["data"]["text/plain"] for it in outputs] == [
        "((480, 640, 3), dtype('float32'))",
        "(29, True)",
        "stopped as asked\n30 produced, 30 delivered, 0 dropped\n",
    ]


def test_types_of_the_examples_and_of_the_book(tmp_path):
    files = sorted(str(file) for file in EXAMPLES.glob("*.py"))
    # `tools.py` checks those whose packages are too large for the gate.
    packages = {"edges.py": "torch", "show_in_rerun.py": "rerun"}
    files = [file for file in files if (package := packages.get(Path(file).name)) is None or importlib.util.find_spec(package)]
    assert len(files) >= 5
    # The blocks of the book.
    blocks = re.findall(r"^```python\S*\n(.*?)^```$", CHAPTER.read_text(), re.M | re.S)
    for number, block in enumerate(blocks):
        file = tmp_path / f"block_{number}.py"
        file.write_text(block)
        files.append(str(file))
    for command in [["mypy", "--strict"], ["pyright", "--pythonpath", sys.executable]]:
        arguments = [sys.executable, "-m", *command, *files]
        found = subprocess.run(arguments, capture_output=True, text=True, cwd=EXAMPLES, timeout=WATCHDOG)
        assert found.returncode == 0, found.stdout + found.stderr


def test_the_stubs_name_what_the_package_has():
    stubs = Path(camrig.__file__).with_name("__init__.pyi").read_text()
    for name in camrig.__all__:
        assert any(line.startswith((f"class {name}", f"def {name}", f"{name}:")) for line in stubs.splitlines()), name
    for kind in [camrig.Frame, camrig.FrameSet, camrig.Camera, camrig.Match, camrig.Recording, camrig.Outlet, camrig.Draft,
                 camrig.Loop, camrig.Rig, camrig.Attached, camrig.Driver, camrig.CameraOutlet]:
        body = stubs.split(f"\nclass {kind.__name__}")[1].split("\nclass ")[0]
        for name in vars(kind):
            if not name.startswith("_"):
                assert f"def {name}(" in body or f"    {name}: " in body, f"{kind.__name__}.{name}"


def test_every_public_class_and_member_is_described():
    """In the stubs, which editors show, and at run time, as `help` does."""
    stubs = ast.parse(Path(camrig.__file__).with_name("__init__.pyi").read_text())
    missing = []
    for kind in [it for it in stubs.body if isinstance(it, (ast.ClassDef, ast.FunctionDef))]:
        members = [it for it in getattr(kind, "body", []) if isinstance(it, ast.FunctionDef) and isinstance(kind, ast.ClassDef)]
        # One of several overloads suffices.
        described = {it.name for it in members if ast.get_docstring(it)}
        missing += [f"{kind.name}.{it.name} (stub)" for it in members if it.name[0] != "_" and it.name not in described]
        if kind.name[0] != "_" and not ast.get_docstring(kind):
            missing.append(f"{kind.name} (stub)")
    for name in camrig.__all__:
        kind = getattr(camrig, name)
        if not isinstance(kind, str) and (not kind.__doc__ or kind.__doc__.startswith(f"{name}(")):
            missing.append(name)
        if isinstance(kind, type):
            fields = {it.name for it in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
            own = {it: inspect.getattr_static(kind, it) for it in dir(kind) if it[0] != "_" and it not in fields}
            missing += [f"{name}.{it}" for it, member in own.items() if not isinstance(member, (str, float)) and not member.__doc__]
    # Those of `Exception` have no source.
    assert [it for it in missing if not it.endswith((".add_note", ".with_traceback", ".args"))] == []
