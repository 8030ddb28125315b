"""What a confined process can and cannot do, with real processes under every means that this machine allows."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import RegrainError
from regrain_watchdog.gateway import sandbox
from regrain_watchdog.gateway.keeper import PASSED
from regrain_watchdog.gateway.sandbox import Cell, Limits, Means

ROOT = os.geteuid() == 0


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    state = tmp_path / "the \\ state"
    (state / "image").mkdir(parents=True)
    state.chmod(PASSED if ROOT else 0o700)
    (state / "image").chmod(0o755)
    (state / "image" / "app.py").write_text("app = 1\n")
    for name in ("key", "other"):
        (state / name).write_text(f"{name} is secret")
        (state / name).chmod(0o600)
    return Cell(
        user=sandbox.user("openfaas-fn", "hello", ()),
        home=str(state / "home"),
        hidden=str(state),
        reads=(str(state / "image"),),
        secrets={"key": str(state / "key")},
    )


@pytest.fixture
def means(cell: Cell) -> Means:
    return sandbox.probe(cell)


@pytest.fixture
def mounts(means: Means) -> Means:
    if not means.mounts:
        pytest.skip(f"no file system of its own for a process here: {means.lacking}")
    return means


@pytest.fixture
def users(cell: Cell) -> Iterator[Means]:
    """Own users without mounts, as in a container; the way to the state is open there."""
    if not ROOT:
        pytest.skip("only root can give users to processes")
    opened = [parent for parent in Path(cell.hidden).parents if not parent.stat().st_mode & 1]
    modes = [path.stat().st_mode for path in opened]
    for path in opened:
        path.chmod(0o755)
    yield Means(drops=True, users=True)
    for path, mode in zip(opened, modes, strict=True):
        path.chmod(mode)


def run(cell: Cell, means: Means, command: str, **options: object) -> subprocess.CompletedProcess[str]:
    confined = sandbox.confine(cell, means)
    return subprocess.run(  # type: ignore[call-overload,no-any-return] - options vary by test
        [*confined.prefix, "sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **confined.variables},
        check=False,
        **options,
    )


def status(cell: Cell, means: Means) -> dict[str, str]:
    lines = run(cell, means, "cat /proc/self/status").stdout.splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_the_machine_is_asked_what_it_allows(means: Means) -> None:
    assert means.tools
    assert (means.mounts and means.users) or means.lacking


def test_no_process_gains_privileges(cell: Cell, means: Means) -> None:
    found = status(cell, means)

    assert found["NoNewPrivs"] == "1"
    if ROOT:
        assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}


def test_without_mounts_root_drops_its_capabilities_and_gives_users_where_they_reach_python(
    cell: Cell, users: Means
) -> None:
    contained = ["setpriv", "--inh-caps=-sys_admin", "--bounding-set=-sys_admin", "--"]
    probing = (
        "import dataclasses, json, sys\n"
        "from regrain_watchdog.gateway.sandbox import Cell, probe\n"
        "print(json.dumps(dataclasses.asdict(probe(Cell(**json.loads(sys.argv[1]))))))\n"
    )
    asked = {"user": cell.user, "home": cell.home, "hidden": cell.hidden, "reads": cell.reads}
    importing = [sys.executable, "-c", "import regrain_runtime"]
    reach = ["setpriv", "--reuid", str(cell.user), "--regid", str(cell.user), "--clear-groups", *importing]

    done = subprocess.run(
        [*contained, sys.executable, "-c", probing, json.dumps(asked)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    reached = subprocess.run(reach, capture_output=True, timeout=60, cwd="/", check=False).returncode == 0

    means = Means(**json.loads(done.stdout))
    assert (means.tools, means.drops, means.users, means.mounts) == (True, True, reached, False)
    assert "unshare" in means.lacking
    assert {status(cell, means)[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {"0" * 16}


def test_a_function_can_see_its_own_files_and_secrets_as_the_gateways_user(cell: Cell, mounts: Means) -> None:
    shared = dataclasses.replace(mounts, users=False)

    found = status(cell, shared)
    done = run(cell, shared, f"cat /var/openfaas/secrets/key '{cell.reads[0]}/app.py' '{cell.hidden}/other'")

    assert found["Uid"].split()[0] == str(os.geteuid())
    assert found["CapEff"] == "0" * 16
    assert done.stdout == "key is secretapp = 1\n"
    assert "No such file" in done.stderr


def test_a_function_has_its_own_user(cell: Cell, users: Means) -> None:
    found = status(cell, users)

    assert found["Uid"].split() == [str(cell.user)] * 4
    assert found["Gid"].split() == [str(cell.user)] * 4
    assert found["Groups"] in ("", str(cell.user))


def test_an_interpreter_starts_and_imports_the_runtime(cell: Cell, means: Means) -> None:
    done = run(cell, means, f"{sys.executable} -c 'import regrain_runtime; print(1)'")

    assert (done.stdout, done.stderr) == ("1\n", "")


def test_it_reads_its_files_and_cannot_write_them(cell: Cell, mounts: Means) -> None:
    image = cell.reads[0]

    done = run(cell, mounts, f"cat '{image}/app.py'; touch '{image}/other'")

    assert done.stdout == "app = 1\n"
    assert "Read-only" in done.stderr


def test_it_writes_where_it_may(cell: Cell, mounts: Means) -> None:
    folder = Path(cell.reads[0])
    os.chown(folder, cell.user, cell.user)

    done = run(dataclasses.replace(cell, reads=(), writes=cell.reads), mounts, f"echo 1 > '{folder}/made'")

    assert done.returncode == 0, done.stderr
    assert (folder / "made").read_text() == "1\n"


def test_it_sees_nothing_else_of_the_gateways_state(cell: Cell, mounts: Means) -> None:
    done = run(cell, mounts, f"ls '{cell.hidden}'; cat '{cell.hidden}/other'")

    assert done.stdout == "image\n"
    assert "No such file" in done.stderr


def test_it_sees_no_homes(cell: Cell, mounts: Means, tmp_path: Path) -> None:
    kept = {path.split("/")[2] for path in sandbox.installation() if path.startswith(("/root/", "/home/"))}

    done = run(cell, mounts, "ls -A /root /home | grep -v :")

    assert set(done.stdout.split()) == kept


def test_its_temporary_files_are_its_own_and_gone_with_it(cell: Cell, mounts: Means) -> None:
    mark = Path("/tmp") / f"regrain-{os.getpid()}"

    first = run(cell, mounts, f"echo 1 > {mark}; echo 1 > /var{mark}; cat {mark}; echo $TMPDIR $HOME")
    second = run(cell, mounts, f"ls {mark}")

    assert first.stdout == "1\n/tmp /tmp\n"
    assert "No such file" in second.stderr
    assert not mark.exists()


def test_its_temporary_files_have_a_size(cell: Cell, mounts: Means) -> None:
    small = dataclasses.replace(cell, limits=Limits(scratch=1 << 20))

    done = run(small, mounts, "head -c 2000000 /dev/zero > /tmp/much")

    assert "No space left" in done.stderr


def test_secrets_are_where_openfaas_has_them(cell: Cell, mounts: Means) -> None:
    done = run(cell, mounts, "cat /var/openfaas/secrets/key; ls /var/openfaas/secrets")

    assert done.stdout == "key is secretkey\n"


@pytest.mark.parametrize("given", ["users", "tools", "nothing"])
def test_secrets_are_files_of_its_own_without_mounts(
    cell: Cell, given: str, request: pytest.FixtureRequest
) -> None:
    means = request.getfixturevalue("users") if given == "users" else Means(tools=given == "tools")
    path = sandbox.confine(cell, means).literal("/var/openfaas/secrets/key")

    done = run(cell, means, f"cat '{path}'; touch \"$TMPDIR/made\"")

    assert (done.stdout, done.stderr) == ("key is secret", "")
    assert oct(Path(path).stat().st_mode)[-3:] == "400"
    assert (Path(cell.home) / "scratch" / "made").exists()


def test_another_function_cannot_read_them(cell: Cell, users: Means) -> None:
    run(cell, users, "true")
    other = dataclasses.replace(cell, user=cell.user + 1, home=f"{cell.hidden}/elsewhere")
    key = sandbox.confine(cell, users).literal("/var/openfaas/secrets/key")

    done = run(other, users, f"cat '{key}' '{cell.hidden}/key'; ls '{cell.hidden}' '{cell.home}/scratch'")

    assert done.stdout == ""
    assert done.stderr.count("Permission denied") == 4


@pytest.mark.parametrize("given", ["users", "tools", "nothing"])
def test_processes_that_start_at_once_all_have_their_secrets(
    cell: Cell, given: str, request: pytest.FixtureRequest
) -> None:
    means = request.getfixturevalue("users") if given == "users" else Means(tools=given != "nothing")
    key = sandbox.confine(cell, means).literal("/var/openfaas/secrets/key")

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: run(cell, means, f"cat '{key}'"), range(64)))

    assert {(one.stdout, one.stderr) for one in done} == {("key is secret", "")}
    assert os.listdir(Path(key).parent) == ["key"]


def test_versions_have_their_own_secrets_and_share_what_they_keep(cell: Cell, users: Means) -> None:
    run(cell, users, 'echo kept > "$TMPDIR/made"')
    later = dataclasses.replace(cell, version="1", secrets={})

    done = run(later, users, f"ls '{sandbox.confine(later, users).secrets}'; cat \"$TMPDIR/made\"")

    assert (done.stdout, done.stderr) == ("kept\n", "")


def test_no_function_has_root_write_through_a_link_of_its_own(cell: Cell, users: Means) -> None:
    target = Path(cell.hidden) / "target"
    target.mkdir(mode=0o700)
    secrets = Path(sandbox.confine(cell, users).secrets)

    for path in (secrets / "key", secrets, secrets.parent, Path(cell.home) / "scratch", Path(cell.home)):
        done = run(cell, users, f"mv '{path}' '{path}.old' || ln -sfT '{target}' '{path}'")
        assert "Permission denied" in done.stderr
    last = run(cell, users, f"cat '{secrets}/key'")

    assert last.stdout == "key is secret"
    assert (target.stat().st_uid, oct(target.stat().st_mode)[-3:]) == (0, "700")


def test_what_it_may_take_is_limited(cell: Cell, means: Means) -> None:
    limits = Limits(files=77, file_size=1 << 20)

    done = run(dataclasses.replace(cell, limits=limits), means, "ulimit -n; ulimit -c; ulimit -f")

    assert done.stdout.split() == ["77", "0", "2048"]


def test_memory_has_a_bound(cell: Cell, means: Means) -> None:
    small = dataclasses.replace(cell, limits=Limits(memory=64 << 20))
    program = f"{sys.executable} -c 'print(len(bytes({{}} << 20)) >> 20)'"

    fits = run(small, means, program.format(20))
    much = run(small, means, program.format(200))

    assert fits.stdout == "20\n"
    assert "MemoryError" in much.stderr


def test_inherited_sockets_and_the_process_id_survive(cell: Cell, means: Means) -> None:
    ours, theirs = socket.socketpair()
    confined = sandbox.confine(cell, means)
    talk = f"import os; os.write({theirs.fileno()}, str(os.getpid()).encode())"

    with (
        ours,
        theirs,
        subprocess.Popen(
            [*confined.prefix, sys.executable, "-c", talk], pass_fds=[theirs.fileno()]
        ) as process,
    ):
        ours.settimeout(60)
        told = ours.recv(100)

    assert int(told) == process.pid


def test_processes_of_a_cell_alone_end_with_the_first(cell: Cell, mounts: Means, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    alone = dataclasses.replace(cell, alone=True)

    done = run(alone, mounts, "(sleep 100 >/dev/null 2>&1 &) ; echo $$", pass_fds=[writing])
    os.close(writing)
    rest = os.read(reading, 1)  # ends when nobody holds the pipe any more
    os.close(reading)

    assert done.stdout == "1\n"
    assert rest == b""


@pytest.mark.parametrize("given", ["mounts", "users", "tools"])
def test_a_cell_alone_ends_with_who_started_it(
    cell: Cell, given: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    means = Means() if given == "tools" else request.getfixturevalue(given)
    confined = sandbox.confine(dataclasses.replace(cell, alone=True), means)
    reading, writing = os.pipe()
    starting = (
        f"import subprocess; subprocess.run({[*confined.prefix, 'sh', '-c', 'echo up; exec sleep 100']!r})"
    )
    starter = subprocess.Popen([sys.executable, "-c", starting], stdout=writing)
    os.close(writing)
    assert os.read(reading, 3) == b"up\n"

    starter.kill()
    starter.wait(60)

    assert os.read(reading, 1) == b""  # nobody holds the pipe any more
    os.close(reading)


def test_a_means_that_does_not_work_is_not_used(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    means = sandbox.probe(cell)

    assert (means.tools, means.users, means.mounts) == (False, False, False)
    assert means.lacking


def test_a_function_without_an_environment_has_the_gateways_python() -> None:
    assert sandbox.python("") == sys.executable
    assert sandbox.python("/state/environments/1") == "/state/environments/1/bin/python"


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=30))
def test_no_two_functions_have_one_user(names: list[str]) -> None:
    taken: list[int] = []
    for name in names:
        taken.append(sandbox.user("dev", name, taken))

    assert len(set(taken)) == len(taken)
    assert all(sandbox.FIRST_USER <= user < sandbox.FIRST_USER + sandbox.USERS for user in taken)


def test_a_function_mostly_keeps_its_user() -> None:
    assert sandbox.user("dev", "a", ()) == sandbox.user("dev", "a", ())


def test_users_come_to_an_end() -> None:
    with pytest.raises(RegrainError, match="10000 users"):
        sandbox.user("dev", "a", range(sandbox.FIRST_USER, sandbox.FIRST_USER + sandbox.USERS))
