"""One function: versions follow each other, and requests find the one that serves."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from regrain.errors import LoadError, RequestError
from regrain_watchdog.front.zygote import DiedError
from regrain_watchdog.gateway.build.images import HANDLER, Images
from regrain_watchdog.gateway.plane import hosting
from regrain_watchdog.gateway.spec import Image

PATIENCE = 60.0


def test_an_update_takes_the_requests_and_those_under_way_end_before_the_old_version(hosted) -> None:
    async def scenario(world) -> None:
        old, early = await world.busy()
        world.hosting.update(replace(world.function, generation=2))
        await world.until(lambda: len(world.versions) == 2)
        between = world.ask()
        new = await world.settled(2)
        late = world.ask()
        new.may_answer.set()
        await late
        assert not old.stopped
        old.may_answer.set()
        await asyncio.gather(early, between)
        await world.until(lambda: old.stopped)

        assert (old.served, new.served) == (2, 1)
        assert world.hosting.invocations == 3
        assert world.hosting.standing().state == "ready"

    hosted(scenario)


def test_a_version_that_does_not_start_leaves_the_one_before_serving_and_says_why(hosted, tmp_path) -> None:
    async def scenario(world) -> None:
        old = await world.started()
        old.may_answer.set()
        world.fails = {1: LoadError("no such module")}
        world.hosting.update(replace(world.function, generation=2))
        broken = await world.settled(2)
        await world.ask()
        await world.until(lambda: broken.stopped)

        standing = world.hosting.standing()
        assert (standing.state, standing.available, old.served) == ("ready", 1, 1)
        assert (standing.serving, standing.tried) == (1, 2)
        assert "no such module" in standing.detail
        assert world.hosting.have.version == (1.0, 2)
        assert b"no such module" in (tmp_path / "a.log").read_bytes()

    hosted(scenario)


def test_the_image_of_the_version_that_serves_stays_while_further_ones_are_built(hosted, tmp_path) -> None:
    images = Images(tmp_path / "images")

    def built(number: int) -> Image:
        draft = tmp_path / f"{number}"
        (draft / HANDLER).mkdir(parents=True)
        return images.place(draft, Image(name="a", kind="app", digest=f"{number}", built=float(number)))

    async def scenario(world) -> None:
        world.function = replace(world.function, image=built(1))
        await world.started()
        world.fails = {1: LoadError("no such module")}
        broken = replace(world.function, generation=2, image=built(2))
        world.hosting.update(broken)
        await world.settled(2)
        built(3), built(4)
        images.prune({broken.image.folder})
        assert {image.digest for image in images.all()} == {"1", "2", "3", "4"}

        world.hosting.update(replace(world.function, generation=3, image=built(5)))
        await world.settled(3)
        await world.until(lambda: world.versions[0].stopped)
        await world.until(lambda: not world.hosting.is_retiring)
        images.prune(set())
        assert {image.digest for image in images.all()} == {"4", "5"}

    hosted(scenario)


def test_the_first_version_that_does_not_start_is_told_to_those_who_wait_and_who_come(hosted) -> None:
    async def scenario(world) -> None:
        world.fails = {0: LoadError("no such module")}
        world.hosting.update(world.function)
        early = world.ask()
        await world.settled(1)
        for asked in (early, world.ask()):
            with pytest.raises(RequestError, match="no such module") as caught:
                await asked
            assert caught.value.status == 503
        assert world.hosting.standing().state == "failed"

    hosted(scenario)


def test_a_start_in_which_a_process_died_is_tried_again_and_those_who_wait_are_answered(hosted) -> None:
    async def scenario(world) -> None:
        world.fails = {0: DiedError("it was killed"), 1: DiedError("it was killed")}
        world.hosting.update(world.function)
        early = world.ask()
        await world.tried(3)
        world.versions[2].may_answer.set()
        await early

        assert [one.stopped for one in world.versions] == [True, True, False]
        assert world.hosting.standing().state == "ready"

    hosted(scenario)


def test_a_process_that_dies_at_every_start_is_told_at_last(hosted, monkeypatch) -> None:
    monkeypatch.setattr(hosting, "PAUSES", (0.0, 0.0))

    async def scenario(world) -> None:
        world.fails = dict.fromkeys(range(9), DiedError("it was killed"))
        world.hosting.update(world.function)
        early = world.ask()
        await world.tried(3)
        with pytest.raises(RequestError, match="it was killed"):
            await early

        assert len(world.versions) == 3
        assert world.hosting.standing().state == "failed"

    hosted(scenario)


def test_a_version_that_wants_the_port_of_the_one_before_starts_once_that_has_ended(hosted) -> None:
    async def scenario(world) -> None:
        world.replaces = True
        old, early = await world.busy()
        world.hosting.update(replace(world.function, generation=2))
        await world.until(lambda: len(world.versions) == 2)
        late = world.ask()
        await world.until(lambda: world.hosting.waiting == 1)
        assert not old.stopped
        old.may_answer.set()
        await early
        await world.until(lambda: old.stopped)
        new = await world.settled(2)
        new.may_answer.set()
        await late

        assert (old.served, new.served) == (1, 1)

    hosted(scenario)


def test_a_version_whose_settings_are_wrong_does_not_end_the_one_whose_port_it_wants(hosted) -> None:
    async def scenario(world) -> None:
        world.replaces = True
        old = await world.started()
        old.may_answer.set()
        world.is_wrong = True
        world.hosting.update(replace(world.function, generation=2))
        await world.settled(2)
        await world.ask()

        assert (world.hosting.standing().state, old.served, old.stopped) == ("ready", 1, False)
        assert "exec_timeout" in world.hosting.standing().detail

    hosted(scenario)


def test_a_version_that_wants_the_port_of_one_that_was_scaled_away_starts_once_that_has_ended(hosted) -> None:
    async def scenario(world) -> None:
        world.replaces = True
        old, early = await world.busy()
        for replicas in (0, 1):
            world.hosting.scale(replicas)
            await world.until(lambda: len(world.versions) == 2 or not world.hosting.have.busy)
        world.versions[1].may_start.set()
        old.may_answer.set()
        await early
        await world.until(lambda: not world.hosting.have.busy)

        assert (world.hosting.standing().state, world.hosting.standing().detail) == ("ready", "")
        assert (old.served, old.stopped) == (1, True)

    hosted(scenario)


def test_a_version_that_the_next_one_waits_for_ends_though_the_function_is_removed_meanwhile(hosted) -> None:
    async def scenario(world) -> None:
        world.replaces = True
        old, early = await world.busy()
        world.hosting.update(replace(world.function, generation=2))
        await world.until(lambda: world.hosting.in_flight == 0)  # the old version is asked no more
        world.hosting.remove()
        assert not old.stopped
        old.may_answer.set()
        await early
        await world.until(lambda: not world.hosting.is_retiring)

        assert [one.stopped for one in world.versions] == [True, True]

    hosted(scenario)


def test_a_function_that_did_not_start_is_tried_again_by_a_request_after_a_while(hosted, monkeypatch) -> None:
    async def scenario(world) -> None:
        world.fails = {0: LoadError("no memory")}
        await world.started()
        with pytest.raises(RequestError, match="no memory"):
            await world.ask()
        monkeypatch.setattr(hosting, "AGAIN", 0.0)
        asked = world.ask()
        second = await world.settled(2)
        second.may_answer.set()
        await asked

        assert (second.served, world.awakened) == (1, 1)
        assert world.hosting.standing().detail == ""

    hosted(scenario)


def test_a_request_starts_a_function_that_sleeps_once_and_waits_for_it(hosted) -> None:
    async def scenario(world) -> None:
        first = await world.started()
        world.hosting.scale(0)
        await world.until(lambda: first.stopped)
        asleep = world.hosting.standing()
        asked = [world.ask() for _ in range(5)]
        await world.until(lambda: world.hosting.waiting == 5)
        starting = world.hosting.standing()
        second = await world.settled(2)
        second.may_answer.set()
        await asyncio.gather(*asked)

        assert (asleep.state, asleep.replicas) == ("zero", 0)
        assert (starting.state, starting.replicas, starting.available) == ("starting", 1, 0)
        assert (world.awakened, second.served, len(world.versions)) == (1, 5, 2)

    hosted(scenario)


def test_a_removed_function_lets_calls_end_and_takes_no_others(hosted) -> None:
    async def scenario(world) -> None:
        only, early = await world.busy()
        world.hosting.remove()
        with pytest.raises(RequestError, match="removed"):
            await world.ask()
        only.may_answer.set()
        await early
        await world.until(lambda: only.stopped)

        assert only.served == 1

    hosted(scenario)


def test_replicas_change_in_the_version_that_serves(hosted) -> None:
    async def scenario(world) -> None:
        only = await world.started()
        world.hosting.scale(3)
        await world.until(lambda: not world.hosting.have.busy)

        assert (only.replicas, world.hosting.have.replicas, len(world.versions)) == (3, 3, 1)

    hosted(scenario)


def test_told_to_end_at_once_it_kills_what_has_still_to_end_too(hosted) -> None:
    async def scenario(world) -> None:
        old, asked = await world.busy()
        world.hosting.update(replace(world.function, generation=2))
        new = await world.settled(2)
        assert (old.stopped, new.stopped) == (False, False)

        world.hosting.kill()

        assert (old.stopped, new.stopped) == (True, True)
        asked.cancel()

    hosted(scenario)
