"""Runs the processor of a script, for the kind `python` of a topology. The program starts it; scripts do not import it."""

import importlib.machinery
import importlib.util
import inspect
import json
import logging
import os
import sys
import traceback
import types
import typing
from pathlib import Path

import camrig
from camrig import _camrig

# Options of the kind itself.
OWN = ("script", "python", "processor", "class")

MISSING = inspect.Parameter.empty


class Problem(Exception):
    """A problem of a script or of its options, as one line."""

    def __init__(self, message, option=None):
        super().__init__(message)
        self.option = option


def check():
    """Answers a check of a processor."""
    answer(processor_of)


def check_camera():
    """Answers a check of a camera."""
    answer(driver_of)


def answer(choose):
    """Imports the script, compares the options with its own, and prints the problems as JSON."""
    options = json.load(sys.stdin)
    try:
        target = load(options, choose)
        problems = convert(target, options)[1]
    except Problem as problem:
        problems = [problem]
    found = [{"option": problem.option, "message": str(problem)} for problem in problems]
    print(json.dumps(found), flush=True)
    # A script may have started threads.
    os._exit(0)


def serve():
    """Serves as a worker until the supervisor ends it."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)
    root = logging.getLogger()
    root.addHandler(Handler())
    root.setLevel(logging.INFO)
    code = _camrig.serve()
    if code is None:
        print("this is started by `camrig run`, for the kind `python`", file=sys.stderr)
        code = 64
    sys.exit(code)


def hand_over():
    """Serves as a worker that passes its setup to the attaching program; the last argument is the place."""
    sys.exit(_camrig.hand_over(sys.argv[-1]))


class Handler(logging.Handler):
    """Writes records to camrig's log."""

    def emit(self, record):
        try:
            _camrig.log_record(record.levelno, self.format(record))
        except Exception:
            self.handleError(record)


