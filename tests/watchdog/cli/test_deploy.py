"""What `regrain deploy`, `remove` and `status --platform` send, refuse, and say."""

import tempfile

import pytest
import yaml

APP = """
from regrain import App, SLO

app = App("words", slo=SLO(latency=0.3, attainment=0.95), sample={"text": "a b"})


@app.stage(cpu=2, memory="256Mi")
def split(text: str) -> list[str]:
    return text.split()


@app.stage()
def count(words: list[str]) -> int:
    return len(words)


@app.flow
def words(text: str) -> int:
    return count(split(text))
"""


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch, tmp_path):
    """No gateway, login or cluster of whoever runs the tests."""
    for name in ("OPENFAAS_URL", "REGRAIN_GATEWAY_STATE", "REGRAIN_GATEWAY_PAYLOAD_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENFAAS_CONFIG", str(tmp_path / "faas"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    with tempfile.TemporaryDirectory() as short:  # enough for sockets, whatever the tests are called
        monkeypatch.setenv("XDG_STATE_HOME", short)
        yield


@pytest.fixture
def app(tmp_path):
    path = tmp_path / "app.py"
    path.write_text(APP)
    return str(path)


@pytest.mark.process
def test_a_dry_run_for_openfaas_prints_the_request_and_sends_nothing(regrain, app):
    flags = ["--slo", "200ms", "--min", "2", "--max", "4", "--env", "COLOUR=red", "--secret", "key"]
    outcome = regrain("deploy", app, "--platform", "openfaas", "--image", "an/image", "--dry-run", *flags)

    told = yaml.safe_load(outcome.out)
    assert outcome.code == 0, outcome.err
    assert (told["service"], told["image"], told["secrets"]) == ("words", "an/image", ["key"])
    assert told["envVars"] == {"REGRAIN_SLO": "200ms", "COLOUR": "red"}
    assert told["labels"] == {"com.openfaas.scale.min": "2", "com.openfaas.scale.max": "4"}
    assert told["annotations"]["regrain.slo"] == "200ms"
    assert told["requests"] == {"cpu": "2000m", "memory": "256Mi"}


@pytest.mark.process
def test_a_dry_run_for_knative_needs_no_cluster(regrain, app):
    flags = ["--namespace", "apps", "--name", "counter", "--protocol", "grpc", "--node", "zone=a"]
    outcome = regrain("deploy", app, "--platform", "knative", "--image", "an/image", "--dry-run", *flags)

    told = yaml.safe_load(outcome.out)
    pod = told["spec"]["template"]["spec"]
    assert outcome.code == 0, outcome.err
    assert (told["kind"], told["metadata"]["name"], told["metadata"]["namespace"]) == (
        "Service",
        "counter",
        "apps",
    )
    assert pod["containers"][0]["ports"] == [{"name": "h2c", "containerPort": 9000}]
    assert pod["nodeSelector"] == {"zone": "a"}


@pytest.mark.process
def test_a_dry_run_shows_the_controller_of_groups(regrain, app):
    flags = ["--image", "an/image", "--remote-key", "shared", "--grain", "split | count"]
    outcome = regrain("deploy", app, "--platform", "knative", "--dry-run", *flags)

    kinds = [(one["apiVersion"], one["kind"]) for one in yaml.safe_load_all(outcome.out)]
    assert kinds == [("serving.knative.dev/v1", "Service"), ("v1", "Service"), ("apps/v1", "Deployment")]


@pytest.mark.process
def test_a_dry_run_on_this_machine_needs_no_gateway(regrain, app):
    outcome = regrain("deploy", app, "--dry-run")

    assert outcome.code == 0, outcome.err
    assert yaml.safe_load(outcome.out)["image"] == "words:latest"


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "other.py",
            "serves app.py or else handler.py, which is another app here; move other.py to a folder",
        ),
        ("handler.py", "which is another app here; move handler.py to a folder of its own"),
    ],
)
def test_a_file_of_whose_folder_another_one_would_be_served_is_refused(regrain, app, tmp_path, name, said):
    (tmp_path / name).write_text(APP.replace('"words"', '"others"'))

    outcome = regrain("deploy", str(tmp_path / name))

    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert said in outcome.err


@pytest.mark.process
@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--platform", "openfaas"], 2, "--image: openfaas runs containers; name the one that was built of"),
        (["--platform", "knative"], 2, "--image: knative runs containers"),
        (["--platform", "heroku"], 2, "'heroku' is not one of 'local', 'openfaas', 'knative'"),
        (["--env", "COLOUR"], 2, "--env: NAME=VALUE, was 'COLOUR'"),
        (["--node", "=a"], 2, "--node: NAME=VALUE, was ''"),
        (["--memory", "much"], 2, '--memory must be bytes or a size like "512Mi"'),
        (["--timeout", "soon"], 2, '--timeout must be seconds or a duration like "300ms"'),
        (["--grain", "split"], 2, "grain 'split'"),
        (["--min", "-1"], 2, "replicas: 0 to 1000, was -1"),
        (["--protocol", "grpc"], 2, "--protocol: local carries HTTP alone"),
        (["--remote-key", "key"], 2, "--remote-key: replicas of this machine need no others"),
        (["--gpu-way", "hami"], 2, "--gpu-way: local is told of GPUs by annotations alone"),
        (
            ["--gateway", "http://admin:secret@example.org"],
            2,
            "no user or password in the address of example.org",
        ),
        (
            ["--platform", "openfaas", "--image", "i", "--user", "a"],
            2,
            "--user and --password-file go together",
        ),
        (
            ["--platform", "knative", "--image", "i", "--gateway", "g"],
            2,
            "--gateway: knative takes its cluster",
        ),
        (["--platform", "knative", "--image", "i", "--gpu-way", "x"], 2, "the way to share GPUs is one of"),
        (["--platform", "knative", "--image", "i"], 1, "no cluster is configured for Kubernetes"),
        ([], 2, "payload-secret is missing: it is made by the first start of `regrain gateway`"),
    ],
)
def test_what_cannot_be_deployed_is_one_line(regrain, app, flags, code, said):
    outcome = regrain("deploy", app, *flags)

    assert outcome.err.startswith("regrain: ")
    assert outcome.err.count("\n") == 1
    assert said in outcome.err
    assert (outcome.code, outcome.out) == (code, "")
    assert "secret@" not in outcome.err


@pytest.mark.parametrize("command", [("remove", "hello"), ("status",)])
def test_a_gateway_that_does_not_answer_is_named(regrain, command, free_ports):
    url = f"http://127.0.0.1:{free_ports[0]}"
    outcome = regrain(*command, "--platform", "openfaas", "--gateway", url)

    assert outcome.code == 1
    assert outcome.err == f"regrain: {url} does not answer: connection refused\n"


def test_a_password_that_can_be_read_on_its_way_is_told(regrain, tmp_path):
    (tmp_path / "password").write_text("correct horse\n")
    named = ["--user", "admin", "--password-file", str(tmp_path / "password")]
    outcome = regrain(
        "remove", "Hello", "--platform", "openfaas", "--gateway", "http://example.invalid", *named
    )

    assert "http://example.invalid is no https: the password can be read on its way" in outcome.err
    assert "correct horse" not in outcome.err
