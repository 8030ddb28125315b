"""The live page's parts as an HTTP client gets them, without a browser."""

import re
from importlib import resources

import pytest

from regrain_watchdog.front.admin import Admin
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.page import FILES, SAFE, Page


@pytest.fixture
def admin(listen, diamond):
    return listen(Admin(diamond, Measure(), lambda: {"app": "vision", "grain": "fine"}))


@pytest.mark.parametrize("path", FILES)
def test_each_file_is_served_with_its_type_and_held_to_this_origin(admin, path):
    answer = admin.request("GET", path)

    assert (answer.status, answer.headers["content-type"]) == (200, FILES[path][1])
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(answer.body) > 100


def test_every_file_in_the_folder_is_served():
    folder = resources.files("regrain_watchdog.front.page")
    names = {
        file.name for file in folder.iterdir() if file.name.partition(".")[2] in ("html", "css", "js", "svg")
    }

    assert names == {name for name, _ in FILES.values()}


def test_the_files_name_no_other_place_and_hold_no_style_that_the_policy_forbids():
    for _, content in map(Page().find, FILES):
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|@import|url\(", text)
        assert not re.search(r"<style|<script>|\son\w+=|\sstyle=", text)
    assert dict(SAFE)["content-security-policy"].count("'unsafe") == 0


def test_the_picture_is_of_the_groups_of_now(admin):
    answer = admin.request("GET", "/picture.svg")

    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.body.count(b"data-group=") == 4


def test_a_drawing_is_made_anew_when_the_grain_changes(diamond):
    page = Page()

    fine, again, coarse = (page.picture(diamond, grain)[1] for grain in ("fine", "fine", "coarse"))

    assert fine is again
    assert coarse.count(b"data-group=") == 1


def test_the_page_takes_no_other_method(admin):
    assert admin.request("POST", "/").status == 405
    assert admin.request("HEAD", "/").status == 200