def load(options, choose):
    """Imports the script and returns its processor, a class or a function, or its driver, a class."""
    path = Path(options["script"]).absolute()
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # The loader is named, since a script need not end with `.py`.
    loader = importlib.machinery.SourceFileLoader("__camrig_script__", str(path))
    spec = importlib.util.spec_from_file_location(loader.name, path, loader=loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        file, line = Path(error.filename or path).name, error.lineno or 0
        raise Problem(f"{file}:{line}: SyntaxError: {error.msg}", "script") from error
    except BaseException as error:
        raise Problem(one_line(error), "script") from error
    return choose(module, path.name, options.get("processor") or options.get("class"))


def processor_of(module, file, name):
    bases = (camrig.Processor, camrig.MatchProcessor)
    own = [it for it in vars(module).values() if inspect.isclass(it) and it.__module__ == module.__name__]
    classes = [it for it in own if issubclass(it, bases)]
    if name is not None:
        target = getattr(module, name, None)
        if not callable(target) or (inspect.isclass(target) and not callable(getattr(target, "process", None))):
            kind = "no class with `process` and no function" if callable(target) else "no class or function"
            raise Problem(f"{file} has {kind} `{name}`{choices(usable(module))}", "processor")
        return target
    if len(classes) == 1:
        return classes[0]
    if classes:
        names = ", ".join(f"`{it.__name__}`" for it in classes)
        raise Problem(f"{file} has several processors: {names}; choose one by the option `processor`", "script")
    if callable(getattr(module, "process", None)):
        return module.process
    raise Problem(f"{file} has no subclass of camrig.Processor and no function `process`", "script")


def driver_of(module, file, name):
    def is_driver(it):
        return inspect.isclass(it) and all(inspect.isfunction(getattr(it, own, None)) for own in ("open", "capture"))

    own = {key: it for key, it in vars(module).items() if is_driver(it) and it.__module__ == module.__name__}
    if name is not None:
        target = getattr(module, name, None)
        if not is_driver(target):
            raise Problem(f"{file} has no class `{name}` with `open` and `capture`{choices(own)}", "class")
        return target
    if len(own) != 1:
        names = ", ".join(f"`{it}`" for it in own)
        several = f"{file} has several drivers: {names}; choose one by the option `class`"
        raise Problem(several if own else f"{file} has no class with `open` and `capture`", "script")
    return next(iter(own.values()))


def usable(module):
    return [
        name
        for name, it in vars(module).items()
        if (inspect.isfunction(it) or inspect.isclass(it) and callable(getattr(it, "process", None)))
        and it.__module__ == module.__name__
    ]


def choices(names):
    return f"; expected one of: {', '.join(f'`{name}`' for name in names)}" if names else ""


def function_of(target):
    """Returns the function of a target that is no class."""
    return target if inspect.isroutine(target) else type(target).__call__


def name_of(target):
    return getattr(target, "__name__", type(target).__name__)


def declared(target):
    """Returns the options of a processor: their types and defaults, by name."""
    options = {}
    if inspect.isclass(target):
        for base in reversed(target.__mro__):
            if base.__module__ in ("builtins", "camrig", "camrig._processors", "typing"):
                continue
            for name, annotation in hints(base).items():
                if not name.startswith("_") and typing.get_origin(annotation) is not typing.ClassVar:
                    options[name] = (annotation, getattr(target, name, MISSING))
    else:
        types_ = hints(function_of(target))
        for it in parameters_of(target):
            if it.kind is it.KEYWORD_ONLY:
                options[it.name] = (types_.get(it.name, typing.Any), it.default)
    return options


def parameters_of(target):
    if sys.version_info < (3, 14):
        return list(inspect.signature(target).parameters.values())
    from annotationlib import Format

    return list(inspect.signature(target, annotation_format=Format.FORWARDREF).parameters.values())


def hints(owner):
    """Returns the annotations of a class itself, or of a function, by name: as types, or as text where a name is not known."""
    if inspect.isclass(owner):
        names = {**vars(sys.modules[owner.__module__]), **vars(owner)}
    else:
        names = getattr(inspect.unwrap(owner), "__globals__", {})
    if sys.version_info < (3, 14):
        found = inspect.get_annotations(owner)
    else:
        from annotationlib import Format, get_annotations

        found = get_annotations(owner, format=Format.FORWARDREF)
    return {name: resolved(annotation, names) for name, annotation in found.items()}


def resolved(annotation, names):
    """Returns an annotation with the names in it, also in parts such as `list["Path"]`; as text where one is not known."""
    annotation = getattr(annotation, "__forward_arg__", annotation)
    holder = type("Holder", (), {"__annotations__": {"it": annotation}})
    try:
        return typing.get_type_hints(holder, dict(names), include_extras=True)["it"]
    except Exception:
        return annotation


def convert(target, given):
    """Returns the options as the processor declares them, and the problems."""
    options, values, problems = declared(target), {}, uncallable(target)
    for name, value in given.items():
        if name in OWN:
            continue
        if name not in options:
            expected = choices(options) or "; the script takes no options"
            problems.append(Problem(f"unknown option `{name}` of the script{expected}", name))
            continue
        try:
            values[name] = converted(options[name][0], value)
        except Problem as problem:
            problems.append(Problem(f"option `{name}` is {json.dumps(value)}; {problem}", name))
    for name, (annotation, default) in options.items():
        # Without a value, its type does not matter.
        if isinstance(annotation, str) and (name in given or default is MISSING):
            fact = f"the type of option `{name}` of the script, `{annotation}`, is not known when it runs"
            problems.append(Problem(fact, name if name in given else "script"))
        elif name not in given and default is MISSING:
            problems.append(Problem(f"the script has no option `{name}`, which needs {wanted(annotation)}", "script"))
    return values, problems


def uncallable(target):
    """Returns the problems of functions that would do nothing when they are called."""
    if inspect.isclass(target):
        own = ("process", "finish") if hasattr(target, "process") else ("open", "capture", "close")
        names = [it for it in own if hasattr(target, it)]
        called = {f"{target.__name__}.{name}": getattr(target, name) for name in names}
    else:
        called = {name_of(target): function_of(target)}
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    found = [name for name, it in called.items() if any(is_kind(it) for is_kind in kinds)]
    return [Problem(f"`{name}` of the script is a coroutine or a generator; expected a plain function", "script") for name in found]


def converted(annotation, value):
    """Returns a value of JSON as a value of this type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return converted(arguments[0], value)
    if origin is typing.Literal:
        if any(value == it and type(value) is type(it) for it in arguments):
            return value
    elif origin in (typing.Union, types.UnionType):
        for it in arguments:
            if it is type(None):
                continue
            try:
                return converted(it, value)
            except Problem:
                pass
    elif annotation is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif annotation is Path:
        if isinstance(value, str):
            return Path(value)
    elif origin in (list, tuple) or annotation in (list, tuple):
        if isinstance(value, list):
            element = arguments[0] if arguments else typing.Any
            try:
                return (origin or annotation)(converted(element, it) for it in value)
            except Problem:
                pass
    elif annotation in (bool, int, str, dict):
        if type(value) is annotation:
            return value
    else:
        return value
    raise Problem(f"expected {wanted(annotation)}")


def wanted(annotation):
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    names = {bool: "true or false", int: "an integer", float: "a number", str: "a string", Path: "a path"}
    if origin is typing.Annotated:
        return wanted(arguments[0])
    if origin is typing.Literal:
        return "one of: " + ", ".join(f"`{it}`" for it in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(wanted(it) for it in arguments if it is not type(None))
    if origin in (list, tuple) or annotation in (list, tuple):
        return "a list" + (f" of {wanted(arguments[0])}" if arguments else "")
    if annotation is dict:
        return "a table"
    return names.get(annotation, "a value")


class Hosted:
    """An instance of a processor."""

    def __init__(self, process, finish, takes_matches):
        self.process, self.finish, self.takes_matches = process, finish, takes_matches


def prepared(options, choose):
    """Returns the processor or the driver of a script, and the values of its options."""
    options = json.loads(options)
    target = load(options, choose)
    values, problems = convert(target, options)
    if problems:
        raise problems[0]
    return target, values


def built(target, values):
    """Returns an instance of a class with these options."""
    instance = target.__new__(target)
    for name, value in values.items():
        setattr(instance, name, value)
    instance.__init__()
    return instance


class Camera:
    """An instance of a driver."""

    def __init__(self, driver):
        self.capture = driver.capture
        self.close = getattr(driver, "close", lambda: None)


def open_camera(options):
    """Opens the camera of a script; returns it and its description as JSON."""
    driver = built(*prepared(options, driver_of))
    streams = driver.open()
    if not isinstance(streams, (list, tuple)) or not all(isinstance(it, camrig.Stream) for it in streams):
        raise Problem("`open` returns a list of `camrig.Stream`")
    if not streams:
        raise Problem("`open` returned no stream")
    described = {
        "serial": str(getattr(driver, "serial", "")),
        "model": str(getattr(driver, "model", "")),
        "depth_unit_meters": float(getattr(driver, "depth_unit_meters", 0.001)),
        "streams": [described_stream(it) for it in streams],
    }
    return Camera(driver), json.dumps(described)


def described_stream(stream):
    distortion = stream.distortion
    if distortion is not None:
        # OpenCV returns them in a row or in a column.
        distortion = flat(plain(distortion))
        if len(distortion) not in (0, 4, 5) and any(distortion[5:]) or 0 < len(distortion) < 4:
            raise Problem(
                f"`distortion` of stream `{stream.name}` has {len(distortion)} coefficients; expected 4 or 5: k1, k2, p1, p2, k3"
            )
    intrinsics = plain(stream.intrinsics)
    if intrinsics is not None and [len(flat([row])) for row in intrinsics] != [3, 3, 3]:
        raise Problem(f"`intrinsics` of stream `{stream.name}` has not the shape (3, 3)")
    return {
        "name": stream.name,
        "format": stream.format,
        "shape": [int(length) for length in stream.shape],
        "rate": int(stream.rate),
        "role": stream.role,
        "intrinsics": intrinsics,
        "distortion": distortion,
    }


def plain(given):
    """Returns an array as lists."""
    return given.tolist() if hasattr(given, "tolist") else given


def flat(given):
    return [number for it in given for number in flat(it)] if isinstance(given, (list, tuple)) else [float(given)]


def start(options, is_matched):
    """Builds the processor. The extension module calls this in the worker."""
    target, values = prepared(options, processor_of)
    if inspect.isclass(target):
        instance = built(target, values)
        process, finish, takes = instance.process, instance.finish, isinstance(instance, camrig.MatchProcessor)
    else:
        # A function that publishes nothing may leave the outlet out.
        positional = [
            it for it in parameters_of(target) if it.kind in (it.POSITIONAL_ONLY, it.POSITIONAL_OR_KEYWORD)
        ]
        first = hints(function_of(target)).get(positional[0].name) if positional else None
        # Text where only type checkers import the package.
        takes = first in (camrig.Match, "camrig.Match", "Match")
        if len(positional) >= 2:
            process = lambda frames, out: target(frames, out, **values)  # noqa: E731
        else:
            process = lambda frames, out: target(frames, **values)  # noqa: E731
        finish = lambda out: None  # noqa: E731
    if takes and not is_matched:
        raise Problem(f"`{name_of(target)}` takes matches: its topology needs `match = {{ window_millis = 17 }}`")
    return Hosted(process, finish, takes)


def describe(error):
    """Returns an exception as one line with its location, and its traceback."""
    if isinstance(error, Problem):
        return str(error), ""
    return one_line(error), "".join(traceback.format_exception(type(error), error, error.__traceback__))


def one_line(error):
    text = " ".join(str(error).split())
    name = type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    package = str(Path(__file__).parent)
    own = [it for it in frames if not it.filename.startswith((package, "<frozen"))]
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}: " if own else ""
    return f"{place}{name}: {text}" if text else f"{place}{name}"
