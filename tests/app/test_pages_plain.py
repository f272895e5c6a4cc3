"""Pages without a browser: pictures of what cannot be read, and what leads elsewhere."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from worlds import World

Client = Any


def test_a_file_that_cannot_be_read_has_a_grey_picture_and_no_view(client: Client, world: World) -> None:
    cut = world.pictures()[0].read_bytes()[:500]
    sent = client.post("/api/inspect", content=cut, headers={"content-type": "image/png"}).json()["data"]
    small = client.get(f"/i/{sent['id']}/thumb.jpg")
    pixels = cv2.imdecode(np.frombuffer(small.content, np.uint8), cv2.IMREAD_COLOR)
    assert small.status_code == 200 and pixels.std() < 1
    part = client.get(f"/i/{sent['id']}.json").json()["data"]["part"]
    assert part["verdict"] is None and part["image"] is None and part["heat"] is None
    assert "NOT JUDGED" in client.get(f"/i/{sent['id']}").text


def test_browsers_get_what_they_can_show(client: Client, world: World) -> None:
    picture = cv2.imread(str(world.pictures()[0]))
    for suffix, kind in (
        (".png", "image/png"),
        (".jpg", "image/jpeg"),
        (".bmp", "image/png"),
        (".tif", "image/png"),
    ):
        content = cv2.imencode(suffix, picture)[1].tobytes()
        id = client.post("/api/inspect", content=content).json()["data"]["id"]
        shown = client.get(f"/i/{id}/image")
        assert shown.headers["content-type"] == kind, suffix
        assert cv2.imdecode(np.frombuffer(shown.content, np.uint8), cv2.IMREAD_COLOR).shape == picture.shape


def test_an_unknown_part_is_an_error_page_and_an_error_in_json(client: Client) -> None:
    assert client.get("/i/nothing").status_code == 404 and "<html" in client.get("/i/nothing").text
    assert client.get("/i/nothing.json").json()["error"]["code"] == "not_found"


def test_a_look_is_kept_and_leads_back_to_this_station_only(client: Client) -> None:
    form = {"language": "de", "theme": "dark", "keys": "on", "back": "//elsewhere.example/"}
    answer = client.post("/look", data=form, follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/inspect"
    html = client.get("/inspect").text
    assert '<html lang="de" data-theme="dark">' in html and "Bereit" in html
    assert 'data-problems="{&#34;' in html, "scripts can word errors"
    lost = client.get("/i/nothing").text
    assert "<h1>Das gibt es nicht</h1>" in lost and '<p lang="en">' in lost
    unreadable = client.post("/api/inspect", content=b"no picture").json()["data"]["id"]
    assert "Das ist kein lesbares Bild" in client.get(f"/i/{unreadable}").text


def test_scripts_and_styles_are_served_zipped_and_nothing_else_is(client: Client) -> None:
    for path in ("/static/js/view.js", "/static/css/parts.css"):
        zipped = client.get(path, headers={"accept-encoding": "gzip"})
        plain = client.get(path, headers={"accept-encoding": "identity"})
        assert zipped.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
        assert zipped.content == plain.content and len(zipped.content) > 2 * int(
            zipped.headers["content-length"]
        )
        tag = {"accept-encoding": "gzip", "if-none-match": zipped.headers["etag"]}
        assert client.get(path, headers=tag).status_code == 304
    page = client.get("/inspect", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in page.headers
