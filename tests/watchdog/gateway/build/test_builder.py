"""From what a client sent to an image, with a real installation and a real import."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from regrain import manifest
from regrain_watchdog.gateway import sandbox
from regrain_watchdog.gateway.build import environment, images
from regrain_watchdog.gateway.build.builder import Builder, Limits
from regrain_watchdog.gateway.build.errors import BuildError
from regrain_watchdog.gateway.sandbox import Means
from regrain_watchdog.gateway.spec import Deployment, Image
from regrain_watchdog.gateway.store import Store

Built = Callable[[Builder, bytes], tuple[list[str], Image]]
Sent = Callable[..., bytes]

pytestmark = pytest.mark.process

HANDLER = """\
from word import greet

def handle(event, context):
    return {"statusCode": 200, "body": greet(event.body.decode())}
"""

MIB = 1 << 20


def drafts(state: Path) -> list[Path]:
    return list((state / "builds").iterdir())


def test_a_handler_becomes_an_image(
    builder: Builder, store: Store, state: Path, built: Built, sent: Sent
) -> None:
    lines, image = built(builder, sent())

    assert image == store.image("docker.io/hello:latest")
    assert (image.kind, image.environment) == ("app", "")
    assert sorted(path.name for path in Path(image.folder).glob("*.*")) == ["app.py", "requirements.txt"]
    read = manifest.loads((Path(image.folder).parent / "manifest.json").read_bytes())
    assert [stage.name for stage in read.stages] == ["greet"]
    assert lines[:-1] == [
        "hello: 2 files, 199 B, from the template regrain",
        "requirements: none beyond Regrain's own",
        "app hello with the stages greet",
    ]
    assert lines[-1].startswith(f"image hello ({image.digest}) is ready")
    assert drafts(state) == []


ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to drop")


@pytest.mark.parametrize(
    "means",
    [
        pytest.param(Means(), id="as a user"),
        pytest.param(Means(drops=True), id="as root without capabilities", marks=ROOT),
        pytest.param(Means(tools=False), id="without util-linux"),
    ],
)
def test_a_build_needs_no_root(means: Means, state: Path, store: Store, built: Built, sent: Sent) -> None:
    builder = Builder(state, store, means, os.environ, Limits(spare=0))

    _, image = built(builder, sent(requirements="numpy>=2\n"))

    assert (Path(image.environment) / environment.COMPLETE).exists()
    assert drafts(state) == []


def test_an_image_is_read_by_all_and_written_by_nobody_else(
    builder: Builder, built: Built, sent: Sent
) -> None:
    before = os.umask(0o077)
    try:
        _, image = built(builder, sent())
    finally:
        os.umask(before)

    folder = Path(image.folder)
    for path in (folder.parent.parent, folder.parent, folder, *folder.rglob("*")):
        assert path.stat().st_uid == os.geteuid()
        assert path.stat().st_mode & 0o022 == 0
        assert path.stat().st_mode & 0o004


def test_an_environment_is_written_by_no_other_build(builder: Builder, built: Built, sent: Sent) -> None:
    _, image = built(builder, sent(requirements="numpy>=2\n"))

    folder = Path(image.environment)
    assert {path.lstat().st_uid for path in (folder, *folder.rglob("*"))} == {os.geteuid()}
    assert not [path for path in folder.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022]


def test_the_same_files_are_the_same_image(builder: Builder, built: Built, sent: Sent) -> None:
    _, first = built(builder, sent())
    _, again = built(builder, sent())
    _, other = built(builder, sent(image="other"))

    assert (again.digest, again.folder) == (first.digest, first.folder)
    assert other.digest != first.digest


def test_what_functions_use_survives_further_builds(
    builder: Builder, store: Store, built: Built, sent: Sent, context: Callable[..., dict[str, str]]
) -> None:
    app = context()["function/app.py"]
    made = [built(builder, sent(app))[1]]
    store.put(Deployment(service="hello", image="hello").validated(), made[0])
    made += [built(builder, sent(app + f"# {number}\n"))[1] for number in range(1, 5)]

    assert [Path(image.folder).exists() for image in made] == [True, False, False, True, True]


def test_a_build_keeps_its_image_where_the_clock_went_back(
    builder: Builder, store: Store, built: Built, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        built(builder, sent(requirements=f"regrain # {number}\n"))
    monkeypatch.setattr("time.time", lambda: 0.0)

    _, image = built(builder, sent())

    assert store.image("hello") == image
    assert Path(image.folder).is_dir()


def test_a_record_that_a_loss_of_power_has_emptied_ends_no_build_and_takes_no_environment_away(
    builder: Builder, store: Store, built: Built, sent: Sent
) -> None:
    _, used = built(builder, sent(requirements="numpy>=2\n"))
    store.put(Deployment(service="hello", image="hello").validated(), used)
    _, unused = built(builder, sent(image="other"))
    built(builder, sent(requirements="regrain\n# changed\n", image="other"))
    for image in (used, unused):
        (Path(image.folder).parent / images.RECORD).write_bytes(b"")

    _, last = built(builder, sent(image="last"))

    assert [Path(image.folder).exists() for image in (used, unused, last)] == [True, False, True]
    assert (Path(used.environment) / environment.COMPLETE).exists()


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        pytest.param(
            "import nothing_of_this_name\n", "app.py:1: .*No module named 'nothing_of_this_name'", id="import"
        ),
        pytest.param("def broken(:\n", r"app\.py:1", id="syntax"),
        pytest.param("x = 1\n", "neither an App nor handle", id="no app"),
        pytest.param("import os\nos._exit(3)\n", "exit code 3", id="exit"),
        pytest.param(
            "print('regrain: lies')\nimport sys\nsys.exit(5)\n", r"app\.py:3", id="exit with output"
        ),
    ],
)
def test_a_handler_that_does_not_start_leaves_the_old_image(  # noqa: PLR0917 - pytest gives them by name
    app: str, reason: str, builder: Builder, store: Store, built: Built, sent: Sent
) -> None:
    _, before = built(builder, sent())

    with pytest.raises(BuildError, match=f"the handler does not start: .*{reason}"):
        built(builder, sent(app))

    assert store.image("hello") == before
    assert Path(before.folder).is_dir()


def test_an_endless_import_ends(make_builder: Callable[..., Builder], built: Built, sent: Sent) -> None:
    with pytest.raises(BuildError, match="importing the handler took more than 1 s"):
        built(make_builder(describe=1.0), sent("while True: pass\n"))


def test_a_handler_of_openfaas_template_is_served_as_it_is(
    builder: Builder, built: Built, tarred: Callable[..., bytes]
) -> None:
    template = "language: python3-http\nfprocess: python index.py\n"
    files = {"template.yml": template, "index.py": "", "function/handler.py": HANDLER}
    word = "def greet(name):\n    return name\n"

    lines, image = built(builder, tarred({**files, "function/word.py": word}, image="old"))

    assert image.kind == "app"
    assert lines[2] == "app function with the stages handle"


WSGI = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""


def test_a_wsgi_application_is_imported_as_it_will_be(
    builder: Builder, built: Built, tarred: Callable[..., bytes]
) -> None:
    files = {"template.yml": "language: flask\nfprocess: wsgi:main:app\n", "function/main.py": WSGI}

    lines, image = built(builder, tarred(files, image="site"))

    assert image.kind == "wsgi"
    assert "WSGI application main:app" in lines
    with pytest.raises(BuildError, match="the handler does not start"):
        built(builder, tarred({**files, "function/main.py": "app = 1 / 0\n"}, image="site"))


def test_a_build_that_is_cut_off_leaves_nothing(
    builder: Builder, store: Store, state: Path, sent: Sent
) -> None:
    with builder.draft() as draft:
        (draft / "sent.tar").write_bytes(sent(requirements="numpy\n"))
        steps = builder.build(draft, draft / "sent.tar")
        while "installing" not in "".join(next(steps)):
            pass
        next(steps)
        steps.close()

    assert drafts(state) == []
    assert list((state / "environments").glob("*/")) == []
    assert store.image("hello") is None


def test_the_rest_of_builds_that_were_killed_is_removed_at_the_next_start(
    builder: Builder, make_builder: Callable[..., Builder], state: Path
) -> None:
    left = state / "builds" / "left"
    left.mkdir(parents=True)

    with builder.draft() as draft:
        make_builder()

        assert drafts(state) == [draft]


def test_a_build_that_ends_leaves_what_another_one_has_installed(
    builder: Builder, sent: Sent, built: Built, context: Callable[..., dict[str, str]]
) -> None:
    app = context()["function/app.py"]
    said = "import sys\nprint('imported', file=sys.stderr, flush=True)\n"
    with builder.draft() as draft:
        (draft / "sent.tar").write_bytes(sent(said + app, "numpy\n", image="one"))
        steps = builder.build(draft, draft / "sent.tar")
        while "imported" not in next(steps):
            pass
        built(builder, sent(image="two"))
        last = [line for lines in steps for line in lines][-1]
    lines, image = built(builder, sent(app, "numpy\n", image="three"))

    assert last.startswith("image one")
    assert lines[1].startswith("requirements: as installed before")
    assert (Path(image.environment) / environment.COMPLETE).exists()


def test_so_many_builds_at_once(make_builder: Callable[..., Builder]) -> None:
    builder = make_builder(at_once=1)

    with builder.draft(), pytest.raises(BuildError, match="1 builds are under way"), builder.draft():
        pass
    with builder.draft():
        pass


@pytest.mark.parametrize("image", ["", "two words"])
def test_an_image_needs_a_name(image: str, builder: Builder, built: Built, sent: Sent) -> None:
    with pytest.raises(BuildError, match="image: a name"):
        built(builder, sent(image=image))


def test_packages_for_a_container_are_said_to_be_missing(
    builder: Builder, built: Built, tarred: Callable[..., bytes], context: Callable[..., dict[str, str]]
) -> None:
    lines, _ = built(builder, tarred(context(), buildArgs={"ADDITIONAL_PACKAGE": "libgl1"}))

    assert "not installed, as there is no container here: libgl1" in lines


def test_a_build_does_not_see_the_gateway(
    builder: Builder, means: Means, state: Path, built: Built, sent: Sent
) -> None:
    if not means.mounts:
        pytest.skip(means.lacking)
    seen = f"os.getuid(), os.listdir({str(state)!r}), list(os.environ)"

    with pytest.raises(BuildError) as told:
        built(builder, sent(f"import os\nraise SystemExit(repr(({seen})))\n"))

    assert f"({sandbox.BUILDER}, ['builds']" in str(told.value)
    assert "PASSWORD" not in str(told.value)
    assert "PIP_" not in str(told.value)
