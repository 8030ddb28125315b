"""The store does what a dictionary does, keeps what its rules say, and finds everything again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec import structs

from regrain.errors import SpecError
from regrain_watchdog.gateway.spec import DEFAULT_NAMESPACE, Deployment, Image, Namespace, Secret
from regrain_watchdog.gateway.store import InUseError, Store

IMAGE = Image(name="hello", kind="app", folder="/hello")
NAMES = st.sampled_from(["a", "b", "c"])
NAMESPACES = st.sampled_from([DEFAULT_NAMESPACE, "red", "blue"])
LEAST = "com.openfaas.scale.min"


class AgainstDictionaries(RuleBasedStateMachine):
    """Sequences of writes through two stores over one file, held against dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name, "gateway.db")
        self.now = 0.0
        self.stores = [Store(path, lambda: self.now), Store(path, lambda: self.now)]
        self.functions: dict[tuple[str, str], tuple[str, float, int, int]] = {}
        self.secrets: dict[tuple[str, str], bytes] = {}
        self.namespaces: dict[str, dict[str, str]] = {DEFAULT_NAMESPACE: {}}

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.folder.cleanup()

    @property
    def store(self) -> Store:
        """The store whose turn it is to write."""
        self.now += 1
        self.stores.reverse()
        return self.stores[0]

    @rule(name=NAMES, namespace=NAMESPACES, process=st.text(max_size=5), least=st.integers(0, 3))
    def put(self, name: str, namespace: str, process: str, least: int) -> None:
        deployment = Deployment(
            service=name,
            image="hello",
            namespace=namespace,
            env_process=process,
            labels={LEAST: str(least)},
        )
        store = self.store
        if namespace not in self.namespaces:
            with pytest.raises(SpecError, match="create it first"):
                store.put(deployment, IMAGE)
            return
        _, created, generation, replicas = self.functions.get((namespace, name), (process, self.now, 0, 0))
        kept = (process, created, generation + 1, max(1, least, replicas))

        function = store.put(deployment, IMAGE)

        assert kept[1:] == (function.created, function.generation, function.replicas)
        self.functions[namespace, name] = kept

    @rule(name=NAMES, namespace=NAMESPACES)
    def remove(self, name: str, namespace: str) -> None:
        there = self.functions.pop((namespace, name), None) is not None
        assert self.store.remove(name, namespace) == there

    @rule(name=NAMES, namespace=NAMESPACES, replicas=st.integers(0, 5))
    def scale(self, name: str, namespace: str, replicas: int) -> None:
        kept = self.functions.get((namespace, name))
        assert self.store.scale(name, namespace, replicas) == (kept is not None)
        if kept is not None:
            self.functions[namespace, name] = (*kept[:3], replicas)

    @rule(name=NAMES, namespace=NAMESPACES, replicas=st.integers(0, 5), before=st.integers(0, 5))
    def rescale(self, name: str, namespace: str, replicas: int, before: int) -> None:
        seen = self.store.function(name, namespace)
        if seen is not None:
            kept = self.functions[namespace, name]
            same = kept[3] == before
            assert self.store.rescale(structs.replace(seen, replicas=before), replicas) == same
            assert not self.store.rescale(structs.replace(seen, generation=seen.generation + 1), replicas)
            if same:
                self.functions[namespace, name] = (*kept[:3], replicas)

    @rule(name=NAMES, namespace=NAMESPACES, content=st.binary(max_size=5), replace=st.booleans())
    def put_secret(self, name: str, namespace: str, content: bytes, replace: bool) -> None:
        secret = Secret(name=name, namespace=namespace, raw_value=content)
        store = self.store
        if namespace not in self.namespaces and not replace:
            with pytest.raises(SpecError, match="create it first"):
                store.add_secret(secret)
            return
        written = store.replace_secret(secret) if replace else store.add_secret(secret)
        assert written == (((namespace, name) in self.secrets) == replace)
        if written:
            self.secrets[namespace, name] = content

    @rule(name=NAMES, namespace=NAMESPACES)
    def remove_secret(self, name: str, namespace: str) -> None:
        there = self.secrets.pop((namespace, name), None) is not None
        assert self.store.remove_secret(name, namespace) == there

    @rule(name=NAMESPACES, text=st.text(max_size=5), replace=st.booleans())
    def put_namespace(self, name: str, text: str, replace: bool) -> None:
        namespace = Namespace(name=name, labels={"text": text})
        store = self.store
        written = store.replace_namespace(namespace) if replace else store.add_namespace(namespace)
        assert written == ((name in self.namespaces) == replace)
        if written:
            self.namespaces[name] = dict(namespace.labels)

    @rule(name=NAMESPACES)
    def remove_namespace(self, name: str) -> None:
        store = self.store
        if name == DEFAULT_NAMESPACE or any(key[0] == name for key in [*self.functions, *self.secrets]):
            with pytest.raises(SpecError, match=f"namespace {name}"):
                store.remove_namespace(name)
            return
        there = self.namespaces.pop(name, None) is not None
        assert store.remove_namespace(name) == there

    @invariant()
    def both_stores_hold_what_was_written(self) -> None:
        for store in self.stores:
            functions = store.functions()
            assert [(one.deployment.namespace, one.deployment.service) for one in functions] == sorted(
                self.functions
            )
            assert {
                (one.deployment.namespace, one.deployment.service): (
                    one.deployment.env_process,
                    one.created,
                    one.generation,
                    one.replicas,
                )
                for one in functions
            } == self.functions
            assert {(one.namespace, one.name): one.content() for one in store.secrets()} == self.secrets
            assert {one.name: one.labels for one in store.namespaces()} == self.namespaces


TestAgainstDictionaries = AgainstDictionaries.TestCase
TestAgainstDictionaries.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "gateway.db")
    yield store
    store.close()


def deployment(**fields: object) -> Deployment:
    return Deployment(**{"service": "hello", "image": "hello", "namespace": DEFAULT_NAMESPACE, **fields})


def test_a_function_keeps_the_image_that_it_was_deployed_with(store: Store) -> None:
    store.put_image(IMAGE)
    store.put(deployment(), IMAGE)
    store.put_image(Image(name="hello", kind="app", folder="/hello.2"))

    function = store.function("hello", DEFAULT_NAMESPACE)
    image = store.image("hello")

    assert function is not None
    assert image is not None
    assert function.image == IMAGE
    assert image.folder == "/hello.2"


@pytest.mark.parametrize("name", ["hello", "hello:latest", "docker.io/hello", "docker.io/hello:latest"])
def test_an_image_has_its_name_with_or_without_what_is_optional(store: Store, name: str) -> None:
    store.put_image(Image(name=name, kind="app"))

    assert store.images() == [Image(name="hello", kind="app")]
    assert store.image("docker.io/hello:latest") == store.image("hello") == Image(name="hello", kind="app")
    assert store.image("hello:2") is None


def test_a_function_needs_the_secrets_that_it_names(store: Store) -> None:
    store.add_secret(Secret(name="key", namespace=DEFAULT_NAMESPACE, value="1"))

    with pytest.raises(SpecError, match="there is no token in namespace openfaas-fn"):
        store.put(deployment(secrets=("key", "token")), IMAGE)

    assert store.functions() == []
    assert store.put(deployment(secrets=("key",)), IMAGE).generation == 1


def test_a_secret_that_a_function_names_stays(store: Store) -> None:
    store.add_secret(Secret(name="key", namespace=DEFAULT_NAMESPACE, value="1"))
    store.put(deployment(secrets=("key",)), IMAGE)

    with pytest.raises(InUseError, match="secret key is named by hello"):
        store.remove_secret("key", DEFAULT_NAMESPACE)

    store.put(deployment(), IMAGE)
    assert store.remove_secret("key", DEFAULT_NAMESPACE)


def test_what_is_written_outlives_the_process(tmp_path: Path) -> None:
    first = Store(tmp_path / "gateway.db")
    function = first.put(deployment(), IMAGE)
    first.close()

    again = Store(tmp_path / "gateway.db")

    assert again.functions() == [function]
    again.close()
